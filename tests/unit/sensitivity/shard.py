"""One process of a sensitivity pass shared by several.

python shard.py FOLDER RANK PROCESSES
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

import prunella


def setting():
    torch.manual_seed(1)
    model = prunella.networks.resnet20(in_channels=1).eval()
    return model, torch.randn(48, 1, 16, 16).split(8)


def main():
    folder, rank, processes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=processes
    )
    model, batches = setting()
    graph = prunella.trace(model, batches[0][:1])
    # Shards of unequal lengths, and one process without a sample.
    shards = [batches[:4], batches[4:], ()]
    scores = prunella.sensitivities(model, graph, shards[rank])
    torch.save(dict(scores), folder / f"scores{rank}.pt")
    (folder / f"samples{rank}.txt").write_text(
        f"{scores.samples.count} {scores.samples.digest} {dict(scores.sums)}", encoding="utf-8"
    )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
