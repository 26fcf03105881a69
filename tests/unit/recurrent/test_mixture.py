"""The predictive mixture against scipy and by its meaning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from prunella import InputError
from prunella.recurrent import PredictiveMixture


def mixture(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return PredictiveMixture(
        predictions=3 * torch.randn(4, 6, 2, generator=generator, dtype=dtype),
        log_weights=torch.randn(4, 6, generator=generator, dtype=dtype).log_softmax(-1),
        sigma=torch.tensor([0.5, 2.0], dtype=dtype),
    )


def test_log_density_is_that_of_the_mixture():
    given = mixture()
    outcomes = torch.randn(4, 2, dtype=torch.float64)
    for b in range(4):
        density = sum(
            float(given.log_weights[b, k].exp())
            * stats.multivariate_normal(given.predictions[b, k], np.diag([0.25, 4.0])).pdf(
                outcomes[b]
            )
            for k in range(6)
        )
        assert given.log_density(outcomes)[b].exp().item() == pytest.approx(density)


@pytest.mark.parametrize("level", [0.001, 0.1, 0.5, 0.9])
def test_quantiles_invert_the_distribution_function(level):
    given = mixture()
    quantile = given.quantile(level)
    torch.testing.assert_close(given.cdf(quantile), torch.full((4, 2), level, dtype=torch.float64))
    assert mixture(torch.float32).quantile(level).dtype == torch.float32


def test_one_particle_is_a_gaussian():
    one = PredictiveMixture(predictions=torch.tensor([[[2.0]]]), log_weights=torch.zeros(1, 1),
                            sigma=3.0)  # fmt: skip
    assert one.quantile(0.9).item() == pytest.approx(stats.norm(2, 3).ppf(0.9), rel=1e-6)
    assert one.variance().item() == pytest.approx(9)
    assert one.mean().item() == 2


def test_moments_by_simulation():
    given = mixture()
    generator = torch.Generator().manual_seed(1)
    which = torch.multinomial(given.log_weights[0].exp(), 100_000, True, generator=generator)
    noise = torch.randn(100_000, 2, generator=generator, dtype=torch.float64)
    draws = given.predictions[0, which] + given.sigma * noise
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - given.mean()[0]).abs() < 4 * error).all()
    squares = (draws - given.mean()[0]).square()
    error = squares.std(0) / len(draws) ** 0.5
    assert ((squares.mean(0) - given.variance()[0]).abs() < 4 * error).all()


def test_the_mean_is_not_rounded_under_autocast():
    given = mixture(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mean = given.mean()
    assert mean.dtype == torch.float32
    torch.testing.assert_close(mean, given.mean(), rtol=0, atol=0)


def test_mistakes():
    with pytest.raises(InputError, match="sigma is 0; expected numbers greater than 0"):
        PredictiveMixture(predictions=torch.zeros(2, 3, 1), log_weights=torch.zeros(2, 3), sigma=0)
    with pytest.raises(InputError, match=r"expected \(\*, K, O\) and \(\*, K\)"):
        PredictiveMixture(predictions=torch.zeros(2, 3, 1), log_weights=torch.zeros(2, 4), sigma=1)
    with pytest.raises(InputError, match="level is 1; expected"):
        mixture().quantile(1)
