"""Networks of several inputs and samples of any kind on the command line."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch
import yaml

import prunella as package

MODULE = '''
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(12), nn.Linear(12, width), nn.Linear(width, 12)

    def forward(self, x):
        return x + self.down(self.up(self.norm(x)).relu())


class Two(nn.Module):
    """Tokens and a number for each sample; returns a dictionary."""

    def __init__(self):
        super().__init__()
        self.tokens, self.number = nn.Embedding(20, 12), nn.Linear(1, 12)
        self.blocks = nn.ModuleList([Block(32) for _ in range(3)])
        self.last = nn.Linear(12, 3)

    def forward(self, tokens, number):
        x = self.tokens(tokens).mean(1) + self.number(number)
        for block in self.blocks:
            x = block(x)
        return {"logits": self.last(x)}


def net():
    torch.manual_seed(0)
    return Two()


class Tokens(Dataset):
    """Dictionaries with the label inside."""

    def __init__(self, seed):
        generator = torch.Generator().manual_seed(seed)
        self.tokens = torch.randint(0, 20, (160, 6), generator=generator)
        self.numbers = torch.randn(160, 1, generator=generator)

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, index):
        tokens, number = self.tokens[index], self.numbers[index]
        return {"tokens": tokens, "number": number, "labels": int(tokens[0]) % 3}


def named(split):
    return Tokens(int(split == "test"))


def paired(split):
    return [((s["tokens"], s["number"]), s["labels"]) for s in named(split)]


def flat(split):
    samples = named(split)
    labels = samples.tokens[:, 0] % 3
    return TensorDataset(samples.tokens, samples.numbers, labels)


def no_labels(split):
    return [{"tokens": s["tokens"]} for s in named(split)]


def other_names(split):
    return [{"ids": s["tokens"], "labels": 0} for s in named(split)]


def ragged(split):
    return [(torch.ones(3 + i % 2, dtype=torch.long), 0) for i in range(50)]


def empty(split):
    return []


class Broken(Tokens):
    def __getitem__(self, index):
        if index == 7:
            raise OSError("sample 7 is unreadable")
        return super().__getitem__(index)


def broken(split):
    return Broken(0)


def text(split):
    return "abc"
'''


@pytest.fixture
def prune(prunella, workplace, monkeypatch):
    """Run `prune` on the module above."""
    (workplace / "two_inputs.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(workplace))
    monkeypatch.delitem(sys.modules, "two_inputs", raising=False)
    package.save_weights("net.safetensors", own_network())

    def run(data, *arguments):
        return prunella(
            "prune", "--network", "two_inputs:net", "--weights", "net.safetensors",
            "--data", f"two_inputs:{data}", "--params", "0.6", "--multiple", "1", "--epochs", "1",
            "--calibration-samples", "32", "--certification-samples", "100", *arguments,
        )  # fmt: skip

    return run


def own_network():
    return importlib.import_module("two_inputs").net()


def kept(directory):
    """Units that stay, by group."""
    plan = package.load_plan(f"{directory}/pruned.safetensors")
    return {name: len(units) for name, units in plan.kept.items()}


def test_the_whole_story(prune, prunella):
    for data in ("named", "paired"):
        said = prune(data, "--out", data)
        assert said.code == 0, said.err
        assert "Certificate" in said.out
        assert f"on {60:,} samples" in said.out
    # The same samples, in other words: the same network.
    assert kept("named") == kept("paired")
    first, second = (
        package.load(f"{name}/pruned.safetensors", own_network()) for name in ("named", "paired")
    )
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )

    said = prunella("export", "named", "--format", "pt2")
    assert said.code == 0, said.err
    assert "pruned.pt2" in said.out
    common = ["--network", "two_inputs:net", "--weights", "net.safetensors"]
    said = prunella(
        "certify", *common, "--pruned", "paired/pruned.safetensors", "--data", "two_inputs:paired",
        "--certification-samples", "80", "--out", "again.json",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert "Measured on 80 samples" in said.out
    said = prunella("data", "two_inputs:named")
    assert said.out.splitlines() == [
        "two_inputs:named train: 160 samples", "two_inputs:named test: 160 samples",
    ]  # fmt: skip


def test_training(prune, prunella, workplace):
    said = prunella("train", "--network", "two_inputs:net", "--data", "two_inputs:named")
    assert said.code == 2
    assert "shifts or mirrors images, but the training loader yields inputs" in said.err
    assert "Set shift to 0 and flip to false in the recipe." in said.err
    (workplace / "train.yaml").write_text(
        "network: two_inputs:net\ndata: two_inputs:named\n"
        "recipe: {epochs: 1, shift: 0, flip: false}\n"
    )
    said = prunella("train", "--config", "train.yaml", "--out", "trained")
    assert said.code == 0, said.err
    assert "test accuracy" in said.out


def test_equal_layers(prune):
    assert prune("named", "--out", "free").code == 0
    said = prune("named", "--equal-layers", "--out", "equal")
    assert said.code == 0, said.err
    widths = {name: size for name, size in kept("equal").items() if name.endswith("up")}
    assert len(widths) == 3
    assert len(set(widths.values())) == 1
    assert len(set(kept("free").values())) > 1
    assert yaml.safe_load(Path("equal/config.yaml").read_text())["equal_layers"] is True
    # The file decides where the option is not given.
    assert prune("named", "--config", "equal/config.yaml", "--out", "again").code == 0
    assert kept("again") == kept("equal")


def test_through_norms(prune):
    assert prune("named", "--out", "whole").code == 0
    said = prune("named", "--through-norms", "--params", "0.3", "--out", "through")
    assert said.code == 0, said.err
    (stream,) = kept("through").keys() - kept("whole").keys()
    assert kept("through")[stream] < 12
    page = Path("through/report.html").read_text(encoding="utf-8")
    assert f"In that comparison {stream} stayed whole" in page
    assert "In that comparison" not in Path("whole/report.html").read_text(encoding="utf-8")


def test_layers_that_are_left_whole_are_those_of_the_options(prune):
    said = prune("named", "--params", "0.05", "--exclude", "blocks.1", "--out", "none")
    assert said.code == 2
    assert "excluded by 'blocks.1'" in said.out


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            "flat",
            r"returned TensorDataset whose first sample is unsuitable (the loader yields 1 inp",
        ),
        ("flat", "Several inputs of one model go into a tuple of their own"),
        ("no_labels", "returned list whose first sample has no label for 'train'; expected a prun"),
        (
            "other_names",
            "Two run on one of two_inputs:other_names train: failed with TypeError: Two.",
        ),
        ("ragged", "expected tensors and numbers of the same shape in every sample, for instance"),
        ("empty", "there are no train samples; expected at least one"),
        ("broken", "two_inputs:broken test: sample 7 cannot be read (OSError: sample 7 is unread"),
        ("text", "the factory returned str for 'train'; expected a prunella.data.ImageSet, or a"),
    ],
)
def test_samples_that_do_not_fit(data, words, prune, workplace):
    if data == "ragged":  # a network that takes one tensor
        forward = "\n\nTwo.forward = lambda self, x: self.last(self.tokens(x).mean(1))\n"
        Path("two_inputs.py").write_text(MODULE + forward)
        sys.modules.pop("two_inputs")
        said = prune(data, "--calibration-samples", "20", "--certification-samples", "20")
    else:
        said = prune(data)
    assert said.code == 2
    assert words in said.err
    assert not (workplace / "runs").exists()
