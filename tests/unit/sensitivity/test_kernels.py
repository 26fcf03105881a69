"""Every way to search against the definition, call by call."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from kernel_calls import WAYS, caught, close, each, scores, take
from prunella.sensitivity import blocks, compiled, kernels, sweep
from prunella.sensitivity.backlog import Backlog
from prunella.sensitivity.kernels import Prepared
from prunella.sensitivity.reference import reference_sensitivities


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    return take(request.param, monkeypatch)


@pytest.fixture
def evaluated(monkeypatch):
    """How many shares each evaluation was asked for."""
    counts, evaluate = [], kernels.largest_shares

    def counting(piece, sums, *args, **kwargs):
        counts.append(len(sums))
        return evaluate(piece, sums, *args, **kwargs)

    monkeypatch.setattr(kernels, "largest_shares", counting)
    return counts


def inputs(shape, kind):
    """Activations as different functions leave them."""
    x = torch.randn(shape)
    kinds = {
        "relu": torch.relu, "gelu": F.gelu, "silu": F.silu, "tanh": torch.tanh,
        "sparse": lambda t: torch.relu(t - 1.5), "abs": torch.abs,
        "tiny": lambda t: torch.relu(t) * 1e-12, "wide": lambda t: torch.relu(t) * 10 ** (4 * t),
    }  # fmt: skip
    return kinds[kind](x)


KINDS = st.sampled_from(["relu", "gelu", "silu", "tanh", "sparse", "abs", "tiny", "wide"])
common = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@common
@given(
    groups=st.integers(1, 3),
    width=st.integers(1, 4),
    outputs=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    bias=st.booleans(),
    results=st.booleans(),
    kind=KINDS,
    reduction=st.sampled_from(["inner", "entry"]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
    seed=st.integers(0, 10_000),
)
@example(  # a bound to the power of 16 is infinite, and the fall of its limit, to that power, is 0
    groups=1, width=4, outputs=2, kernel=(1, 1), stride=3, padding=0, dilation=1, bias=True,
    results=False, kind="wide", reduction="inner", dtype=torch.float32, seed=399,
)  # fmt: skip
def test_convolution(
    way, groups, width, outputs, kernel, stride, padding, dilation, bias, results, kind,
    reduction, dtype, seed,
):  # fmt: skip
    torch.manual_seed(seed)
    layer = nn.Conv2d(
        groups * width, groups * outputs, kernel, stride=stride, padding=padding,
        dilation=dilation, groups=groups, bias=bias,
    ).to(dtype)  # fmt: skip
    seen = caught(layer, inputs((2, groups * width, 6, 7), kind).to(dtype))
    if not results:
        seen = replace(seen, results=None)
    expected = reference_sensitivities(seen.call, each(groups * width), reduction=reduction)
    close(scores(seen, each(groups * width), reduction=reduction), expected)


@common
@given(
    transposed=st.booleans(),
    dims=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    kind=KINDS,
    seed=st.integers(0, 10_000),
)
def test_other_numbers_of_axes(way, transposed, dims, stride, padding, kind, seed):
    names = "ConvTranspose" if transposed else "Conv"
    layer = getattr(nn, f"{names}{dims}d")(4, 3, 3, stride=stride, padding=padding)
    torch.manual_seed(seed)
    seen = caught(layer, inputs((2, 4) + (5,) * dims, kind))
    close(scores(seen, each(4)), reference_sensitivities(seen.call, each(4)))


@common
@given(
    features=st.integers(1, 12),
    outputs=st.integers(1, 6),
    rows=st.integers(1, 9),
    k=st.one_of(st.integers(1, 3), st.integers(blocks.FROM, 20)),
    kind=KINDS,
    seed=st.integers(0, 10_000),
)
def test_matrix_product_with_units_of_several_inputs(way, features, outputs, rows, k, kind, seed):
    torch.manual_seed(seed)
    seen = caught(nn.Linear(features * k + 1, outputs), inputs((rows, features * k + 1), kind))
    units = torch.randperm(features * k + 1)[: features * k].view(features, k)
    for reduction in ("inner", "entry"):
        expected = reference_sensitivities(seen.call, units, reduction=reduction)
        close(scores(seen, units, reduction=reduction), expected)


@common
@given(
    features=st.integers(1, 9),
    outputs=st.integers(1, 6),
    rows=st.integers(1, 9),
    kind=KINDS,
    positive=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_sums_of_many_products_are_bounded_in_float64(
    way, features, outputs, rows, kind, positive, seed
):
    """As if there were very many; where some output has no sum of one sign, as without that."""
    torch.manual_seed(seed)
    layer = nn.Linear(features * 17, outputs)
    if positive:
        with torch.no_grad():
            layer.weight[0].abs_()
    seen = caught(layer, inputs((rows, features * 17), kind))
    units = torch.randperm(features * 17).view(features, 17)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "_CLOSE_FROM", 1)
        found = scores(seen, units)
    close(found, reference_sensitivities(seen.call, units))


def test_fewer_shares_of_sums_of_many_products_are_evaluated(evaluated, monkeypatch):
    """Those of inputs that are alike lie close together."""
    torch.manual_seed(0)
    layer = nn.Linear(24 * 400, 8)
    with torch.no_grad():
        seen = caught(layer, torch.rand(24 * 400) + 0.1 * torch.rand(60, 24 * 400))
    units = torch.arange(24 * 400).view(24, 400)
    found = scores(seen, units)
    few = sum(evaluated)
    monkeypatch.setattr(kernels, "_CLOSE_FROM", 1 << 30)
    evaluated.clear()
    assert torch.equal(found, scores(seen, units))
    assert few < sum(evaluated) / 2


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("kind", ["relu", "gelu"])
def test_units_of_many_inputs_have_the_same_bits_in_products_of_blocks(
    way, kind, together, evaluated, monkeypatch
):
    """Whether a unit's columns lie side by side or not, and whatever is cut."""
    torch.manual_seed(0)
    layer = nn.Linear(24 * 18, 40)
    with torch.no_grad():
        layer.weight[3], layer.weight[4, :30] = 0, 0
        layer.bias[7] = 1e4
    seen = caught(layer, inputs((50, 24 * 18), kind))
    order = torch.arange(24 * 18) if together else torch.randperm(24 * 18)
    units = order.view(24, 18)
    whole = scores(seen, units)
    assert sum(evaluated) < 3 * 24
    assert torch.equal(whole, scores(seen, units, memory=3 * 64 * 24 * 18 * 9))
    monkeypatch.setattr(blocks, "FROM", 1000)
    assert torch.equal(whole, scores(seen, units))
    close(whole, reference_sensitivities(seen.call, units))


