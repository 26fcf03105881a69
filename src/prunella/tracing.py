"""From a model to the groups of channels that can really be removed from it.

The labelled run knows what must go together. It cannot know sizes that are written as numbers in
the model's code, so the groups are tried: about half of each is cut out of a copy on fake tensors,
which is run. What does not run is frozen, with the place where it failed.
"""

from __future__ import annotations

import fnmatch
import logging
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from prunella.core.errors import InputError
from prunella.core.inputs import Inputs, tensors_in
from prunella.core.modes import full_precision
from prunella.core.types import ChannelGraph, ChannelGroup
from prunella.graph import (
    Candidate,
    Labels,
    MoveWatcher,
    Run,
    candidates,
    trace_and_run,
    with_equal_layers,
    with_widths,
)
from prunella.ops import (
    Stand,
    evaluate,
    evaluation_copy,
    inputs_for,
    paths_of,
    standing,
    tensors_of,
)
from prunella.surgery import cut, with_own_attention

_NOT_THE_MODELS = (
    f"{Path(torch.__file__).parent}/",
    *(f"{Path(__file__).parent / part}/" for part in ("graph", "ops", "surgery")),
    __file__,
)
Pattern = str | type[nn.Module]


def trace(
    model: nn.Module,
    example_inputs: object,
    *,
    include: Sequence[Pattern] = (),
    exclude: Sequence[Pattern] = (),
    through_norms: bool = False,
    equal_layers: bool = False,
) -> ChannelGraph:
    """Find every group of channels that can be removed together, and why others cannot.

    The model is copied onto fake tensors, which hold shapes but no memory, and run there; the given
    model is not touched. Only a model whose path depends on values is really run, in a copy.

    Args:
        model: Any module; parameters may be on any device, the meta device too.
        example_inputs: A tensor, a sequence of positional arguments, or a dictionary of keyword
            arguments. The first axis is the sample; one sample makes multiply-adds read per sample.
        include: If given, only groups that one of these names may be pruned: a module's dotted name
            with wildcards ("layer4.*"), or a type of module (`nn.Linear`).
        exclude: Groups that one of these names stay whole; it goes before `include`.
        through_norms: Whether channels that a layer norm mixes may be removed too. What remains is
            then normalised differently, so the small network is not the masked one.
        equal_layers: Whether groups that differ in the number of their layer only keep equal
            numbers of units, as a network needs that is built from one configuration.

    Returns:
        The graph; frozen groups carry their reason.

    Raises:
        InputError: the model cannot be run on the example inputs, has no parameters, or a pattern
            names nothing.
    """
    inputs = Inputs.of(example_inputs)
    readable = with_own_attention(model)
    graph, run = trace_and_run(readable, inputs, through_norms=through_norms)
    graph = replace(graph, model_type=type(model).__name__)
    graph = _chosen(graph, model, include=include, exclude=exclude)
    graph = _tried(graph, model, inputs, run)
    return with_equal_layers(graph) if equal_layers else graph


def without_groups(graph: ChannelGraph, reasons: dict[str, str]) -> ChannelGraph:
    """The graph with some groups frozen, and with them those that must stay equal to them."""
    linked = {g.balance: reasons[g.name] for g in graph.groups if g.balance and g.name in reasons}

    def frozen(group: ChannelGroup) -> ChannelGroup:
        reason = group.reason or reasons.get(group.name, "") or linked.get(group.balance, "")
        return replace(group, prunable=not reason, reason=reason)

    return replace(graph, groups=tuple(frozen(group) for group in graph.groups))


# -- what the user wants -------------------------------------------------------------------------


def _chosen(
    graph: ChannelGraph,
    model: nn.Module,
    *,
    include: Sequence[Pattern],
    exclude: Sequence[Pattern],
) -> ChannelGraph:
    kinds = {name: type(module) for name, module in paths_of(model)}
    wanted = [_owned(graph, pattern, kinds) for pattern in include]
    reasons = {}
    if include:
        named = set().union(*wanted)
        reasons = {g.name: "not among what is to be pruned" for g in graph.groups}
        reasons = {name: why for name, why in reasons.items() if name not in named}
    for pattern in exclude:
        words = pattern if isinstance(pattern, str) else pattern.__name__
        for name in _owned(graph, pattern, kinds):
            reasons[name] = f"excluded by {words!r}"
    return without_groups(graph, reasons) if reasons else graph


