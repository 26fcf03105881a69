"""Ctrl-C at any moment: whole files, a sentence on how to go on, and the same result in the end."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from safetensors import safe_open

from prunella.cli import interrupts, outcome, say

STAGES = ("tracing", "scoring", "planning", "cutting", "measuring accuracy", "repairing",
          "retraining", "certifying", "measuring run times")  # fmt: skip
WHOLE = {"config.yaml", "scoring.safetensors", "scores.safetensors", "training.safetensors"}


@pytest.fixture
def slow(asked, workplace) -> list[str]:
    """`prune` on a network that can be made slow, with four epochs."""
    (workplace / "base.yaml").write_text(
        "latency_batches: [1]\nrecipe: {epochs: 4, learning_rate: 0.05, shift: 1}\n"
    )
    result = [*asked, "--config", "base.yaml"]
    result[result.index("own_nets:net")] = "own_nets:slow"
    place = result.index("--epochs")
    return result[:place] + result[place + 2 :]


def findings(directory: Path) -> dict[str, object]:
    """All that a run found, to the last bit; without times and dates."""
    with safe_open(directory / "pruned.safetensors", framework="pt") as file:
        plan = file.metadata()["plan"]
        tensors = {n: file.get_tensor(n).numpy().tobytes() for n in file.keys()}  # noqa: SIM118
    report = json.loads((directory / "report.json").read_text())
    certificate = json.loads((directory / "certificate.json").read_text())
    found = {name: report[name] for name in ("accuracy", "layers", "before", "after", "training")}
    return {"plan": plan, "tensors": tensors, "certificate": certificate, **found}


def how_to_go_on(said_in: str) -> list[str]:
    """The arguments of the command that the message gives."""
    assert "go on with: " in said_in, said_in
    words = shlex.split(said_in.split("go on with: ")[1])
    return words[words.index("prunella") + 1 :]


def interrupt_soon(delay: float) -> None:
    """Press Ctrl-C for the main thread, a little later, wherever it then is."""
    main = threading.main_thread().ident
    threading.Timer(delay, signal.pthread_kill, (main, signal.SIGINT)).start()


def interrupt_in(monkeypatch, name: str) -> None:
    """Press Ctrl-C soon after a stage began, while each pass of the network takes long."""
    import own_nets

    begin = say.Speaker.stage

    def stage(self, text: str) -> None:
        begin(self, text)
        if text.startswith(name):
            own_nets.pause = 0.1
            interrupt_soon(0.02)

    monkeypatch.setattr(own_nets, "pause", 0.0)
    monkeypatch.setattr(say.Speaker, "stage", stage)


@pytest.fixture
def unbroken(prunella, slow) -> dict[str, object]:
    assert prunella(*slow, "--out", "unbroken").code == 0
    return findings(Path("unbroken"))


def test_these_are_all_stages(prunella, slow):
    said = prunella(*slow, "--out", "run")
    begun = [line[2:] for line in said.out.splitlines() if line.startswith("> ")]
    assert begun.pop() == "writing the results"
    assert len(begun) == len(STAGES)
    assert all(text.startswith(name) for text, name in zip(begun, STAGES, strict=True))


@pytest.mark.parametrize("name", STAGES)
def test_interrupted_stage(prunella, slow, unbroken, workplace, monkeypatch, name):
    with monkeypatch.context() as patch:
        interrupt_in(patch, name)
        said = prunella(*slow, "--out", "run")
    assert said.code == 130
    begun = [line[2:] for line in said.out.splitlines() if line.startswith("> ")]
    # Planning is over before a signal arrives.
    assert begun[-1].startswith((name, "cutting") if name == "planning" else name)
    assert said.err.startswith("Interrupted. ")
    assert said.err.count("\n") == 1
    left = {p.name for p in (workplace / "run").iterdir()}
    assert "config.yaml" in left
    assert left <= WHOLE
    assert prunella(*how_to_go_on(said.err)).code == 0
    assert findings(workplace / "run") == unbroken
    assert "--resume" not in json.loads((workplace / "run" / "report.json").read_text())["command"]
    assert not left - {"config.yaml"} & {p.name for p in (workplace / "run").iterdir()}


def test_interrupted_twice_and_resumed_twice(prunella, slow, unbroken, workplace, monkeypatch):
    for name in ("scoring", "certifying"):
        with monkeypatch.context() as patch:
            interrupt_in(patch, name)
            said = prunella(*slow, "--out", "run", "--resume")
        assert said.code == 130
    assert prunella(*how_to_go_on(said.err)).code == 0
    assert findings(workplace / "run") == unbroken


@pytest.fixture
def killed_while_scoring(prunella, slow, workplace, monkeypatch):
    """A run of batches of eight that was stopped after the third; the command that goes on."""
    from prunella.files import PassFile, stages

    with (workplace / "base.yaml").open("a") as settings:
        settings.write("batch_size: 8\n")
    saved = []

    def save(self, state):
        write(self, state)
        saved.append(state.samples.count)
        if len(saved) == 3:
            raise KeyboardInterrupt

    write = PassFile.save
    with monkeypatch.context() as patch:
        patch.setattr(stages, "_EVERY_S", 0.0)
        patch.setattr(PassFile, "save", save)
        said = prunella(*slow, "--out", "run")
    assert said.code == 130
    assert saved == [8, 16, 24]
    left = {p.name for p in (workplace / "run").iterdir()}
    assert left == {"config.yaml", "scoring.safetensors"}
    return how_to_go_on(said.err)


def test_scoring_goes_on_where_it_was(prunella, slow, killed_while_scoring, workplace, monkeypatch):
    from prunella.sensitivity import collect

    run = []

    def blocks(inputs, count, device):
        run.append(count)
        return divided(inputs, count, device)

    divided = collect._blocks
    with monkeypatch.context() as patch:
        patch.setattr(collect, "_blocks", blocks)
        said = prunella(*killed_while_scoring)
    assert said.code == 0
    assert "24 samples done before the interruption" in said.out
    assert run == [8]  # of 32
    assert not (workplace / "run" / "scoring.safetensors").exists()
    assert prunella(*slow, "--out", "unbroken").code == 0
    assert findings(workplace / "run") == findings(workplace / "unbroken")


def test_damaged_while_scoring(prunella, killed_while_scoring, workplace):
    file = workplace / "run" / "scoring.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-9])
    said = prunella(*killed_while_scoring)
    assert said.code == 2
    assert "scoring.safetensors: no whole file of an unfinished pass" in said.err
    assert "delete it, and the pass begins anew" in said.err
    assert file.read_bytes() == content[:-9]
    file.unlink()
    assert prunella(*killed_while_scoring).code == 0


def test_interrupted_before_anything_was_written(prunella, slow, workplace, monkeypatch):
    import own_nets

    def samples(split):
        raise KeyboardInterrupt

    monkeypatch.setattr(own_nets, "samples", samples)
    said = prunella(*slow, "--out", "deep/run")
    assert said.code == 130
    assert said.err == "Interrupted. Nothing was written; run the same command again.\n"
    assert not (workplace / "deep").exists()


def test_interrupted_while_a_file_is_written(prunella, slow, workplace, monkeypatch):
    """Not a part of a file stays, not even one whose own tidying up was disturbed."""
    from prunella.files.stages import StageFiles

    def save_scores(self, scores):
        (self.directory / ".scores.safetensors.x1.part").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(StageFiles, "save_scores", save_scores)
    assert prunella(*slow, "--out", "run").code == 130
    left = {p.name for p in (workplace / "run").iterdir()}
    assert left == {"config.yaml", "scoring.safetensors"}


def test_interrupted_between_the_files_of_the_result(
    prunella, slow, unbroken, workplace, monkeypatch
):
    """What was written is whole, but only the last file, the report, makes the run finished."""

    def render(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outcome, "render", render)
        said = prunella(*slow, "--out", "run")
    assert said.code == 130
    assert findings(workplace / "run") == unbroken
    said = prunella(*how_to_go_on(said.err))
    assert said.code == 0
    assert "4 of 4 epochs done before" in said.out
    assert (workplace / "run" / "report.html").exists()
    assert findings(workplace / "run") == unbroken


@pytest.mark.parametrize("command", ["certify", "report", "data", "demo"])
def test_interrupted_other_commands(prunella, asked, weights, workplace, monkeypatch, command):
    assert prunella(*asked, "--out", "run").code == 0
    inner = {"certify": "certify_networks", "report": "render", "data": "read_split",
             "demo": "prune"}[command]  # fmt: skip

    def press(*_, **__):
        raise KeyboardInterrupt

    module = importlib.import_module(f"prunella.cli.commands.{command}")
    monkeypatch.setattr(module, inner, press)
    arguments = {
        "certify": ["--network", "own_nets:net", "--weights", weights, "--data", "own_nets:samples",
                    "--pruned", "run/pruned.safetensors", "--certification-samples", "50",
                    "--out", "new/c.json"],
        "report": ["run", "--out", "new/r.html"],
        "data": ["bundled"],
        "demo": ["--out", "new/demo"],
    }[command]  # fmt: skip
    said = prunella(command, *arguments)
    assert said.code == 130
    assert said.err.startswith("Interrupted. ")
    assert "again" in said.err
    assert not (workplace / "new").exists()


def test_a_hasty_second_ctrl_c_does_not_disturb_the_tidying_up(monkeypatch):
    now = 100.0
    monkeypatch.setattr(interrupts.time, "monotonic", lambda: now)
    press = interrupts.Interrupts()
    with pytest.raises(KeyboardInterrupt):
        press(signal.SIGINT, None)
    for now in (100.0, 100.5, 101.2):  # noqa: B007
        try:
            press(signal.SIGINT, None)
        except KeyboardInterrupt:  # which would end pytest
            pytest.fail("the second Ctrl-C was not ignored")
    now = 103.0
    with pytest.raises(KeyboardInterrupt):  # somebody who waited means it
        press(signal.SIGINT, None)


# In processes of their own


def start(arguments: list[str], environment: dict[str, str], pause: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "prunella", *arguments],
        env={**environment, "PAUSE": pause},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"{text!r} was never said; {process.communicate()[1]}")


def test_ctrl_c_in_the_second_epoch_of_retraining(prunella, slow, unbroken, workplace, environment):
    process = start([*slow, "--out", "run"], environment, pause="0.05")
    wait_for(process, "epoch 1 of 4")
    for _ in range(2):  # a hasty user
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("Interrupted. ")
    assert err.count("\n") == 1
    assert {p.name for p in (workplace / "run").iterdir()} == WHOLE - {"scoring.safetensors"}
    said = prunella(*how_to_go_on(err))
    assert said.code == 0
    assert "1 of 4 epochs done before" in said.out
    assert findings(workplace / "run") == unbroken


def test_ctrl_c_in_train(prunella, workplace, environment):
    asked = ["train", "--network", "own_nets:slow", "--data", "own_nets:samples", "--epochs", "3",
             "--batch-size", "50"]  # fmt: skip
    assert prunella(*asked, "--out", "unbroken").code == 0
    process = start([*asked, "--out", "run"], environment, pause="0.05")
    wait_for(process, "epoch 1 of 3")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert {p.name for p in (workplace / "run").iterdir()} == {
        "config.yaml", "training.safetensors",
    }  # fmt: skip
    assert prunella(*how_to_go_on(err)).code == 0
    first, second = (workplace / n / "weights.safetensors" for n in ("unbroken", "run"))
    assert first.read_bytes() == second.read_bytes()
    epochs = [
        json.loads(p.with_name("metrics.json").read_text())["epochs"] for p in (first, second)
    ]
    assert epochs[0] == epochs[1]


def test_pipe_that_closes_early(slow, workplace, environment):
    """`prunella prune ... | head -1` ends without a traceback, and the run can go on."""
    process = start([*slow, "--out", "run"], environment, pause="0")
    wait_for(process, "tracing")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    assert not list(workplace.rglob("*.part"))


# While other packages are still being imported, which takes seconds

SLEEPS = """
print("importing", flush=True)
import time
try:
    time.sleep(60)