@common
@given(seed=st.integers(0, 10_000), size=st.integers(9, 20), signed=st.booleans())
def test_one_row_of_one_sample_fits_the_least_memory_as_well(way, seed, size, signed):
    torch.manual_seed(seed)
    layer = nn.Conv2d(3, 5, 3, padding=1, stride=2)
    seen = caught(layer, inputs((3, 3, size, size), "tanh" if signed else "relu"))
    whole = scores(seen, each(3))
    # Outputs, samples and lines are cut.
    assert torch.equal(whole, scores(seen, each(3), memory=3 * 64 * 27 * 2))
    close(whole, reference_sensitivities(seen.call, each(3)))


def test_all_ways_give_the_same_bits(monkeypatch):
    torch.manual_seed(3)
    layer = nn.Conv2d(24, 32, 3, padding=1)
    blocks = [caught(layer, F.silu(torch.randn(8, 24, 9, 9))) for _ in range(4)]
    found = []
    for name in WAYS:
        with monkeypatch.context() as patch:
            take(name, patch)
            best = torch.zeros(24, dtype=torch.float64)
            for block in blocks:
                best = scores(block, each(24), best=best)
            found.append(best)
    assert torch.equal(found[0], found[1])
    together = replace(
        blocks[0],
        call=replace(blocks[0].call, inputs=torch.cat([b.call.inputs for b in blocks])),
        results=torch.cat([b.results for b in blocks]),
    )
    assert torch.equal(found[0], scores(together, each(24)))


