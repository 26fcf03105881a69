"""Shared set-up of all tests."""

from __future__ import annotations

import contextlib
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

# Tests run side by side; threads of several processes would wait for each other.
torch.set_num_threads(1)


def _declare_missing_torchvision_operators() -> list[torch.library.Library]:
    """Let torchvision be imported beside a CPU build of torch that lacks its compiled operators.

    Where they are there, as with torch's builds for CUDA, they would be declared twice.
    """
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return []
    with contextlib.suppress(OSError):  # cannot be loaded beside this torch
        torch.ops.load_library(Path(spec.origin).with_name("_C.so"))
        return []
    libraries = []
    for schema in (
        "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    ):
        with contextlib.suppress(RuntimeError):
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(schema)
            libraries.append(library)
    return libraries


_LIBRARIES = _declare_missing_torchvision_operators()


@pytest.fixture(autouse=True)
def nothing_leaks():
    """Fail a test that leaves torch's default type, threads or determinism changed."""
    before = (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled())
    torch.manual_seed(0)
    yield
    after = (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled())
    assert after == before
