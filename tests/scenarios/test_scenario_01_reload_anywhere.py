"""Scenario 1: reload anywhere.

"I have a ResNet-18 pruned to 40 % of its parameters. I run `save`, then in a new process
`load(path, model=resnet18())`. I get the same logits to 1e-6, through a `weights_only`-safe reader,
no pickled code, a file no larger than 45 % of the original. Given ResNet-34 instead, I get one
message naming the first mismatch."
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import prunella
import resnets
from prunella.core.errors import PrunellaError

SOURCE = Path(prunella.__file__).parents[1]

NEW_PROCESS = """
import pickle, sys
import torch

def refuse(*_, **__):
    raise SystemExit("something was unpickled")

pickle.load = pickle.loads = pickle.Unpickler = torch.load = refuse
import prunella, resnets
small = prunella.load(sys.argv[1], resnets.resnet18()).eval()
torch.manual_seed(7)
with torch.no_grad():
    logits = small(torch.randn(2, 3, 64, 64))
prunella.save_weights(sys.argv[2], torch.nn.ParameterDict({"y": logits}))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reload")
    torch.manual_seed(0)
    model = resnets.resnet18().eval()
    prunella.save_weights(folder / "original.safetensors", model)
    graph = prunella.trace(model, torch.zeros(1, 3, 64, 64))
    plan = prunella.plan(graph, None, prunella.Params(0.4), method="random")
    small = plan.apply(model).eval()
    prunella.save(folder / "small.safetensors", small, plan)
    return folder, model, small, plan


def test_40_percent_of_the_parameters(saved):
    folder, model, small, plan = saved
    before, after = (sum(p.numel() for p in m.parameters()) for m in (model, small))
    assert after == plan.achieved.params
    assert 0.35 * before < after <= 0.4 * before
    sizes = [(folder / f"{name}.safetensors").stat().st_size for name in ("original", "small")]
    assert sizes[1] <= 0.45 * sizes[0]


def test_same_logits_in_a_new_process(saved):
    folder, _, small, _ = saved
    answers = folder / "answers.safetensors"
    path = os.pathsep.join([str(SOURCE), str(Path(resnets.__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", NEW_PROCESS, str(folder / "small.safetensors"), str(answers)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    torch.manual_seed(7)
    with torch.no_grad():
        expected = small(torch.randn(2, 3, 64, 64))
    found = load_file(answers)["y"]
    assert float((found - expected).abs().max()) <= 1e-6 * float(expected.abs().max())


def test_another_architecture_is_one_message(saved):
    folder, *_ = saved
    with pytest.raises(PrunellaError) as caught:
        prunella.load(folder / "small.safetensors", resnets.resnet34())
    message = str(caught.value)
    # The third block of the first stage where ResNet-18 begins the second.
    assert "'6.conv1.weight' has shape (128, 64, 3, 3)" in message
    assert "it has shape (64, 64, 3, 3)" in message
    assert "\n" not in message.strip()
