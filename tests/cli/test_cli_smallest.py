"""`prunella prune --max-drop`: the smallest network within a tolerance."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import prunella as library
from prunella.files.stages import StageFiles
from prunella.pipeline import shrink
from prunella.pipeline.judging import Answers


@pytest.fixture
def searching(weights) -> list[str]:
    """A search with everything it needs but --out."""
    return [
        "prune", "--network", "own_nets:net", "--weights", str(weights),
        "--data", "own_nets:samples", "--max-disagreement", "30%", "--confidence", "95%",
        "--multiple", "1", "--calibration-samples", "32", "--certification-samples", "200",
    ]  # fmt: skip


@pytest.fixture
def found(searching, prunella):
    said = prunella(*searching, "--out", "run")
    assert said.code == 0, said
    return said


def test_the_search_writes_and_says_what_it_found(found):
    names = {p.name for p in Path("run").iterdir()}
    assert names == {
        "pruned.safetensors", "certificate.json", "report.html", "report.json", "config.yaml",
    }  # fmt: skip
    report = json.loads(Path("run/report.json").read_text())
    walk = report["walk"]
    words = " ".join(found.out.split())
    assert "claim the networks name different classes for at most 30 % of new samples" in words
    assert "confidence 95 %, from 200 samples" in words
    assert f"candidates tested {len(walk['steps'])} of {len(walk['shares'])}" in words
    kept = f"at most {100 * walk['chosen']:g} % of the parameters"
    assert f"smallest that passed {kept}" in words
    assert f"> {100 * walk['steps'][0]['share']:g} % of the parameters: " in words
    assert report["reached"] is True
    certificate = library.Certificate.from_json(Path("run/certificate.json").read_text())
    assert (certificate.delta, certificate.disagreement_upper) == (0.05, 0.3)
    assert all(len(line) <= 80 for line in found.out.splitlines() if not line.startswith(" run/"))


def test_the_network_loads_and_keeps_the_claim(found, weights):
    import own_nets

    original = own_nets.net()
    library.load_weights(weights, original)
    small = library.load("run/pruned.safetensors", original)
    report = json.loads(Path("run/report.json").read_text())
    assert report["after"]["params"] <= report["walk"]["chosen"] * report["before"]["params"]
    ((fresh, _),) = library.data.bundled("certification").loader(2000)
    different = original.eval()(fresh).argmax(1) != small.eval()(fresh).argmax(1)
    assert len(different) == 2000
    assert float(different.float().mean()) <= 0.3


def test_the_same_samples_cannot_certify_it_again(found, weights, prunella):
    said = prunella(
        "certify", "--network", "own_nets:net", "--data", "own_nets:samples",
        "--weights", weights, "--pruned", "run/pruned.safetensors",
        "--certification-samples", "100",
    )  # fmt: skip
    assert said.code == 2
    assert "were already used to train, calibrate or choose the small network" in said.err


def test_the_certificate_of_a_search_is_verified(found, weights, prunella):
    def verified(path):
        return prunella(
            "verify", path, "--network", "own_nets:net", "--data", "own_nets:samples",
            "--weights", weights, "--pruned", "run/pruned.safetensors",
        )  # fmt: skip

    said = verified("run/certificate.json")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("The certificate is what was found.")
    data = json.loads(Path("run/certificate.json").read_text())
    data["choice"]["candidates"] = 2
    Path("changed.json").write_text(json.dumps(data))
    assert verified("changed.json").code == 1


def test_what_else_the_certificate_bounds(searching, prunella, weights):
    said = prunella(*searching, "--per-class", "--per-layer", "--top-k", "3", "--out", "run")
    assert said.code == 0, said
    certificate = library.Certificate.from_json(Path("run/certificate.json").read_text())
    assert certificate.classes
    assert certificate.layers
    assert certificate.top_k.k == 3
    assert "the top-3 accuracy falls by at most" in " ".join(said.out.split())
    again = prunella(
        "verify", "run/certificate.json", "--network", "own_nets:net",
        "--data", "own_nets:samples", "--weights", weights, "--pruned", "run/pruned.safetensors",
    )  # fmt: skip
    assert (again.code, again.err) == (0, "")


def test_the_configuration_makes_the_run_again(found, prunella):
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert config["max_disagreement"] == "30%"
    assert config["delta"] == 0.05
    assert config["recipe"]["epochs"] == 0  # candidates are retrained on demand only
    said = prunella("prune", "--config", "run/config.yaml", "--out", "again")
    assert said.code == 0
    for name in ("config.yaml", "certificate.json"):
        assert Path("again", name).read_text() == Path("run", name).read_text()
    # An option takes the place of the search, and the other way round.
    said = prunella("prune", "--config", "run/config.yaml", "--params", "0.6", "--out", "sized")
    assert said.code == 0
    assert "Search" not in said.out


def test_levels_in_a_file(searching, prunella, weights):
    settings = {
        "network": "own_nets:net", "weights": str(weights), "data": "own_nets:samples",
        "max_drop": 0.1, "smallest_in": "flops", "multiple": 1, "calibration_samples": 32,
        "certification_samples": 200, "recipe": {"epochs": 1},
    }  # fmt: skip
    Path("search.yaml").write_text(yaml.safe_dump(settings))
    assert prunella("prune", "--config", "search.yaml", "--out", "run").code == 0
    report = json.loads(Path("run/report.json").read_text())
    assert (report["walk"]["risk"], report["walk"]["alpha"]) == ("accuracy_drop", 0.1)
    assert report["walk"]["unit"] == "multiply-adds"
    assert len(report["training"]["epoch"]) == 1


def test_none_passes(searching, prunella, monkeypatch):
    monkeypatch.setattr(shrink.Judge, "__call__", _all_differ)
    said = prunella(*searching, "--out", "run")
    assert said.code == 1
    assert "smallest that passed none; the original stays" in " ".join(said.out.split())
    assert {p.name for p in Path("run").iterdir()} == {"report.html", "report.json", "config.yaml"}
    assert "Certificate" not in said.out
    again = prunella(*searching, "--out", "run", "--resume")
    assert again.code == 1
    assert "This run is finished" in again.out


def _all_differ(self, small):
    return Answers(n=200, plus=200)


def test_a_start_is_looked_for_where_training_samples_are_left(searching, prunella):
    said = prunella(*searching, "--retraining-samples", "100", "--out", "run")
    assert said.code == 0
    assert "> looking for a start on the selection samples" in said.out
    assert json.loads(Path("run/report.json").read_text())["walk"]["start"] > 0
    none = prunella(*searching, "--retraining-samples", "100", "--selection-samples", "0",
                    "--out", "other")  # fmt: skip
    assert "looking for a start" not in none.out


def test_resume_after_a_kill(searching, prunella, monkeypatch):
    whole = prunella(*searching, "--out", "whole")
    assert whole.code == 0
    tested = shrink.walk

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(shrink, "walk", interrupted)
    said = prunella(*searching, "--out", "run")
    assert said.code == 130
    assert StageFiles(Path("run")).load_scores() is not None
    monkeypatch.setattr(shrink, "walk", tested)
    again = prunella("prune", "--config", "run/config.yaml", "--out", "run", "--resume")
    assert again.code == 0
    assert "done before the interruption" in again.out
    for name in ("certificate.json", "config.yaml"):
        assert Path("run", name).read_text() == Path("whole", name).read_text()
    walks = [json.loads(Path(d, "report.json").read_text())["walk"] for d in ("run", "whole")]
    assert walks[0] == walks[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--max-drop", "0.5"], "--max-drop should be a share with its sign, such as 0.5%"),
        (["--max-drop", "none"], "got 'none'"),
        (["--max-drop", "1%", "--max-disagreement", "2%"],
         "got 2 budgets, --max-drop 0.01 and --max-disagreement 0.02"),
        (["--max-drop", "1%", "--params", "0.5"], "got 2 budgets, --params 0.5 and --max-drop"),
        (["--max-drop", "5%", "--confidence", "99"], "expected at least 50% and less than 100%"),
        (["--max-drop", "5%", "--confidence", "99%", "--delta", "0.01"], "which say the same"),
        (["--max-drop", "5%", "--smallest-in", "layers"], "--smallest-in should be 'params', "),
        (["--max-drop", "0.5%"], "that takes at least 1,133, and more if they differ at times"),
    ],
)  # fmt: skip
def test_mistakes(asked, prunella, options, words):
    del asked[asked.index("--params") : asked.index("--params") + 2]
    said = prunella(*asked, *options, "--out", "run")
    assert said.code == 2
    assert said.err.startswith("Error: ")
    assert words in said.err
    assert not Path("run").exists()


def test_the_help_teaches_it(prunella):
    text = " ".join(prunella("prune", "--help").out.split())
    for words in (
        "--max-drop 0.5% --confidence 99%",
        "finds the smallest network whose accuracy on new samples falls by at most half a",
        "tested from large to small on the test samples until one fails",
        "99% is --delta 0.01",
    ):
        assert words in text, words
