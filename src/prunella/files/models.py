"""A pruned model in one file: its tensors, and the plan that shrinks a fresh model to fit them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from prunella.core.errors import FileError, InputError
from prunella.core.jsontext import NewerVersionError, Upgrade, upgraded
from prunella.core.words import one_line, shown
from prunella.files.plans import plan_from_json, plan_to_json
from prunella.files.weights import aliased, fill, read_tensors, save_tensors, untied
from prunella.plans import Plan
from prunella.surgery import check_architecture, cut, follow_config

FORMAT_VERSION = 1
# Makes a header of version v + 1 out of one of version v, both as names and texts. When the format
# changes, the old version gets an entry here, and tests/golden keeps a file of it.
_UPGRADES: Mapping[int, Upgrade] = {}


def save(path: str | Path, small: nn.Module, plan: Plan) -> None:
    """Write a pruned model as one safetensors file, atomically.

    Args:
        path: Final name, usually ending in .safetensors.
        small: The model made by `plan.apply`, perhaps trained further.
        plan: The plan it was made with; stored in the header.

    Raises:
        InputError: `small` does not have the size that the plan gives.
        FileError: the file cannot be written.
    """
    params = sum(parameter.numel() for parameter in small.parameters())
    if params != plan.achieved.params:
        raise InputError(
            f"the model has {params:,} parameters but the plan leaves {plan.achieved.params:,}; "
            "save the model that was made with this plan."
        )
    found = _shapes(small)
    for name, left in _left(plan).items():
        if found.get(name) != left:
            raise InputError(
                f"the plan leaves {name!r} with shape {left}, but in the model it has "
                f"{found.get(name, 'no such tensor')}; save the model that was made with this plan."
            )
    tensors, aliases = untied(small)
    header = {
        "format": "pt",
        "prunella": str(FORMAT_VERSION),
        "plan": plan_to_json(plan),
        "aliases": "\n".join(f"{a}\t{b}" for a, b in aliases.items()),
    }
    # What is written now must be readable later, limits on hostile files included.
    plan_from_json(header["plan"], source=f"{path}: not written, because it could not be read")
    save_tensors(Path(path), tensors, header)


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    named = (*model.named_parameters(), *model.named_buffers())
    return {name: tuple(tensor.shape) for name, tensor in named}


def _left(plan: Plan) -> dict[str, tuple[int, ...]]:
    """The shape that a plan leaves to each tensor."""
    removed: dict[tuple[str, int], int] = defaultdict(int)
    for group in plan.graph.prunable:
        gone = group.size - len(plan.kept[group.name])
        for member in group.members:
            removed[member.tensor, member.axis] += gone * member.indices.shape[1]
    return {
        tensor.name: tuple(n - removed[tensor.name, axis] for axis, n in enumerate(tensor.shape))
        for tensor in plan.graph.tensors
    }


def load(path: str | Path, fresh_model: nn.Module) -> nn.Module:
    """The pruned model of a file, built from a fresh model of the original architecture.

    Nothing in the file is executed.

    Args:
        path: A file written by `save`.
        fresh_model: Newly built, as before pruning; untouched. Device and mode are taken from it.

    Raises:
        FileError: the file is missing or damaged, or was made for another architecture; names the
            first difference.
    """
    plan, tensors = read_pruned(Path(path))
    try:
        check_architecture(fresh_model, plan.graph)
        _check_members(fresh_model, plan)
        small = cut(fresh_model, plan.graph, plan.kept)
    except InputError as error:
        raise FileError(f"{path}: {error}") from None
    fill(small, tensors, source=str(path))
    follow_config(fresh_model, small)
    return small


def _check_members(model: nn.Module, plan: Plan) -> None:
    """Raise InputError unless all that the plan removes are positions of stored tensors."""
    shapes = _shapes(model)
    for group in plan.graph.groups:
        for member in group.members:
            shape = shapes.get(member.tensor)
            last = int(member.indices.max())
            if shape is None or member.axis >= len(shape) or last >= shape[member.axis]:
                found = "no parameter or buffer" if shape is None else f"of shape {shape}"
                raise InputError(
                    f"the group {shown(group.name)} of the plan owns position {last} on axis "
                    f"{member.axis} of {shown(member.tensor)}, which in the given "
                    f"{type(model).__name__} is {found}; build the model with the same factory "
                    "and arguments."
                )


def load_plan(path: str | Path) -> Plan:
    """The plan in the header of a pruned model's file.

    Raises:
        FileError: the file is missing or damaged, or holds no pruned model.
    """
    return read_pruned(Path(path))[0]


def read_pruned(path: Path) -> tuple[Plan, dict[str, Tensor]]:
    """Plan and tensors of a pruned model's file, checked against each other."""
    tensors, metadata = read_tensors(path)
    if "prunella" not in metadata or "plan" not in metadata:
        raise FileError(
            f"{path}: holds plain weights, not a pruned model; expected a file written by "
            "prunella.save."
        )
    plan = plan_from_json(_newest(metadata, path)["plan"], source=str(path))
    tensors |= aliased(tensors, metadata, source=str(path))
    # Whether a tensor is lacking, the model to be filled knows.
    for name, left in _left(plan).items():
        if name in tensors and tuple(tensors[name].shape) != left:
            raise FileError(
                f"{path}: {shown(name)} has shape {tuple(tensors[name].shape)}, but in its plan "
                f"shape {left}; the file is damaged. Write or copy it again."
            )
    return plan, tensors


def _newest(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    """The header in the newest format."""
    version = metadata["prunella"]
    try:
        numbered = {**metadata, "prunella": int(version) if version.isdecimal() else version}
        return upgraded(numbered, newest=FORMAT_VERSION, steps=_UPGRADES, what="it", key="prunella")
    except NewerVersionError:
        raise FileError(
            f"{path}: has format version {one_line(version)}, this prunella reads "
            f"{FORMAT_VERSION}; update prunella."
        ) from None
    except ValueError as error:
        raise FileError(f"{path}: its header is damaged ({error}). Write it again.") from None