@pytest.mark.parametrize("reduction", ["inner", "entry"])
@pytest.mark.parametrize("enough", [1, compiled._ENOUGH])
def test_any_number_of_threads_gives_the_same_bits(reduction, enough, monkeypatch):
    take(WAYS[1], monkeypatch)
    monkeypatch.setattr(compiled, "_ENOUGH", enough)
    monkeypatch.setattr(compiled, "_TILE", 32)
    torch.manual_seed(4)
    layer = nn.Conv2d(12, 16, 3, padding=1)
    blocks = [caught(layer, F.silu(torch.randn(8, 12, 11, 11))) for _ in range(3)]
    used, found = [], []
    side_by_side = compiled._side_by_side

    def counting(run, parts):
        if isinstance(run, functools.partial):  # the search, and not the norms before it
            used.append(len(parts))
        return side_by_side(run, parts)

    monkeypatch.setattr(compiled, "_side_by_side", counting)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            best = torch.zeros(12, dtype=torch.float64)
            for block in blocks:
                # The forward pass is the same for all, the search is not.
                best = scores(block, each(12), reduction=reduction, best=best)
            found.append(best)
    finally:
        torch.set_num_threads(before)
    assert used == ([1] * 3 + [2] * 3 + [3] * 3 if enough == 1 else [1] * 9)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_units_are_looked_at_in_some_places_before_the_search(monkeypatch):
    take(WAYS[1], monkeypatch)
    torch.manual_seed(5)
    x = torch.relu(torch.randn(8, 10, 20, 20))
    x[:, 4] = 0  # an idle unit
    seen, looked = caught(nn.Conv2d(10, 14, 3), x), []
    sweep_ = compiled._compiled(sweep.sweep)

    def recording(function):
        if function is not sweep.sweep:
            return function

        def run(room, tiles, **given):
            looked.append(given["scouting"])
            return sweep_(room, tiles, **given)

        return run

    monkeypatch.setattr(compiled, "_compiled", recording)
    found = scores(seen, each(10))
    again = scores(seen, each(10), best=found)
    known = scores(seen, each(10), best=torch.full((10,), 0.5, dtype=torch.float64))
    assert looked == [True, True, False]  # unit 4 stays new
    assert found[4] == 0
    assert torch.equal(found, again)
    assert torch.equal(known, found.clamp(min=0.5))
    close(found, reference_sensitivities(seen.call, each(10)))


def test_positions_with_doubtful_sums_are_searched_by_the_definition(monkeypatch):
    take(WAYS[1], monkeypatch)
    searched = []
    sums_by_definition = compiled.sums_by_definition

    def counting(piece, weights, spots):
        searched.append(len(spots))
        return sums_by_definition(piece, weights, spots)

    monkeypatch.setattr(compiled, "sums_by_definition", counting)
    torch.manual_seed(6)
    layer = nn.Conv2d(6, 5, 3, padding=1)
    x = torch.relu(torch.randn(3, 6, 12, 12))
    x[1, :, 3:9, 3:9] = 0  # windows of zeros
    x[2, 0] *= 1e7  # all else is lost in rounding
    seen = caught(layer, x)
    close(scores(seen, each(6)), reference_sensitivities(seen.call, each(6)))
    (count,) = searched
    assert 16 <= count < 3 * 144


def test_most_shares_are_never_evaluated(way, evaluated):
    torch.manual_seed(0)
    layer = nn.Conv2d(32, 32, 3, padding=1, bias=False)
    blocks = [caught(layer, torch.relu(torch.randn(8, 32, 12, 12))) for _ in range(3)]
    best = torch.zeros(32, dtype=torch.float64)
    for block in blocks:
        best = scores(block, each(32), best=best)
    assert sum(evaluated) < 0.01 * 3 * 8 * 32 * 144


