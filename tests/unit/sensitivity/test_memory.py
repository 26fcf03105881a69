"""The pass's own tensors stay below the cap; measured by the system in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import prunella
from prunella.core.errors import InputError

MEGABYTE = 1 << 20
# Memory that is freed goes back at once: what glibc keeps of it differs from run to run by 40 MB.
RETURN_FREED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and glibc, as on Linux")
@pytest.mark.parametrize("network", ["large maps", "large weights"])
def test_peak(network):
    # One layer's weights are 98 MB, the maps of a block 17 MB each.
    cap = 32 * MEGABYTE
    script = Path(__file__).with_name("peak_memory.py")
    job = [sys.executable, str(script), network, str(cap)]
    output = subprocess.check_output(job, text=True, env=os.environ | RETURN_FREED)
    forward, whole = map(int, output.split())
    assert whole <= forward + cap  # 46 and 501 MB above the forward pass where nothing caps it


def test_a_small_cap_changes_no_bit():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 64, 5, padding=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(64 * 32 * 32, 8), nn.Tanh(), nn.Linear(8, 3),
    )  # fmt: skip
    x = torch.randn(16, 3, 32, 32)
    graph = prunella.trace(model, x[:1])
    large = prunella.sensitivities(model, graph, [x])
    small = prunella.sensitivities(model, graph, [x], memory=16 * MEGABYTE)
    for name in large:
        assert torch.equal(large[name], small[name])


def test_arguments():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    graph = prunella.trace(model, torch.randn(1, 3))
    with pytest.raises(InputError, match=r"memory is 1,000 bytes; expected at least 16,777,216"):
        prunella.sensitivities(model, graph, [], memory=1000)
    with pytest.raises(InputError, match="reduction is 'mean'; expected 'inner'"):
        prunella.sensitivities(model, graph, [], reduction="mean")
