"""What the documentation shows can be done: examples run, commands parse, links lead somewhere."""

from __future__ import annotations

import hashlib
import inspect
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

import prunella
from prunella.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*(ROOT / "docs").rglob("*.md")]
    + [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
)
_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<code>.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_RUN = "python"
_NOT_RUN = "{.python .no-test}"  # needs files of the reader's own


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `line` is that of its first line of code, counted from 1."""

    info: str
    code: str
    line: int


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page):
    text = page.read_text(encoding="utf-8")
    return [
        Block(match["info"].strip(), match["code"], text.count("\n", 0, match.start("code")) + 1)
        for match in _FENCE.finditer(text)
    ]


def prose(page):
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def commands():
    """(page, command line) of every command that the documentation shows."""
    found = []
    for page in PAGES:
        lines = [
            line
            for block in blocks(page)
            if block.info in ("sh", "text", "")
            for line in block.code.splitlines()
        ]
        lines += [line.strip() for line in prose(page).splitlines() if line.startswith("    ")]
        lines += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))]
        # A word in capitals stands for something: prunella COMMAND --help.
        found += [
            pytest.param(line, id=f"{name_of(page)}: {line}")
            for line in dict.fromkeys(lines)
            if re.match(r"prunella [a-z]", line)
        ]
    return found


def examples(page):
    """The code of a page that is run, in order, as (line, code)."""
    return [(block.line, block.code) for block in blocks(page) if block.info == _RUN]


# The front page of the site shows the example of the README: once is enough.
WITH_CODE = list(
    {tuple(code for _, code in examples(page)): page for page in PAGES if examples(page)}.values()
)


def test_no_block_of_code_escapes():
    """Every Python block is run, or marked as not to be run; none is hidden by indentation."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text.count("```") == 2 * len(blocks(page)), name_of(page)
        python = {block.info for block in blocks(page) if "py" in block.info}
        assert python <= {_RUN, _NOT_RUN}, name_of(page)
    assert len(WITH_CODE) >= 6


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Examples may register methods of their own.
    known = dict(prunella.METHODS)
    namespace = {"__name__": "__main__"}
    try:
        for line, code in examples(page):
            # Empty lines before the code give errors the line numbers of the page.
            exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)
    finally:
        prunella.METHODS.clear()
        prunella.METHODS.update(known)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_that_are_not_run_are_python_at_least(page):
    for block in blocks(page):
        if block.info == _NOT_RUN:
            compile(block.code, f"{page}:{block.line}", "exec")


@pytest.mark.parametrize("line", commands())
def test_commands_parse(line):
    """Command and options exist and the values are of the right type; nothing is run."""
    group = typer.main.get_command(app)
    words = shlex.split(line, comments=True)[1:]
    context = group.make_context("prunella", list(words), resilient_parsing=True)
    name, command, rest = group.resolve_command(context, list(words))
    assert command is not None
    # A command that is only named, as in a table, need not be complete.
    command.make_context(name, rest, parent=context, resilient_parsing=not rest)


def test_every_command_is_documented():
    page = ROOT / "docs" / "guide" / "command-line.md"
    group = typer.main.get_command(app)
    told = re.findall(r"^\| `prunella (\w+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(told) == set(group.commands)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)", prose(page))
    for link in links:
        target = link.partition("#")[0]
        if target and not re.match(r"[a-z]+:", link):
            assert (page.parent / target).exists(), f"{name_of(page)}: {link}"
            # On the built site there is nothing outside of docs.
            if page.is_relative_to(ROOT / "docs"):
                assert (page.parent / target).resolve().is_relative_to(ROOT / "docs"), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_targets_of_make_exist(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    named = re.findall(r"(?:`|^    )make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) <= targets


def test_the_table_of_networks_says_what_the_factories_say():
    text = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", text, flags=re.MULTILINE))
    assert set(rows) == set(prunella.networks.__all__)
    for name, params in rows.items():
        assert f" {params} parameters" in inspect.getdoc(getattr(prunella.networks, name))


def test_the_digest_of_the_bundled_weights_is_right():
    text = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| `(\S+\.safetensors)` \| `([0-9a-f]{64})` \|", text, re.MULTILINE)
    path, digest = row
    assert hashlib.sha256((ROOT / path).read_bytes()).hexdigest() == digest


def test_every_public_name_is_in_the_reference():
    pages = "".join(
        page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md")
    )
    shown = set(re.findall(r"(?:^::: |heading: )prunella\.(\w+)", pages, flags=re.MULTILINE))
    # Shown as one module.
    errors = {name for name in prunella.__all__ if name.endswith(("Error", "Warning"))}
    told_elsewhere = {"METHODS", "Budget", "__version__"}
    assert set(prunella.__all__) - errors - told_elsewhere <= shown