except BaseException:  # some packages lose an exception that comes while they are imported
    raise {kind}("could not be imported")
"""
AS_MODULE = ["-m", "prunella"]
AS_PROGRAM = ["-c", "from prunella.__main__ import run; run()"]


@pytest.mark.parametrize("started", [AS_MODULE, AS_PROGRAM], ids=["module", "program"])
@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "ImportError"])
@pytest.mark.parametrize("package", ["typer", "torch"])
def test_ctrl_c_during_an_import(workplace, environment, package, kind, started):
    (workplace / "stubs").mkdir()
    (workplace / "stubs" / f"{package}.py").write_text(SLEEPS.format(kind=kind))
    path = os.pathsep.join([str(workplace / "stubs"), environment["PYTHONPATH"]])
    process = subprocess.Popen(
        [sys.executable, *started, "data", "bundled"],
        env={**environment, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(process, "importing")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (out, err) == ("", "Interrupted.\n")
    assert process.returncode == 130


def test_ctrl_c_that_is_ignored_stays_ignored_during_imports(workplace, environment):
    (workplace / "stubs").mkdir()
    (workplace / "stubs" / "torch.py").write_text(
        "import time\nprint('importing', flush=True)\ntime.sleep(1)\nprint('over', flush=True)\n"
        "raise SystemExit(7)\n"
    )
    path = os.pathsep.join([str(workplace / "stubs"), environment["PYTHONPATH"]])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a script does for what it runs in background
    process = subprocess.Popen(
        [sys.executable, "-m", "prunella", "data"],
        env={**environment, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(process, "importing")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (out, err, process.returncode) == ("over\n", "", 7)


def test_help_and_version_need_no_torch(workplace, environment):
    (workplace / "torch.py").write_text("raise AssertionError('torch was imported')\n")
    path = os.pathsep.join([str(workplace), environment["PYTHONPATH"]])
    for option, part in (("--help", "certify  Certify a small network"), ("--version", "prunella")):
        done = subprocess.run(
            [sys.executable, "-m", "prunella", option],
            env={**environment, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert part in done.stdout


def test_the_installed_program_is_the_one_tested_here():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '\n[project.scripts]\nprunella = "prunella.__main__:run"\n' in text
