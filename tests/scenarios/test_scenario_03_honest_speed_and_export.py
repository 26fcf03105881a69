"""Scenario 3: honest speed and export.

"I have a model and a CPU target of 1.5x. I run `plan --budget latency=0.67x --device cpu --batch 1`.
I get measured medians with spread before and after, channel counts that are multiples of 8 (or the
stated multiple), an ONNX file that is smaller and agrees with PyTorch; if 1.5x is out of reach I am
told the best reached and which layers are limiting."

The command is `prunella prune --latency 0.67 --latency-batch 1 --multiple 8`, then
`prunella export`.
"""

from __future__ import annotations

import json
import re

import onnxruntime
import pytest
import torch

import prunella
from prunella.cli.main import main

MODULE = """
import torch
from torch import nn

from prunella.data import bundled


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 96, 3, padding=1)
        self.second = nn.Conv2d(96, 96, 3, padding=1)
        self.third = nn.Conv2d(96, 96, 3, padding=1)
        self.last = nn.Linear(96, 10)

    def forward(self, x):
        for layer in (self.first, self.second, self.third):
            x = torch.relu(layer(x))
        return self.last(x.mean((2, 3)))


def samples(split):
    return bundled("calibration" if split == "train" else "test").subset(range(60))
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    (tmp_path / "scenario_three.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    import scenario_three

    torch.manual_seed(0)
    prunella.save_weights("w.safetensors", scenario_three.Net())

    def prune(fraction):
        code = main([
            "prune", "--network", "scenario_three:Net", "--weights", "w.safetensors",
            "--data", "scenario_three:samples", "--calibration-samples", "20",
            "--retraining-samples", "20", "--certification-samples", "20", "--epochs", "0",
            "--latency", fraction, "--latency-batch", "1", "--multiple", "8", "--out", "out",
        ])  # fmt: skip
        said = capsys.readouterr()
        return code, said.out, " ".join(said.err.split())

    return prune


def test_within_reach(run, tmp_path):
    import scenario_three

    code, out, err = run("0.67")
    assert code == 0, err
    plan = prunella.load_plan("out/pruned.safetensors")
    assert plan.latency.speedup >= 1 / 0.67
    # Medians with spread: the lower quartile, the median and the upper one.
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert 1 in [times["batch"] for times in report["latency"]]
    measured = [(plan.latency.before, plan.latency.after)]
    measured += [(times["before"], times["after"]) for times in report["latency"]]
    for low, middle, high in (part for pair in measured for part in pair):
        assert 0 < low <= middle <= high
    assert re.search(r"measured while planning .* ms .* ms", out)
    kept = [len(units) for units in plan.kept.values()]
    assert all(count % 8 == 0 for count in kept)
    assert sum(kept) < 3 * 96
    # The file for other programs.
    assert main(["export", "out", "--format", "onnx"]) == 0
    small = prunella.load("out/pruned.safetensors", scenario_three.Net()).eval()
    x, _ = next(iter(scenario_three.samples("test").loader(5)))
    (found,) = onnxruntime.InferenceSession("out/pruned.onnx").run(None, {"x": x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), small(x), rtol=1e-4, atol=1e-4)
    whole = sum(p.numel() * 4 for p in scenario_three.Net().parameters())
    assert (tmp_path / "out" / "pruned.onnx").stat().st_size < whole


def test_out_of_reach(run, tmp_path):
    code, _, err = run("0.001")
    assert code == 2
    assert re.search(r"the smallest reachable network takes \d+% of it \(\S+ ms of \S+ ms\)", err)
    limiting = re.search(r"Most of the multiply-adds that are left are those of ([^.]+)\.", err)[1]
    assert limiting.split(" (")[0] in ("second", "third")
    assert not list((tmp_path / "out").glob("*.safetensors"))
