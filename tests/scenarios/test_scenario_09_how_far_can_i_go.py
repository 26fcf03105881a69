"""Scenario 9: "How far can I go?"

"I have a trained net, a calibration loader and a tolerance (≤ 0.5 points, or output error ≤ ε with
probability 1 − δ). I run one command. I get per-layer ratios, the smallest model found within
tolerance, accuracy right after the cut and after retraining, and a certificate file with bound, δ,
sample count, assumptions and what is *not* covered; a checker re-verifies it; on fresh data the
bound holds."

The network is a small one that learns its task in seconds, and the tolerance wider than half a
point in proportion to the samples that there are.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

import prunella
from prunella.bounds import paired_difference_upper
from prunella.cli.main import main

MODULE = """
import torch
from torch import nn


def network():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 4),
    )


def drawn(count, seed):
    # Noisy images with a bright corner; the corner is the label.
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (count,), generator=generator)
    images = 0.6 * torch.randn(count, 1, 6, 6, generator=generator)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[0, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3] += 1
    return list(zip(images, labels.tolist(), strict=True))


def samples(split):
    return drawn(1200, 0) if split == "train" else drawn(2000, 1)
"""
TOLERANCE = 0.02


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenario")
    (folder / "scenario_nine.py").write_text(MODULE)
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(folder))
    patch.chdir(folder)
    import scenario_nine

    yield scenario_nine
    patch.undo()


def loader(listed, size=200):
    return torch.utils.data.DataLoader(listed, batch_size=size)


@pytest.fixture(scope="module")
def trained(module):
    """I have a trained net."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = module.network()
    recipe = prunella.Recipe(epochs=6, learning_rate=0.1)
    prunella.fit(model, loader(module.samples("train"), 32), recipe, seed=0)
    prunella.save_weights("net.safetensors", model)
    return model.eval()


@pytest.fixture(scope="module")
def code(trained):
    """I run one command."""
    return main([
        "prune", "--network", "scenario_nine:network", "--weights", "net.safetensors",
        "--data", "scenario_nine:samples", "--max-drop", f"{100 * TOLERANCE:g}%",
        "--confidence", "99%", "--multiple", "1", "--epochs", "1", "--learning-rate", "0.02",
        "--calibration-samples", "128", "--retraining-samples", "600",
        "--certification-samples", "1600", "--out", "run",
    ])  # fmt: skip


@pytest.fixture
def report(code):
    assert code == 0
    return json.loads(Path("run/report.json").read_text())


@pytest.fixture
def small(code, module):
    return prunella.load("run/pruned.safetensors", module.network()).eval()


def test_ratios_per_layer(report, small):
    kept = {layer["name"]: sum(layer["kept"]) for layer in report["layers"]}
    assert (kept["0"], kept["3"]) == (small[0].out_channels, small[3].out_channels)
    assert kept["0"] + kept["3"] < 40
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert "All layers in numbers" in page


def test_the_smallest_model_found_within_tolerance(report, small):
    walk = report["walk"]
    *passed, last = walk["steps"]
    assert passed[-1]["share"] == walk["chosen"]
    assert all(step["upper"] <= TOLERANCE for step in passed)
    assert last["upper"] > TOLERANCE  # the next smaller one could not be shown to be
    count = sum(p.numel() for p in small.parameters())
    assert count == passed[-1]["cost"]["params"] < 0.8 * report["before"]["params"]


def test_accuracy_right_after_the_cut_and_after_retraining(report):
    accuracy = report["accuracy"]
    assert accuracy["after_cut"] < accuracy["after_retrain"]
    assert accuracy["after_retrain"] > accuracy["original"] - TOLERANCE
    assert len(report["training"]["epoch"]) == 1


def test_a_certificate_file(code):
    data = json.loads(Path("run/certificate.json").read_text())
    assert (data["accuracy_drop_upper"], data["delta"], data["n"]) == (TOLERANCE, 0.01, 1600)
    words = " ".join(data["assumptions"])
    assert "independent draws from one distribution" in words
    assert re.search(r"a shift of the distribution, .* is not covered", words)
    assert "The choice is accounted for" in words


def test_a_checker_verifies_it(code, capsys):
    capsys.readouterr()
    assert main([
        "verify", "run/certificate.json", "--network", "scenario_nine:network",
        "--weights", "net.safetensors", "--pruned", "run/pruned.safetensors",
        "--data", "scenario_nine:samples",
    ]) == 0  # fmt: skip
    assert "The certificate is what was found." in capsys.readouterr().out


def test_it_can_be_checked_again(report, trained, small, module):
    """Both networks, run over the certification samples once more, give the numbers of the walk."""
    certificate = prunella.Certificate.from_json(Path("run/certificate.json").read_text())
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(0))[:1600].tolist()
    test = module.samples("test")
    listed = [test[place] for place in order]
    assert prunella.certify(trained, small, loader(listed)).samples_digest == (
        certificate.samples_digest
    )
    plus, minus = counted(trained, small, listed)
    step = next(s for s in report["walk"]["steps"] if s["share"] == report["walk"]["chosen"])
    assert step["observed"] == certificate.accuracy_drop == (plus - minus) / 1600
    assert paired_difference_upper(plus, minus, 1600, step["delta"]) == step["upper"] <= TOLERANCE
    assert step["delta"] <= certificate.delta


def test_on_fresh_data_the_bound_holds(trained, small, module):
    plus, minus = counted(trained, small, module.drawn(20_000, 5))
    assert (plus - minus) / 20_000 <= TOLERANCE


def counted(original, small, listed):
    """Samples that only one of the two gets right."""
    plus = minus = 0
    with torch.no_grad():
        for images, labels in loader(listed, 1000):
            right, small_right = (m(images).argmax(1) == labels for m in (original, small))
            plus += int((right & ~small_right).sum())
            minus += int((small_right & ~right).sum())
    return plus, minus
