"""One process of a shared sensitivity pass in which process 1 fails, or is killed.

python failing_shard.py FOLDER RANK PROCESSES HOW

HOW: "early", before the first batch; "amid" the work of the others; "late", when they have done
theirs; or "killed" then.
"""

import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from shard import setting

import prunella


def stopping(batches, how):
    """Fails after two batches."""
    yield from batches[:2]
    if how in ("late", "killed"):
        time.sleep(2)  # the other process has done its part long since
    if how == "killed":
        os._exit(9)
    raise OSError("the disk with my samples is gone")


def main():
    folder, rank, processes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    how = sys.argv[4]
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'store'}",
        rank=rank,
        world_size=processes,
        timeout=timedelta(minutes=10),
    )
    model, batches = setting()
    graph = prunella.trace(model, batches[0][:1])
    loader = batches if how in ("late", "killed") else batches * 10_000  # hours of work
    if rank == 1:
        loader = stopping(batches, how)
        if how == "early":
            with torch.no_grad():
                model.conv1.weight[0] = torch.nan
    dist.barrier()
    start = time.monotonic()
    try:
        prunella.sensitivities(model, graph, loader)
    except Exception as error:
        words = f"{time.monotonic() - start:.1f} {type(error).__name__}: {error}"
        (folder / f"error{rank}.txt").write_text(words, encoding="utf-8")
        raise SystemExit(3) from None
    finally:
        dist.destroy_process_group()  # else its threads may end the process with another code


if __name__ == "__main__":
    main()
