"""The streaming pass: run the model on samples and watch every consumer."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_args

import torch
from torch import Tensor, nn

from prunella.core.errors import DataError, InputError
from prunella.core.inputs import Inputs
from prunella.core.modes import attention_in_parts, evaluating, full_precision
from prunella.core.progress import Progress, length, silent
from prunella.core.samples import SampleIds
from prunella.core.types import ChannelGraph, ChannelGroup, ChannelScores, Member
from prunella.ops import CallWatcher, Contraction, StoredTensors, contraction_of
from prunella.sensitivity.backlog import Backlog, Seen
from prunella.sensitivity.distributed import failing_together, shared_maxima, shared_samples
from prunella.sensitivity.kernels import Prepared, Reader, raised, sums_per_sample
from prunella.sensitivity.resuming import Counted, Keeper, PassStore
from prunella.sensitivity.shares import Reduction

MICRO_BATCH = 8
LEAST_MEMORY = 1 << 24


def sensitivities(
    model: nn.Module,
    graph: ChannelGraph,
    loader: Iterable[object],
    *,
    memory: int = 1 << 30,
    reduction: Reduction = "inner",
    resume: PassStore | None = None,
    progress: Progress = silent,
) -> ChannelScores:
    """Sensitivity of every unit of every prunable group, over all samples of a loader.

    s_j is a maximum over samples, so any order of the batches gives the same bits. Samples are run
    in blocks of one fixed size (the last one filled up by repetition, which a maximum ignores), so
    the loader's batch size has no influence either, and memory does not grow with it.

    Within an initialised `torch.distributed` group every process passes its own shard as loader
    and gets the scores of all samples, the same bits as one process would give. Where one of them
    fails, the others stop after the batch they are at.

    On a CPU long passes run as machine code if Numba is installed (`prunella[fast]`); the bits
    are the same, and a `SpeedWarning` tells if it is missed. Bounds are in float32: activations
    below 1e-26 may count as 0, as shares below 1e-30 do.

    Args:
        model: Untouched; run in evaluation mode on the device of its parameters.
        graph: Made by `trace` from this model.
        loader: Yields inputs, with or without labels, in any form that `read_batch` knows; labels
            are not used.
        memory: Bytes that the pass may take beside the model and its activations for one block of
            samples. Less than the default can be slower.
        reduction: "inner", a channel's whole part of a sum, as defined; or "entry", the largest
            single product with an entry of its kernel in place of that, as in the code published
            with the paper, for comparisons.
        resume: Where the pass keeps how far it has come, usually `prunella.PassFile(path)`. What
            lies there from a pass that was stopped is gone on from: the loader's first samples must
            be those seen before, and are only read. On the same device and software the scores
            have the bits of an unbroken pass. Each process of a group needs a place of its own.
        progress: Reports batches.

    Returns:
        Scores of method "pfp", with filter norms and the number of sums for the allocation.

    Raises:
        DataError: the loader is empty, or inputs or activations are NaN or infinite, or the pass
            to go on with was begun with other samples.
        InputError: weights are NaN or infinite, a group has no consumer that could be scored, or
            `memory` or `reduction` cannot be used.
        ProcessError: another process of the group failed.
        FileError: what `resume` holds is damaged, or of another model, graph or option.
    """
    device = next(model.parameters()).device
    with failing_together(device) as look_around:
        _check_options(memory, reduction)
        check_weights(model)
        keeper = Keeper(resume, model, graph, reduction)
        watcher = _Watcher(model, graph, memory, reduction)
        seen = _watched(watcher, model, loader, keeper, progress, look_around)
    samples = shared_samples(SampleIds.union(seen), device)
    if not samples.count:
        raise DataError("the calibration loader is empty; expected at least one sample.")
    best, sums = shared_maxima(watcher.best, watcher.sums, device)
    require_complete(best, sums)
    return ChannelScores(
        method="pfp",
        by_group={name: value.float().clamp_(max=1) for name, value in best.items()},
        filter_norms=filter_norms(model, graph),
        sums=dict(sums),
        samples=samples,
    )


def _check_options(memory: int, reduction: str) -> None:
    if memory < LEAST_MEMORY:
        raise InputError(
            f"sensitivities: memory is {memory:,} bytes; expected at least {LEAST_MEMORY:,} for "
            "the pass's own tensors."
        )
    if reduction not in get_args(Reduction):
        raise InputError(
            f"sensitivities: reduction is {reduction!r}; expected 'inner' (a channel's whole part "
            "of a sum) or 'entry' (the largest of its products)."
        )


def _watched(
    watcher: _Watcher,
    model: nn.Module,
    loader: Iterable[object],
    keeper: Keeper,
    progress: Progress,
    look_around: Callable[[], None],
) -> list[SampleIds]:
    """Run the model on all samples under the eyes of a watcher; which ones they are."""
    device = next(model.parameters()).device
    state = keeper.start()
    watcher.best |= state.best
    watcher.counted |= state.counted
    seen = [state.samples]
    batches = progress(loader, description="sensitivities", total=length(loader))
    with evaluating(model), full_precision(device), attention_in_parts(), _whole_float32():
        for batch in keeper.unseen(batches, state.samples):
            _check_finite(batch.inputs.tensors)
            for block in _blocks(batch.inputs, len(batch), device):
                with watcher:
                    block.call(model)
            seen.append(batch.ids)
            if keeper.is_due():
                watcher.finish()
                keeper.keep(watcher.best, watcher.counted, seen)
            look_around()
        watcher.finish()
    keeper.keep(watcher.best, watcher.counted, seen)
    return seen


@contextmanager
def _whole_float32() -> Iterator[None]:
    """No shorter numbers inside of float32 products, whatever the user's training allows."""
    before, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = convolutions


