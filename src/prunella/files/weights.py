"""Weights of an ordinary model, read without executing anything."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from prunella.core.errors import FileError
from prunella.core.reading import require_ordinary_file
from prunella.core.words import one_line, shown
from prunella.files.atomic import write_atomically

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write named tensors and a text header as one safetensors file, atomically."""
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}

    def write(part: Path) -> None:
        try:
            save_file(own, part, dict(metadata))
        except SafetensorError as error:  # a full disk, for instance
            raise FileError(f"{path}: cannot be written ({error}).") from None

    write_atomically(path, write)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors and the text header of a safetensors file.

    Raises:
        FileError: the file is missing, truncated or of another format.
    """
    size = require_ordinary_file(path, advice="give the path of a .safetensors file")
    try:
        # Checks that the header's offsets and shapes fill the file exactly, before any is used.
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (
        SafetensorError, OSError, ValueError, LookupError, RuntimeError, TypeError,
        AttributeError, OverflowError,
    ) as error:  # fmt: skip
        raise FileError(
            f"{path}: not a whole safetensors file ({size:,} bytes; {one_line(error)}); "
            "it may be truncated or of another format. Write or copy it again."
        ) from None


def save_weights(
    path: str | Path, model: nn.Module, metadata: Mapping[str, str] | None = None
) -> None:
    """Write the state of a model as safetensors; tied tensors are written once.

    Args:
        path: Final name.
        model: Any module.
        metadata: Text for the header.
    """
    tensors, aliases = untied(model)
    header = {"format": "pt", **(metadata or {})}
    if aliases:
        header["aliases"] = "\n".join(f"{a}\t{b}" for a, b in aliases.items())
    save_tensors(Path(path), tensors, header)


def load_weights(path: str | Path, model: nn.Module) -> None:
    """Read weights into a model, in place.

    Args:
        path: A safetensors file, or a file for `torch.load(weights_only=True)` whose content is a
            state dictionary.
        model: Of the architecture the weights were saved from.

    Raises:
        FileError: the file is missing or damaged, or does not fit the model; names the first
            difference.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        tensors, metadata = read_tensors(path)
        if "prunella" in metadata:
            raise FileError(
                f"{path}: holds a pruned model, not plain weights; load it with prunella.load, or "
                "name it as the pruned model on the command line."
            )
        tensors |= aliased(tensors, metadata, source=str(path))
    else:
        tensors = _read_state(path)
    fill(model, tensors, source=str(path))


def fill(model: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Put tensors into a model of the same names and shapes; types follow the tensors.

    Raises:
        FileError: a name or shape differs; names the first difference.
    """
    state = model.state_dict(keep_vars=True)
    for name, target in state.items():
        if name not in tensors:
            raise FileError(
                f"{source}: has no tensor {name!r}, which {type(model).__name__} needs; "
                "it was saved from another architecture."
            )
        if tensors[name].shape != target.shape:
            raise FileError(
                f"{source}: {name!r} has shape {tuple(tensors[name].shape)}, but in "
                f"{type(model).__name__} it has shape {tuple(target.shape)}; "
                "it was saved from another architecture."
            )
        given, own = tensors[name].dtype, target.dtype
        if given != own and not (given in _FLOATS and own in _FLOATS):
            raise FileError(
                f"{source}: {name!r} has elements of type {given}, but in {type(model).__name__} "
                f"they are {own}; it was saved from another architecture, or is damaged."
            )
    for name in tensors:
        if name not in state:
            raise FileError(
                f"{source}: holds a tensor {shown(name)} that {type(model).__name__} does not "
                "have; it was saved from another architecture."
            )
    used: set[int] = set()
    for name, target in state.items():
        tensor = tensors[name]
        if id(tensor) in used:
            tensor = tensor.clone()  # the model may not tie what the file ties
        used.add(id(tensor))
        # Replacing the data keeps the parameter object, and with it ties and optimisers.
        target.data = tensor.to(target.device)


def untied(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The state of a model with each tensor once, and the names that share another's memory."""
    first: dict[tuple[object, ...], str] = {}
    tensors: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    for name, tensor in model.state_dict().items():
        # Strides and type too: a transposed view of a square matrix is another tensor.
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if tensor.numel() and key in first:
            aliases[name] = first[key]
        else:
            first[key] = name
            tensors[name] = tensor
    return tensors, aliases


def aliased(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, source: str
) -> dict[str, Tensor]:
    """The tensors that a file names only as copies of others; nothing is copied here.

    Raises:
        FileError: the header is damaged.
    """
    copies: dict[str, Tensor] = {}
    for line in metadata.get("aliases", "").splitlines():
        alias, _, name = line.partition("\t")
        if name not in tensors or alias in tensors or alias in copies:
            raise FileError(
                f"{source}: its header is damaged (alias {shown(line)}). Write it again."
            )
        copies[alias] = tensors[name]
    return copies


def _read_state(path: Path) -> dict[str, Tensor]:
    require_ordinary_file(path, advice="give the path of a weights file")
    _check_archive(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler fails on damaged bytes in any way at all
        reason = one_line(next(iter(str(error).splitlines()), type(error).__name__))
        raise FileError(
            f"{path}: cannot be read as weights without executing code ({reason}); save "
            "model.state_dict() or a safetensors file."
        ) from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise FileError(f"{path}: holds no state dictionary; save model.state_dict().")
    return state


def _check_archive(path: Path) -> None:
    """Raise FileError if a zip archive, as torch.save writes, would unpack to more than its size.

    torch.save stores without compression, so only a made-up file does that.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, LookupError, NotImplementedError):
        return  # of an older format, or damaged, which torch.load notices
    size = path.stat().st_size
    if unpacked > size:
        raise FileError(
            f"{path}: unpacks to {unpacked:,} bytes, more than its own {size:,}, which nothing "
            "written by torch.save does; save model.state_dict() again."
        )
