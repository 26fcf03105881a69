"""Sums of a consumer that nothing depends on, and how far they may stray.

Behind a ReLU a negative sum may have any other negative value, and a sum that loses in max pooling
any lower one. The derivative of the network's outputs by such an idle sum is zero. Where the sums
that count are the larger ones of a channel, an idle one may lie anywhere below itself, or below the
largest idle one that is smaller than all that count, which is the ReLU's threshold; and the other
way round where the smaller ones count (a batch norm with a negative scale).

Source: after Zhang, Zou, He, Sun, "Accelerating very deep convolutional networks for
classification and detection", IEEE TPAMI 38(10), 2016, section 3.2, who fit what a ReLU gives
instead of its input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prunella.core.inputs import Inputs
from prunella.core.modes import attention_in_parts, evaluating, full_precision
from prunella.ops import (
    CallWatcher,
    Places,
    StoredTensors,
    derivative_of,
    judged_outputs,
    requiring_gradients,
    rows_at,
    signed_sum,
)
from prunella.repair.equations import Wanted


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Consumer:
    """Where one consumer's sums are looked at.

    Attributes:
        in_axis: Of the weight.
        first: Length of the first axis of what it gives, over all samples.
        places: Which sums.
    """

    in_axis: int
    first: int
    places: Places


def idle_sums(
    model: nn.Module,
    consumers: Mapping[str, Consumer],
    inputs: Inputs,
    generator: torch.Generator,
    *,
    at_once: int,
) -> dict[str, Tensor]:  # (rows, outputs) bool
    """Which sums the outputs do not depend on, by consumer.

    Left out are consumers that no derivative reaches, for they may work through values that have
    none; those whose rows are not one for each sample (and its positions), unless one pass takes
    all samples, as nothing says whose rows are whose; and all of a network that cannot be
    differentiated, or that computes in float16, where small derivatives are rounded to zero.

    Args:
        model: Untouched.
        consumers: By the name of the weight.
        inputs: All samples.
        generator: Draws the signs with which outputs are added up.
        at_once: Samples in one backward pass.
    """
    total = len(inputs.tensors[0])
    weights = [tensor for tensor in model.parameters() if tensor.dtype.is_floating_point]
    if any(tensor.dtype == torch.float16 for tensor in weights):
        return {}
    watcher = _Derivatives(model, consumers, total)
    with (
        evaluating(model),
        full_precision(inputs.tensors[0].device),
        attention_in_parts(),
        torch.enable_grad(),
        requiring_gradients(weights),
    ):
        for start in range(0, total, at_once):
            samples = slice(start, min(start + at_once, total))
            outputs = judged_outputs(inputs.samples(samples).call(model))
            if not outputs:
                return {}
            signed = signed_sum(outputs, generator)
            watcher.samples = samples
            try:
                with watcher:
                    torch.autograd.grad(signed, weights, allow_unused=True)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:  # autograd's for values that were overwritten in place, say
                return {}
    return watcher.found()


class _Derivatives(CallWatcher):
    """Notes at which places the derivative by a consumer's sums is zero."""

    def __init__(self, model: nn.Module, consumers: Mapping[str, Consumer], total: int) -> None:
        super().__init__()
        self.stored = StoredTensors(model)
        self.consumers = consumers
        self.in_axes = {name: consumer.in_axis for name, consumer in consumers.items()}
        self.total = total
        self.samples = slice(0, 0)
        self.parts: dict[str, list[Tensor]] = {name: [] for name in consumers}

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        found = derivative_of(func, args, self.stored, self.in_axes)
        if found is not None:
            self._note(*found)
        return func(*args, **kwargs)

    def _note(self, name: str, derivative: Tensor) -> None:
        consumer = self.consumers[name]
        start, stop = self.samples.start, self.samples.stop
        if stop - start == self.total:
            start, stop = 0, consumer.first
        if len(derivative) != stop - start:
            return
        first, *rest = consumer.places
        here = (first >= start) & (first < stop)
        places = (first[here] - start, *(axis[here] for axis in rest))
        self.parts[name].append(rows_at(derivative, places) == 0)

    def found(self) -> dict[str, Tensor]:
        """The masks of those consumers for which there is one for each row."""
        joined = {name: torch.cat(parts) for name, parts in self.parts.items() if parts}
        return {
            name: mask
            for name, mask in joined.items()
            if len(mask) == len(self.consumers[name].places[0])
        }


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Threshold:
    """On which side of what the sums of each output are idle.

    Attributes:
        sign: (outputs,) 1 where the larger sums count, -1 where the smaller ones do.
        idle_below: (outputs,) up to where a sum times its sign is idle for certain; may be -inf.
        counts_up_to: (outputs,) the largest sum times its sign that counts; -inf where none does.
    """

    sign: Tensor
    idle_below: Tensor
    counts_up_to: Tensor

    @staticmethod
    def of(
        values: Tensor,  # (rows, outputs)
        idle: Tensor,  # (rows, outputs) bool
    ) -> Threshold:
        """What rows of the original show."""
        infinity = torch.full_like(values, float("inf"))

        def ends(of: Tensor) -> tuple[Tensor, Tensor]:
            """The smallest and the largest of the sums that count."""
            return torch.where(idle, infinity, of).amin(0), torch.where(idle, -infinity, of).amax(0)

        smallest, largest = ends(values)
        beyond = (idle & (values > largest)).sum(0) > (idle & (values < smallest)).sum(0)
        sign = torch.where(beyond, -1.0, 1.0).to(values.dtype)
        signed = values * sign
        smallest, largest = ends(signed)
        below = torch.where(idle & (signed < smallest), signed, -infinity).amax(0)
        return Threshold(sign=sign, idle_below=below, counts_up_to=largest)

    def wanted(
        self,
        values: Tensor,  # (rows, outputs)
        idle: Tensor,  # (rows, outputs) bool
    ) -> Wanted:
        """The intervals in which sums may lie.

        An idle sum beyond all that count, as behind the upper end of a ReLU6, keeps its value, and
        so does one of an output none of whose sums count.
        """
        signed = values * self.sign
        free = idle & (signed <= self.counts_up_to)
        most = torch.maximum(signed, self.idle_below) * self.sign
        infinity = torch.full_like(values, float("inf"))
        upwards = self.sign > 0
        return Wanted(
            values=values,
            low=torch.where(free, torch.where(upwards, -infinity, most), values),
            high=torch.where(free, torch.where(upwards, most, infinity), values),
        )
