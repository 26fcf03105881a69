"""Two networks on corrupted images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunella
from prunella.core.errors import DataError, InputError
from prunella.measure.robustness import _blurred, _flat, _noisy, _shifted, are_images

NAMES = ["as they are", "noise", "blur", "low contrast", "shift"]


class Brightest(nn.Module):
    """Names the quarter of the image whose mean is highest; `bias` moves it towards the first."""

    def __init__(self, bias=0.0):
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([bias, 0.0, 0.0, 0.0]))

    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(x.mean(1, keepdim=True), 2).flatten(1) + self.bias


def batches(count=120, size=40, *, labels=True, side=8):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 2, side, side, generator=generator)
    answers = torch.randint(0, 4, (count,), generator=generator)
    parts = zip(images.split(size), answers.split(size), strict=True)
    return [(x, y) if labels else x for x, y in parts]


def test_every_corruption_beside_the_clean_images():
    model, small = Brightest(), Brightest(0.2)
    small.train()
    found = prunella.robustness(model, small, batches())
    assert found.samples == 120
    assert [row.name for row in found.rows] == NAMES
    clean = found.rows[0]
    x, y = (torch.cat(part) for part in zip(*batches(), strict=True))
    before, after = model(x).argmax(1), small(x).argmax(1)
    assert clean.disagreement == int((before != after).sum()) / 120 > 0
    assert clean.original == pytest.approx(prunella.accuracy(model, batches())[0])
    assert clean.small == int((after == y).sum()) / 120
    flat = found.rows[3]
    expected = int((model(_flat(x)).argmax(1) != small(_flat(x)).argmax(1)).sum())
    assert flat.disagreement == expected / 120 > clean.disagreement
    assert small.training


def test_equal_networks_never_differ():
    found = prunella.robustness(Brightest(), Brightest(), batches(labels=False))
    assert all(row.disagreement == 0 for row in found.rows)
    assert all(row.original is None and row.small is None for row in found.rows)


def test_batch_size_and_seed():
    model, small = Brightest(), Brightest(0.2)
    first = prunella.robustness(model, small, batches())
    assert first == prunella.robustness(model, small, batches(size=7))
    other = prunella.robustness(model, small, batches(), seed=1)
    assert [a == b for a, b in zip(first.rows, other.rows, strict=True)] != [True] * 5
    assert first.rows[2:] == other.rows[2:]


def test_only_the_first_samples():
    found = prunella.robustness(Brightest(), Brightest(0.2), batches(), samples=50)
    assert found.samples == 50
    first, second, _ = batches()
    fewer = [first, tuple(part[:10] for part in second)]
    assert found == prunella.robustness(Brightest(), Brightest(0.2), fewer)


def test_what_the_corruptions_do():
    x = torch.randn(3, 2, 20, 30)
    assert torch.equal(_shifted(x)[:, :, 2:, 2:], x[:, :, :-2, :-2])
    assert torch.equal(_shifted(x)[:, :, 0], _shifted(x)[:, :, 2])
    assert torch.allclose(_flat(x).std((1, 2, 3)), 0.4 * x.std((1, 2, 3)))
    assert torch.allclose(_flat(x).mean((1, 2, 3)), x.mean((1, 2, 3)), atol=1e-6)
    constant = torch.full((1, 3, 20, 20), 2.5)
    assert torch.allclose(_blurred(constant), constant)
    point = torch.zeros(1, 1, 21, 21)
    point[0, 0, 10, 10] = 1
    spread = _blurred(point)[0, 0]
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    assert torch.allclose(spread, spread.T)
    assert spread.max() == spread[10, 10] < 0.5
    noise = _noisy(x, torch.Generator().manual_seed(0)) - x
    assert torch.allclose(noise.std((1, 2, 3)), 0.3 * x.std((1, 2, 3)), rtol=0.1)
    assert torch.equal(_noisy(constant, torch.Generator().manual_seed(0)), constant)


@pytest.mark.parametrize("side", [1, 2, 3, 64])
def test_images_of_any_size(side):
    model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8, 4))
    found = prunella.robustness(model, model, batches(8, 8, side=side))
    assert len(found.rows) == 5


def test_mistakes():
    model = Brightest()
    with pytest.raises(InputError, match=r"need images, but .* shapes \(8, 3\); expected one"):
        prunella.robustness(model, model, [torch.zeros(8, 3)])
    with pytest.raises(InputError, match="need images"):
        prunella.robustness(model, model, [torch.zeros(8, 1, 4, 4, dtype=torch.uint8)])
    with pytest.raises(DataError, match="the loader is empty"):
        prunella.robustness(model, model, [])
    with pytest.raises(DataError, match="only 40 of 80 samples have labels"):
        prunella.robustness(model, model, [batches()[0], batches(labels=False)[1]])
    assert not are_images(prunella.core.inputs.Inputs(args=(torch.zeros(1, 2, 3, 4), 3)))
