"""A budget of run time: what was asked for, planned and found is printed."""

from __future__ import annotations

import json

import pytest
import torch

from prunella import load_plan, save_weights


def test_the_time_asked_for_and_found(prunella, asked, workplace):
    import own_nets

    torch.manual_seed(0)
    save_weights("heavy.safetensors", own_nets.heavy())
    arguments = [a.replace("own_nets:net", "own_nets:heavy") for a in asked]
    arguments[arguments.index("--weights") + 1] = "heavy.safetensors"
    place = arguments.index("--params")
    arguments[place : place + 2] = ["--latency", "0.8", "--latency-batch", "16"]
    (workplace / "base.yaml").write_text("latency_batches: [1]\n")
    said = prunella(*arguments, "--config", "base.yaml", "--out", "run")
    assert said.code == 0, said.err
    plan = load_plan("run/pruned.safetensors")
    assert plan.latency.batch == 16
    assert plan.latency.speedup >= 1 / 0.8
    rows = [line.split() for line in said.out.splitlines()]
    before, after = (1e3 * times[1] for times in (plan.latency.before, plan.latency.after))
    asked_for = next(row for row in rows if row[:5] == ["asked", "for,", "batch", "of", "16"])
    assert float(asked_for[5]) == pytest.approx(0.8 * before, rel=0.02)
    assert asked_for[6:] == ["ms", "at", "most", "80", "%"]
    planned = next(row for row in rows if row[:3] == ["measured", "while", "planning"])
    assert float(planned[3]) == pytest.approx(before, rel=0.02)
    assert float(planned[5]) == pytest.approx(after, rel=0.02)
    assert planned[7:] == f"{100 / plan.latency.speedup:.1f} % kept".split()
    assert "time for a batch of 16" in said.out  # once more, of the finished network
    assert "time for a batch of 1 " in said.out
    report = json.loads((workplace / "run" / "report.json").read_text())
    assert report["requested"] == "at most 80 % of the run time with a batch of 16"
    assert report["reached"] is True
    assert any("at most 80 % was asked for" in note for note in report["notes"])
    assert [times["batch"] for times in report["latency"]] == [1, 16]
