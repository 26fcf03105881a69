"""What the commands print: to standard output for results, quiet on request."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from prunella.core.results import Accuracies, Certificate, Latency
from prunella.core.types import Cost
from prunella.pipeline import PruneResult
from prunella.plans import Plan


class Speaker:
    """Prints results; under `quiet` only the paths of written files."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.console = Console(highlight=False)

    def say(self, text: str) -> None:
        """A line of ordinary output."""
        if not self.quiet:
            self.console.print(text, markup=False)

    def stage(self, text: str) -> None:
        """The beginning of a stage."""
        if not self.quiet:
            self.console.print(f"[bold cyan]>[/] {text}")

    def files(self, written: dict[Path, str]) -> None:
        """The files that were written, one to a line."""
        if self.quiet:
            for path in written:
                self.console.print(str(path), markup=False, soft_wrap=True)
            return
        self.console.print("\n[bold]Written[/]")
        width = max(len(str(path)) for path in written)
        for path, what in written.items():
            self.console.print(f"  {path!s:<{width}}  {what}", markup=False, soft_wrap=True)

    def plan(self, plan: Plan) -> None:
        """Kept channels of each group as bars."""
        if self.quiet:
            return
        table = Table(box=None, padding=(0, 1), show_header=False)
        for group in plan.graph.groups:
            if not group.prunable:
                continue
            kept = len(plan.kept[group.name])
            filled = round(24 * kept / group.size)
            bar = f"[cyan]{'█' * filled}[/][dim]{'░' * (24 - filled)}[/]"
            table.add_row(group.name, bar, f"{kept} of {group.size} channels")
        self.console.print(table)

    def outcome(self, result: PruneResult) -> None:
        """All that a pruning run found."""
        self.say("")
        self.plan(result.plan)
        self.say("")
        self.summary(result.cost, result.accuracy, result.latency)
        self.stages(result.accuracy)
        self.certificate(result.certificate)

    def summary(
        self,
        cost: tuple[Cost, Cost],
        accuracy: Accuracies,
        latency: tuple[Latency, ...],
    ) -> None:
        """Before and after in one table."""
        if self.quiet:
            return
        before, after = cost
        table = Table("", "before", "after", "", box=None, padding=(0, 2), header_style="bold")
        rows = (
            ("parameters", before.params, after.params),
            ("multiply-adds", before.macs, after.macs),
            ("bytes", before.bytes, after.bytes),
        )
        for name, first, second in rows:
            table.add_row(name, f"{first:,}", f"{second:,}", f"{100 * second / first:.1f} % kept")
        final = (
            accuracy.after_retrain
            if accuracy.after_retrain is not None
            else (accuracy.after_repair)
        )
        if accuracy.original is not None and final is not None:
            drop = 100 * (final - accuracy.original)
            table.add_row(
                f"accuracy on {accuracy.samples:,} samples",
                f"{100 * accuracy.original:.2f} %",
                f"{100 * final:.2f} %",
                f"{drop:+.2f} points",
            )
        for row in latency:
            table.add_row(
                f"ms per batch of {row.batch}",
                _milliseconds(row.before),
                _milliseconds(row.after),
                f"{row.speedup:.2f} x as fast"
                if row.speedup >= 1
                else f"slower: {row.speedup:.2f} x as fast",
            )
        self.console.print(table)
        if latency:
            self.console.print(
                f"[dim]run times: median of {latency[0].runs} alternating runs "
                "(in brackets: quartiles)[/]"
            )

    def stages(self, accuracy: Accuracies) -> None:
        """Accuracy at each stage in one line."""
        named = (
            ("original", accuracy.original),
            ("right after the cut", accuracy.after_cut),
            ("batch norm re-estimated", accuracy.after_repair),
            ("retrained", accuracy.after_retrain),
        )
        known = [f"{name} {100 * value:.2f} %" for name, value in named if value is not None]
        if known:
            self.say("accuracy: " + " -> ".join(known))

    def certificate(self, certificate: Certificate | None) -> None:
        """The certificate in plain words."""
        if certificate is not None and not self.quiet:
            self.console.print("\n[bold]Certificate[/]")
            self.console.print(certificate.statement, markup=False)


def _milliseconds(quartiles: tuple[float, float, float]) -> str:
    low, middle, high = (1e3 * value for value in quartiles)
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"
