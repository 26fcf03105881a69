"""Scenario 8: prune during training, on two processes, with a kill in the middle.

"I train with Adam and a three-step schedule under DDP (gloo is enough). I kill it after step 2
and resume. Kept indices are identical on both ranks and to the unbroken run; moments are sliced,
not reset; bf16 autocast gives no NaN."
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

import prunella

WORKER = Path(__file__).with_name("pruning_during_training.py")
RANKS, STEPS = 2, 3
BATCHES = 2 * 8  # of one step: two epochs of 256 images in batches of 32

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="torch was built without gloo"
)


def start(folder, name, *options):
    """Both processes; `name` is that of the file where they meet."""
    folder.mkdir(exist_ok=True)
    source = str(Path(prunella.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, WORKER, folder, str(rank), folder / name, *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(RANKS)
    ]


def finish(processes):
    try:
        for process in processes:
            output, _ = process.communicate(timeout=150)
            assert process.returncode == 0, output
    finally:
        kill(processes)


def kill(processes):
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()


def wait_until(condition, processes):
    deadline = time.monotonic() + 150
    while not condition():
        died = [p for p in processes if p.poll() is not None]
        assert not died, died[0].stdout.read()
        assert time.monotonic() < deadline, "the processes did not come so far"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folders of an unbroken run, and of one that was killed after step 2 and resumed."""
    unbroken = tmp_path_factory.mktemp("unbroken")
    finish(start(unbroken, "meeting"))

    broken = tmp_path_factory.mktemp("broken")
    processes = start(broken, "first-meeting", "--hang")
    try:
        marks = [broken / f"hanging-{rank}" for rank in range(RANKS)]
        wait_until(lambda: all(mark.exists() for mark in marks), processes)
    finally:
        kill(processes)
    assert [process.returncode for process in processes] == [-signal.SIGKILL] * RANKS
    assert (broken / "model-2.safetensors").exists()
    assert not (broken / "model-3.safetensors").exists()
    finish(start(broken, "second-meeting"))
    return unbroken, broken


def test_kept_indices_are_the_same_on_both_ranks_and_as_without_the_kill(runs):
    unbroken, broken = runs
    sizes = []
    for step in range(1, STEPS + 1):
        found = [
            json.loads((folder / f"kept-{step}-{rank}.json").read_text())
            for folder in (unbroken, broken)
            for rank in range(RANKS)
        ]
        assert all(other == found[0] for other in found)
        sizes.append(sum(map(len, found[0].values())))
    assert sizes[0] > sizes[1] > sizes[2]  # each step has cut


def test_final_network_and_optimizer_are_as_without_the_kill(runs):
    unbroken, broken = runs
    for name in ("end.safetensors", "optimizer-end.safetensors"):
        expected, found = load_file(unbroken / name), load_file(broken / name)
        assert found.keys() == expected.keys()
        for key, tensor in expected.items():
            assert bool(torch.isfinite(tensor).all())
            assert torch.equal(found[key], tensor), key
    plan = prunella.load_plan(broken / "end.safetensors")
    assert plan.achieved.params <= 0.4 * plan.original.params


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_moments_are_sliced_not_reset(runs, step):
    _, broken = runs
    plan = prunella.load_plan(broken / f"step-{step}.safetensors")
    before = load_file(broken / f"before-{step}.safetensors")
    after = load_file(broken / f"optimizer-{step}.safetensors")
    assert after.keys() == before.keys()
    shorter = 0
    for key, tensor in before.items():
        if key.endswith(" step"):
            assert float(after[key]) == float(tensor) == step * BATCHES
            continue
        expected = tensor
        for group in plan.graph.prunable:
            for member in group.members:
                if key.split()[1] == member.tensor:
                    expected = without(expected, member, plan.kept[group.name])
        assert torch.equal(after[key], expected), key
        assert bool((after[key] != 0).any())
        shorter += expected.shape != tensor.shape
    assert shorter > 0


def without(tensor, member, kept):
    """A tensor without the positions of the units that go, along the axis of the member."""
    gone = set(range(len(member.indices))) - set(kept.tolist())
    positions = {p for unit in gone for p in member.indices[unit].tolist()}
    stays = [p for p in range(tensor.shape[member.axis]) if p not in positions]
    return tensor.index_select(member.axis, torch.tensor(stays))


def test_the_file_loads_onto_a_fresh_original(runs):
    _, broken = runs
    original = runpy.run_path(str(WORKER))["build"]()
    small = prunella.load(broken / "end.safetensors", original)
    test = prunella.data.bundled("test").subset(range(500)).loader(250)
    accuracy, _ = prunella.accuracy(small, test)
    assert accuracy > 0.4
