"""What the commands print: to standard output for results, quiet on request."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prunella.certificate import Verification
from prunella.core.budgets import Latency
from prunella.core.certificates import Certificate
from prunella.core.results import Accuracies, Robustness, RunTimes
from prunella.core.types import ChannelGraph, Cost
from prunella.core.walks import Walk
from prunella.exporting import ExportCheck
from prunella.pipeline import PruneResult
from prunella.plans import Plan
from prunella.retrain import EpochRecord

Quartiles = tuple[float, float, float]  # seconds: first quartile, median, third quartile

_BAR = 24  # cells
_LABEL = 26  # columns of the first cell of a row


class Speaker:
    """Prints results; under `quiet` only the paths of written files."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.console = Console(highlight=False)
        # Tables are made for 80 columns; a narrower window breaks lines but loses nothing.
        self.tables = Console(highlight=False, width=max(self.console.width, 80))

    def say(self, text: str) -> None:
        """A line of ordinary output."""
        if not self.quiet:
            self.console.print(text, markup=False)

    def stage(self, text: str) -> None:
        """The beginning of a stage."""
        if not self.quiet:
            self.console.print(f"[bold cyan]>[/] {escape(text)}")

    def epoch(self, record: EpochRecord, *, epochs: int) -> None:
        """The end of a pass over the training samples."""
        learnt = f"  training accuracy {100 * record.accuracy:.2f} %"
        figures = {name: value for name, value in record.held_out.items() if name != "loss"}
        held_out = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self.say(
            f"  epoch {record.epoch:>{len(str(epochs))}} of {epochs}  loss {record.loss:.4f}"
            f"{'' if math.isnan(record.accuracy) else learnt}"
            f"{f'  held out: {held_out}' if held_out else ''}"
        )

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
        full, empty = ("█", "░") if "utf" in self.console.encoding.lower() else ("#", ".")
        table = Table(box=None, padding=(0, 1), show_header=False)
        table.add_column(overflow="fold")
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        for group in plan.graph.groups:
            if not group.prunable:
                continue
            kept = len(plan.kept[group.name])
            filled = round(_BAR * kept / group.size)
            bar = f"[cyan]{full * filled}[/][dim]{empty * (_BAR - filled)}[/]"
            units = "heads" if group.heads else "channels"
            table.add_row(escape(group.name), bar, f"{kept} of {group.size} {units}")
        self.tables.print(table)

    def left_whole(self, graph: ChannelGraph) -> None:
        """Every layer, with all its channels, of a network that was not pruned, and why not."""
        table = Table(box=None, padding=(0, 1), header_style="bold")
        table.add_column("layer", overflow="fold")
        table.add_column("kept", justify="right", no_wrap=True)
        table.add_column("why", overflow="fold")
        for group in graph.groups:
            why = group.reason or "could be pruned, but not as far as was asked"
            table.add_row(escape(group.name), f"{group.size} of {group.size}", escape(why))
        self.tables.print(table)
        self.console.print("Nothing was removed, and nothing was retrained.")

    def outcome(self, result: PruneResult) -> None:
        """All that a pruning run found."""
        self.say("")
        self.plan(result.plan)
        self.say("")
        self.summary(result.cost, result.accuracy, result.latency, result.plan)
        self.stages(result.accuracy)
        self.robustness(result.robustness)
        self.walk(result.walk)
        self.certificate(result.certificate)

    def summary(
        self,
        cost: tuple[Cost, Cost],
        accuracy: Accuracies,
        latency: tuple[RunTimes, ...],
        plan: Plan | None = None,
    ) -> None:
        """Before and after in one table; of a plan for a run time also what was asked for."""
        if self.quiet:
            return
        before, after = cost
        table = _before_and_after()
        for name, first, second in (
            ("parameters", before.params, after.params),
            ("multiply-adds", before.macs, after.macs),
            ("bytes", before.bytes, after.bytes),
        ):
            table.add_row(name, f"{first:,}", f"{second:,}", f"{100 * second / first:.1f} % kept")
        final = accuracy.after_retrain
        if final is None:
            final = accuracy.after_repair
        if accuracy.original is not None and final is not None:
            drop = 100 * (final - accuracy.original)
            table.add_row(
                f"accuracy on {accuracy.samples:,} samples",
                f"{100 * accuracy.original:.2f} %",
                f"{100 * final:.2f} %",
                f"{drop:+.2f} points",
            )
        if plan and plan.latency and isinstance(plan.requested, Latency):
            _add_request(table, plan.requested, plan.latency)
        for row in latency:
            _add_times(table, row.batch, row.before, row.after, row.speedup)
        self.tables.print(table)
        if latency:
            self.console.print(
                f" Times are medians of {latency[0].runs} runs of each network, in turn.",
                style="dim",
            )

    def exported(
        self,
        checks: Sequence[tuple[ExportCheck | None, ExportCheck]],
        latency: Mapping[int, RunTimes | Quartiles],
        *,
        runs: int,
    ) -> None:
        """Files of the original, if there are any, and of the small network in one table."""
        if self.quiet:
            return
        table = _before_and_after()
        for before, after in checks:
            size = f"bytes of {escape(after.path.name)}"
            apart = f"{after.relative_difference:.1e}"
            if before is None:
                table.add_row(size, "", f"{after.bytes:,}")
                table.add_row("  largest difference", "", apart, style="dim")
            else:
                kept = f"{100 * after.bytes / before.bytes:.1f} % kept"
                table.add_row(size, f"{before.bytes:,}", f"{after.bytes:,}", kept)
                old = f"{before.relative_difference:.1e}"
                table.add_row("  largest difference", old, apart, style="dim")
        for batch, row in latency.items():
            if isinstance(row, RunTimes):
                _add_times(table, batch, row.before, row.after, row.speedup)
            else:
                _add_times(table, batch, None, row, None)
        self.tables.print(table)
        *sizes, last = (f"{size}" for size in checks[0][1].batches)
        batches = f"{', '.join(sizes)} and {last}"
        self.note(f"Differences are relative, on test samples in batches of {batches}.")
        for check in (after for _, after in checks if after.opset is not None):
            self.note(f"{check.path.name} uses opset {check.opset}.")
        if latency:
            turns = " of each network, in turn," if checks[0][0] is not None else ""
            self.note(f"Times are medians of {runs} runs{turns} in ONNX Runtime on the CPU.")

    def note(self, text: str) -> None:
        """A remark below a table."""
        if not self.quiet:
            self.tables.print(f" {text}", style="dim", markup=False)

    def stages(self, accuracy: Accuracies) -> None:
        """Accuracy at each stage, one to a line."""
        named = (
            ("of the original", accuracy.original),
            ("right after the cut", accuracy.after_cut),
            ("after the repair", accuracy.after_repair),
            ("after retraining", accuracy.after_retrain),
        )
        known = [(name, value) for name, value in named if value is not None]
        if not known or self.quiet:
            return
        table = Table(box=None, padding=(0, 1), show_header=False)
        table.add_column(min_width=_LABEL)
        table.add_column(justify="right")
        for name, value in known:
            table.add_row(f"accuracy {name}", f"{100 * value:.2f} %")
        self.console.print()
        self.tables.print(table)

    def robustness(self, found: Robustness | None) -> None:
        """Both networks on corrupted images."""
        if found is None or self.quiet:
            return
        table = Table(box=None, padding=(0, 1), header_style="bold")
        table.add_column("images", min_width=_LABEL)
        for title in ("other answers", "right before", "right after"):
            table.add_column(title, justify="right", no_wrap=True)
        for row in found.rows:
            shares = (row.disagreement, row.original, row.small)
            table.add_row(
                row.name, *("" if share is None else f"{100 * share:.1f} %" for share in shares)
            )
        self.console.print()
        self.tables.print(table)
        self.note(f"Measured on {found.samples:,} samples; no certificate speaks of it.")

    def walk(self, walk: Walk | None) -> None:
        """What a search for the smallest network asked for and found."""
        if walk is None or self.quiet:
            return
        table = Table(box=None, padding=(0, 1), show_header=False)
        table.add_column(min_width=_LABEL)
        table.add_column(overflow="fold")
        step = walk.chosen_step
        table.add_row("claim", walk.claim)
        table.add_row("confidence", f"{100 * (1 - walk.delta):g} %, from {walk.samples:,} samples")
        table.add_row("candidates tested", f"{len(walk.steps)} of {len(walk.shares)}")
        if step is None:
            table.add_row("smallest that passed", "none; the original stays")
        else:
            kept = f"at most {100 * step.share:g} % of the {walk.unit}"
            table.add_row("smallest that passed", kept)
            table.add_row("observed", f"{100 * step.observed:.2f} {walk.sign}")
        last = walk.steps[-1]
        if not last.passed:
            why = f"{100 * last.observed:.2f} {walk.sign} observed, at most"
            bound = f"{100 * last.upper:.2f} for new samples"
            table.add_row("the last that failed", f"{100 * last.share:g} %: {why} {bound}")
        self.console.print("\n[bold]Search[/]")
        self.tables.print(table)

    def certificate(self, certificate: Certificate | None) -> None:
        """The certificate in plain words."""
        if certificate is not None and not self.quiet:
            self.console.print("\n[bold]Certificate[/]")
            self.console.print(certificate.statement, markup=False)

    def verification(self, result: Verification) -> None:
        """What was compared; differences are printed even under quiet."""
        if not result.matches:
            number = len(result.differences)
            self.console.print(
                f"The certificate does not hold as it stands: {number} "
                f"{'entries differ' if number > 1 else 'entry differs'}."
            )
            for difference in result.differences:
                self.console.print(f"  {difference}", markup=False, soft_wrap=True)
            return
        self.say("The certificate is what was found. Computed again and compared:")
        for name in result.verified:
            self.say(f"  {name}")
        if "digest" not in result.verified:
            self.say("It has no digest, as its version had none.")


