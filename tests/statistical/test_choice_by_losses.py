"""From what networks answer on each sample to a choice: how often the chosen one is too bad.

All that is random is the draw of the certification samples from a population known in full; the
candidates err on much the same samples, as networks of growing smallness do.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from prunella.core.budgets import Params
from prunella.core.types import Cost
from prunella.core.walks import RISKS, SHARES
from prunella.pipeline.judging import Judge, worse_and_better
from prunella.pipeline.task import Task
from prunella.pipeline.walking import last_passed, walk

DRAWS, SAMPLES, DELTA = 400, 200, 0.1
COST = Cost(params=1, macs=1, bytes=4)
BAD = 3  # place of the first candidate whose risk is above the level


class Looked(nn.Module):
    """Class scores are what the samples say: (N, candidates + 1, 4), of which one row is taken."""

    def __init__(self, row: int) -> None:
        super().__init__()
        self.row = row

    def forward(self, scores: torch.Tensor) -> torch.Tensor:
        return scores[:, self.row]


@cache
def population() -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of the original and of six candidates ever further from it, and labels."""
    generator = torch.Generator().manual_seed(11)
    first = torch.randn(5000, 4, generator=generator)
    noise = torch.randn(5000, 4, generator=generator)
    own = torch.randn(5000, 6, 4, generator=generator)
    sizes = torch.tensor((0.02, 0.04, 0.06, 0.14, 0.25, 0.4))[:, None]
    small = first[:, None] + sizes * (noise[:, None] + 0.3 * own)
    labels = first.argmax(1)
    other = torch.rand(5000, generator=generator) < 0.03
    labels[other] = torch.randint(4, (int(other.sum()),), generator=generator)
    return torch.cat((first[:, None], small), dim=1), labels


def true_risks(risk):
    scores, labels = population()
    tops = scores.argmax(2)
    pairs = [worse_and_better(risk, tops[:, 0], tops[:, row], labels) for row in range(1, 7)]
    return [float(worse.double().mean() - better.double().mean()) for worse, better in pairs]


def too_often(wrong, delta):
    return wrong > DRAWS * delta + 3 * math.sqrt(DRAWS * delta * (1 - delta))


@pytest.mark.parametrize("risk", RISKS)
def test_the_chosen_network_is_too_bad_as_rarely_as_promised(risk):
    scores, labels = population()
    risks = true_risks(risk)
    level = risks[BAD] - 1e-4
    assert max(risks[:BAD]) < level
    assert min(risks[BAD:]) > level
    task = Task.checked(risk=risk, alpha=level, delta=DELTA, unit=Params, shares=SHARES)
    rng = np.random.default_rng(1)
    wrong = estimated = safe = 0
    for _ in range(DRAWS):
        at = torch.as_tensor(rng.integers(len(labels), size=SAMPLES))
        judge = Judge(Looked(0), [(scores[at], labels[at])], risk)

        def test(place, spent, judge=judge):
            answers = judge(Looked(place + 1))
            return task.tested(answers, share=1 - place / 10, cost=COST, spent=spent)

        last = last_passed(walk(len(risks), 0, DELTA, test))
        wrong += last is not None and last.share <= 1 - BAD / 10
        safe += last is not None
        estimated += judge(Looked(BAD + 1)).observed <= level
    assert not too_often(wrong, DELTA)
    assert wrong > 0.2 * DELTA * DRAWS  # the level is where a test errs: not because none passes
    assert safe > 0.3 * DRAWS
    assert too_often(estimated, DELTA)  # and an estimate in place of the bound would be seen
