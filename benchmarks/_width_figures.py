"""The results of the sweep over widths as a figure, and as the tables of the documentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean, stdev

from _widths import SETTINGS, Row, Setting, Stage
from prunella.core.panels import Curve, Panel, Study

INTERPOLATES = 0.005  # training error, in the mean of the seeds, below which a width is said to


def values(rows: Sequence[Row], network: str, width: int, stage: Stage, column: str) -> list[float]:
    """Of all seeds; what is pruned by nothing is the network itself."""
    if width == SETTINGS[network].small and stage.startswith("pfp"):
        stage = "magnitude retrained" if stage == "pfp retrained" else "dense"
    own = {"network": network, "width": str(width), "stage": stage}
    return [float(row[column]) for row in rows if own.items() <= row.items()]


def interpolation(rows: Sequence[Row], network: str) -> int | None:
    """The first width from which on training errors vanish, in the mean of the seeds."""
    first = None
    for width in reversed(SETTINGS[network].widths):
        errors = values(rows, network, width, "dense", "train_error")
        if not errors or fmean(errors) >= INTERPOLATES:
            break
        first = width
    return first


LABELS: dict[Stage, str] = {
    "dense": "dense",
    "short": "small network, trained as long as others retrain",
    "magnitude": "magnitude",
    "magnitude retrained": "magnitude, retrained",
    "pfp": "pfp",
    "pfp repaired": "pfp, repaired",
    "pfp retrained": "pfp, retrained",
}
SMALL = "small network, trained directly"
PANELS: tuple[tuple[str, str, tuple[Stage, ...]], ...] = (
    ("training error", "train_error", ("dense",)),
    ("retrained", "test_error", ("dense", "short", "magnitude retrained", "pfp retrained")),
    ("not retrained", "test_error", ("dense", "magnitude", "pfp", "pfp repaired")),
)


def curves(rows: Sequence[Row], network: str, stage: Stage, column: str) -> Iterator[Curve]:
    """A line with points; what all widths have in common is a level."""
    setting = SETTINGS[network]
    widths = [setting.small] if stage == "short" else setting.widths
    found = {
        width: [100 * value for value in values(rows, network, width, stage, column)]
        for width in widths
    }
    found = {width: errors for width, errors in found.items() if errors}
    means = tuple(fmean(errors) for errors in found.values())
    if stage == "short":
        yield level(setting, LABELS[stage], means[0], dashed=False)
        return
    places = tuple(map(float, found))
    yield Curve(name=LABELS[stage], x=places, y=means)
    errors = tuple(standard_error(errors) for errors in found.values())
    yield Curve(name=LABELS[stage], x=places, y=means, errors=errors, marks=True)


def level(setting: Setting, name: str, value: float, *, dashed: bool) -> Curve:
    ends = float(setting.widths[0]), float(setting.widths[-1])
    return Curve(name=name, x=ends, y=(value, value), dashed=dashed)


def standard_error(found: Sequence[float]) -> float:
    return stdev(found) / len(found) ** 0.5 if len(found) > 1 else 0.0


def panel(
    rows: Sequence[Row], network: str, what: str, column: str, chosen: Sequence[Stage]
) -> Panel:
    setting = SETTINGS[network]
    drawn = [curve for stage in chosen for curve in curves(rows, network, stage, column)]
    if column == "test_error":
        small = 100 * fmean(values(rows, network, setting.small, "dense", column))
        drawn.append(level(setting, SMALL, small, dashed=True))
    first = interpolation(rows, network)
    return Panel(
        title=f"{setting.title}: {what}",
        x_title="width before pruning",
        y_title="training error, %" if column == "train_error" else "test error, %",
        curves=tuple(drawn),
        lines=() if first is None else ((float(first), "fits all labels"),),
        log_x=True,
    )


def study(rows: Sequence[Row]) -> Study:
    """F6: a column of panels for each network."""
    return Study(
        key="networks",
        title="Networks of many widths, pruned to the size of a small one",
        text="Means of the seeds with their standard errors.",
        panels=tuple(panel(rows, name, *what) for what in PANELS for name in SETTINGS),
        names=tuple(LABELS.values()),
    )


SHOWN: tuple[tuple[str, Stage, str], ...] = (
    ("training error", "dense", "train_error"),
    ("dense", "dense", "test_error"),
    ("magnitude", "magnitude", "test_error"),
    ("magnitude, retrained", "magnitude retrained", "test_error"),
    ("pfp", "pfp", "test_error"),
    ("pfp, repaired", "pfp repaired", "test_error"),
    ("pfp, retrained", "pfp retrained", "test_error"),
)
TRAINED: dict[str, Stage] = {
    "directly": "dense",
    "directly, half the epochs": "short",
    "directly, then as others are retrained": "magnitude retrained",
}
COMPARED: tuple[Stage, ...] = ("dense", "magnitude retrained", "pfp retrained")


def percent(found: Sequence[float], form: str = ".1f") -> str:
    """Mean and standard error in per cent."""
    return f"{100 * fmean(found):{form}} ± {100 * standard_error(found):.1f}" if found else ""


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(row)} |\n".replace("| ---", "|---").replace("--- |", "---|")
                   for row in rows)  # fmt: skip


def widths_table(rows: Sequence[Row], network: str) -> str:
    """What became of every width of a network."""
    return markdown(
        ("width", *(name for name, *_ in SHOWN)),
        [
            (str(width), *(percent(values(rows, network, width, *what)) for _, *what in SHOWN))
            for width in SETTINGS[network].widths
        ],
    )


def small_table(rows: Sequence[Row]) -> str:
    """The small networks, trained for as long, half as long, and half as long again."""
    return markdown(
        ("network", "small network, trained", "training error", "test error"),
        [
            (
                network.upper(),
                words,
                *(
                    percent(values(rows, network, setting.small, stage, column))
                    for column in ("train_error", "test_error")
                ),
            )
            for network, setting in SETTINGS.items()
            for words, stage in TRAINED.items()
        ],
    )


def differences(
    rows: Sequence[Row], network: str, width: int, stage: Stage, small: Stage
) -> list[float]:
    """Test errors above those of the small network, seed by seed."""
    wide = values(rows, network, width, stage, "test_error")
    narrow = values(rows, network, SETTINGS[network].small, small, "test_error")
    # Of a sweep that is not at its end the last seed has the narrow networks only.
    return [one - other for one, other in zip(wide, narrow, strict=False)]


def differences_table(rows: Sequence[Row]) -> str:
    """The widest network of each sweep, before and after pruning, against the small one."""
    return markdown(
        ("network", "small network, trained", *(LABELS[stage] for stage in COMPARED)),
        [
            (
                network.upper(),
                words,
                *(
                    percent(differences(rows, network, s.widths[-1], stage, small), "+.1f")
                    for stage in COMPARED
                ),
            )
            for network, s in SETTINGS.items()
            for words, small in list(TRAINED.items())[:2]
        ],
    )


def tables(rows: Sequence[Row]) -> tuple[str, ...]:
    """All tables of the page, in Markdown."""
    each = (widths_table(rows, network) for network in SETTINGS)
    return *each, small_table(rows), differences_table(rows)
