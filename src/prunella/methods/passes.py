"""What methods that look at samples have in common."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import torch

from prunella.core.batches import Batch, read_batch
from prunella.core.errors import DataError
from prunella.core.progress import Progress, length
from prunella.core.types import ChannelGraph, ChannelGroup, Member

Consumer = tuple[str, int]  # name of a stored weight and its axis of inputs
Readers = list[tuple[ChannelGroup, Member]]


def batches(loader: Iterable[object], *, progress: Progress, description: str) -> Iterator[Batch]:
    """The batches of a loader that hold samples.

    Raises:
        DataError: there is none, or one holds NaN or infinite values.
    """
    empty = True
    for given in progress(loader, description=description, total=length(loader)):
        batch = read_batch(given)
        if len(batch):
            _check_finite(batch)
            empty = False
            yield batch
    if empty:
        raise DataError("the calibration loader is empty; expected at least one sample.")


def readers_of(graph: ChannelGraph) -> dict[Consumer, Readers]:
    """The groups that each consumer reads, in the order of the groups."""
    found: dict[Consumer, Readers] = defaultdict(list)
    for group in graph.prunable:
        for member in group.members:
            if member.role == "consumer":
                found[member.tensor, member.axis].append((group, member))
    return dict(found)


def generators_for(
    consumers: Iterable[Consumer], generator: torch.Generator
) -> dict[Consumer, torch.Generator]:
    """One generator each, so that neither batches nor the order of calls change what is drawn."""
    return {
        consumer: torch.Generator().manual_seed(
            int(torch.randint(2**63 - 1, (), generator=generator))
        )
        for consumer in consumers
    }


def _check_finite(batch: Batch) -> None:
    for tensor in batch.inputs.tensors:
        if tensor.dtype.is_floating_point and not bool(torch.isfinite(tensor).all()):
            raise DataError(
                f"calibration samples hold NaN or infinite values (batch of shape "
                f"{tuple(tensor.shape)}); remove or repair these samples."
            )
