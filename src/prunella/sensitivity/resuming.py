"""A pass over samples that can go on where it was stopped."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from torch import Tensor, nn

from prunella.core.batches import Batch, read_batch
from prunella.core.digests import model_digest
from prunella.core.errors import DataError, FileError, InputError
from prunella.core.samples import SampleIds
from prunella.core.types import ChannelGraph
from prunella.core.version import __version__

Counted = dict[tuple[str, str, int], int]  # group, tensor and axis of a consumer -> its sums

_ANEW = "delete it, and the pass begins anew; no other result depends on it."


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PassState:
    """What a pass has found in the samples so far.

    Attributes:
        origin: By name what it was found with: digests of weights and graph, and options.
        best: (size,) float64 for each prunable group, the largest shares.
        counted: The sums of each consumer that was met, by group, tensor and axis.
        samples: The samples that were seen.
    """

    origin: Mapping[str, str]
    best: Mapping[str, Tensor]
    counted: Mapping[tuple[str, str, int], int]
    samples: SampleIds


@runtime_checkable
class PassStore(Protocol):
    """Where a pass keeps its state; `prunella.PassFile` is one in a file."""

    @property
    def source(self) -> str:
        """Where that is, for messages."""
        ...

    @property
    def every_s(self) -> float:
        """Seconds from one state that is kept to the next."""
        ...

    def load(self) -> PassState | None:
        """The state that was kept last, if any."""
        ...

    def save(self, state: PassState) -> None:
        """Keep a state in place of the last one."""
        ...


def origin_of(model: nn.Module, graph: ChannelGraph, reduction: str) -> dict[str, str]:
    """All that a state depends on beside the samples, by the names used in messages."""
    digest = hashlib.blake2b(digest_size=16)
    for group in graph.prunable:
        digest.update(f"{group.name}\0{group.size}\0".encode())
        for member in group.members:
            shape = tuple(member.indices.shape)
            digest.update(f"{member.tensor}\0{member.axis}\0{member.role}\0{shape}\0".encode())
            digest.update(member.indices.long().cpu().contiguous().numpy().tobytes())
    return {
        "version of prunella": __version__,
        "weights": model_digest(model),
        "graph": digest.hexdigest(),
        "reduction": reduction,
    }


@final
class Keeper:
    """Gives the state of a pass to a store, now and then; without a store it does nothing."""

    def __init__(
        self, store: PassStore | None, model: nn.Module, graph: ChannelGraph, reduction: str
    ) -> None:
        if store is not None and not isinstance(store, PassStore):
            raise InputError(
                f"sensitivities: resume is {store!r}; expected a place to keep the state of the "
                "pass, for instance prunella.PassFile('pass.safetensors')."
            )
        self.store = store
        self.origin = {} if store is None else origin_of(model, graph, reduction)
        self.sizes = {group.name: group.size for group in graph.prunable}
        self._saved = time.monotonic()

    def start(self) -> PassState:
        """The state to go on from, which may be that of a pass without samples.

        Raises:
            FileError: it belongs to other weights, another graph or other options.
        """
        state = None if self.store is None else self.store.load()
        if self.store is None or state is None:
            return PassState(origin=self.origin, best={}, counted={}, samples=SampleIds.none())
        names = dict.fromkeys((*self.origin, *state.origin))
        other = [n for n in names if state.origin.get(n) != self.origin.get(n)]
        if other:
            raise FileError(
                f"{self.store.source}: belongs to a pass that differs in {' and '.join(other)}, so "
                "this one cannot go on from it; resume with what that was begun with, or "
                f"{_ANEW}"
            )
        if {name: len(best) for name, best in state.best.items()} != self.sizes:
            raise FileError(
                f"{self.store.source}: damaged (its groups are not those of the graph); {_ANEW}"
            )
        return state

    def unseen(self, batches: Iterable[object], before: SampleIds) -> Iterator[Batch]:
        """The batches but for the samples seen before, which must be the first ones.

        Raises:
            DataError: they are not.
        """
        left, skipped = before.count, []
        for given in batches:
            batch = read_batch(given)
            if left:
                first = _samples(batch, slice(min(left, len(batch))))
                skipped.append(first.ids)
                left -= len(first)
                batch = _samples(batch, slice(len(first), None))
                if not left:
                    self._require_same(SampleIds.union(skipped), before)
            if len(batch):
                yield batch
        if left:
            self._require_same(SampleIds.union(skipped), before)

    def is_due(self) -> bool:
        """Whether the last state that was kept is old enough."""
        return self.store is not None and time.monotonic() - self._saved >= self.store.every_s

    def keep(self, best: Mapping[str, Tensor], counted: Counted, seen: Sequence[SampleIds]) -> None:
        """Keep what was found in the samples so far."""
        if self.store is not None:
            samples = SampleIds.union(seen)
            self.store.save(
                PassState(origin=self.origin, best=best, counted=counted, samples=samples)
            )
            self._saved = time.monotonic()

    def _require_same(self, found: SampleIds, before: SampleIds) -> None:
        if found != before:
            source = "" if self.store is None else self.store.source
            raise DataError(
                f"{source}: the pass was begun with other samples; {found.count:,} of the loader "
                f"stand where it has seen {before.count:,}, and {found.overlap(before):,} of them "
                "are the same. Give the loader the same samples in the same order (no shuffling, "
                f"or with a seeded generator), or {_ANEW}"
            )


def _samples(batch: Batch, chosen: slice) -> Batch:
    """Some samples of a batch, without labels."""
    count = len(range(len(batch))[chosen])
    if count == len(batch):
        return batch
    return Batch(inputs=batch.inputs.samples(chosen), given_labels=None, count=count)