def _before_and_after() -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("", min_width=_LABEL)
    for title in ("before", "after"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    return table


def _add_request(table: Table, requested: Latency, planned: RunTimes) -> None:
    """Two rows: the run time asked for, and what the cut network took while it was sought."""
    most = requested.fraction * planned.before[1]
    table.add_row(
        f"asked for, batch of {planned.batch}",
        "",
        f"{_milliseconds(most)} ms",
        f"at most {100 * requested.fraction:g} %",
    )
    table.add_row(
        "  measured while planning",
        _time(planned.before),
        _time(planned.after),
        f"{100 / planned.speedup:.1f} % kept",
    )


def _add_times(
    table: Table, batch: int, before: Quartiles | None, after: Quartiles, speedup: float | None
) -> None:
    """Two rows: medians and quartiles."""
    name = f"time for a batch of {batch}"
    speed = "" if speedup is None else f"{speedup:.2f} x as fast"
    table.add_row(name, "" if before is None else _time(before), _time(after), speed)
    old = "" if before is None else _quartiles(before)
    table.add_row("  quartiles", old, _quartiles(after), style="dim")


def _time(quartiles: Quartiles) -> str:
    return f"{_milliseconds(quartiles[1])} ms"


def _quartiles(quartiles: Quartiles) -> str:
    return f"{_milliseconds(quartiles[0])} to {_milliseconds(quartiles[2])}"


def _milliseconds(seconds: float) -> str:
    value = 1e3 * seconds
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
