"""A small network, small data and many bad ones, as a user would keep them in a module."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import prunella as package
from prunella.cli.main import main

SOURCE = Path(package.__file__).parents[1]

MODULE = '''
import os
import time

import torch
from torch import nn

from prunella.data import ImageSet, bundled


class Net(nn.Module):
    def __init__(self, classes=10, channels=1):
        super().__init__()
        self.first = nn.Conv2d(channels, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 16, 3, stride=2)
        self.last = nn.Linear(16, classes)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        return self.last(torch.relu(self.second(x)).mean((2, 3)))


class Wider(Net):
    def __init__(self):
        super().__init__()
        self.second = nn.Conv2d(8, 24, 3, stride=2)
        self.last = nn.Linear(24, 10)


class Heavy(Net):
    """Whose run time is that of its second layer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 32, 3, stride=2)
        self.norm = nn.BatchNorm2d(32)
        self.second = nn.Conv2d(32, 192, 3)
        self.last = nn.Linear(192, 10)


class Slow(Net):
    """As slow as a test likes it."""

    def forward(self, x):
        time.sleep(pause)
        return super().forward(x)


pause = float(os.environ.get("PAUSE", "0"))


class Loses(Net):
    def forward(self, x):
        raise KeyError("no such thing")


class Doubles(Net):
    def forward(self, x):
        return super().forward(x.double())


class Images(Net):
    def forward(self, x):
        return x


class OneLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.only = nn.Linear(784, 10)

    def forward(self, x):
        return self.only(x.flatten(1))


def net(num_classes=10, in_channels=1):
    return Net(num_classes, in_channels)


def wider():
    return Wider()


def heavy():
    return Heavy()


def slow():
    return Slow()


def loses():
    return Loses()


def doubles():
    return Doubles()


def images():
    return Images()


def one_layer():
    return OneLayer()


def five_outputs():
    return Net(classes=5)


def broken():
    raise OSError("the disk with my network is gone")


def seven():
    return 7


number = 7


def samples(split):
    return bundled("calibration" if split == "train" else "test").subset(range(300))


def empty(split):
    return samples(split).subset([])


def no_test(split):
    return samples(split) if split == "train" else empty(split)


def overlapping(split):
    """The test samples repeat training samples."""
    return bundled("calibration").subset(range(300))


def bad_labels(split):
    good = samples(split)
    return ImageSet(name="mine", images=good.images, labels=good.labels + 5, classes=good.classes,
                    mean=good.mean, std=good.std)


def no_set(split):
    return [1, 2, 3]


def fails(split):
    raise ZeroDivisionError("one of my divisors is zero")
'''


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def library(tmp_path_factory) -> Path:
    """A folder with the module `own_nets`; importable as long as the session lasts."""
    folder = tmp_path_factory.mktemp("library")
    (folder / "own_nets.py").write_text(MODULE)
    (folder / "own_broken.py").write_text("def net(:\n")
    return folder


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch, library) -> Path:
    """An empty current folder, 80 columns, no colours, the library importable."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(library))
    for name in ("CI", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture(autouse=True)
def ctrl_c_is_heard():
    """Also where the tests run in the background, with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def prunella(capsys) -> Callable[..., Said]:
    """Run a command in this process."""

    def run(*arguments: object) -> Said:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return run


@pytest.fixture(scope="session")
def weights(library, tmp_path_factory) -> Path:
    """Weights of `own_nets:net`, trained a little."""
    import torch

    from prunella import Recipe, fit, save_weights

    sys.path.insert(0, str(library))
    try:
        import own_nets
    finally:
        sys.path.remove(str(library))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = own_nets.net()
        recipe = Recipe(epochs=2, learning_rate=0.1)
        fit(model, own_nets.samples("train").loader(32, shuffle=True), recipe, seed=0)
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_weights(path, model)
    return path


@pytest.fixture
def asked(weights) -> list[str]:
    """`prune` with everything it needs but --out."""
    return [
        "prune", "--network", "own_nets:net", "--weights", str(weights),
        "--data", "own_nets:samples", "--params", "0.6", "--multiple", "1", "--epochs", "1",
        "--calibration-samples", "32", "--certification-samples", "100",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def environment(library) -> dict[str, str]:
    """For commands in a process of their own."""
    kept = {k: v for k, v in os.environ.items() if k not in ("CI", "FORCE_COLOR")}
    path = os.pathsep.join([str(SOURCE), str(library), *sys.path])
    return {**kept, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
