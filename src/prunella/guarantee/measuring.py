"""The streaming pass over held-out samples: how far each exceeds the scores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from prunella.core.errors import DataError, InputError
from prunella.core.modes import attention_in_parts, evaluating, full_precision
from prunella.core.types import ChannelGroup, Member
from prunella.guarantee.chain import ChainRun
from prunella.guarantee.samples import HeldOut
from prunella.ops import CallWatcher, Contraction, StoredTensors, contraction_of
from prunella.sensitivity.kernels import sums_per_sample, unit_sensitivities

Place = tuple[str, int]  # a stored weight and the axis that meets its input's channels


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What the runs have in common, if they are chains.

    Attributes:
        reason: Why they are not; "" if they are.
        places: The layers in order, from the first that reads a cut group on.
        kappas: (n, layers), the cancellation of signs in each run.
    """

    reason: str
    places: tuple[Place, ...]
    kappas: NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Numbers for each held-out sample.

    Attributes:
        n: Number of samples.
        ratios: (n,) for each group: T(x), the largest ratio of a channel's share to its score.
        sums: Number of sums of each group's readers, for the sample that has most.
        readers: The consumers of each group that ran, in order.
        chain: Cancellation of signs along the network.
    """

    n: int
    ratios: Mapping[str, NDArray[np.float64]]
    sums: Mapping[str, int]
    readers: Mapping[str, tuple[Place, ...]]
    chain: Chain


def measure(
    model: nn.Module,
    scores: Mapping[str, NDArray[np.float64]],  # group name -> (size,), all positive
    groups: Iterable[ChannelGroup],
    batches: Iterable[object],
    held_out: HeldOut,
) -> Measured:
    """Run the model on each sample by itself and compare shares with scores.

    Samples run one by one because T(x) is a number of each; memory does not grow with their number.

    Raises:
        DataError: a sample or an activation is NaN or infinite, or a sample may not be used.
        InputError: a group has no consumer that runs.
    """
    watcher = _Watcher(model, tuple(groups))
    inverse = {name: torch.from_numpy(1 / values) for name, values in scores.items()}
    ratios: dict[str, list[float]] = defaultdict(list)
    chains: list[ChainRun] = []
    device = next(model.parameters()).device
    with evaluating(model), full_precision(device), attention_in_parts():
        for sample in held_out.samples(batches, device):
            watcher.start()
            with watcher:
                outputs = sample.call(model)
            watcher.chain.finish(outputs)
            chains.append(watcher.chain)
            for name, shares in watcher.shares.items():
                ratios[name].append(float((shares.cpu().double() * inverse[name]).max()))
    held_out.check()
    watcher.require_complete()
    return Measured(
        n=held_out.count,
        ratios={name: np.array(values) for name, values in ratios.items()},
        sums=dict(watcher.sums),
        readers={name: tuple(places) for name, places in watcher.readers.items()},
        chain=_common(chains, watcher.cut),
    )


def _common(runs: list[ChainRun], cut: frozenset[Place]) -> Chain:
    """One chain of all runs, or the first reason against it."""
    reason = next((run.reason for run in runs if run.reason), "")
    places = tuple((link.name, link.in_axis) for link in runs[0].links)
    if any(tuple((link.name, link.in_axis) for link in run.links) != places for run in runs):
        reason = reason or "its path depends on the sample"
    unseen = sorted(cut - set(places))
    if unseen:  # whatever it computes was taken for exact
        reason = reason or f"{unseen[0][0]} reads a cut group, but no layer with it was seen to run"
    if reason:
        return Chain(reason=reason, places=(), kappas=np.empty((len(runs), 0)))
    kappas = np.array([[link.kappa for link in run.links] for run in runs])
    return Chain(reason="", places=places, kappas=kappas)


@final
class _Watcher(CallWatcher):
    """Sees the calls of one sample's run at a time."""

    def __init__(self, model: nn.Module, groups: tuple[ChannelGroup, ...]) -> None:
        super().__init__()
        self.stored = StoredTensors(model)
        self.groups = groups
        self.consumers: dict[Place, list[tuple[ChannelGroup, Member]]] = defaultdict(list)
        self.sums: dict[str, int] = defaultdict(int)
        self.readers: dict[str, dict[Place, None]] = defaultdict(dict)
        for group in groups:
            for member in group.members:
                if member.role == "consumer":
                    self.consumers[member.tensor, member.axis].append((group, member))
        self.cut = frozenset(self.consumers)
        self.start()

    def start(self) -> None:
        """Forget the sample before."""
        self.shares = {group.name: torch.zeros(group.size) for group in self.groups}
        self.chain = ChainRun(cut=self.cut)
        self._now: dict[str, int] = defaultdict(int)

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = contraction_of(func, args, self.stored)
        if call is not None:
            self._compare(call)
        result = func(*args, **kwargs)
        self.chain.note(func, args, kwargs, result, call)
        return result

    def _compare(self, call: Contraction) -> None:
        place = (call.name, call.in_axis)
        watched = self.consumers.get(place, ())
        if watched and not bool(torch.isfinite(call.inputs).all()):
            raise DataError(
                f"the input of {call.name!r} holds NaN or infinite values; the held-out samples or "
                "the weights before it are out of range. Check the samples' scale and the network."
            )
        for group, member in watched:
            found = unit_sensitivities(call, member.indices).cpu()
            self.shares[group.name] = torch.maximum(self.shares[group.name], found)
            # Unlike for the scores, a layer that runs twice makes twice as many sums.
            self._now[group.name] += sums_per_sample(call, 1)
            self.sums[group.name] = max(self.sums[group.name], self._now[group.name])
            self.readers[group.name][place] = None

    def require_complete(self) -> None:
        """Every group must have met at least one of its consumers."""
        for group in self.groups:
            if not self.readers[group.name]:
                raise InputError(
                    f"group {group.name!r}: none of its consumers ran on the held-out samples; "
                    "trace the model with inputs that take the same path."
                )
