"""Inputs of a network, divided into batches of any size."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from prunella.core.errors import InputError


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Inputs:
    """Arguments for one call of a network, with all samples in one batch.

    A tensor whose first axis is as long as that of the first tensor holds one row for each
    sample; the others are the same for every batch.

    Attributes:
        arguments: Positional arguments; tensors may lie in lists, tuples and dictionaries.
        keywords: Keyword arguments, likewise.
        samples: Number of samples, at least 2.
    """

    arguments: tuple[object, ...]
    keywords: Mapping[str, object]
    samples: int

    @staticmethod
    def of(inputs: object, keywords: Mapping[str, object] | None) -> Inputs:
        """Read what a user gives: a tensor, a sequence of positional arguments, or a dictionary of
        keyword arguments; and more keywords.

        A single sample is repeated, because one batch size says nothing about others.

        Raises:
            InputError: there is no tensor with a first axis, or it is empty.
        """
        named = dict(keywords or {})
        if isinstance(inputs, Mapping):
            arguments: tuple[object, ...] = ()
            named = {**inputs, **named}
        else:
            arguments = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
        named = dict(sorted(named.items()))  # the same file whatever order is given
        tensors = [leaf for leaf in tree_leaves((arguments, named)) if isinstance(leaf, Tensor)]
        rows = [len(tensor) for tensor in tensors if tensor.ndim]
        if not rows or rows[0] == 0:
            raise InputError(
                "the inputs for the export hold no samples; expected at least one tensor whose "
                "first axis is the sample, such as images of shape (64, 3, 224, 224)."
            )
        given = Inputs(arguments=arguments, keywords=named, samples=rows[0])
        return given if given.samples > 1 else given.copies(2)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Batch sizes to compare at: one sample, half of them, all."""
        return tuple(sorted({1, (self.samples + 1) // 2, self.samples}))

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors in the order in which torch.export flattens the arguments."""
        leaves = tree_leaves((self.arguments, dict(self.keywords)))
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    def has_samples(self, leaf: object) -> bool:
        """Whether a leaf holds one row for each sample."""
        return isinstance(leaf, Tensor) and leaf.ndim > 0 and len(leaf) == self.samples

    def batch(self, size: int) -> Inputs:
        """The first samples."""
        return self._mapped(lambda rows: rows[:size], size)

    def copies(self, size: int) -> Inputs:
        """The first sample, repeated."""
        return self._mapped(lambda rows: rows[:1].expand(size, *rows.shape[1:]).contiguous(), size)

    def _mapped(self, function: Callable[[Tensor], Tensor], samples: int) -> Inputs:
        def of_leaf(leaf: object) -> object:
            if not isinstance(leaf, Tensor):
                return leaf
            own = leaf.detach().to("cpu")
            return function(own) if self.has_samples(leaf) else own

        arguments, keywords = tree_map(of_leaf, (self.arguments, dict(self.keywords)))
        return Inputs(arguments=arguments, keywords=keywords, samples=samples)


def dynamic_batch(model: nn.Module, example: Inputs) -> dict[str, object]:
    """Says for torch.export that the first axis of all tensors of samples is one free size.

    By names of the parameters of `forward`, as torch.export binds the arguments to them.
    """
    batch = torch.export.Dim("batch")
    signature = inspect.signature(model.forward)
    bound = signature.bind(*example.arguments, **example.keywords).arguments

    def axes(leaf: object) -> object:
        return {0: batch} if example.has_samples(leaf) else None

    shapes: dict[str, object] = tree_map(axes, dict(bound))
    return shapes
