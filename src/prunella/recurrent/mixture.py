"""What a belief predicts as a distribution: a mixture with one Gaussian for each particle."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from prunella.core.errors import InputError
from prunella.recurrent.belief import weighted_mean

_HALVINGS = 60  # of the bracket; beyond the digits of float64


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictiveMixture:
    """Sum over particles of w_k N(y; m_k, diag(sigma^2)).

    Attributes:
        predictions: m_k, the head of each particle, (*, K, O).
        log_weights: Normalised logarithms of the weights, (*, K).
        sigma: Standard deviation of an outcome around a particle's prediction, in its units, as in
            `regression_loss`; a number or (O,), greater than 0.
    """

    predictions: Tensor  # (*, K, O)
    log_weights: Tensor  # (*, K)
    sigma: float | Tensor  # () or (O,)

    def __post_init__(self) -> None:
        """Raise InputError for shapes that do not fit together, or a sigma that is not positive."""
        if self.predictions.ndim < 2 or self.log_weights.shape != self.predictions.shape[:-1]:
            raise InputError(
                f"PredictiveMixture: predictions have shape {tuple(self.predictions.shape)} and "
                f"log_weights {tuple(self.log_weights.shape)}; expected (*, K, O) and (*, K)."
            )
        sigma = self._spread()
        if sigma.numel() not in (1, self.predictions.shape[-1]) or not bool((sigma > 0).all()):
            raise InputError(
                f"PredictiveMixture: sigma is {self.sigma!r}; expected numbers greater than 0, one "
                f"or {self.predictions.shape[-1]} of them."
            )

    def mean(self) -> Tensor:  # (*, O)
        """Weighted mean of the particles' predictions."""
        return weighted_mean(self.predictions, self.log_weights)

    def variance(self) -> Tensor:  # (*, O)
        """Variance of each coordinate: sigma^2 within the particles, and that between them."""
        off = (self.predictions - self.mean().unsqueeze(-2)).square()
        between: Tensor = (self.log_weights.exp().unsqueeze(-1) * off).sum(-2)
        return between + self._spread().square()

    def log_density(
        self,
        outcomes: Tensor,  # (*, O)
    ) -> Tensor:  # (*,)
        """Logarithm of the density at outcomes, all coordinates jointly; with all constants."""
        sigma = self._spread().expand(self.predictions.shape[-1])
        scaled = (outcomes.unsqueeze(-2) - self.predictions) / sigma
        each = -scaled.square().sum(-1) / 2 - (sigma.log() + math.log(2 * math.pi) / 2).sum()
        return torch.logsumexp(self.log_weights + each, dim=-1)

    def cdf(
        self,
        outcomes: Tensor,  # (*, O)
    ) -> Tensor:  # (*, O)
        """Probability that a coordinate is at most its outcome, coordinate by coordinate."""
        scaled = (outcomes.unsqueeze(-2) - self.predictions) / self._spread()
        below: Tensor = torch.special.ndtr(scaled)
        return (self.log_weights.exp().unsqueeze(-1) * below).sum(-2)

    def quantile(self, level: float) -> Tensor:  # (*, O)
        """Number that a coordinate stays below with probability `level`.

        By bisection between the smallest and the largest quantile of the particles' Gaussians,
        which enclose that of the mixture. No gradient.

        Args:
            level: Strictly between 0 and 1.

        Raises:
            InputError: the level is out of range.
        """
        if not 0 < level < 1:
            raise InputError(f"level is {level!r}; expected a number strictly between 0 and 1.")
        with torch.no_grad():
            exact = PredictiveMixture(
                predictions=self.predictions.detach().double(),
                log_weights=self.log_weights.detach().double(),
                sigma=self._spread().double(),
            )
            normal: Tensor = torch.special.ndtri(torch.tensor(level, dtype=torch.float64))
            ends = exact.predictions + exact._spread() * normal.to(exact.predictions.device)
            low: Tensor = ends.amin(-2)
            high: Tensor = ends.amax(-2)
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                short = exact.cdf(middle) < level
                low, high = torch.where(short, middle, low), torch.where(short, high, middle)
        return ((low + high) / 2).to(self.predictions.dtype)

    def _spread(self) -> Tensor:
        return torch.as_tensor(
            self.sigma, dtype=self.predictions.dtype, device=self.predictions.device
        )
