"""Comparing files with networks, and timing them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import prunella
from prunella.core.errors import ExportError, InputError
from prunella.core.results import RunTimes
from prunella.exporting import compare_exported, onnx_latency
from prunella.measure import latency


class Classes(nn.Linear):
    def forward(self, x):
        return super().forward(x).argmax(1)


def constant(bias, kind=nn.Linear):
    """A layer whose outputs are its biases."""
    model = kind(3, len(bias))
    nn.init.zeros_(model.weight)
    model.bias = nn.Parameter(torch.tensor(bias))
    return model


@pytest.mark.parametrize("file_format", ["onnx", "pt2"])
def test_differences_are_those_of_the_outputs(file_format, tmp_path):
    path = tmp_path / f"m.{file_format}"
    inputs = torch.rand(8, 3)
    prunella.export(constant([1.0, -4.0]), inputs, path)
    same = compare_exported(constant([1.0, -4.0]), path, inputs)
    assert (same.absolute_difference, same.relative_difference, same.agrees) == (0, 0, True)
    assert (same.path, same.bytes, same.batches) == (path, path.stat().st_size, (1, 4, 8))
    other = compare_exported(constant([1.0, -5.0]), path, inputs)
    assert other.absolute_difference == pytest.approx(1.0)
    assert other.relative_difference == pytest.approx(1 / 5)
    assert not other.agrees
    wider = compare_exported(constant([1.0, -4.0, 0.0]), path, inputs)
    assert wider.relative_difference == math.inf


@pytest.mark.parametrize("file_format", ["onnx", "pt2"])
def test_other_integers_are_no_rounding(file_format, tmp_path):
    path = tmp_path / f"m.{file_format}"
    prunella.export(constant([1.0, 0.0], Classes), torch.rand(4, 3), path)
    found = compare_exported(constant([0.0, 1.0], Classes), path, torch.rand(4, 3))
    assert (found.absolute_difference, found.relative_difference) == (1, math.inf)


def test_outputs_that_are_not_finite_must_be_alike(tmp_path):
    path = tmp_path / "m.pt2"
    inputs = torch.rand(4, 3)
    odd = constant([math.inf, math.nan, 2.0])
    assert prunella.export(odd, inputs, path).relative_difference == 0
    finite = compare_exported(constant([math.inf, 1.0, 2.0]), path, inputs)
    assert finite.relative_difference == math.inf


def test_a_file_that_is_not_there(tmp_path):
    for name in ("m.onnx", "m.pt2"):
        with pytest.raises(ExportError, match=f"{name}: .* cannot run the file"):
            compare_exported(nn.Linear(3, 2), tmp_path / name, torch.rand(4, 3))


# Run times


@pytest.fixture
def paths(tmp_path):
    result = tmp_path / "before.onnx", tmp_path / "after.onnx"
    for path, width in zip(result, (64, 8), strict=True):
        layers = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))
        prunella.export(layers, torch.rand(4, 3), path)
    return result


def test_both_files_are_timed_in_turn(paths, monkeypatch):
    """With a clock that follows the runs, the numbers go to the right file."""
    now = [0.0]
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(prunella_latency(), "onnx_session", lambda path: Session(path, now, log))
    log = []
    found = prunella.compare_onnx_latency(*paths, torch.rand(1, 3), batches=(1, 5), runs=6)
    assert [(entry.batch, entry.runs) for entry in found] == [(1, 6), (5, 6)]
    for entry in found:
        assert isinstance(entry, RunTimes)
        assert entry.before == pytest.approx((3.0, 3.0, 3.0))
        assert entry.after == pytest.approx((1.5, 1.5, 1.5))
        assert entry.speedup == pytest.approx(2.0)
    assert [rows for _, rows in log] == [1] * 22 + [5] * 22
    timed = [name for name, _ in log[10:22]]
    rounds = list(zip(timed[::2], timed[1::2], strict=True))
    assert all(set(names) == {"before", "after"} for names in rounds)
    assert {names[0] for names in rounds} == {"before", "after"}  # neither always goes first


def prunella_latency():
    from prunella.exporting import latency as module

    return module


class Session:
    """Stands for ONNX Runtime, with a clock of its own."""

    def __init__(self, path, now, log):
        self.name, self.now, self.log = path.stem, now, log

    def get_inputs(self):
        return [self]

    def run(self, names, feed):
        (array,) = feed.values()
        self.log.append((self.name, len(array)))
        self.now[0] += 3.0 if self.name == "before" else 1.5


def test_real_files_take_time(paths):
    (found,) = prunella.compare_onnx_latency(*paths, torch.rand(4, 3), batches=(2,), runs=4)
    for quartiles in (found.before, found.after):
        assert 0 < quartiles[0] <= quartiles[1] <= quartiles[2] < 1
    alone = onnx_latency(paths[0], torch.rand(4, 3), batches=(1, 3), runs=4)
    assert list(alone) == [1, 3]
    assert all(0 < first <= median <= third < 1 for first, median, third in alone.values())


def test_files_that_cannot_be_timed(paths, tmp_path):
    other = tmp_path / "other.onnx"
    prunella.export(nn.Linear(7, 2), torch.rand(4, 7), other)
    with pytest.raises(ExportError, match=r"other\.onnx: ONNX Runtime cannot run them"):
        prunella.compare_onnx_latency(paths[0], other, torch.rand(1, 3))
    with pytest.raises(ExportError, match=r"before\.onnx: .* has 1 inputs, but 2 tensors"):
        onnx_latency(paths[0], (torch.rand(1, 3), torch.rand(1, 3)))
    with pytest.raises(ExportError, match=r"absent\.onnx: ONNX Runtime cannot run it"):
        onnx_latency(tmp_path / "absent.onnx", torch.rand(1, 3))
    with pytest.raises(InputError, match="hold no samples"):
        onnx_latency(paths[0], torch.rand(0, 3))
