"""A pruned model in one file: its tensors, and the plan that shrinks a fresh model to fit them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from torch import Tensor, nn

from prunella.core.errors import FileError, InputError
from prunella.files.plans import plan_from_json, plan_to_json
from prunella.files.weights import aliased, fill, read_tensors, save_tensors, untied
from prunella.plans import Plan
from prunella.surgery import cut

FORMAT_VERSION = "1"


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
    _check_shapes(small, plan)
    tensors, aliases = untied(small)
    header = {
        "format": "pt",
        "prunella": FORMAT_VERSION,
        "plan": plan_to_json(plan),
        "aliases": "\n".join(f"{a}\t{b}" for a, b in aliases.items()),
    }
    save_tensors(Path(path), tensors, header)


def _check_shapes(small: nn.Module, plan: Plan) -> None:
    """Raise InputError unless a file of the two could be loaded again."""
    removed: dict[tuple[str, int], int] = defaultdict(int)
    for group in plan.graph.prunable:
        gone = group.size - len(plan.kept[group.name])
        for member in group.members:
            removed[member.tensor, member.axis] += gone * member.indices.shape[1]
    found = {n: tuple(t.shape) for n, t in (*small.named_parameters(), *small.named_buffers())}
    for tensor in plan.graph.tensors:
        left = tuple(n - removed[tensor.name, axis] for axis, n in enumerate(tensor.shape))
        if found.get(tensor.name) != left:
            raise InputError(
                f"the plan leaves {tensor.name!r} with shape {left}, but in the model it has "
                f"{found.get(tensor.name, 'no such tensor')}; save the model that was made with "
                "this plan."
            )


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
        small = cut(fresh_model, plan.graph, plan.kept)
    except (InputError, IndexError) as error:
        raise FileError(f"{path}: {error}") from None
    fill(small, tensors, source=str(path))
    return small


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
    if metadata["prunella"] != FORMAT_VERSION:
        raise FileError(
            f"{path}: has format version {metadata['prunella']}, this prunella reads "
            f"{FORMAT_VERSION}; update prunella."
        )
    plan = plan_from_json(metadata["plan"], source=str(path))
    return plan, {**tensors, **aliased(tensors, metadata, source=str(path))}
