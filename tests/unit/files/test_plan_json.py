"""A plan as text, and what a run keeps between its stages."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import prunella
from prunella.core.errors import FileError
from prunella.core.samples import SampleIds
from prunella.core.types import ChannelScores
from prunella.files.plans import plan_from_json, plan_to_json
from prunella.files.stages import StageFiles
from prunella.files.weights import save_tensors
from prunella.retrain import Checkpoint, EpochRecord
from prunella.surgery import cut


def assert_same(a, b):
    """Equal plans, field by field, down to the indices of every member."""
    assert (a.method, a.seed, a.requested, a.samples) == (b.method, b.seed, b.requested, b.samples)
    assert (a.original, a.achieved) == (b.original, b.achieved)
    assert {n: u.tolist() for n, u in a.kept.items()} == {n: u.tolist() for n, u in b.kept.items()}
    assert (a.graph.tensors, a.graph.other_macs) == (b.graph.tensors, b.graph.other_macs)
    assert a.graph.model_type == b.graph.model_type
    for mine, yours in zip(a.graph.groups, b.graph.groups, strict=True):
        assert (mine.name, mine.size, mine.prunable, mine.reason) == (
            yours.name,
            yours.size,
            yours.prunable,
            yours.reason,
        )
        for x, y in zip(mine.members, yours.members, strict=True):
            assert (x.tensor, x.axis, x.role) == (y.tensor, y.axis, y.role)
            assert torch.equal(x.indices, y.indices)
            assert y.indices.dtype == torch.int64


class Repeated(nn.Module):
    """Reads the channels of `a` at places that are no arithmetic progression; takes options."""

    def __init__(self, size, gaps):
        super().__init__()
        self.a = nn.Linear(3, size)
        self.between = nn.ModuleList(nn.Linear(3, gap) for gap in gaps)
        self.b = nn.Linear(size * (len(gaps) + 1) + sum(gaps), 2)

    def forward(self, x, options):
        y = self.a(x)
        parts = [y]
        for layer in self.between:
            parts += [layer(x), y]
        return self.b(torch.cat(parts, dim=1)) + len(options["words"])


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_round_trip_with_any_indices_and_inputs(data):
    size = data.draw(st.integers(2, 7))
    gaps = data.draw(st.lists(st.integers(1, 5), max_size=3))
    model = Repeated(size, gaps)
    numbers = data.draw(st.lists(st.integers(-5, 5), max_size=4))
    options = {
        "words": data.draw(st.lists(st.text(max_size=3), max_size=3)),
        "tokens": torch.tensor(numbers, dtype=torch.int16),
        "flag": data.draw(st.sampled_from([True, None, 2, 0.5])),
    }
    graph = prunella.trace(model, (torch.randn(1, 3), options))
    (reader,) = (m for m in graph.group("a").members if m.tensor == "b.weight")
    starts = [0, *itertools.accumulate(size + gap for gap in gaps)]
    assert reader.indices[1].tolist() == [start + 1 for start in starts]
    plan = prunella.Plan.from_kept(
        graph,
        {"a": sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1)))},
        requested=data.draw(st.sampled_from([None, prunella.Params(0.3), prunella.Flops(0.7)])),
        seed=data.draw(st.integers(0, 2**62)),
        method=data.draw(st.text(max_size=5)),
        samples=SampleIds.of(torch.randn(3, 2)),
    )
    again = plan_from_json(plan_to_json(plan), source="here")
    assert_same(plan, again)
    inputs, found = again.graph.inputs.args
    assert again.graph.inputs.kwargs == {}
    assert (inputs.shape, inputs.dtype) == ((1, 3), torch.float32)
    assert (found["words"], found["flag"]) == (options["words"], options["flag"])
    assert torch.equal(found["tokens"], options["tokens"])
    assert found["tokens"].dtype == torch.int16
    # What was read can be cut with, and gives the same network.
    torch.testing.assert_close(
        cut(model, again.graph, again.kept).state_dict(), cut(model, graph, plan.kept).state_dict()
    )


def test_plan_of_a_whole_network_is_compact():
    graph = prunella.trace(prunella.networks.vgg16_bn(), torch.zeros(1, 3, 32, 32))
    plan = prunella.plan(graph, None, prunella.Params(0.5), method="random", seed=3)
    text = plan_to_json(plan)
    assert_same(plan, plan_from_json(text, source="here"))
    assert len(text) < 40_000


def test_inputs_that_cannot_be_written():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))

    class Takes(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x, other):
            return self.inner(x)

    graph = prunella.trace(Takes(), (torch.randn(1, 3), object()))
    plan = prunella.Plan.from_kept(graph, {graph.prunable[0].name: [0]})
    with pytest.raises(FileError, match="example inputs hold a object, which cannot be written"):
        plan_to_json(plan)


class TestStageFiles:
    """Scores and checkpoints of an interrupted run."""

    @pytest.fixture
    def stages(self, tmp_path):
        return StageFiles(tmp_path)

    @pytest.fixture
    def scores(self):
        values = {"layer1.0": torch.rand(3), "b/c": torch.rand(2)}
        return ChannelScores(
            method="pfp",
            by_group=values,
            filter_norms={name: value * 2 for name, value in values.items()},
            sums={"layer1.0": 10**12, "b/c": 7},
            samples=SampleIds.of(torch.randn(5, 2)),
        )

    def checkpoint(self):
        model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        record = EpochRecord(
            epoch=1,
            loss=0.1 + 0.2,
            accuracy=float("nan"),
            learning_rate=1e-5,
            figures={"mse": 0.1},
            held_out={"loss": 2.0, "mse": float("inf")},
        )
        return Checkpoint(
            epoch=1,
            model=model.state_dict(),
            optimizer={
                piece: {name: torch.rand_like(p) for name, p in model.named_parameters()}
                for piece in ("momentum_buffer", "exp_avg")
            },
            records=(record,),
            best={"0.bias": torch.rand(2)},
        )

    def test_nothing_was_kept(self, stages):
        assert stages.load_scores() is None
        assert stages.load_training() is None
        stages.clear()

    def test_scores(self, stages, scores):
        stages.save_scores(scores)
        again = stages.load_scores()
        assert (again.method, again.sums, again.samples) == ("pfp", scores.sums, scores.samples)
        assert list(again) == sorted(scores) or set(again) == set(scores)
        for name in scores:
            assert torch.equal(again[name], scores[name])
            assert torch.equal(again.filter_norms[name], scores.filter_norms[name])

    def test_training(self, stages):
        given = self.checkpoint()
        stages.save_training(given)
        again = stages.load_training()
        assert again.epoch == 1
        assert again.records[0].loss == given.records[0].loss  # to the last bit
        assert again.records[0].accuracy != again.records[0].accuracy
        assert again.records[0].figures == {"mse": 0.1}
        assert again.records[0].held_out["loss"] == 2.0
        assert again.records[0].held_out["mse"] != again.records[0].held_out["mse"]
        assert set(again.optimizer) == set(given.optimizer)
        for mine, yours in (
            (given.model, again.model),
            (given.best, again.best),
            *((given.optimizer[piece], again.optimizer[piece]) for piece in given.optimizer),
        ):
            assert set(mine) == set(yours)
            assert all(torch.equal(mine[name], yours[name]) for name in mine)
        assert again.model["1.num_batches_tracked"].dtype == torch.int64

    def test_clear(self, stages, scores, tmp_path):
        stages.save_scores(scores)
        stages.save_training(self.checkpoint())
        (tmp_path / "other").write_text("stays")
        stages.clear()
        assert [p.name for p in tmp_path.iterdir()] == ["other"]

    def test_damage(self, stages, scores, tmp_path):
        stages.save_scores(scores)
        stages.save_training(self.checkpoint())
        from prunella.files.weights import read_tensors, save_tensors

        path = tmp_path / "scores.safetensors"
        whole = path.read_bytes()
        tensors, header = read_tensors(path)
        for change in ({"samples": "[]"}, {"samples": "{"}, {"sums": "?"}, {"samples": "{}"}):
            save_tensors(path, tensors, {**header, **change})
            with pytest.raises(FileError, match=r"scores.safetensors: damaged .* run again"):
                stages.load_scores()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(FileError, match="not a whole safetensors file"):
            stages.load_scores()
        path = tmp_path / "training.safetensors"
        tensors, _ = read_tensors(path)
        for records in ("[1]", "{", json.dumps([{"epoch": 1}])):
            save_tensors(path, tensors, {"records": records})
            with pytest.raises(FileError, match=r"training.safetensors: damaged .* run again"):
                stages.load_training()

    def test_training_of_an_earlier_version(self, stages, tmp_path):
        """As it was written at first: momentum alone, and NaN for an accuracy that is not known."""
        tensors = {"model/weight": torch.ones(2), "momentum/weight": torch.full((2,), 3.0)}
        row = '{"epoch": 1, "loss": 0.5, "accuracy": NaN, "learning_rate": 0.1}'
        save_tensors(tmp_path / "training.safetensors", tensors, {"records": f"[{row}]"})
        found = stages.load_training()
        assert list(found.optimizer) == ["momentum_buffer"]
        assert found.optimizer["momentum_buffer"]["weight"].tolist() == [3.0, 3.0]
        assert found.model["weight"].tolist() == [1.0, 1.0]
        assert (found.best, found.records[0].figures, found.records[0].held_out) == ({}, {}, {})
        assert found.records[0].loss == 0.5
        assert found.records[0].accuracy != found.records[0].accuracy
