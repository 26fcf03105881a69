"""One pass shared by the processes of an initialised torch.distributed group."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from prunella.core.errors import InputError
from prunella.core.samples import SampleIds


def is_shared() -> bool:
    """Whether this process is one of several."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def shared_maxima(
    best: dict[str, Tensor],  # (U,) float64 each
    sums: dict[str, int],
    device: torch.device,
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Largest scores and numbers of sums over all processes; a maximum rounds nothing.

    Raises:
        InputError: the processes have different groups.
    """
    if not is_shared():
        return best, sums
    sizes = [len(scores) for scores in best.values()]
    digest = hashlib.blake2b(repr([*zip(best, sizes, strict=True)]).encode(), digest_size=7)
    own = torch.tensor([int.from_bytes(digest.digest(), "little")])
    if len(set(torch.cat(_gathered(own, device)).tolist())) > 1:
        raise InputError(
            "sensitivities: the processes of the torch.distributed group have graphs with "
            "different groups; trace the same model in each of them."
        )
    # A process whose samples met no consumer of a group counted no sums for it.
    counts = torch.tensor([sums.get(name, 0) for name in best], dtype=torch.float64)
    joined = torch.cat([*best.values(), counts]).to(_meeting_place(device))
    dist.all_reduce(joined, op=dist.ReduceOp.MAX)
    parts = joined.cpu().split([*sizes, len(sizes)])
    return (
        dict(zip(best, parts, strict=False)),
        {name: int(count) for name, count in zip(best, parts[-1], strict=True)},
    )


def shared_samples(samples: SampleIds, device: torch.device) -> SampleIds:
    """The samples of all processes."""
    if not is_shared():
        return samples
    hashes = np.fromiter(samples.hashes, dtype=np.uint64, count=len(samples.hashes))
    own = torch.from_numpy(hashes.view(np.int64))
    sizes = _gathered(torch.tensor([len(own), samples.count]), device)
    longest = max(int(size[0]) for size in sizes)
    rows = _gathered(torch.cat([own, own.new_zeros(longest - len(own))]), device)
    return SampleIds.union(
        SampleIds(
            hashes=frozenset(row[: int(size[0])].numpy().view(np.uint64).tolist()),
            count=int(size[1]),
        )
        for row, size in zip(rows, sizes, strict=True)
    )


def _gathered(own: Tensor, device: torch.device) -> list[Tensor]:
    """A tensor of the same shape from each process."""
    sent = own.to(_meeting_place(device))
    found = [torch.empty_like(sent) for _ in range(dist.get_world_size())]
    dist.all_gather(found, sent)
    return [tensor.cpu() for tensor in found]


def _meeting_place(device: torch.device) -> torch.device:
    return device if dist.get_backend() == "nccl" else torch.device("cpu")