def filter_norms(model: nn.Module, graph: ChannelGraph) -> dict[str, Tensor]:
    """L2 norm of each unit's producing weights (biases left out); shape (size,) for each group."""
    tensors = dict(model.named_parameters(remove_duplicate=False))
    norms = {}
    for group in graph.prunable:
        squares = torch.zeros(group.size)
        for member in group.members:
            weight = tensors.get(member.tensor)
            if member.role != "producer" or weight is None or weight.ndim < 2:
                continue
            others = [axis for axis in range(weight.ndim) if axis != member.axis]
            # In one go, without a tensor of the weight's size in between.
            # Without a copy in another type; a norm may be in a wider type than its weights only.
            wide = torch.promote_types(weight.dtype, torch.float32)
            norm = torch.linalg.vector_norm(weight.detach(), dim=others, dtype=wide).float()
            by_position = norm.square().cpu()
            squares += by_position[member.indices].sum(dim=1)
        norms[group.name] = squares.sqrt()
    return norms


def check_weights(model: nn.Module) -> None:
    """Raise InputError naming the first parameter or buffer that holds NaN or infinity."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.dtype.is_floating_point and not _all_finite(tensor):
            count = int((~torch.isfinite(tensor)).sum())
            raise InputError(
                f"{type(model).__name__}: {name!r} holds {count} NaN or infinite values of "
                f"{tensor.numel()}; the network is damaged, load or train it again."
            )


def _all_finite(tensor: Tensor) -> bool:
    """Whether there is no NaN and no infinity, found without a tensor of the same size."""
    if tensor.numel() == 0:
        return True
    least, most = tensor.detach().aminmax()  # of NaN both are NaN
    return math.isfinite(least) and math.isfinite(most)


def _check_finite(tensors: Sequence[Tensor]) -> None:
    for tensor in tensors:
        if tensor.dtype.is_floating_point and not _all_finite(tensor):
            raise DataError(
                f"calibration samples hold NaN or infinite values (batch of shape "
                f"{tuple(tensor.shape)}); remove or repair these samples."
            )


def _blocks(inputs: Inputs, count: int, device: torch.device) -> Iterator[Inputs]:
    """Blocks of exactly MICRO_BATCH samples; the last repeats its last sample."""
    for start in range(0, count, MICRO_BATCH):
        rows = torch.arange(start, start + MICRO_BATCH).clamp(max=count - 1)

        def chosen(tensor: Tensor, rows: Tensor = rows) -> Tensor:
            return tensor.index_select(0, rows.to(tensor.device)).to(device)

        yield inputs.map(chosen)


class _Watcher(CallWatcher):
    """Hands each call with a consumer's weight to the kernel, and keeps the maxima."""

    def __init__(
        self, model: nn.Module, graph: ChannelGraph, memory: int, reduction: Reduction
    ) -> None:
        super().__init__()
        self.prepared = Prepared(memory * 3 // 4)
        self.reduction = reduction
        self.stored = StoredTensors(model)
        self.consumers: dict[tuple[str, int], list[tuple[ChannelGroup, Member]]] = defaultdict(list)
        self.best: dict[str, Tensor] = {}
        self.counted: Counted = {}
        for group in graph.prunable:
            self.best[group.name] = torch.zeros(group.size, dtype=torch.float64)
            for member in group.members:
                if member.role == "consumer":
                    self.consumers[member.tensor, member.axis].append((group, member))
        self.backlog = Backlog(memory // 4, len(self.consumers))

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = contraction_of(func, args, self.stored)
        result = func(*args, **kwargs)
        if call is not None:
            # Keyword arguments may scale the result.
            self._score(call, None if kwargs else result)
        return result

    def _score(self, call: Contraction, result: Tensor | None) -> None:
        watched = self.consumers.get((call.name, call.in_axis), ())
        if not watched or call.inputs.numel() == 0:
            return
        # Of NaN both are NaN. One after the other, which is faster than `aminmax`.
        least, most = float(call.inputs.amin()), float(call.inputs.amax())
        if not (math.isfinite(least) and math.isfinite(most)):
            raise DataError(
                f"the input of {call.name!r} holds NaN or infinite values; the samples or the "
                "weights before it are out of range. Check the samples' scale and the network."
            )
        for group, _ in watched:
            # eta counts every consumer's sums once, not once for each block of samples.
            key = (group.name, call.name, call.in_axis)
            if key not in self.counted:
                self.counted[key] = sums_per_sample(call, MICRO_BATCH)
        for seen in self.backlog.add(Seen(call=call, results=result, signed=least < 0)):
            self._search(seen)

    def _search(self, seen: Seen) -> None:
        watched = self.consumers[seen.call.name, seen.call.in_axis]
        readers = [
            Reader(units=member.indices, best=self.best[group.name]) for group, member in watched
        ]
        found = raised(seen, readers, self.prepared, reduction=self.reduction)
        for (group, _), best in zip(watched, found, strict=True):
            self.best[group.name] = torch.maximum(self.best[group.name], best)

    def finish(self) -> None:
        """Search what still waits."""
        with torch.no_grad():
            for seen in self.backlog.rest():
                self._search(seen)

    @property
    def sums(self) -> dict[str, int]:
        """Number of sums of each group's consumers for one sample."""
        sums: dict[str, int] = defaultdict(int)
        for (group, _, _), number in self.counted.items():
            sums[group] += number
        return dict(sums)


def require_complete(best: Mapping[str, Tensor], sums: Mapping[str, int]) -> None:
    """Every group must have met at least one of its consumers."""
    for name in best:
        if not sums.get(name):
            raise InputError(
                f"group {name!r}: none of its consumers ran on the calibration samples; "
                "trace the model with inputs that take the same path."
            )