def _owned(graph: ChannelGraph, pattern: Pattern, kinds: dict[str, type]) -> set[str]:
    """Names of the groups with a unit in a tensor of a module that the pattern names."""
    found = {
        group.name
        for group in graph.groups
        if any(_names(pattern, member.tensor, kinds) for member in group.members)
        or (isinstance(pattern, str) and fnmatch.fnmatchcase(group.name, pattern))
    }
    if not found:
        words = pattern if isinstance(pattern, str) else pattern.__name__
        known = ", ".join(dict.fromkeys(group.name for group in graph.groups))
        raise InputError(
            f"the pattern {words!r} names no group of {graph.model_type}; give a module's name, "
            f"wildcards allowed, or a type of module. Groups: {known}."
        )
    return found


def _names(pattern: Pattern, tensor: str, kinds: dict[str, type]) -> bool:
    owner = tensor.rpartition(".")[0]
    if not isinstance(pattern, str):
        return issubclass(kinds.get(owner, object), pattern)
    parts = tensor.split(".")
    return any(
        fnmatch.fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1)
    )


# -- what the model's code allows ----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """Where a trial cut did not run: the innermost module whose code was running, and the words."""

    module: str
    words: str


def _tried(graph: ChannelGraph, model: nn.Module, inputs: Inputs, run: Run) -> ChannelGraph:
    trial = _Trial(model, inputs, run)
    tried = False
    while graph.prunable:
        failure = trial.failure(graph)
        if failure is None:
            break
        if not tried:
            tried = True
            found = candidates(run.labels, graph.groups, model)
            changed = _with_numbers_in_step(graph, trial, found)
            if changed is not graph:
                graph = changed
                continue
        fails = trial.fails(graph)
        suspects = _in_module(graph, failure.module)
        culprits = [name for name in suspects if fails([name])] or suspects
        if not culprits:
            culprits = _narrowed([group.name for group in graph.prunable], fails)
        culprits += _alike(graph, culprits, failure.module, trial.kinds)
        graph = without_groups(graph, dict.fromkeys(culprits, failure.words))
    return graph


def _with_numbers_in_step(
    graph: ChannelGraph, trial: _Trial, found: Sequence[Candidate]
) -> ChannelGraph:
    """The graph that changes a number in the modules where the code runs if, and only if, it does.

    The first set of attributes that lets all modules of its kind run is taken.
    """
    for candidate in found:
        names = _with_linked(graph, candidate.widths)
        if names and trial.fails(graph)(names):
            changed = with_widths(graph, candidate)
            graph = graph if trial.fails(changed)(names) else changed
    return graph


def _with_linked(graph: ChannelGraph, names: Iterable[str]) -> list[str]:
    """The prunable groups of these names, and those that must stay equal to one of them."""
    own = [group for group in graph.prunable if group.name in names]
    linked = {group.balance for group in own} - {""}
    return [g.name for g in graph.prunable if g in own or g.balance in linked]


