"""From nothing to a certified small network and its report, as a user would go."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open

import prunella as library


@pytest.fixture
def trained(prunella):
    said = prunella("train", "--network", "own_nets:net", "--data", "own_nets:samples",
                    "--epochs", "2", "--out", "runs/big")  # fmt: skip
    assert said.code == 0, said
    return said


@pytest.fixture
def pruned(trained, prunella):
    said = prunella("prune", "--network", "own_nets:net", "--data", "own_nets:samples",
                    "--weights", "runs/big/weights.safetensors", "--flops", "0.5",
                    "--multiple", "1", "--epochs", "1", "--certification-samples", "150",
                    "--calibration-samples", "32", "--out", "runs/small")  # fmt: skip
    assert said.code == 0, said
    return said


def tensors_of(path: str) -> dict[str, bytes]:
    with safe_open(path, framework="pt") as file:
        return {n: file.get_tensor(n).numpy().tobytes() for n in file.keys()}  # noqa: SIM118


def test_train_writes_weights_metrics_and_configuration(trained, prunella):
    assert sorted(p.name for p in Path("runs/big").iterdir()) == [
        "config.yaml", "metrics.json", "weights.safetensors",
    ]  # fmt: skip
    assert trained.err == ""
    metrics = json.loads(Path("runs/big/metrics.json").read_text())
    content = Path("runs/big/weights.safetensors").read_bytes()
    assert metrics["sha256"] == hashlib.sha256(content).hexdigest()
    assert [record["epoch"] for record in metrics["epochs"]] == [1, 2]
    assert metrics["test_samples"] == 300
    assert f"test accuracy {100 * metrics['test_accuracy']:.2f} % on 300 samples" in trained.out
    assert prunella("train", "--config", "runs/big/config.yaml", "--out", "again").code == 0
    assert Path("again/weights.safetensors").read_bytes() == content
    assert Path("again/config.yaml").read_text() == Path("runs/big/config.yaml").read_text()


def test_prune_writes_everything_that_it_says(pruned):
    assert pruned.err == ""
    names = {p.name for p in Path("runs/small").iterdir()}
    assert names == {
        "pruned.safetensors", "certificate.json", "report.html", "report.json", "config.yaml",
    }  # fmt: skip
    written = pruned.out.split("Written\n")[1]
    assert {Path(line.split()[0]).name for line in written.splitlines()} == names


def test_the_small_network_is_small_and_loads(pruned):
    import own_nets

    fresh = own_nets.net()
    small = library.load("runs/small/pruned.safetensors", fresh)
    example = torch.zeros(1, 1, 28, 28)
    before, after = library.cost(fresh, example), library.cost(small, example)
    assert after.macs <= 0.5 * before.macs
    report = json.loads(Path("runs/small/report.json").read_text())
    assert (report["before"]["macs"], report["after"]["macs"]) == (before.macs, after.macs)
    assert f"{after.params:,}" in pruned.out
    test = own_nets.samples("test")
    reached, _ = library.accuracy(small, test.loader(100))
    assert reached == pytest.approx(report["accuracy"]["after_retrain"], abs=0.15)


def test_corrupted_images_are_compared_too(pruned):
    report = json.loads(Path("runs/small/report.json").read_text())
    # All test samples that the certificate has left.
    assert report["robustness"]["samples"] == 150
    words = " ".join(pruned.out.split())
    assert "images other answers right before right after as they are" in words
    assert "Measured on 150 samples; no certificate speaks of it." in words


def test_the_certificate_is_whole_and_printed(pruned):
    text = Path("runs/small/certificate.json").read_text()
    certificate = library.Certificate.from_json(text)
    assert certificate.n == 150
    assert certificate.statement.split() == (
        pruned.out.split("Certificate\n")[1].split("\nWritten")[0].split()
    )


def test_the_configuration_makes_the_run_again(pruned, prunella):
    said = prunella("prune", "--config", "runs/small/config.yaml", "--out", "again")
    assert said.code == 0
    for name in ("config.yaml", "certificate.json"):
        assert Path("again", name).read_text() == Path("runs/small", name).read_text()
    assert tensors_of("again/pruned.safetensors") == tensors_of("runs/small/pruned.safetensors")


def test_the_command_in_the_report_makes_the_run(pruned):
    report = json.loads(Path("runs/small/report.json").read_text())
    assert report["command"].endswith("--calibration-samples 32 --out runs/small")
    assert "prune --network own_nets:net" in report["command"]
    assert yaml.safe_load(report["config"])["flops"] == 0.5


def test_report_is_made_again_the_same(pruned, prunella):
    before = Path("runs/small/report.html").read_bytes()
    for arguments, path in (
        (["runs/small", "--out", "new/r.html"], "new/r.html"),
        (["runs/small/report.json"], "runs/small/report.html"),
    ):
        said = prunella("report", *arguments, "--quiet")
        assert said == type(said)(0, f"{path}\n", "")
        assert Path(path).read_bytes() == before


def test_certify_on_its_own_agrees_with_prune(pruned, prunella):
    said = prunella("certify", "--network", "own_nets:net", "--data", "own_nets:samples",
                    "--weights", "runs/big/weights.safetensors",
                    "--pruned", "runs/small/pruned.safetensors",
                    "--certification-samples", "150", "--delta", "0.1",
                    "--out", "more/c.json")  # fmt: skip
    assert said.code == 0
    assert "confidence 90 %" in said.out
    first = library.Certificate.from_json(Path("runs/small/certificate.json").read_text())
    second = library.Certificate.from_json(Path("more/c.json").read_text())
    assert second.samples_digest == first.samples_digest
    assert second.small_digest == first.small_digest
    assert second.disagreement == first.disagreement
    assert second.disagreement_upper < first.disagreement_upper  # less confidence, closer bound


def test_without_out_a_new_directory_is_named_after_the_command(asked, prunella):
    said = prunella(*asked, "--quiet")
    assert said.code == 0
    (directory,) = Path("runs").iterdir()
    assert directory.name.startswith("prune-2")
    assert said.out.splitlines()[0] == f"{directory}/pruned.safetensors"


@pytest.mark.parametrize("method", ["filter-norm", "random", "taylor", "pfp-random"])
def test_other_methods(asked, prunella, method):
    assert prunella(*asked, "--method", method, "--out", "run").code == 0
    report = json.loads(Path("run/report.json").read_text())
    assert report["method"] == method


def test_no_retraining(asked, prunella):
    asked[asked.index("--epochs") + 1] = "0"
    said = prunella(*asked, "--out", "run")
    assert said.code == 0
    assert "after retraining" not in said.out
    assert "accuracy after the repair" in said.out
