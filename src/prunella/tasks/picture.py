"""Beliefs on the way through a maze, as plain data for a picture."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from prunella.core.beliefs import BeliefWalk
from prunella.core.errors import InputError
from prunella.core.modes import evaluating
from prunella.sequences import SequenceSet
from prunella.tasks.networks import SequenceNetwork


def belief_walks(
    network: SequenceNetwork, samples: SequenceSet, *, count: int, seed: int
) -> tuple[BeliefWalk, ...]:
    """What a network believes at each step of the first walks of a set.

    The place of a particle is what the head makes of it. The noise depends on the seed alone;
    torch's global generator is left as it was found.

    Args:
        network: Has particles, and predicts x and y first.
        samples: Walks through a maze.
        count: Of walks, at most.
        seed: Any integer.

    Raises:
        InputError: the network has no particles, or the samples are no walks.
    """
    if samples.outputs[:2] != ("x", "y") or samples.targets.ndim != 3:
        raise InputError(
            f"{samples.name}: predicts {', '.join(samples.outputs)}; expected walks through a "
            "maze, whose outputs begin with x, y at every step."
        )
    chosen = samples.subset(range(min(count, len(samples))))
    device = next(network.parameters()).device
    with evaluating(network), torch.random.fork_rng():
        torch.manual_seed(seed)
        predictions, trajectory = network.unroll(chosen.inputs.to(device))
    particles, log_weights = predictions.particles, trajectory.log_weights
    assert particles is not None
    truth, mean = chosen.in_units(chosen.targets), chosen.in_units(predictions.mean.cpu())
    places = chosen.in_units(particles.cpu())[..., :2]
    effective = trajectory.effective_sample_size()
    return tuple(
        BeliefWalk(
            name=f"walk {row + 1}",
            truth=_pairs(truth[row, :, :2]),
            headings=_headings(truth[row], samples.outputs),
            mean=_pairs(mean[row, :, :2]),
            particles=tuple(_pairs(step) for step in places[row]),
            weights=tuple(tuple(step) for step in log_weights[row].exp().tolist()),
            effective=tuple(effective[row].tolist()),
        )
        for row in range(len(chosen))
    )


def _pairs(
    places: Tensor,  # (N, 2)
) -> tuple[tuple[float, float], ...]:
    return tuple((x, y) for x, y in places.tolist())


def _headings(
    poses: Tensor,  # (T, J), in units
    outputs: tuple[str, ...],
) -> tuple[float, ...]:
    """Degrees, 0 upwards and 90 to the right; none where the task has no heading."""
    if outputs[2:] == ("sin", "cos"):
        angles = torch.atan2(poses[:, 2], poses[:, 3])
    elif outputs[2:] == ("heading",):
        angles = poses[:, 2]
    else:
        return ()
    return tuple((angles * (180 / math.pi)).remainder(360).tolist())