class _Trial:
    """Cuts about half of each prunable group out of a copy and runs it."""

    def __init__(self, model: nn.Module, inputs: Inputs, run: Run) -> None:
        self.tensors, self.run = run.tensors, run
        # Not the copy that was run: what a run leaves behind, a cache say, has the old shapes.
        if run.tensors is Stand.META:
            self.model, self.stand_ins = model, _on_meta(model, run.labels)
            self.inputs = inputs_for(model, inputs, tensors=run.tensors)
        else:
            self.stand_ins = {}
            self.model, self.inputs = evaluation_copy(model, inputs, tensors=run.tensors)
        self.kinds = {name: type(module) for name, module in paths_of(model)}
        self.device = next(model.parameters()).device
        self.expected = self._shapes(run.outputs)

    def failure(self, graph: ChannelGraph) -> _Failure | None:
        """What went wrong, or None if the outputs have the shapes of the original's."""
        shaped = any(_is_shaped(group, self.run) for group in graph.prunable)
        # An odd number: what fits half of an axis may fit nothing else.
        failure = self._failure(graph, lambda size: size * 5 // 8 | 1)
        if failure is None and shaped:
            failure = self._failure(graph, lambda size: max(1, size - 1), watched=True)
        return failure

    def _failure(
        self, graph: ChannelGraph, stay: Callable[[int], int], *, watched: bool = False
    ) -> _Failure | None:
        kept = {g.name: torch.arange(stay(g.size)) for g in graph.prunable}
        small = self._cut(graph, kept)
        # Where the path depends on values, so do the calls.
        watcher = MoveWatcher(small) if watched and self.tensors is not Stand.REAL else None
        try:
            with _failures_unlogged():
                shapes = self._run(small, watcher)
        except Exception as error:  # the model's own code may raise anything
            return _blame(error, small)
        if shapes != self.expected:
            return _Failure(module="", words="the outputs would have other shapes")
        found = watcher and self.run.moves.misfit(
            graph, kept, self.run.labels, small, watcher.found
        )
        if found:
            module, where = found
            words = f"a size written in the code of {where} fits a cut by chance only"
            return _Failure(module=module, words=words)
        return None

    def _cut(self, graph: ChannelGraph, kept: dict[str, Tensor]) -> nn.Module:
        if self.tensors is not Stand.META:
            return cut(self.model, graph, kept)
        small = cut(self.model, graph, kept, stand_ins=self.stand_ins)
        evaluate(small)
        return small

    def fails(self, graph: ChannelGraph) -> Callable[[list[str]], bool]:
        """Whether a cut of the named groups alone does not run."""

        def alone(names: list[str]) -> bool:
            others = {g.name: "not tried" for g in graph.prunable if g.name not in names}
            return self.failure(without_groups(graph, others)) is not None

        return alone

    def _run(self, model: nn.Module, watcher: MoveWatcher | None) -> list[torch.Size]:
        watching = watcher or nullcontext()
        with torch.no_grad(), full_precision(self.device), standing(self.tensors), watching:
            return self._shapes(model(*self.inputs.args, **self.inputs.kwargs))

    def _shapes(self, outputs: object) -> list[torch.Size]:
        shapes = [tensor.shape for tensor in tensors_in(outputs)]
        if self.tensors is Stand.REAL:
            # The path depends on values, and so may lengths: of a list of objects found, say.
            return [torch.Size([0] * len(shape)) for shape in shapes]
        return shapes


def _on_meta(model: nn.Module, labels: Labels) -> dict[int, Tensor]:
    """The tensors of the labelled run, by the identity of those they stood for."""
    known = labels.stored.tensors
    paths = paths_of(model)
    return {
        id(tensor): known[name]
        for kind in ("_parameters", "_buffers")
        for name, tensor in tensors_of(paths, kind)
        if name in known and _is_alike(known[name], tensor)
    }


def _is_alike(stood: Tensor, tensor: Tensor) -> bool:
    """Whether the run left a tensor in the shape it had; copies are made of what it did not."""
    return stood.shape == tensor.shape and stood.stride() == tensor.stride()


def _is_shaped(group: ChannelGroup, run: Run) -> bool:
    """Whether views, splits or heads had a say in its units: one cut may fit them by chance.

    Grouped convolutions alone, which tie channels in silence, leave no such number in the code.
    """
    if group.balance:
        return True
    numbers = bool(run.labels.bindings or run.labels.grids or run.moves.regroup)
    return numbers and any(
        member.role == "producer" and member.indices.shape[1] > 1 for member in group.members
    )


@contextmanager
def _failures_unlogged() -> Iterator[None]:
    """A cut that does not run is an answer here; torch would write its traceback on the screen."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled


def _blame(error: Exception, small: nn.Module) -> _Failure:
    """The innermost module with code of its own on the way to the error, and that line."""
    names = {id(module): name for name, module in paths_of(small)}
    module, line = "", ""
    for frame, number in traceback.walk_tb(error.__traceback__):
        owner = names.get(id(frame.f_locals.get("self")))
        module = owner or module
        name = frame.f_code.co_filename
        if not name.startswith(_NOT_THE_MODELS):
            line = f"{Path(name).name}:{number}"
    words = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    place = module or "the model"
    return _Failure(
        module=module,
        words=f"a size written in the code of {place} ({line}) cannot follow a cut: {words}",
    )


def _in_module(graph: ChannelGraph, module: str) -> list[str]:
    """Prunable groups with tensors in a module."""
    start = f"{module}."
    return [
        group.name
        for group in graph.prunable
        if module and any(member.tensor.startswith(start) for member in group.members)
    ]


def _alike(
    graph: ChannelGraph, culprits: list[str], module: str, kinds: dict[str, type]
) -> list[str]:
    """Groups that own the same tensors of other modules of the same kind: they fail as well."""
    kind = kinds.get(module)
    if not module or kind is None or kind.__module__.startswith("torch.nn"):
        return []

    def inside(group: ChannelGroup, name: str) -> frozenset[str]:
        start = f"{name}."
        found = (member.tensor for member in group.members)
        return frozenset(t.removeprefix(start) for t in found if t.startswith(start))

    wanted = {inside(graph.group(name), module) for name in culprits} - {frozenset()}
    others = [name for name, other in kinds.items() if other is kind and name != module]
    return [
        group.name
        for group in graph.prunable
        if group.name not in culprits and any(inside(group, name) in wanted for name in others)
    ]


def _narrowed(names: list[str], fails: Callable[[list[str]], bool]) -> list[str]:
    """A small set of groups that fails by itself, found by halving."""
    while len(names) > 1:
        half = len(names) // 2
        if fails(names[:half]):
            names = names[:half]
        elif fails(names[half:]):
            names = names[half:]
        else:
            break
    return names
