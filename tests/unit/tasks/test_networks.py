"""Networks of sequences: every core, the head on mean and particles, the maze's encoder."""

from __future__ import annotations

import math
import typing

import pytest
import torch
from torch import nn

from prunella.core.errors import InputError
from prunella.sequences import standard_maze
from prunella.tasks import Architecture, MazeEncoder, SequenceNetwork
from prunella.tasks.networks import core_of
from prunella.tasks.settings import Core

CORES = list(typing.get_args(Core))
GATED = [core for core in CORES if not core.startswith("pf")]


def network(core, *, last=False, every=True, seed=0, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        architecture = Architecture(core=core, particles=7, hidden=6, **changes)
        return SequenceNetwork(
            nn.Identity(), core_of(architecture, 3), 2,
            dropout=0.0, bounded=False, last=last, every_particle=every,
        )  # fmt: skip


def inputs(batch=4, steps=5):
    return torch.randn(batch, steps, 3, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("core", CORES)
def test_shapes(core, last):
    steps = 1 if last else 5
    lengths = torch.tensor([5, 2, 1, 4])
    for given in (None, lengths):
        mean, particles, log_weights = network(core, last=last)(inputs(), given)
        assert mean.shape == (4, steps, 2)
        if core in GATED:
            assert (particles, log_weights) == (None, None)
        else:
            assert particles.shape == (4, steps, 7, 2)
            assert log_weights.shape == (4, steps, 7)
            sums = log_weights.exp().sum(-1)
            torch.testing.assert_close(sums, torch.ones(4, steps))


@pytest.mark.parametrize("core", GATED)
def test_the_last_step_is_that_of_each_sequence(core):
    lengths = torch.tensor([5, 2, 1, 4])
    every, last = network(core).eval(), network(core, last=True).eval()
    states, found = every(inputs(), lengths).mean, last(inputs(), lengths).mean
    for row, length in enumerate(lengths):
        torch.testing.assert_close(found[row, 0], states[row, length - 1])
    torch.testing.assert_close(last(inputs()).mean[:, 0], every(inputs()).mean[:, -1])


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("core", ["pf-lstm", "pf-gru"])
def test_one_linear_head_reads_mean_and_particles(core, last):
    """A linear head of the mean particle is the weighted mean of the particles' predictions."""
    predictions = network(core, last=last)(inputs(), torch.tensor([5, 3, 5, 1]))
    weighted = (predictions.log_weights.exp().unsqueeze(-1) * predictions.particles).sum(-2)
    real = slice(None) if last else (torch.arange(5) < torch.tensor([[5], [3], [5], [1]]))
    torch.testing.assert_close(predictions.mean[real], weighted[real])
    assert predictions.particles.std(-2).min() > 0 or not last


@pytest.mark.parametrize("last", [False, True])
def test_particles_are_left_out_where_nobody_asks_for_them(last):
    """With the same draws the mean is the same."""
    found = []
    for every in (True, False):
        torch.manual_seed(3)
        found.append(network("pf-lstm", last=last, every=every)(inputs()))
    assert found[1].particles is None
    torch.testing.assert_close(found[0].mean, found[1].mean)


def test_unroll_shows_every_particle_and_belief():
    model = network("pf-gru", last=True).eval()
    predictions, trajectory = model.unroll(inputs())
    assert predictions.particles.shape == (4, 5, 7, 2)
    expected = model.head(trajectory.particles)
    torch.testing.assert_close(predictions.particles, expected)
    with pytest.raises(InputError, match="core is LSTM, which has no belief to look at"):
        network("lstm").unroll(inputs())


def test_bounded_outputs_and_dropout():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SequenceNetwork(
            nn.Identity(), nn.LSTM(3, 400, batch_first=True), 2,
            dropout=0.5, bounded=True, last=False, every_particle=True,
        )  # fmt: skip
    seen = []
    model.head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    found = model(inputs()).mean.detach()
    assert float((seen[0] == 0).float().mean()) == pytest.approx(0.5, abs=0.03)
    assert float(found.min()) > 0
    assert float(found.max()) < 1
    model.eval()(inputs())
    assert not bool((seen[1] == 0).any())


@pytest.mark.parametrize(("candidate", "has_norm"), [("bn-relu", True), ("tanh", False)])
def test_candidate_of_particles(candidate, has_norm):
    core = network(
        "pf-lstm", candidate=candidate, resampling="ess", scheme="systematic", alpha=0.3
    ).core
    assert (core.norm is not None) == has_norm
    assert core.activation == ("leaky_relu" if has_norm else "tanh")
    assert (core.resampling, core.scheme, core.alpha) == ("ess", "systematic", 0.3)


@pytest.mark.parametrize("noise", [0.05, 0.7])
@pytest.mark.parametrize("core", ["pf-lstm", "pf-gru"])
def test_the_noise_of_particles_starts_as_asked(core, noise):
    """The softplus of what the gates give as spread, for inputs and states of 0."""
    model = network(core, noise=noise).core
    with torch.no_grad():
        model.control.bias.zero_()
        gates = model.input_gates(torch.zeros(1, 32))
        drawn = nn.functional.softplus(gates[0, -6:])
    # The bias itself is drawn from [-0.41, 0.41], as always.
    assert drawn.log().sub(math.log(noise)).abs().max() < 0.41
    assert noise == pytest.approx(float(drawn.mean()), rel=0.3)


# -- the encoder of the maze ---------------------------------------------------------------------


def encoder(size=10):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MazeEncoder(standard_maze(size)).eval()


@pytest.mark.parametrize("size", [10, 27])
def test_the_encoder_fits_maps_of_any_size(size):
    assert encoder(size)(torch.rand(3, 4, 8)).shape == (3, 4, 64)


def test_distances_and_moves_are_gated_apart():
    """The first half follows the distances, the second the moves; a gate of 0 closes its half."""
    model, x = encoder(), torch.rand(2, 3, 8)
    before = model(x)
    moved = x.clone()
    moved[..., 5:] += 1
    after = model(moved)
    assert torch.equal(after[..., :32], before[..., :32])
    assert not torch.equal(after[..., 32:], before[..., 32:])
    with torch.no_grad():
        model.gate_moves.weight.zero_()
        model.gate_moves.bias.fill_(-1.0)
    closed = model(x)
    assert torch.equal(closed[..., :32], before[..., :32])
    assert not closed[..., 32:].any()


def test_the_encoding_depends_on_the_map():
    one, other = encoder(), encoder()
    other.picture.mul_(-1)
    x = torch.rand(2, 3, 8)
    assert not torch.equal(one(x), other(x))
    assert "picture" not in one.state_dict()  # the map is data, not a weight
