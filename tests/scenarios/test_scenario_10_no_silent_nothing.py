"""Scenario 10: no silent nothing.

"I pass a model with frozen, detached or entirely unsupported layers, or a budget the floors forbid.
I get a non-zero exit, a table of every layer with kept/total and the reason it was skipped,
achieved against asked, and no retraining starts."
"""

from __future__ import annotations

import re

import pytest

import prunella
from prunella.cli.main import main
from prunella.pipeline import job

MODULE = """
import torch
from torch import nn

from prunella.data import bundled


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 5, stride=4)
        self.second = nn.Conv2d(8, 6, 3)
        self.last = nn.Linear(6, 10)

    def forward(self, x):
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))).mean((2, 3)))


class Unsupported(Net):
    def forward(self, x):
        x = torch.cumprod(torch.sigmoid(self.first(x)), 1)
        return self.last(torch.cumsum(self.second(x), 1).mean((2, 3)))


def possible():
    return Net()


def unsupported():
    return Unsupported()


def samples(split):
    return bundled("calibration" if split == "train" else "test").subset(range(60))
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """`prunella prune` of a network of the module above; retraining would be noticed."""
    (tmp_path / "scenario_ten.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(job, "fit", lambda *_, **__: pytest.fail("retraining has started"))

    def prune(network, *budget):
        import scenario_ten

        prunella.save_weights(tmp_path / "w.safetensors", getattr(scenario_ten, network)())
        code = main([
            "prune", "--network", f"scenario_ten:{network}", "--weights", "w.safetensors",
            "--data", "scenario_ten:samples", "--calibration-samples", "20",
            "--retraining-samples", "20", "--certification-samples", "20", "--out", "out", *budget,
        ])  # fmt: skip
        said = capsys.readouterr()
        return code, said.out, said.err

    return prune


def rows(out):
    """Layer to (kept, total, why), from the table on the screen."""
    table = out[re.search(r"layer +kept +why", out).end() :]
    found = {}
    name = ""
    for line in table.splitlines():
        match = re.match(r" (\S+(?: \(input\))?) +(\d+) of (\d+) +(.+)", line)
        if match:
            name = match[1]
            found[name] = (int(match[2]), int(match[3]), match[4].strip())
        elif name and line.startswith("    "):
            kept, total, why = found[name]
            found[name] = (kept, total, f"{why} {line.strip()}")
    return found


def test_entirely_unsupported(run, tmp_path):
    code, out, err = run("unsupported", "--params", "0.5")
    assert code == 2
    found = rows(out)
    assert set(found) >= {"first (input)", "first", "second", "last"}
    assert all(kept == total for kept, total, _ in found.values())
    assert "no rule is known for the operation (cumprod)" in found["first"][2]
    assert "scenario_ten.py:" in found["first"][2]
    assert found["last"] == (10, 10, "is an output of the model")
    assert "Nothing was removed, and nothing was retrained." in out
    assert "has no group of channels that could be removed" in err
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_a_budget_that_the_floors_forbid(run, tmp_path):
    code, out, err = run("possible", "--params", "0.01")
    assert code == 2
    found = rows(out)
    assert found["first"] == (8, 8, "could be pruned, but not as far as was asked")
    assert found["last"][2] == "is an output of the model"
    # Asked against reachable.
    assert "Params(0.01) asks for at most" in " ".join(err.split())
    assert "the smallest reachable is" in " ".join(err.split())
    assert not list((tmp_path / "out").glob("*.safetensors"))