def test_dead_inputs_and_dead_outputs(way):
    layer = nn.Conv2d(6, 4, 3, padding=1)
    with torch.no_grad():
        layer.weight[1] = 0
        layer.weight[2].abs_()
        layer.weight[3].abs_().neg_()
    x = torch.relu(torch.randn(2, 6, 5, 5))
    x[:, 2] = 0
    x[0, :, :3] = 0
    seen = caught(layer, x)
    found = scores(seen, each(6))
    assert found[2] == 0
    close(found, reference_sensitivities(seen.call, each(6)))


def test_strong_cancellation_and_large_bias(way):
    torch.manual_seed(0)
    layer = nn.Linear(40, 6)
    with torch.no_grad():
        layer.weight[:, 1:].clamp_(min=0)
        layer.weight[:, 0] = -1e-7
        layer.bias += 1e4
    seen = caught(layer, torch.rand(30, 40) + 0.1)
    close(scores(seen, each(40)), reference_sensitivities(seen.call, each(40)))


def test_a_long_pass_without_numba_says_so(monkeypatch):
    monkeypatch.setattr(compiled, "available", lambda: False)
    monkeypatch.setattr(kernels, "COMPILE_FROM", 10)
    monkeypatch.setattr(kernels, "WARN_FROM", 100)
    prepared = Prepared(1 << 20)
    assert not prepared.compiles(90, torch.device("cpu"))
    with pytest.warns(kernels.SpeedWarning, match=r"install prunella\[fast\]"):
        assert not prepared.compiles(90, torch.device("cpu"))
    assert not prepared.compiles(90, torch.device("cpu"))


def test_short_passes_are_not_compiled(monkeypatch):
    monkeypatch.setattr(compiled, "available", lambda: True)
    prepared = Prepared(1 << 20)
    cpu = torch.device("cpu")
    assert not prepared.compiles(kernels.COMPILE_FROM - 1, cpu)
    assert prepared.compiles(1, cpu)
    assert not prepared.compiles(1, torch.device("meta"))


def test_units_that_have_reached_one_are_not_searched_again(way, monkeypatch):
    layer = nn.Conv2d(3, 3, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(3)[:, :, None, None])  # each output is all of one unit's
    seen = caught(layer, torch.rand(2, 3, 5, 5) + 0.1)
    best = scores(seen, each(3))
    assert torch.equal(best, torch.ones(3, dtype=torch.float64))
    searched = []
    totals = kernels.totals

    def counting(piece, weights):
        searched.append(piece)
        return totals(piece, weights)

    monkeypatch.setattr(kernels, "totals", counting)
    assert torch.equal(scores(seen, each(3), best=best), best)
    assert not searched
    best[1] = 0
    assert torch.equal(scores(seen, each(3), best=best), torch.ones(3, dtype=torch.float64))
    assert len(searched) == 1


@pytest.mark.parametrize("memory", [1 << 12, 1 << 15, 1 << 22])
def test_waiting_changes_nothing_but_the_number_of_calls(memory):
    torch.manual_seed(7)
    layers = nn.Conv2d(4, 5, 3, padding=(2, 1)), nn.ConvTranspose2d(4, 5, 3, padding=1)
    calls = [caught(layer, torch.randn(8, 4, 6, 7)) for _ in range(5) for layer in layers]
    backlog = Backlog(memory, consumers=2)
    best = [torch.zeros(4, dtype=torch.float64) for _ in layers]

    def search(seen):
        place = int(seen.call.transposed)
        best[place] = scores(seen, each(4), best=best[place])
        return len(seen.call.inputs)

    counts = []
    for call in calls:
        counts += [search(seen) for seen in backlog.add(call)]
    counts += [search(seen) for seen in backlog.rest()]
    assert sum(counts) == 8 * len(calls)
    assert (len(counts) < len(calls)) == (memory > 1 << 15)
    for place, kind in enumerate((False, True)):
        alone = torch.zeros(4, dtype=torch.float64)
        for call in calls:
            if call.call.transposed == kind:
                alone = scores(call, each(4), best=alone)
        assert torch.equal(best[place], alone)
