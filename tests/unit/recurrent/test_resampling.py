"""Soft resampling: what it is unbiased for, whom it copies, and that it stays finite."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from prunella import sampling
from prunella.recurrent import (
    Belief,
    draw_ancestors,
    log_proposal,
    resample,
    reweight,
    soft_log_weights,
    spread_points,
)
from prunella.recurrent.resampling import clamp_scores


def normalised(*shape, seed=0, scale=1.5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.log_softmax(scale * torch.randn(shape, generator=generator, dtype=dtype), -1)


def points(batch, count, scheme, seed=0):
    generator = torch.Generator().manual_seed(seed)
    each = count if scheme == "multinomial" else 1
    uniforms = torch.rand(batch, each, generator=generator, dtype=torch.float64)
    return spread_points(uniforms, count, scheme)


@pytest.mark.parametrize("scheme", ["multinomial", "systematic"])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_unnormalised_weights_are_unbiased(alpha, scheme):
    """E[sum_j w_a / (K q_a) g(h_a)] = sum_i w_i g(h_i), within four standard errors."""
    count, repeats = 8, 40_000
    logs = normalised(1, count).expand(repeats, count)
    values = torch.linspace(-2, 3, count, dtype=torch.float64).sin()
    proposal = log_proposal(logs, alpha)
    ancestors = draw_ancestors(proposal, points(repeats, count, scheme))
    ratios = (logs - proposal).gather(1, ancestors).exp() / count
    estimates = (ratios * values[ancestors]).sum(1)
    error = estimates.std() / math.sqrt(repeats)
    truth = (logs[0].exp() * values).sum()
    assert (estimates.mean() - truth).abs() <= 4 * error + 1e-12


def test_normalised_weights_have_a_bias_that_falls_like_one_over_k():
    """The price of weights that sum to 1; the mean of copied duplicates halves it again."""
    biases = []
    for copies in (1, 4, 16):
        base = normalised(1, 8)
        logs = (base.repeat_interleave(copies, 1) - math.log(copies)).expand(20_000, -1)
        values = torch.linspace(-2, 3, 8, dtype=torch.float64).sin().repeat_interleave(copies)
        proposal = log_proposal(logs, 0.5)
        ancestors = draw_ancestors(proposal, points(*logs.shape, "multinomial", seed=copies))
        weights = soft_log_weights(logs, proposal, ancestors).exp()
        estimates = (weights * values[ancestors]).sum(1)
        biases.append(((estimates.mean() - (logs[0].exp() * values).sum()).abs().item(),
                       (estimates.std() / math.sqrt(len(estimates))).item()))  # fmt: skip
    (few, error), (more, error_more), (many, error_many) = biases
    assert few > 4 * error, "the bias at K = 8 should be visible"
    assert abs(few - 4 * more) <= 4 * (error + 4 * error_more) + few / 4
    assert many <= few / 16 + 4 * error_many


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_ancestors_have_the_frequencies_of_the_proposal(alpha):
    logs = normalised(1, 8, seed=1)
    proposal = log_proposal(logs, alpha)
    expected = alpha * logs.exp() + (1 - alpha) / 8
    torch.testing.assert_close(proposal.exp(), expected)
    ancestors = draw_ancestors(proposal.expand(20_000, 8), points(20_000, 8, "multinomial"))
    counts = ancestors.flatten().bincount(minlength=8)
    test = stats.chisquare(counts.numpy(), (expected[0] * counts.sum()).numpy())
    assert test.pvalue > 1e-4


def test_systematic_ancestors_are_those_that_the_numpy_core_counts():
    """The same offsets give the same counts of every particle."""

    class Fixed:
        def random(self, shape):
            return offsets.numpy().reshape(shape)

    offsets = torch.rand(200, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    proposal = log_proposal(normalised(200, 13, seed=4), 0.5)
    ancestors = draw_ancestors(proposal, spread_points(offsets, 13, "systematic"))
    counts = torch.nn.functional.one_hot(ancestors, 13).sum(1)
    expected = sampling.draw_systematic(proposal.exp().numpy(), 13, generator=Fixed())
    np.testing.assert_array_equal(counts.numpy(), expected)


def test_weights_are_those_of_the_numpy_core():
    """Children's weights add up, for each ancestor, to w n / (K q), normalised."""
    logs = normalised(50, 9, seed=5)
    proposal = log_proposal(logs, 0.4)
    ancestors = draw_ancestors(proposal, points(50, 9, "multinomial", seed=6))
    weights = soft_log_weights(logs, proposal, ancestors).exp()
    of_ancestor = torch.zeros_like(weights).scatter_add(1, ancestors, weights)
    counts = torch.nn.functional.one_hot(ancestors, 9).sum(1)
    ratios = sampling.reweighting(counts.numpy(), proposal.exp().numpy())
    expected = ratios * logs.exp().numpy()
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(of_ancestor.numpy(), expected, rtol=1e-12, atol=1e-15)


