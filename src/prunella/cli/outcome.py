"""Writing the result of a pruning run into its directory."""

from __future__ import annotations

from pathlib import Path

from prunella.files import save, write_atomically
from prunella.pipeline import PruneResult
from prunella.pipeline.reporting import RunFacts, build_report
from prunella.report import render, to_json


def write_outcome(
    directory: Path, result: PruneResult, *, title: str, command: str, config: str
) -> dict[Path, str]:
    """Write the small network, its certificate and the report; returns what each file holds."""
    files = {"pruned.safetensors": "the small network, with the plan that made it"}
    save(directory / "pruned.safetensors", result.model, result.plan)
    if result.certificate is not None:
        files["certificate.json"] = "the certificate"
        write_atomically(directory / "certificate.json", result.certificate.to_json() + "\n")
    files |= {
        "report.html": "the report, to open in a browser",
        "report.json": "the data of the report",
        "config.yaml": "the resolved configuration",
    }
    facts = RunFacts(title=title, command=command, config=config, files=files)
    report = build_report(result, facts)
    write_atomically(directory / "report.json", to_json(report))
    write_atomically(directory / "report.html", render(report))
    return {directory / name: what for name, what in files.items()}
