"""The page on networks of many widths says what its table of results says; the sweep is sound."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
import torch

import prunella
from prunella.data import bundled
from prunella.report import draw_svg

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "theory" / "double-descent-networks.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())
SEEDS = {"mlp": 3, "cnn": 3}


@pytest.fixture(scope="module")
def sweep():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module("width_sweep")


@pytest.fixture(scope="module")
def figures(sweep):
    return importlib.import_module("_width_figures")


@pytest.fixture(scope="module")
def rows(sweep):
    return sweep.read(ROOT / "benchmarks" / "results" / "width-sweep.csv")


@pytest.fixture
def errors(figures, rows):
    """Mean errors in per cent, by network, width and stage."""

    def found(network, width, stage, column="test_error"):
        return 100 * fmean(figures.values(rows, network, width, stage, column))

    return found


def test_every_cell_of_the_sweep_is_there_once(sweep, rows):
    found = {}
    for row in rows:
        found.setdefault(sweep.cell_of(row), []).append(row["stage"])
    assert list(found) == [cell for cell in sweep.cells() if cell[1] < SEEDS[cell[0]]]
    for cell, stages in found.items():
        assert sorted(stages) == sorted(sweep.expected(cell))
    numbers = ("no", "one", "two", "three")
    words = f"{numbers[SEEDS['mlp']]} seeds for the MLP, {numbers[SEEDS['cnn']]} for the CNN"
    assert words in WORDS


def test_all_that_is_pruned_has_the_size_of_the_small_network(sweep, rows):
    for row in rows:
        setting = sweep.SETTINGS[row["network"]]
        kept = sweep.weights_of(setting.build(setting.small))
        if row["stage"].startswith("magnitude"):
            assert int(row["weights"]) == kept
        elif row["stage"].startswith("pfp"):
            assert 0.8 * kept < int(row["weights"]) <= kept


def test_tables_are_those_of_the_results(figures, rows):
    tables = figures.tables(rows)
    assert len(tables) == 4
    for table in tables:
        assert table in PAGE


def test_the_table_of_a_width_says_what_the_rows_say(figures, rows):
    own = [row for row in rows if (row["network"], row["width"]) == ("mlp", "64")]
    found = [100 * float(row["test_error"]) for row in own if row["stage"] == "pfp retrained"]
    assert len(found) == SEEDS["mlp"]
    mean = sum(found) / len(found)
    error = (sum((one - mean) ** 2 for one in found) / (len(found) - 1) / len(found)) ** 0.5
    line = next(line for line in figures.widths_table(rows, "mlp").splitlines() if "| 64 |" in line)
    assert line.endswith(f"| {mean:.1f} ± {error:.1f} |")


def test_the_reading_quotes_the_results(sweep, errors, rows):
    for phrase in (
        f"The error of the MLP falls to {errors('mlp', 6, 'dense'):.1f} % at width 6",
        f"rises to {errors('mlp', 16, 'dense'):.1f} % at 16",
        f"is still {errors('mlp', 16, 'dense', 'train_error'):.1f} %",
        f"falls to {errors('mlp', 256, 'dense'):.1f} % at 256",
        f"rises to {errors('cnn', 12, 'dense'):.1f} % at width 12",
        f"falls to {errors('cnn', 64, 'dense'):.1f} % at 64",
        f"{errors('mlp', 256, 'magnitude'):.1f} % (magnitude)",
        f"{errors('mlp', 256, 'pfp'):.1f} % (pfp)",
        f"{errors('cnn', 64, 'magnitude'):.1f} % and {errors('cnn', 64, 'pfp'):.1f} % for the CNN",
        f"to {errors('mlp', 256, 'pfp repaired'):.1f} % and "
        f"{errors('cnn', 64, 'pfp repaired'):.1f} %",
        f"its peak of {errors('mlp', 16, 'magnitude retrained'):.1f} % at width 16",
        f"down to {errors('mlp', 256, 'magnitude retrained'):.1f} %",
        f"from {errors('mlp', 12, 'pfp retrained'):.1f} % at 12 to "
        f"{errors('mlp', 256, 'pfp retrained'):.1f} %",
        f"from {errors('cnn', 6, 'pfp retrained'):.1f} % at 6 to "
        f"{errors('cnn', 64, 'pfp retrained'):.1f} %",
        f"network has {errors('cnn', 64, 'magnitude retrained'):.1f} %",
        f"({errors('cnn', 64, 'magnitude retrained', 'train_error'):.1f} % training error)",
        f"{errors('mlp', 8, 'short'):.1f} % and {errors('cnn', 4, 'short'):.1f} %",
        f"stays at {errors('mlp', 256, 'pfp retrained', 'train_error'):.1f} %",
        f"{sum(float(row['seconds']) for row in rows) / 60:.0f} minutes of processor time",
    ):
        assert phrase in WORDS, phrase
    left = [
        int(row["weights"]) for row in rows if row["network"] == "cnn" and row["stage"] == "pfp"
    ]
    assert f"it leaves {min(left)} to {max(left)} weights" in WORDS


def test_the_reading_draws_the_conclusions_of_the_results(sweep, figures, errors, rows):
    assert figures.interpolation(rows, "mlp") == 32
    assert figures.interpolation(rows, "cnn") == 12
    gains = {}
    for network, setting in sweep.SETTINGS.items():
        wider = [width for width in setting.widths if width > setting.small]
        dense = {width: errors(network, width, "dense") for width in setting.widths}
        peak = max(wider, key=dense.get)
        assert peak == {"mlp": 16, "cnn": 12}[network]
        assert dense[setting.widths[-1]] < dense[peak]
        for width in wider:
            assert errors(network, width, "pfp repaired") < errors(network, width, "pfp")
            for rule in ("magnitude", "pfp"):
                after = errors(network, width, f"{rule} retrained")
                gains[network, rule, width] = errors(network, width, rule) - after
                assert errors(network, width, rule) > dense[setting.small]
                assert after > errors(network, setting.small, "short")
    assert min(dense.values()) < dense[64]  # of the CNN: the second descent ends above the first
    most = max(gains.values())
    even = gains.pop(("mlp", "magnitude", 12))
    assert abs(even) < 1
    assert f"by {min(gains.values()):.0f} to {most:.0f} points" in WORDS
    wins = [
        width
        for width in sweep.SETTINGS["mlp"].widths
        if width > 8 and errors("mlp", width, "pfp retrained") < errors("mlp", 8, "dense")
    ]
    assert f"from width {wins[0]} on" in WORDS
    assert wins == [w for w in sweep.SETTINGS["mlp"].widths if w >= wins[0]]


def test_the_first_layer_has_the_largest_weights(sweep):
    setting = sweep.SETTINGS["cnn"]
    kept = sweep.weights_of(setting.build(setting.small))
    pruned = sweep.prune_by_magnitude(sweep.initial(setting, 64, seed=0), kept)
    left = [int(layer.weight.count_nonzero()) for layer in pruned.children()]
    assert (left[0], left[-1]) == (513, 0)
    assert "513 of the first layer's 576" in WORDS


def test_the_figure_is_that_of_the_results(figures, rows):
    text = (ROOT / "docs" / "assets" / "double-descent-networks.svg").read_text(encoding="utf-8")
    assert text == draw_svg(figures.study(rows))


@pytest.fixture
def tiny(sweep):
    setting = replace(
        sweep.SETTINGS["cnn"],
        widths=(2, 4, 6), small=4, samples=520,
        recipe=sweep.SETTINGS["cnn"].recipe.model_copy(update={"epochs": 4}),
    )  # fmt: skip
    known = bundled("calibration")
    train = sweep.noisy(known, 520, seed=3)
    return setting, sweep.Samples(train=train, test=known.subset(range(500, 600)))


def test_a_fifth_of_the_labels_is_wrong(sweep):
    known = bundled("calibration")
    drawn = sweep.noisy(known, 200, seed=5)
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(5))[:200]
    assert torch.equal(drawn.images, known.images[order])
    wrong = drawn.labels != known.labels[order]
    assert wrong[:40].all()
    assert not wrong[40:].any()


def test_pruned_networks_keep_their_size_while_they_are_retrained(sweep, tiny):
    setting, samples = tiny
    made = {}
    for width in setting.widths:
        counts = {}
        for stage, model in sweep.stages(setting, samples, width, seed=0):
            counts[stage] = sweep.weights_of(model)
            assert 0 <= prunella.accuracy(model, samples.test.loader(100))[0] <= 1
        made[width] = counts
        assert set(counts) == sweep.expected(("cnn", 0, width))
    kept = made[4]["dense"]
    assert kept == 18 * 16 + 169 * 4
    assert made[6]["magnitude"] == made[6]["magnitude retrained"] == kept
    assert made[6]["pfp"] == made[6]["pfp repaired"] == made[6]["pfp retrained"] <= kept


def test_magnitude_keeps_the_largest_weights_of_all_layers(sweep):
    model = sweep.initial(sweep.SETTINGS["mlp"], 8, seed=0)
    pruned = sweep.prune_by_magnitude(model, 100)
    weights = torch.cat([layer.weight.detach().flatten() for layer in (model.hidden, model.out)])
    kept = torch.cat([layer.weight.detach().flatten() for layer in (pruned.hidden, pruned.out)])
    threshold = weights.abs().sort(descending=True).values[99]
    assert torch.equal(kept, torch.where(weights.abs() >= threshold, weights, 0.0))
