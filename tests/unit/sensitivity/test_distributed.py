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
