"""A small pruned model, and limits on what reading a file may take."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import prunella
from prunella.core.errors import PrunellaError

Header = dict[str, Any]
Reader = Callable[[], object]


class Net(nn.Module):
    """A shortcut, a concatenation, a flattening, tied weights and a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.left = nn.Conv2d(4, 3, 1)
        self.right = nn.Conv2d(4, 2, 1)
        self.hidden = nn.Linear(5 * 4, 6)
        self.again = nn.Linear(6, 6)
        self.twice = nn.Linear(6, 6)
        self.twice.weight = self.again.weight
        self.last = nn.Linear(6, 3)
        self.register_buffer("scale", torch.ones(1, 4, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(x + self.second(x)) * self.scale
        x = torch.cat([self.left(x), self.right(x)], 1)
        x = torch.relu(self.hidden(x.flatten(1)))
        return self.last(torch.relu(self.twice(torch.relu(self.again(x)))))


EXAMPLE = torch.zeros(1, 1, 2, 2)


@pytest.fixture(scope="session")
def fresh() -> Callable[[], nn.Module]:
    """Builds the network anew, without touching the global random state."""

    def build() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return Net().eval()

    return build


@pytest.fixture(scope="session")
def pruned(fresh, tmp_path_factory) -> bytes:
    """A file of a pruned model, with fingerprints of samples in its plan."""
    model = fresh()
    graph = prunella.trace(model, EXAMPLE)
    kept = {group.name: torch.arange(0, group.size, 2) for group in graph.prunable}
    assert list(kept) == ["first", "left", "right", "hidden"]
    samples = prunella.core.samples.SampleIds.of(torch.arange(12.0).reshape(4, 3))
    plan = prunella.Plan.from_kept(
        graph, kept, requested=prunella.Params(0.5), method="pfp", seed=3, samples=samples
    )
    path = tmp_path_factory.mktemp("pruned") / "small.safetensors"
    prunella.save(path, plan.apply(model), plan)
    return path.read_bytes()


@pytest.fixture(scope="session")
def mutate() -> ModuleType:
    """The module with random changes, which lies beside this file."""
    path = Path(__file__).with_name("mutate.py")
    spec = importlib.util.spec_from_file_location("security_mutate", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def split_file(data: bytes) -> tuple[Header, bytes]:
    """Header and tensors of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join_file(header: Header | bytes, body: bytes) -> bytes:
    """A safetensors file of any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


@pytest.fixture(scope="session")
def files() -> tuple[Callable[..., Any], Callable[..., bytes]]:
    """Take a safetensors file apart, and put it together."""
    return split_file, join_file


@pytest.fixture(scope="session")
def tampered(pruned) -> Callable[[Callable[[Header, Header], None]], bytes]:
    """The file with its header changed by a function of header and plan."""

    def change(function: Callable[[Header, Header], None]) -> bytes:
        header, body = split_file(pruned)
        plan = json.loads(header["__metadata__"]["plan"])
        function(header, plan)
        if "plan" in header["__metadata__"]:
            header["__metadata__"]["plan"] = json.dumps(plan)
        return join_file(header, body)

    return change


def refusal(read: Reader) -> str | None:
    """The message of the error with which something is refused; None if it was read.

    Any other error than those that prunella raises on purpose goes through, and fails the test.
    """
    try:
        read()
    except PrunellaError as error:
        message = str(error)
        assert "\n" not in message, message
        assert 20 < len(message) < 2000, message
        assert message.endswith("."), message
        # Memory that was refused by the system would have been taken from a larger one.
        assert "memory" not in message.lower(), message
        assert "alloc" not in message.lower(), message
        return message
    return None


@pytest.fixture(scope="session")
def refused() -> Callable[[Reader], str | None]:
    return refusal


@contextlib.contextmanager
def limited_memory(extra: int) -> Iterator[None]:
    """Let this process take no more than `extra` bytes beyond what it has now."""
    if not sys.platform.startswith("linux"):  # others have no such limit
        yield
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def memory() -> Callable[[int], contextlib.AbstractContextManager[None]]:
    return limited_memory
