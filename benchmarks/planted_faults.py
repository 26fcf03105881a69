"""Break one rule of the channel graph at a time, and see whether random networks find it.

    python benchmarks/planted_faults.py --out benchmarks/results/planted-faults.csv

Graphs come from the labelled run alone, without the trial cut that would freeze much of what a
wrong rule leaves. Only networks are used that are right without a fault. What they do not find is
tried on the tests of the rules, tests/unit/graph.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "generators"))

from prunella.graph import trace as labelled_trace
from prunella.graph.call import RULES, Call
from prunella.graph.labels import Labels
from prunella.graph.layout import compact
from prunella.graph.rules import attention, contract, elementwise, joining, movement, normalise
from prunella.surgery import apply as surgery
from prunella.surgery import attributes
from random_networks import Network, check, draw_network

Fault = Callable[[], Any]  # a context in which one thing is broken
Rule = Callable[[Call, Labels], None]


def nothing(*_: Any, **__: Any) -> None:
    """In place of what is left out."""


def as_it_is(call: Call, labels: Labels) -> None:
    """Labels pass as if nothing had happened to them."""
    known = labels.get(call.first)
    for out in call.outputs:
        if known is not None and out.shape == known.shape:
            labels.put(out, known)


def first_operand_only(call: Call, labels: Labels) -> None:
    known = next((k for t in call.tensors() if (k := labels.get(t)) is not None), None)
    for out in call.outputs:
        labels.put(out, None if known is None else known.expand(out.shape))


def parts_reversed(found: Any) -> tuple[Tensor, ...]:
    return (found,) if isinstance(found, Tensor) else tuple(found)[::-1]


def halves_not_tied(call: Call, labels: Labels) -> None:
    known = labels.get(call.first)
    if known is not None:
        labels.put(call.out, known.chunk(2, call.args[1] if len(call.args) > 1 else -1)[0])


def group_norm_without_groups(call: Call, labels: Labels) -> None:
    known = labels.get(call.first)
    if known is not None:
        channels = known.flatten(2)[0, :, 0] if known.ndim > 2 else known[0]
        for parameter in list(call.tensors())[1:]:
            elementwise.meet(channels, parameter, call, labels)
        labels.put(call.outputs[0], known)


def reversed_parts(filled: list[Tensor], call: Call, shape: Any) -> Tensor:
    return RIGHT_JOIN(filled[::-1], call, shape)


def product_without_ties(
    call: Call, labels: Labels, left: Tensor | None, right: Tensor | None
) -> Tensor | None:
    """Queries without their keys. (That the width of a head goes as a whole is asked twice, by the
    product and by the view that made the heads, so leaving out one of the two is no fault.)
    """
    del call, labels
    if left is None or right is None:
        return None
    return left[..., :1].expand(*left.shape[:-1], right.shape[-1])


def ties_without_fixed(labels: Labels, known: Tensor, axes: Any, reason: str) -> Tensor:
    first = known
    for axis in axes:
        first = first.narrow(axis, 0, 1)
    labels.tie(known, first, reason)
    return first


def shifted_ties(labels: Labels, a: Tensor, b: Tensor, reason: str = "") -> None:
    a, b = compact(*torch.broadcast_tensors(a, b))
    RIGHT_TIE(labels, a, b.roll(1, 0) if b.ndim == 1 else b, reason)


def one_position_more(positions: Tensor, size: int) -> Tensor:
    """What stays, wrong only where something goes and more than one position stays."""
    stays = RIGHT_COMPLEMENT(positions, size)
    return stays if len(stays) in (0, 1, size) else (stays + 1) % size


def double_use(labels: Labels, name: str, macs: int) -> None:
    labels.uses[name] = labels.uses.get(name, 0) + 2 * macs


def first_layer_axis(labels: Labels, tensor: str, axis: int, role: Any) -> Tensor:
    """Channels that are made and read where nobody notices that they are both."""
    labels.roles.setdefault((tensor, axis), role)
    return labels.axis(tensor, axis)


TESTS = Path(__file__).parents[1] / "tests" / "unit" / "graph"
RIGHT_JOIN, RIGHT_TIE, RIGHT_COMPLEMENT = joining._on_thin, Labels.tie, surgery.complement


def rules(**broken: Rule) -> Fault:
    return lambda: mock.patch.dict(RULES, broken)


def instead(owner: Any, name: str, what: Any) -> Fault:
    return lambda: mock.patch.object(owner, name, what)


FAULTS: dict[str, Fault] = {
    "a sum does not tie its operands": rules(add=first_operand_only),
    "a product does not tie its operands": rules(mul=first_operand_only),
    "differences and maxima do not tie their operands": rules(
        maximum=first_operand_only, sub=first_operand_only
    ),
    "ties of vectors are shifted by one": instead(Labels, "tie", shifted_ties),
    "a bias does not go with its rows": instead(contract, "_tie_bias", nothing),
    "channels that meet fixed positions may go": instead(contract, "_freeze_at_fixed", nothing),
    "parts of a split are in reverse": instead(movement, "_each", parts_reversed),
    "parts of a split need not stay equal": instead(movement, "_note_parts", nothing),
    "blocks of a view need not stay full": instead(movement, "_note_grid", nothing),
    "a concatenation is read in reverse": instead(joining, "_on_thin", reversed_parts),
    "flip moves nothing": rules(flip=as_it_is),
    "glu does not tie its halves": rules(glu=halves_not_tied),
    "batch norm carries nothing": instead(normalise, "meet_vectors", nothing),
    "group norm forgets its groups": rules(native_group_norm=group_norm_without_groups),
    "layer norm mixes nothing": instead(normalise, "mix", nothing),
    "softmax over channels mixes nothing": rules(_softmax=as_it_is),
    "a cumulative sum over channels mixes nothing": rules(cumsum=as_it_is),
    "sums over channels tie nothing": instead(Labels, "put_when_read", nothing),
    "sums beside fixed positions do not freeze": instead(Labels, "tie_along", ties_without_fixed),
    "constants of fixed size may meet channels": instead(Labels, "require_whole", nothing),
    "queries go without their keys": instead(attention, "_product", product_without_ties),
    "counts of heads stay as they were": instead(attributes, "count_heads", nothing),
    "what makes and reads the same channels may be cut": instead(Labels, "play", first_layer_axis),
    "positions that stay are shifted by one": instead(surgery, "complement", one_position_more),
    "uses of a weight count twice": instead(Labels, "use", double_use),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", type=int, default=150)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    networks = list(_right(options.networks))
    rows = []
    for name, fault in FAULTS.items():
        rows.append(_searched(name, fault, networks))
        print(rows[-1], flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    missed = [row["fault"] for row in rows if not row["found"]]
    print(f"{len(rows) - len(missed)} of {len(rows)} found", *missed, sep="\n  ")
    sys.exit(bool(missed))


def _right(count: int) -> Iterator[tuple[int, Network]]:
    """Networks with something to cut that are right without a fault, and their seeds."""
    for seed in range(count):
        network = draw_network(random.Random(seed), most=16)
        if not any(_wrong(network)):
            yield seed, network


def _searched(name: str, fault: Fault, networks: list[tuple[int, Network]]) -> dict[str, Any]:
    with fault():
        for tried, (seed, network) in enumerate(networks, start=1):
            for words in _wrong(network):
                return {"fault": name, "found": True, "networks": tried, "seed": seed, "by": words}
        first = _first_failing_test()
    return {"fault": name, "found": bool(first), "networks": len(networks), "seed": "", "by": first}


def _first_failing_test() -> str:
    """The first test of the rules that fails; "" if none does."""
    failed = []

    class Notes:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                failed.append(report.nodeid.partition("unit/graph/")[2])

    pytest.main(["-q", "-x", "--no-summary", "-p", "no:cacheprovider", str(TESTS)], [Notes()])
    return failed[0] if failed else ""


def _wrong(network: Network) -> Iterator[str]:
    """What does not hold, if anything."""
    try:
        check(network, labelled_trace)
    except Exception as error:  # whatever goes wrong counts as found
        words = " ".join(str(error).split()) or "assertion"
        yield f"{type(error).__name__}: {words[:60]}"


if __name__ == "__main__":
    main()