def test_the_ends_of_alpha_are_exact():
    logs = normalised(6, 7, dtype=torch.float32).requires_grad_()
    ancestors = torch.randint(7, (6, 7), generator=torch.Generator().manual_seed(0))
    ordinary = soft_log_weights(logs, log_proposal(logs, 1.0), ancestors)
    torch.testing.assert_close(ordinary, torch.full_like(ordinary, -math.log(7)), rtol=0, atol=2e-7)
    (gradient,) = torch.autograd.grad((ordinary * torch.randn(6, 7)).sum(), logs)
    assert (gradient == 0).all()
    uniform = soft_log_weights(logs, log_proposal(logs, 0.0), ancestors)
    torch.testing.assert_close(uniform, torch.log_softmax(logs.gather(1, ancestors), 1))


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0])
def test_uniform_weights_stay_uniform(alpha):
    logs = torch.full((3, 5), -math.log(5))
    ancestors = torch.randint(5, (3, 5), generator=torch.Generator().manual_seed(0))
    out = soft_log_weights(logs, log_proposal(logs, alpha), ancestors)
    torch.testing.assert_close(out, logs)


def test_states_and_weights_come_from_one_ancestor_of_the_same_sequence():
    batch, count = 6, 9
    tags = 1000.0 * torch.arange(batch)[:, None] + torch.arange(count)
    belief = Belief(
        particles=tags[..., None].expand(batch, count, 2),
        log_weights=normalised(batch, count, dtype=torch.float32),
        memory=-tags[..., None].expand(batch, count, 2),
    )
    drawn = points(batch, count, "multinomial").float()
    children, ancestors = resample(belief, drawn, alpha=0.5)
    expected = tags.gather(1, ancestors)
    assert (children.particles == expected[..., None]).all()
    assert (children.memory == -expected[..., None]).all()
    assert (children.particles[..., 0] // 1000 == torch.arange(batch)[:, None]).all()
    ratios = belief.log_weights - log_proposal(belief.log_weights, 0.5)
    torch.testing.assert_close(children.log_weights, ratios.gather(1, ancestors).log_softmax(1))


def test_only_poor_beliefs_are_resampled_below_a_threshold():
    logs = torch.log(torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.97, 0.01, 0.01, 0.01]]))
    belief = Belief(particles=torch.arange(8.0).view(2, 4, 1), log_weights=logs)
    drawn = torch.tensor([[0.9, 0.9, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]])
    children, ancestors = resample(belief, drawn, alpha=1.0, ess_below=2.0)
    assert ancestors.tolist() == [[0, 1, 2, 3], [0, 0, 0, 0]]
    torch.testing.assert_close(children.log_weights[0], logs[0])
    torch.testing.assert_close(children.log_weights[1].exp(), torch.full((4,), 0.25))


def test_particles_of_no_probability_are_never_drawn():
    proposal = torch.log(torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]]))
    ends = torch.tensor([[0.0, 0.25, 0.5, 0.75, 1 - 2**-24]])
    assert draw_ancestors(proposal, ends).tolist() == [[1, 1, 3, 3, 3]]


def test_systematic_points_stay_below_one():
    last = torch.tensor([[1 - 2**-24]])
    assert (spread_points(last, 30, "systematic") < 1).all()


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_extreme_scores_leave_weights_and_gradients_finite(alpha):
    """Plain exp(p) / q gives -inf, and NaN gradients, from p = -104 on."""
    scores = torch.tensor([[1e3, -1e3, 0.0, -500.0]]).requires_grad_()
    logs = reweight(torch.full((1, 4), -math.log(4)), scores)
    proposal = log_proposal(logs, alpha)
    weights = soft_log_weights(logs, proposal, torch.tensor([[0, 1, 2, 3]]))
    assert weights.isfinite().all()
    (gradient,) = torch.autograd.grad(weights.square().sum(), scores)
    assert gradient.isfinite().all()


def test_the_score_clamp():
    scores = torch.tensor([-5.0, 0.0, 2.0, 6.0, 9.0])
    assert clamp_scores(scores).tolist() == [-3, -3, -1, 3, 3]
