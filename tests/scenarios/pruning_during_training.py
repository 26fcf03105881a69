"""One of two processes that prune a network while they train it: FOLDER RANK [--hang].

Goes on from the newest step in the folder. With --hang it stops for good in the middle of the
training after step 2, so that it can be killed there.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import prunella

RANKS = 2
BUDGETS = (0.75, 0.55, 0.4)  # of the original's parameters, after step 1, 2 and 3
EPOCHS, BATCH = 2, 32
EXAMPLE = torch.zeros(1, 1, 28, 28)


def build():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 12, 5, stride=2, padding=2),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 16, 3, stride=2, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(96, 10),
    )


def adam(model):
    return torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-4)


def main(folder: Path, rank: int, *, hang: bool) -> None:
    torch.set_num_threads(1)
    data = prunella.data.bundled("calibration")
    images, labels = next(iter(data.subset(range(256)).loader(256)))
    calibration = data.subset(range(64)).loader(64)

    done, total = 0, None
    model = build()
    optimizer = adam(model)
    while (folder / f"model-{done + 1}.safetensors").exists():
        done += 1
    if done:
        total = prunella.load_plan(folder / f"model-{done}.safetensors")
        model = prunella.load(folder / f"model-{done}.safetensors", model)
        optimizer = adam(model)
        prunella.load_optimizer(folder / f"optimizer-{done}.safetensors", optimizer, model)

    for step in range(done + 1, len(BUDGETS) + 2):
        train(model, optimizer, images, labels, rank, step, folder, hang=hang and step == 3)
        same_buffers(model)
        if step <= len(BUDGETS):
            plan = next_plan(model, calibration, BUDGETS[step - 1])
            small = plan.apply(model)
            continued = prunella.slice_optimizer(optimizer, plan, model, small)
            total = plan if total is None else prunella.compose(total, plan)
            same_everywhere(total)
            note(folder, rank, step, total)
            if rank == 0:
                keep_for_the_test(folder, step, plan, (model, optimizer), small)
                # The model last: a step whose model is there is whole.
                prunella.save_optimizer(folder / f"optimizer-{step}.safetensors", continued, small)
                prunella.save(folder / f"model-{step}.safetensors", small, total)
            model, optimizer = small, continued
    if rank == 0:
        prunella.save_optimizer(folder / "optimizer-end.safetensors", optimizer, model)
        prunella.save(folder / "end.safetensors", model, total)
    dist.barrier()


def train(model, optimizer, images, labels, rank, step, folder, *, hang):
    """Order of samples by (step, epoch) alone, so that nothing random has to be stored."""
    parallel = DistributedDataParallel(model)
    parallel.train()
    for epoch in range(EPOCHS):
        generator = torch.Generator().manual_seed(1000 * step + epoch)
        order = torch.randperm(len(images), generator=generator)
        for number, batch in enumerate(order.split(BATCH)):
            if hang and (epoch, number) == (1, 3):
                (folder / f"hanging-{rank}").touch()
                time.sleep(600)
            mine = batch[rank::RANKS]
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                outputs = parallel(images[mine])
                loss = F.cross_entropy(outputs, labels[mine])
            loss.backward()
            assert outputs.dtype is torch.bfloat16
            for tensor in (loss, *(parameter.grad for parameter in model.parameters())):
                assert bool(torch.isfinite(tensor).all()), f"step {step}: not finite"
            optimizer.step()


def same_buffers(model):
    """Each rank has seen other batches: batch-norm statistics are those of rank 0 from here on."""
    for buffer in model.buffers():
        dist.broadcast(buffer, src=0)


def next_plan(model, calibration, fraction):
    graph = prunella.trace(model, EXAMPLE)
    scores = prunella.sensitivities(model, graph, calibration)
    whole = sum(parameter.numel() for parameter in build().parameters())
    now = sum(parameter.numel() for parameter in model.parameters())
    return prunella.plan(graph, scores, prunella.Params(fraction * whole / now))


def kept(plan):
    return {name: units.tolist() for name, units in plan.kept.items()}


def same_everywhere(plan):
    digest = hashlib.sha256(json.dumps(kept(plan)).encode()).digest()
    mine = torch.tensor(list(digest))
    found = [torch.empty_like(mine) for _ in range(RANKS)]
    dist.all_gather(found, mine)
    if not all(torch.equal(other, mine) for other in found):
        raise SystemExit("the plans of the ranks differ")


def note(folder, rank, step, total):
    (folder / f"kept-{step}-{rank}.json").write_text(json.dumps(kept(total)))


def keep_for_the_test(folder, step, plan, before, small):
    model, optimizer = before
    prunella.save_optimizer(folder / f"before-{step}.safetensors", optimizer, model)
    prunella.save(folder / f"step-{step}.safetensors", small, plan)


if __name__ == "__main__":
    where, own = Path(sys.argv[1]), int(sys.argv[2])
    dist.init_process_group(
        "gloo",
        init_method=f"file://{sys.argv[3]}",
        rank=own,
        world_size=RANKS,
        timeout=datetime.timedelta(seconds=120),
    )
    main(where, own, hang="--hang" in sys.argv)
    dist.destroy_process_group()
