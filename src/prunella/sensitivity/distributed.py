"""One pass shared by the processes of an initialised torch.distributed group.

A collective operation waits for every process. So none may leave a pass with an error while the
others go on to meet it: it leaves word in the group's store, where the others look after each
batch, and then all say to each other how they fared.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from prunella.core.errors import InputError, ProcessError
from prunella.core.samples import SampleIds

_LONGEST = 400  # bytes of what one process says of its error


def is_shared() -> bool:
    """Whether this process is one of several."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class _Stopped(Exception):
    """Another process has failed, so there is no use in going on."""


@contextmanager
def failing_together(device: torch.device) -> Iterator[Callable[[], None]]:
    """Work that is of use only if it succeeds in all processes; gives a function to call often.

    That function ends the work once another process has failed. If this one fails, its error
    passes after the others have heard of it.

    Raises:
        ProcessError: the work went well here, and failed elsewhere.
    """
    if not is_shared():
        yield lambda: None
        return
    store, key = _notice_board(device)

    def look_around() -> None:
        if store is not None and _has(store, key):
            raise _Stopped

    stopped = False
    try:
        yield look_around
    except _Stopped:
        stopped = True
    except BaseException as error:
        with suppress(Exception):  # what went wrong here is what the user has to know
            if store is not None:
                store.set(key, "failed")
            if isinstance(error, Exception):  # and not Ctrl-C, after which nobody wants to wait
                _reports(f"{type(error).__name__}: {error}", device)
        raise
    failed = _reports("", device)
    if failed or stopped:
        said = [f"process {rank}: {words}" for rank, words in failed.items()]
        raise ProcessError(
            "sensitivities: stopped, because another process of the torch.distributed group failed "
            f"({'; '.join(said) or 'it said no more'}). The scores need the samples of all "
            "processes: mend the cause, and start all of them again."
        )


def _notice_board(device: torch.device) -> tuple[Any, str]:
    """The store of the group, if it has one, and a key in it that is for this pass alone."""
    token = torch.tensor([secrets.randbits(62)], device=_meeting_place(device))
    dist.broadcast(token, src=0)
    # There is no public name for what init_process_group has set up; MPI comes without.
    return dist.distributed_c10d._get_default_store(), f"prunella/{int(token)}"


def _has(store: Any, key: str) -> bool:
    try:
        return bool(store.check([key]))
    except RuntimeError:  # the process that kept the store is gone
        return True


def _reports(said: str, device: torch.device) -> dict[int, str]:
    """Tell the others of an error, "" if there is none; theirs by rank.

    Raises:
        ProcessError: one of them is gone.
    """
    text = said.encode()[:_LONGEST]
    own = torch.tensor([*text, *bytes(_LONGEST - len(text))], dtype=torch.uint8)
    try:
        rows = _gathered(own, device)
    except RuntimeError as error:
        raise ProcessError(
            "sensitivities: stopped, because another process of the torch.distributed group cannot "
            f"be reached ({error}). Its own output says why; start all of them again."
        ) from error
    texts = [bytes(row.tolist()).rstrip(b"\0").decode(errors="ignore") for row in rows]
    return {rank: text for rank, text in enumerate(texts) if text}


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
