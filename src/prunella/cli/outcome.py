"""Writing the result of a pruning run into its directory."""

from __future__ import annotations

from pathlib import Path

from prunella.files import save, write_atomically
from prunella.pipeline import PruneResult
from prunella.pipeline.reporting import RunFacts, build_report
from prunella.report import render, to_json

_FILES = {
    "pruned.safetensors": "the small network, with the plan that made it",
    "certificate.json": "the certificate",
    "report.html": "the report, to open in a browser",
    "report.json": "the data of the report",
    "config.yaml": "the resolved configuration",
}


def write_outcome(
    directory: Path, result: PruneResult, *, title: str, command: str, config: str
) -> dict[Path, str]:
    """Write the small network, its certificate and the report; returns what each file holds.

    Where no candidate of a search has passed there is no small network, and only the report.
    report.html is written last: a directory that holds it is whole.
    """
    files = dict(_FILES)
    if result.walk is not None and result.walk.chosen is None:
        del files["pruned.safetensors"]
    else:
        save(directory / "pruned.safetensors", result.model, result.plan)
    if result.certificate is None:
        del files["certificate.json"]
    else:
        write_atomically(directory / "certificate.json", result.certificate.to_json() + "\n")
    facts = RunFacts(title=title, command=command, config=config, files=files)
    report = build_report(result, facts)
    write_atomically(directory / "report.json", to_json(report))
    write_atomically(directory / "report.html", render(report))
    return {directory / name: what for name, what in files.items()}


def outcome_files(directory: Path) -> dict[Path, str]:
    """What each file of a finished run holds; empty if the run is not finished."""
    if not (directory / "report.html").exists():
        return {}
    return {directory / name: what for name, what in _FILES.items() if (directory / name).exists()}


def has_network(directory: Path) -> bool:
    """Whether a finished run has made a small network; a search may end without one."""
    return (directory / "pruned.safetensors").exists()
