"""The modules of a model and their tensors, without chains of generators as deep as the model."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn


def modules_of(model: nn.Module) -> list[nn.Module]:
    """As `model.modules()`."""
    found: dict[int, nn.Module] = {}
    ahead: list[nn.Module] = [model]
    while ahead:
        module = ahead.pop()
        if id(module) not in found:
            found[id(module)] = module
            children = module._modules.values()
            ahead.extend([child for child in children if child is not None][::-1])
    return list(found.values())


def paths_of(model: nn.Module, *, each_once: bool = True) -> list[tuple[str, nn.Module]]:
    """As `model.named_modules(remove_duplicate=each_once)`."""
    found: list[tuple[str, nn.Module]] = []
    seen: set[int] = set()
    ahead: list[tuple[str, nn.Module]] = [("", model)]
    while ahead:
        path, module = ahead.pop()
        if each_once and id(module) in seen:
            continue
        seen.add(id(module))
        found.append((path, module))
        children = module._modules
        if children:
            start = f"{path}." if path else ""
            named = [(start + name, m) for name, m in children.items() if m is not None]
            ahead.extend(named[::-1])
    return found


def tensors_of(paths: list[tuple[str, nn.Module]], kind: str) -> Iterator[tuple[str, Tensor]]:
    """Dotted names and tensors of modules by path; those tied to each other under every name.

    Args:
        paths: From `paths_of`.
        kind: `_parameters` or `_buffers`.
    """
    for path, module in paths:
        held = getattr(module, kind)
        if held:
            start = f"{path}." if path else ""
            for name, tensor in held.items():
                if tensor is not None:
                    yield start + name, tensor
