"""What is printed fits 80 columns; a pipe gets words only; bars are for terminals."""

from __future__ import annotations

import io
import itertools
import re
import sys

import pytest

from prunella import METHODS, Plan, __version__
from prunella.cli import config
from prunella.cli.main import main
from prunella.cli.say import Speaker
from prunella.core.progress import silent
from prunella.core.results import Accuracies, RunTimes
from prunella.core.types import Cost
from prunella.terminal import progress_for_people

COMMANDS = {
    "demo": None,
    "train": config.TrainConfig,
    "prune": config.PruneConfig,
    "certify": config.CertifyConfig,
    "verify": config.VerifyConfig,
    "export": config.ExportConfig,
    "report": None,
    "theory": None,
    "data": None,
}
ACCURACY = Accuracies(
    original=0.9171, after_cut=0.1, after_repair=0.8, after_retrain=0.9033, samples=10_000
)
COST = (
    Cost(params=25_557_032, macs=4_089_184_256, bytes=102_228_128),
    Cost(params=9_557_032, macs=1_089_184_256, bytes=38_228_128),
)
LATENCY = (
    RunTimes(batch=1, runs=30, before=(0.0511, 0.0532, 0.0601), after=(0.02, 0.021, 0.03),
            speedup=2.53),
    RunTimes(batch=128, runs=30, before=(1.0511, 1.1532, 1.2601), after=(1.1, 1.2, 1.3),
            speedup=0.96),
)  # fmt: skip


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_80_columns_and_ends_with_examples(prunella, command):
    said = prunella(command, "--help")
    assert said.code == 0
    assert said.err == ""
    assert all(len(line) <= 80 for line in said.out.splitlines()), said.out
    assert re.match(r"Usage: .*prunella( |.* )" + command + r" \[OPTIONS\]", said.out)
    examples = said.out.split("\nExamples:\n")[1]
    assert f"  prunella {command}" in examples
    assert "Print nothing but the paths" in said.out or command == "data"


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_can_be_typed(command, prunella):
    """Each option in an example exists, and each continued line is continued by a backslash."""
    text = prunella(command, "--help").out
    examples = text.split("\nExamples:\n")[1]
    for option in re.findall(r"--[a-z-]+", examples):
        assert f"  {option}" in text.split("\nExamples:\n")[0]
    lines = examples.splitlines()
    for before, line in itertools.pairwise(lines):
        assert line.startswith("      ") == before.endswith("\\"), line


@pytest.mark.parametrize("command", ["train", "prune", "certify"])
def test_defaults_in_the_help_are_those_of_the_configuration(command, prunella):
    kind = COMMANDS[command]
    text = " ".join(prunella(command, "--help").out.split())
    fields = {name: field.default for name, field in kind.model_fields.items()}
    if "recipe" in fields:
        fields |= {name: getattr(fields["recipe"], name) for name in ("epochs", "learning_rate")}
    known = 0
    one_option = r"(--[a-z-]+) [A-Z]+ (?:(?!--)[^\[])*\[default: ([^\]]+)\]"
    for name, default in re.findall(one_option, text):
        field = name[2:].replace("-", "_")
        if field in fields:
            known += 1
            assert default == str(fields[field]), name
    assert known >= 3


def test_help_names_every_method(prunella):
    # A line may end behind a hyphen.
    text = " ".join(prunella("prune", "--help").out.split()).replace("- ", "-")
    for name, method in METHODS.items():
        assert f" {name} {method.summary}" in text


def test_list_of_commands_has_whole_sentences(prunella):
    said = prunella("--help")
    listed = said.out.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


def test_version(prunella):
    assert prunella("--version").out == f"prunella {__version__}\n"


def test_no_command_shows_the_help(prunella):
    said = prunella()
    assert said.code == 2
    assert "Commands:" in said.out + said.err


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["prnue"], ["No such command 'prnue'", "prune"]),
        (["prune", "--parms", "0.4"], ["--parms", "--params"]),
        (["prune", "--epochs", "many"], ["--epochs", "integer"]),
        (["prune", "--params"], ["--params"]),
        (["report"], ["RUN"]),
        (["report", "a", "b"], ["unexpected extra argument"]),
    ],
)
def test_usage_errors_are_short(prunella, arguments, parts):
    said = prunella(*arguments)
    assert said.code == 2
    assert said.out == ""
    for part in parts:
        assert part in said.err
    assert len(said.err.splitlines()) <= 5


# Results


def shown(capsys, **options) -> str:
    speaker = Speaker(quiet=False, **options)
    speaker.summary(COST, ACCURACY, LATENCY)
    speaker.stages(ACCURACY)
    return capsys.readouterr().out


