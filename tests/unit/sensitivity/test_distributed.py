"""Several processes with a shard each give the bits of one process with all samples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import prunella

sys.path.insert(0, str(Path(__file__).parent))

from shard import setting


@pytest.mark.parametrize("processes", [2, 3])
def test_same_bits_as_one_process(tmp_path, processes):
    script = Path(__file__).with_name("shard.py")
    jobs = [
        subprocess.Popen([sys.executable, str(script), str(tmp_path), str(rank), str(processes)])
        for rank in range(processes)
    ]
    assert [job.wait(timeout=200) for job in jobs] == [0] * processes
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model, batches = setting()
        whole = prunella.sensitivities(model, prunella.trace(model, batches[0][:1]), batches[::-1])
    finally:
        torch.set_num_threads(threads)
    for rank in range(processes):
        scores = torch.load(tmp_path / f"scores{rank}.pt", weights_only=True)
        assert set(scores) == set(whole)
        assert all(torch.equal(scores[name], whole[name]) for name in whole)
        assert (tmp_path / f"samples{rank}.txt").read_text() == (
            f"48 {whole.samples.digest} {dict(whole.sums)}"
        )


def run_failing(folder: Path, how: str, processes: int) -> list[str]:
    """What each process wrote when it failed: after how many seconds, and why."""
    script = Path(__file__).with_name("failing_shard.py")
    jobs = [
        subprocess.Popen([sys.executable, str(script), str(folder), str(rank), f"{processes}", how])
        for rank in range(processes)
    ]
    try:
        codes = [job.wait(timeout=120) for job in jobs]
    finally:
        for job in jobs:
            job.kill()
    assert codes == [3, 9 if how == "killed" else 3, *[3] * (processes - 2)]
    errors = [folder / f"error{rank}.txt" for rank in range(processes)]
    return [error.read_text() if error.exists() else "" for error in errors]


@pytest.mark.parametrize(
    ("how", "processes", "cause"),
    [
        ("early", 2, "InputError: ResNet: 'conv1.weight' holds 9 NaN or infinite values"),
        ("amid", 2, "OSError: the disk with my samples is gone"),
        ("amid", 3, "OSError: the disk with my samples is gone"),
        ("late", 2, "OSError: the disk with my samples is gone"),
    ],
)
def test_no_process_waits_for_one_that_failed(tmp_path, how, processes, cause):
    """They have ten minutes of patience and hours of work, and end within seconds."""
    errors = run_failing(tmp_path, how, processes)
    own = errors.pop(1)
    assert own.split(" ", 1)[1].startswith(cause)
    for error in errors:
        assert "ProcessError: sensitivities: stopped, because another process" in error
        assert f"failed (process 1: {cause}" in error
        assert "start all of them again" in error
    assert all(float(error.split()[0]) < 30 for error in (own, *errors))


def test_no_process_waits_for_one_that_was_killed(tmp_path):
    error, _ = run_failing(tmp_path, "killed", 2)
    assert "ProcessError: sensitivities: stopped, because another process" in error
    assert "cannot be reached" in error
    assert float(error.split()[0]) < 30
