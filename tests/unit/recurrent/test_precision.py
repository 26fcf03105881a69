"""Long runs with extreme scores, low precision, other devices' types."""

from __future__ import annotations

import pytest
import torch

from prunella.recurrent import PFGRU, PFLSTM, Belief, resample, reweight

CELLS = pytest.mark.parametrize("Cell", [PFLSTM, PFGRU])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def extreme(Cell, dtype, count=3, **options):
    """A cell whose scores are about +-1,000: the score's weights are huge, states at most 1."""
    cell = Cell(2, 4, count, control_size=4, observation_size=4, **options).to(dtype)
    torch.nn.init.normal_(cell.score.weight, std=1e3, generator=generator())
    return cell


@CELLS
@pytest.mark.parametrize(
    ("dtype", "count"), [(torch.bfloat16, 1), (torch.bfloat16, 3), (torch.float32, 3)]
)
def test_ten_thousand_steps_with_extreme_scores(Cell, dtype, count):
    """B = 1 beside a sequence of no steps; weights stay normalised to the end."""
    cell, steps = extreme(Cell, dtype, count), 10_000
    x = torch.randn(2, steps, 2, generator=generator()).to(dtype)
    with torch.no_grad():
        means, belief = cell(x, lengths=[steps, 0], generator=generator())
    assert means.dtype == dtype
    assert means.isfinite().all()
    assert belief.particles.isfinite().all()
    assert (belief.log_weights.logsumexp(-1).abs() <= 1e-6).all()
    assert all(buffer.isfinite().all() for buffer in cell.buffers())


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_weights_through_thousands_of_steps_of_scores_of_a_thousand(alpha):
    belief = Belief(particles=torch.zeros(1, 4, 1), log_weights=torch.zeros(1, 4).log_softmax(1))
    draws = generator()
    for _ in range(10_000):
        scores = 1e3 * (2 * torch.rand(1, 4, generator=draws) - 1)
        logs = reweight(belief.log_weights, scores)
        belief = Belief(particles=belief.particles, log_weights=logs)
        belief, _ = resample(belief, torch.rand(1, 4, generator=draws), alpha=alpha)
        assert abs(float(belief.log_weights.logsumexp(1))) <= 1e-6


@CELLS
@pytest.mark.parametrize("resampling", ["always", "ess", "never"])
def test_gradients_of_extreme_scores_are_finite(Cell, resampling):
    cell = extreme(Cell, torch.float32, resampling=resampling)
    means, belief = cell(torch.randn(2, 50, 2, generator=generator()), generator=generator())
    (means.square().sum() + belief.log_weights.square().sum()).backward()
    assert all(p.grad.isfinite().all() for p in cell.parameters())


@CELLS
@pytest.mark.parametrize("count", [1, 5])
def test_types(Cell, count):
    """Weights and particles are float32 at least; means have the type of the network."""
    x = torch.randn(3, 4, 2, generator=generator())
    for dtype, state in (
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ):
        cell = Cell(2, 4, count, dtype=dtype)
        means, belief = cell(x.to(dtype), lengths=[4, 0, 2], generator=generator())
        assert means.dtype == dtype
        assert belief.particles.dtype == belief.log_weights.dtype == state
        means.float().sum().backward()
        assert all(p.grad.dtype == dtype for p in cell.parameters() if p.grad is not None)


@CELLS
def test_autocast_computes_products_in_bfloat16_and_weights_in_float32(Cell):
    cell = Cell(2, 8, 5)
    x = torch.randn(3, 4, 2, generator=generator())
    exact = cell.eval()(x, generator=generator())[0]
    cell.resampling = "never"  # else a rounding may choose another ancestor
    exact, wide = cell(x, generator=generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        means, belief = cell(x, generator=generator())
        means.square().sum().backward()
    assert belief.log_weights.dtype == belief.particles.dtype == means.dtype == torch.float32
    torch.testing.assert_close(means, exact, rtol=0.05, atol=0.05)
    assert not torch.equal(means, exact)
    torch.testing.assert_close(belief.log_weights, wide.log_weights, rtol=0.05, atol=0.05)
    assert all(p.grad.isfinite().all() for p in cell.parameters())


@CELLS
def test_a_bfloat16_network_is_near_its_float32_twin(Cell):
    cell = Cell(2, 8, 5, resampling="never").eval()
    x = torch.randn(3, 4, 2, generator=generator())
    exact, _ = cell(x, generator=generator())
    means, _ = cell.bfloat16()(x.bfloat16(), generator=generator())
    torch.testing.assert_close(means.float(), exact, rtol=0.05, atol=0.05)


@CELLS
def test_running_statistics_of_a_bfloat16_network_move(Cell):
    cell = Cell(2, 8, 5, dtype=torch.bfloat16)
    before = cell.norm.running_mean.clone()
    cell(torch.randn(3, 4, 2).bfloat16())
    assert cell.norm.running_mean.dtype == torch.bfloat16
    assert (cell.norm.running_mean != before).any()


def test_a_belief_moves_to_another_type_and_device():
    belief = PFLSTM(2, 4, 3).initial_belief(2)
    assert belief.to(torch.float64).memory.dtype == torch.float64
    assert belief.to("meta").particles.device.type == "meta"
    assert not PFLSTM(2, 4, 3)(torch.zeros(2, 2, 2))[1].detach().particles.requires_grad