def test_table_has_one_line_for_each_row_at_80_columns(capsys):
    lines = shown(capsys).splitlines()
    assert all(len(line) <= 80 for line in lines)
    for row in (
        "parameters 25,557,032 9,557,032 37.4 % kept",
        "multiply-adds 4,089,184,256 1,089,184,256 26.6 % kept",
        "accuracy on 10,000 samples 91.71 % 90.33 % -1.38 points",
        "time for a batch of 1 53.2 ms 21.0 ms 2.53 x as fast",
        "quartiles 51.1 to 60.1 20.0 to 30.0",
        "time for a batch of 128 1,153 ms 1,200 ms 0.96 x as fast",
        "accuracy right after the cut 10.00 %",
    ):
        assert row in [" ".join(line.split()) for line in lines], row


@pytest.mark.parametrize("columns", ["40", "60", "200"])
def test_no_number_is_cut_off_in_a_narrow_window(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    words = shown(capsys).split()
    for word in ("25,557,032", "1,089,184,256", "90.33", "1,200", "points"):
        assert word in words


def test_quiet_says_nothing(capsys):
    speaker = Speaker(quiet=True)
    speaker.summary(COST, ACCURACY, LATENCY)
    speaker.stages(ACCURACY)
    speaker.stage("tracing")
    speaker.say("hello")
    assert capsys.readouterr().out == ""


def test_plan_without_unicode(monkeypatch):
    """A terminal that knows only ASCII must not end a long run with a traceback."""
    import own_nets
    import torch

    import prunella as library

    graph = library.trace(own_nets.net(), torch.zeros(1, 1, 28, 28))
    kept = {group.name: range(group.size // 2) for group in graph.prunable}
    plan = Plan.from_kept(graph, kept)
    for encoding, full in (("ascii", b"#"), ("utf-8", "█".encode())):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
        Speaker(quiet=False).plan(plan)
        sys.stdout.flush()
        assert full * 12 in raw.getvalue()
        assert b"4 of 8 channels" in raw.getvalue()


def test_quiet_prints_paths_only(prunella, asked):
    said = prunella(*asked, "--out", "a [b] c", "--quiet")
    assert said.err == ""
    assert said.out.splitlines() == [
        f"a [b] c/{name}"
        for name in ("pruned.safetensors", "certificate.json", "report.html", "report.json",
                     "config.yaml")
    ]  # fmt: skip


def test_a_pipe_gets_no_control_characters(prunella, asked):
    said = prunella(*asked, "--out", "run")
    assert said.err == ""
    assert "\x1b" not in said.out
    assert "\r" not in said.out
    assert "> scoring the channels\n" in said.out
    assert "  epoch 1 of 1  loss " in said.out
    assert all(len(line) <= 80 for line in said.out.splitlines())


# Bars


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run_bar(monkeypatch, *, delay: float) -> str:
    from prunella import terminal

    monkeypatch.setattr(terminal, "_DELAY", delay)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    bars = progress_for_people()
    assert list(bars(range(5), description="counting sheep", total=5)) == [0, 1, 2, 3, 4]
    return sys.stderr.getvalue()


def test_bar_with_time_left_on_a_terminal(monkeypatch):
    text = run_bar(monkeypatch, delay=-1)
    assert "counting sheep" in text
    assert "left" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor comes back


def test_no_bar_for_what_is_done_at_once(monkeypatch):
    assert "counting" not in run_bar(monkeypatch, delay=60)


def test_bar_stops_when_the_work_does(monkeypatch):
    from prunella import terminal

    monkeypatch.setattr(terminal, "_DELAY", -1)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    items = progress_for_people()(range(5), description="counting sheep", total=5)
    next(items)
    next(items)
    items.close()
    text = sys.stderr.getvalue()
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1


def test_no_bar_where_nobody_looks(monkeypatch):
    assert progress_for_people() is silent  # under pytest standard error is no terminal
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert progress_for_people(quiet=True) is silent
    assert progress_for_people() is not silent
    monkeypatch.setenv("CI", "true")
    assert progress_for_people() is silent


def test_an_unknown_failure_is_not_hidden(monkeypatch):
    from prunella.cli.commands import report

    def bug(*_, **__):
        raise LookupError("a bug")

    monkeypatch.setattr(report, "require_writable", bug)
    with open("report.json", "w") as file:  # noqa: PTH123
        file.write("{}")
    with pytest.raises(LookupError, match="a bug"):
        main(["report", "report.json"])
