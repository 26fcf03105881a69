"""Scenario 5: concat, split, chunk, reshape.

"I have a CSP-style block (chunk + concat), a wide-and-deep MLP with concat, and Linear -> view ->
ConvTranspose. I prune in three steps. Each step runs; the two concat sources are scored separately;
a layer that cannot be shown safe is listed with file and line, and the rest is still pruned."
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import prunella


class CrossStage(nn.Module):
    """A CSP-style block: half of the channels pass by, half go through convolutions."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.one = nn.Conv2d(8, 8, 3, padding=1)
        self.two = nn.Conv2d(8, 8, 3, padding=1)
        self.mix = nn.Conv2d(24, 12, 1)
        self.last = nn.Conv2d(12, 4, 1)

    def forward(self, x):
        past, through = self.stem(x).relu().chunk(2, 1)
        first = self.one(through).relu()
        second = self.two(first).relu()
        return self.last(self.mix(torch.cat([past, first, second], 1)).relu())


class WideAndDeep(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide = nn.Linear(10, 12)
        self.deep = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU())
        self.last = nn.Linear(20, 3)

    def forward(self, x):
        return self.last(torch.cat([self.wide(x).relu(), self.deep(x[:, :6])], 1))


class Decoder(nn.Module):
    """A vector becomes a map, which grows."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(5, 24)
        self.spread = nn.Linear(24, 8 * 4 * 4)
        self.grow = nn.ConvTranspose2d(8, 12, 2, stride=2)
        self.last = nn.ConvTranspose2d(12, 3, 2, stride=2)

    def forward(self, x):
        x = self.spread(self.first(x).relu()).relu()
        return self.last(self.grow(x.view(len(x), -1, 4, 4)).relu())


class PartlyUnsafe(WideAndDeep):
    """The wide part goes through an operation that no rule is known for."""

    def forward(self, x):
        wide = torch.cumprod(self.wide(x).sigmoid(), 1)
        return self.last(torch.cat([wide, self.deep(x[:, :6])], 1))


CASES = {
    "CSP": (CrossStage, (3, 8, 8)),
    "wide and deep": (WideAndDeep, (10,)),
    "decoder": (Decoder, (5,)),
    "partly unsafe": (PartlyUnsafe, (10,)),
}


def next_plan(model, example):
    """Without a quarter of each group; equal parts lose equally many."""
    graph = prunella.trace(model, example)
    generator = torch.Generator().manual_seed(1)
    return prunella.Plan.from_kept(graph, {
        group.name: torch.randperm(group.size, generator=generator)[: max(1, 3 * group.size // 4)]
        .sort().values
        for group in graph.prunable
    })  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_three_steps_and_one_plan(case):
    build, shape = CASES[case]
    torch.manual_seed(0)
    original = build().eval()
    inputs = torch.randn(32, *shape)
    model, total, sizes = original, None, []
    for _ in range(3):
        plan = next_plan(model, inputs[:1])
        model = plan.apply(model)
        total = plan if total is None else prunella.compose(total, plan)
        model.train()
        model(inputs).square().mean().backward()  # each step runs, both ways
        model.zero_grad()
        model.eval()
        sizes.append(sum(p.numel() for p in model.parameters()))
    assert sizes[0] > sizes[1] > sizes[2]
    at_once = total.apply(original).eval()
    assert sum(p.numel() for p in at_once.parameters()) == sizes[-1] == total.achieved.params
    with torch.no_grad():
        torch.testing.assert_close(at_once(inputs), model(inputs))


def test_sources_of_a_concatenation_are_scored_separately():
    torch.manual_seed(0)
    for build, shape, sources in (
        (CrossStage, (3, 8, 8), ["stem[0:]", "one", "two"]),
        (WideAndDeep, (10,), ["wide", "deep.2"]),
    ):
        model, inputs = build(), torch.randn(32, *shape)
        graph = prunella.trace(model, inputs[:1])
        reader = "mix.weight" if build is CrossStage else "last.weight"
        taken = []
        for silent, name in enumerate(sources):
            layer = model.get_submodule(name.removesuffix("[0:]"))
            with torch.no_grad():  # a channel that is always zero, another one in each source
                layer.weight[silent], layer.bias[silent] = 0, -1
            (member,) = (m for m in graph.group(name).members if m.tensor == reader)
            taken += member.indices.reshape(-1).tolist()
        assert taken == list(range(len(taken)))  # side by side, each with columns of its own
        scores = prunella.sensitivities(model, graph, [inputs])
        for silent, name in enumerate(sources):
            assert scores[name][silent] == 0
            assert float(scores[name].max()) > 0.1
            others = [n for place, n in enumerate(sources) if place != silent]
            assert all(scores[other][silent] > 0 for other in others)


def test_what_cannot_be_shown_safe_is_listed_with_its_line_and_the_rest_is_cut():
    plan = next_plan(PartlyUnsafe(), torch.randn(1, 10))
    assert [group.name for group in plan.graph.prunable] == ["deep.0", "deep.2"]
    reason = plan.graph.group("wide").reason
    place = re.search(r"test_scenario_05_concat_split_chunk_reshape\.py:(\d+)", reason)
    assert place is not None, reason
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    assert "torch.cumprod" in lines[int(place[1]) - 1]
    assert reason in str(plan)
