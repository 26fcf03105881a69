"""How many of the first particles have descendants: what resampling does to a belief."""

from __future__ import annotations

import pytest
import torch

from prunella.recurrent import PFGRU, PFLSTM, Belief, Trajectory


def trajectory(ancestors):
    """Nothing but who is a copy of whom."""
    ancestors = torch.as_tensor(ancestors)
    logs = torch.zeros(ancestors.shape).log_softmax(-1)
    beliefs = Belief(particles=torch.zeros(*ancestors.shape, 1), log_weights=logs)
    return Trajectory(beliefs=beliefs, filtered_log_weights=logs, ancestors=ancestors)


def test_counted_by_hand():
    steps = [[0, 0, 1, 2], [0, 1, 2, 3], [2, 2, 0, 0], [3, 0, 1, 2]]
    assert trajectory([steps]).lineages().tolist() == [[3, 3, 2, 2]]
    assert trajectory(torch.zeros(2, 0, 4, dtype=torch.int64)).lineages().shape == (2, 0)


@pytest.mark.parametrize("Cell", [PFLSTM, PFGRU])
def test_against_following_every_particle_back(Cell):
    torch.manual_seed(0)
    found, _ = Cell(2, 4, 6).unroll(torch.randn(3, 5, 2), lengths=[5, 0, 2])
    expected = torch.zeros(3, 5, dtype=torch.int64)
    for row in range(3):
        for time in range(5):
            roots = set()
            for child in range(6):
                for step in range(time, -1, -1):
                    child = int(found.ancestors[row, step, child])
                roots.add(child)
            expected[row, time] = len(roots)
    assert torch.equal(found.lineages(), expected)
    assert (found.lineages()[1] == 6).all()  # a sequence of no steps loses nobody
    assert (found.lineages()[2, 2:] == found.lineages()[2, 1]).all()


def even(scheme, resampling="always"):
    """A cell whose score is 0, so that all weights are even at all steps."""
    cell = PFGRU(1, 2, 10, scheme=scheme, resampling=resampling)
    torch.nn.init.zeros_(cell.score.weight)
    generator = torch.Generator().manual_seed(0)
    return cell.unroll(torch.zeros(2_000, 20, 1), generator=generator)[0].lineages()


def test_independent_draws_lose_particles_of_even_weights():
    """Each is drawn by none of K draws with probability (1 - 1/K)^K."""
    found = even("multinomial")
    first = found[:, 0].double()
    expected = 10 * (1 - 0.9**10)
    assert abs(float(first.mean()) - expected) < 4 * float(first.std()) / len(first) ** 0.5
    assert found[:, -1].double().mean() < 2
    assert (found.diff(dim=1) <= 0).all()


@pytest.mark.parametrize(
    ("scheme", "resampling"), [("systematic", "always"), ("multinomial", "ess")]
)
def test_what_keeps_particles_of_even_weights(scheme, resampling):
    assert (even(scheme, resampling) == 10).all()
