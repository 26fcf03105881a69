"""`prunella train --task`: files, resuming after a kill, the same result again, mistakes."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import prunella as library
from prunella.retrain import assess
from prunella.tasks import Architecture, build, objective_for, read_task

TINY = [
    "train", "--task", "maze10", "--particles", "5", "--hidden", "6", "--sequences", "24",
    "--steps", "6", "--batch-size", "12",
]  # fmt: skip


def test_train_writes_what_it_says(prunella):
    said = prunella(*TINY, "--epochs", "2", "--out", "run")
    assert (said.code, said.err) == (0, "")
    assert {p.name for p in Path("run").iterdir()} == {
        "weights.safetensors", "metrics.json", "config.yaml", "report.html",
    }  # fmt: skip
    metrics = json.loads(Path("run/metrics.json").read_text())
    content = Path("run/weights.safetensors").read_bytes()
    assert metrics["sha256"] == hashlib.sha256(content).hexdigest()
    assert [record["epoch"] for record in metrics["epochs"]] == [1, 2]
    found = [record["held_out"]["loss_last"] for record in metrics["epochs"]]
    assert metrics["best_epoch"] == 1 + found.index(min(found))
    assert f"{metrics['test']['loss_last']:.2f} square cells on 24 test walks" in " ".join(
        said.out.split()
    )
    settings = yaml.safe_load(Path("run/config.yaml").read_text())
    assert settings["architecture"]["particles"] == 5
    assert settings["recipe"]["optimizer"] == "rmsprop"
    # The weights are those that the numbers are of.
    data = read_task("maze10", sequences=24, steps=6)
    architecture = Architecture(particles=5, hidden=6)
    network = build(architecture, data)
    library.load_weights("run/weights.safetensors", network)
    again = assess(network, data.test.loader(500), objective_for(architecture, data), seed=0)
    assert again == pytest.approx(metrics["test"], rel=1e-6)
    # The configuration gives the same run.
    assert prunella("train", "--config", "run/config.yaml", "--out", "again").code == 0
    assert Path("again/weights.safetensors").read_bytes() == content
    finished = prunella("train", "--config", "run/config.yaml", "--out", "run", "--resume")
    assert "This run is finished." in finished.out


def figures_of(page: str) -> dict[str, dict]:
    found = re.search(r'id="figure-data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])


def test_the_report_shows_the_walks_only_where_there_is_a_belief(prunella):
    for core, shown in (("pf-gru", 3), ("gru", 0)):
        assert prunella(*TINY, "--core", core, "--epochs", "1", "--out", core).code == 0
        figures = figures_of(Path(core, "report.html").read_text())
        beliefs = [figure for key, figure in figures.items() if key.startswith("figure-belief")]
        assert len(beliefs) == shown
        assert "figure-training" in figures
        for figure in beliefs:
            assert len(figure["frames"]) == 6
            assert all(len(frame[2]["x"]) == 5 for frame in figure["frames"])


def test_a_killed_run_goes_on_as_if_nothing_had_happened(prunella, workplace, environment):
    asked = [*TINY, "--epochs", "12"]
    assert prunella(*asked, "--out", "unbroken").code == 0
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "prunella", *asked, "--out", "run"],
        cwd=workplace, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch  2 of 12" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait(timeout=60)
    left = {p.name for p in (workplace / "run").iterdir() if not p.name.endswith(".part")}
    assert left == {"config.yaml", "training.safetensors"}
    assert prunella(*asked, "--out", "run", "--resume").code == 0
    for name in ("weights.safetensors", "metrics.json"):
        first, second = (workplace / run / name for run in ("unbroken", "run"))
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "maze11"], "--task maze11: expected one of maze10, maze18"),
        (["--task", "maze10", "--core", "rnn"], "--core should be 'pf-lstm', 'pf-gru', 'lstm'"),
        (["--task", "maze10", "--particles", "0"], "--particles should be greater than or equal"),
        (["--task", "maze10", "--network", "resnet20"], "--network resnet20 is for images, and"),
        (["--task", "maze10", "--data", "mnist"], "--data mnist is for images, and"),
        (["--core", "lstm", "--network", "resnet20"], "--core lstm is for a task of sequences; "),
        (
            ["--steps", "4"],
            "--steps 4 is for a task of sequences; give --task, too (prunella train --help lists",
        ),
        (["--task", "maze10", "--data-dir", "nowhere"], "nowhere: no such folder"),
        (["--task", "maze10", "--learning-rate", "inf"], "should be a finite number"),
        (["--epochs", "3"], "give --network and --data for a classifier, or --task for"),
    ],
)
def test_mistakes(prunella, workplace, arguments, message):
    said = prunella("train", *arguments, "--out", "run")
    assert said.code == 2 or "folder" in message
    assert message in " ".join(said.err.split())
    assert not (workplace / "run").exists()


def test_a_run_with_other_settings_is_not_resumed(prunella):
    assert prunella(*TINY, "--epochs", "1", "--out", "run").code == 0
    said = prunella(*TINY, "--epochs", "1", "--core", "lstm", "--out", "run", "--resume")
    assert "configured otherwise (architecture.core pf-lstm, now lstm)" in said.err


def test_help_names_the_tasks(prunella):
    said = prunella("train", "--help")
    assert "Tasks:" in said.out
    assert "maze10" in said.out


def test_seeds_differ_and_torchs_generator_does_not_matter(prunella):
    contents = []
    for noise, seed in ((1, "0"), (2, "0"), (1, "1")):
        torch.manual_seed(noise)
        folder = f"run-{len(contents)}"
        assert prunella(*TINY, "--epochs", "1", "--seed", seed, "--out", folder).code == 0
        contents.append(Path(folder, "weights.safetensors").read_bytes())
    assert contents[0] == contents[1] != contents[2]
