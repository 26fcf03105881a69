"""Planning inside of a training loop's autocast gives what it gives outside."""

from __future__ import annotations

import pytest
import torch

import prunella
from prunella.core.modes import full_precision


def test_autocast_changes_nothing_about_a_plan():
    torch.manual_seed(0)
    model = prunella.networks.lenet5()
    example = torch.zeros(1, 1, 28, 28)
    calibration = prunella.data.bundled("calibration").subset(range(16)).loader(16)

    def planned():
        graph = prunella.trace(model, example)
        scores = prunella.sensitivities(model, graph, calibration)
        plan = prunella.plan(graph, scores, prunella.Params(0.5))
        return graph, scores, plan, plan.apply_verified(model)[1]

    graph, scores, plan, difference = planned()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found_graph, found_scores, found_plan, found_difference = planned()
        assert torch.is_autocast_enabled("cpu")
    assert [g.name for g in found_graph.prunable] == [g.name for g in graph.prunable]
    assert all(torch.equal(found_scores[name], values) for name, values in scores.items())
    assert all(torch.equal(found_plan.kept[name], units) for name, units in plan.kept.items())
    assert found_difference == difference < 1e-6


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_devices_without_autocast_are_no_obstacle(device):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with full_precision(torch.device(device)):
            assert torch.is_autocast_enabled("cpu") is (device == "meta")
        assert torch.is_autocast_enabled("cpu")
