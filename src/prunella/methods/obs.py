"""Channels go one by one, each time the one that the others can best make up for.

    H = sum over n random samples and positions of a a^T   for what each consumer reads
    e_j = least squared error of the consumer's sums without unit j     (`surgeon`)
    g = mean over samples and the consumer's outputs o of  sum over positions p of (dv/dz_op)^2
    the next to go is the unit j with the least  (sum over consumers of  sqrt(g e_j / n))^2
    s_j = this loss for all that went until then, j included

v is the sum of the network's outputs with random signs, so that (dv/dz)^2 is on average the sum of
the squared derivatives of all outputs, and g e_j / n estimates the mean squared change of the
outputs by the error of one consumer, relative to their mean square. It is exact for linear
networks and errors that are uncorrelated and of equal size for all outputs and positions of the
consumer: the Gauss-Newton approximation, with the factor for outputs of Martens, Grosse,
"Optimizing neural networks with Kronecker-factored approximate curvature", ICML 2015, replaced by
its mean. The errors of several consumers of one unit have one cause and are taken to add up.

The share of each group follows from the losses: with the convex function below the losses of a
group and the cost c of one of its units, all units stay whose slope / c is above one threshold for
all groups. This makes the smallest sum of losses for the cost, as far as costs add up (they are
those in the whole network; new ones in the network found lowered the losses of ResNet-20 by a
tenth, and its accuracy stayed the same). What the budget has left over goes to the next best units
that fit. Source of the principle: Everett, "Generalized Lagrange multiplier method for solving
problems of optimum allocation of resources", Operations Research 11, 1963.

What a consumer reads is that of the original network, so one pass over the samples serves every
budget; the kept weights are solved again by the repair of `prune`. The sums take 8 bytes for the
square of the number of inputs of each consumer, and the order of removal about its cube in
operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from prunella.allocate import CostModel, one_threshold, topped_up
from prunella.core.budgets import Budget
from prunella.core.errors import InputError
from prunella.core.inputs import Inputs
from prunella.core.modes import attention_in_parts, evaluating, full_precision
from prunella.core.progress import Progress
from prunella.core.samples import SampleIds
from prunella.core.types import ChannelGraph, ChannelScores
from prunella.methods.passes import batches
from prunella.methods.ranking import largest, required
from prunella.methods.reads import Reads
from prunella.methods.registry import Selection, register_method
from prunella.methods.surgeon import convex_slopes, removal_losses
from prunella.ops import judged_outputs, requiring_gradients, signed_sum

NAME = "obs"


def losses(
    model: nn.Module,
    graph: ChannelGraph,
    loader: Iterable[object],
    *,
    generator: torch.Generator,
    progress: Progress,
) -> ChannelScores:
    """The loss that the outputs have come to when each unit goes."""
    reads = Reads(model, graph, generator)
    device = next(model.parameters()).device
    weights = [tensor for tensor in model.parameters() if tensor.dtype.is_floating_point]
    seen: list[SampleIds] = []
    squares = 0.0
    with evaluating(model), full_precision(device), attention_in_parts():
        for batch in batches(loader, progress=progress, description="second moments"):
            with torch.enable_grad(), requiring_gradients(weights):
                inputs = batch.inputs.to(device)
                squares += _run(model, reads, weights, inputs, batch.count, generator)
            seen.append(batch.ids)
    values = {}
    groups = progress(graph.prunable, description="order of removal", total=len(graph.prunable))
    for group in groups:
        systems = reads.systems(group, 1 / squares if squares > 0 else 0.0)
        if not systems:
            raise InputError(
                f"group {group.name!r}: none of its consumers ran on the calibration samples; "
                "trace the model with inputs that take the same path."
            )
        values[group.name] = removal_losses(systems, group.size).float()
    return ChannelScores(method=NAME, by_group=values, samples=SampleIds.union(seen))


def _run(
    model: nn.Module,
    reads: Reads,
    weights: Sequence[Tensor],
    inputs: Inputs,
    count: int,
    generator: torch.Generator,
) -> float:
    """One batch forwards and backwards; the sum of the squares of the outputs."""
    with reads.forwards(count):
        outputs = judged_outputs(inputs.call(model))
    if not outputs:
        raise InputError(
            f"method {NAME!r} needs gradients, but no output of {type(model).__name__} has any: "
            "its forward runs under no_grad or detaches, or returns no tensor of floating-point "
            "numbers. Let it compute gradients, or use another method, for instance 'pfp'."
        )
    signed = signed_sum(outputs, generator)
    with reads.backwards():
        torch.autograd.grad(signed, weights, allow_unused=True)
    return sum(float(out.detach().double().square().sum()) for out in outputs)


@register_method(
    NAME,
    "remove the channels that the others can best make up for; shares by loss and cost",
    score=losses,
    needs="samples",
)
def least_loss(
    graph: ChannelGraph,
    scores: ChannelScores | None,
    budget: Budget,
    *,
    multiple: int,
    generator: torch.Generator,
) -> Selection:
    """One threshold on loss per cost for all groups; within a group the last to go stay."""
    del generator
    known = required(scores).by_group
    prices = _prices(graph, budget)
    slopes = {
        group.name: convex_slopes(known[group.name].double()) / prices[group.name]
        for group in graph.prunable
    }
    allocation = one_threshold(graph, slopes, budget, multiple=multiple)
    return largest(graph, known, topped_up(graph, slopes, budget, allocation, multiple=multiple))


def _prices(graph: ChannelGraph, budget: Budget) -> dict[str, int]:
    """What the first unit of each group to go saves of what the budget counts, at least 1."""
    model = CostModel(graph)
    full = budget.measure(model.full)
    return {
        group.name: max(1, full - budget.measure(model.cost({group.name: group.size - 1})))
        for group in graph.prunable
    }
