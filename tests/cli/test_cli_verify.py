"""`prunella verify`, and the parts of a certificate that `prunella certify` makes on request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import prunella as library

COMMON = ["--network", "own_nets:net", "--data", "own_nets:samples"]


@pytest.fixture
def run(asked, weights, prunella):
    """A run of `prune`; a function that verifies its certificate with some options changed."""
    assert prunella(*asked, "--out", "run").code == 0

    def verify(certificate="run/certificate.json", **options):
        given = {"weights": weights, "pruned": "run/pruned.safetensors"} | options
        named = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
        return prunella("verify", certificate, *COMMON, *named)

    return verify


def test_the_certificate_of_a_run_holds(run):
    said = run()
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("The certificate is what was found.")
    listed = said.out.split("compared:\n")[1].split()
    assert listed == list(json.loads(Path("run/certificate.json").read_text()))


def test_changes_are_named_and_the_exit_code_is_1(run):
    data = json.loads(Path("run/certificate.json").read_text())
    data |= {"disagreement_upper": 0.9, "alpha": 0.06}
    Path("changed.json").write_text(json.dumps(data))
    said = run("changed.json")
    assert said.code == 1
    lines = said.out.splitlines()
    assert "does not hold as it stands" in lines[0]
    assert any(line.startswith("  disagreement_upper: the certificate has 0.9") for line in lines)
    assert any(line.startswith("  digest: ") for line in lines)
    number = int(lines[0].split(": ")[1].split()[0])
    assert number == len(lines) - 1 >= 4


def test_other_networks_samples_and_seeds_are_noticed(run, weights):
    import own_nets

    model = own_nets.net()
    library.load_weights(weights, model)
    with torch.no_grad():
        model.last.bias[0] += 0.1
    library.save_weights("other.safetensors", model)
    assert "original_digest: " in run(weights="other.safetensors").out
    for options in ({"seed": 1}, {"certification_samples": 99}):
        said = run(**options)
        assert said.code == 1
        assert "  samples_digest: the certificate has " in said.out


def test_a_certificate_of_the_first_version_has_no_digest(run):
    data = json.loads(Path("run/certificate.json").read_text())
    names = ["alpha", "delta", "n", "disagreement", "disagreement_upper", "accuracy_drop",
             "accuracy_drop_upper", "logit_error_bound", "samples_digest", "original_digest",
             "small_digest", "assumptions", "statement"]  # fmt: skip
    old = {"schema_version": 1} | {name: data[name] for name in names}
    Path("old.json").write_text(json.dumps(old))
    said = run("old.json")
    assert said.code == 0
    assert "It has no digest, as its version had none." in said.out


def test_certify_by_class_by_layer_and_for_the_best_three(run, weights, prunella):
    said = prunella("certify", *COMMON, "--weights", weights, "--pruned", "run/pruned.safetensors",
                    "--certification-samples", "120", "--per-class", "--per-layer", "--top-k", "3",
                    "--out", "more.json")  # fmt: skip
    assert said.code == 0
    words = " ".join(said.out.split())
    assert "the top-3 accuracy" in words
    assert "classes that the original names" in words
    certificate = library.Certificate.from_json(Path("more.json").read_text())
    assert certificate.top_k.k == 3
    assert sum(bound.n for bound in certificate.classes) == 120
    assert "last" in [bound.name for bound in certificate.layers]
    assert run("more.json").code == 0


def test_mistakes(run):
    for name, text in (("none.json", None), ("list.json", "[]")):
        if text is not None:
            Path(name).write_text(text)
        said = run(name)
        assert said.code == 2
        assert said.err.startswith("Error: ")
    data = library.Certificate.from_json(Path("run/certificate.json").read_text())
    entry = {"name": "cost", "mean": 0.1, "mean_upper": 0.2, "increase": 0.0, "increase_upper": 0.1}
    changed = json.loads(data.to_json()) | {"losses": [entry]}
    Path("losses.json").write_text(json.dumps(changed))
    said = run("losses.json")
    assert said.code == 2
    assert "use prunella.verify_certificate from Python" in said.err
