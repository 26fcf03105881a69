"""Channels whose removal changes the loss most, to first order, stay.

    s_j = mean over samples x of  (sum over positions of a_j(x) dE/da_j(x))^2

Source: Molchanov, Mallya, Tyree, Frosio, Kautz, "Importance estimation for neural network pruning",
CVPR 2019, section 3: the first-order criterion with a gate z_j = 1 that multiplies the channel,
s_j = (dE/dz_j)^2, compared between all layers. Of its forms this is the one of activations. The
gate stands where layers read the channel, which is where a cut takes effect; there

    dE/dz_j = sum over positions of a_j dE/da_j = sum over weights w that read j of w dE/dw,

and the right side is what is computed. Squares are taken sample by sample, so that the loader's
batch size has no influence (the paper squares the mean over a mini-batch). E is the cross entropy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunella.core.batches import Batch, check_labels
from prunella.core.errors import DataError, InputError
from prunella.core.inputs import Inputs
from prunella.core.modes import attention_in_parts, evaluating, full_precision
from prunella.core.outputs import class_scores
from prunella.core.progress import Progress
from prunella.core.samples import SampleIds
from prunella.core.types import ChannelGraph, ChannelScores
from prunella.methods.passes import batches
from prunella.methods.ranking import largest_of_all
from prunella.methods.registry import register_method
from prunella.ops import requiring_gradients

NAME = "taylor"


def gate_gradients(
    model: nn.Module,
    graph: ChannelGraph,
    loader: Iterable[object],
    *,
    generator: torch.Generator,
    progress: Progress,
) -> ChannelScores:
    """Mean squared derivative of the loss by a factor on each unit."""
    del generator
    stored = {
        **dict(model.named_buffers(remove_duplicate=False)),
        **dict(model.named_parameters(remove_duplicate=False)),
    }
    readers = {
        member.tensor: stored[member.tensor]
        for group in graph.prunable
        for member in group.members
        if member.role == "consumer"
    }
    device = next(model.parameters()).device
    totals = {g.name: torch.zeros(g.size, dtype=torch.float64) for g in graph.prunable}
    seen: list[SampleIds] = []
    with evaluating(model), full_precision(device), attention_in_parts():
        for batch in batches(loader, progress=progress, description="gradients"):
            for sample, label in _one_by_one(batch, device):
                products = _weight_products(model, readers, sample, label)
                _add_squares(totals, _gates(graph, products))
            seen.append(batch.ids)
    known = SampleIds.union(seen)
    values = {name: (total / known.count).float() for name, total in totals.items()}
    return ChannelScores(method=NAME, by_group=values, samples=known)


def _one_by_one(batch: Batch, device: torch.device) -> Iterator[tuple[Inputs, Tensor]]:
    """Each sample and its label, (1,), as a batch of its own."""
    labels = batch.labels
    if labels is None:
        raise DataError(f"method {NAME!r} needs labels: the loader must yield (inputs, labels).")
    for number in range(len(batch)):
        one = slice(number, number + 1)
        yield batch.inputs.samples(one).to(device), labels[one].to(device)


def _add_squares(totals: dict[str, Tensor], gradients: dict[str, Tensor]) -> None:
    for name, gradient in gradients.items():
        totals[name] += gradient.square()


def _weight_products(
    model: nn.Module,
    readers: dict[str, Tensor],
    sample: Inputs,
    label: Tensor,  # (1,)
) -> dict[str, Tensor]:
    """w dE/dw of each weight that reads channels, for one sample."""
    tensors = list(readers.values())
    with torch.enable_grad(), requiring_gradients(tensors):
        logits = class_scores(sample.call(model), 1)
        check_labels(label, logits.shape[1])
        loss = F.cross_entropy(logits, label)
        if not loss.requires_grad:
            raise InputError(
                f"method {NAME!r} needs gradients, but the loss of {type(model).__name__} has none "
                "by the weights that read channels: its forward runs under no_grad or detaches. "
                "Let it compute gradients, or use a method without labels."
            )
        gradients = torch.autograd.grad(loss, tensors, allow_unused=True)
    return {
        name: (tensor.detach() * gradient).double()
        for (name, tensor), gradient in zip(readers.items(), gradients, strict=True)
        if gradient is not None
    }


def _gates(graph: ChannelGraph, products: dict[str, Tensor]) -> dict[str, Tensor]:
    """dE/dz of each unit, (size,), for each group."""
    found = {}
    for group in graph.prunable:
        gradient = torch.zeros(group.size, dtype=torch.float64)
        for member in group.members:
            if member.role == "consumer" and member.tensor in products:
                product = products[member.tensor]
                others = [axis for axis in range(product.ndim) if axis != member.axis]
                along = product.sum(dim=others).cpu() if others else product.cpu()
                gradient += along[member.indices].sum(dim=1)
        found[group.name] = gradient
    return found


register_method(
    NAME,
    "keep the channels whose removal changes the loss most; one threshold for all layers",
    score=gate_gradients,
    needs="labels",
)(largest_of_all)
