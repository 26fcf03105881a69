"""A pass that was stopped goes on where it was, with the bits of an unbroken one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunella
from prunella.core.errors import DataError, FileError, InputError
from prunella.sensitivity import PassState


def network(*, seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 5),
    ).eval()  # fmt: skip


@pytest.fixture
def model():
    return network()


@pytest.fixture
def graph(model):
    return prunella.trace(model, torch.zeros(1, 2, 12, 12))


@pytest.fixture
def batches():
    return torch.randn(61, 2, 12, 12, generator=torch.Generator().manual_seed(3)).split(7)


@pytest.fixture
def file(tmp_path):
    return prunella.PassFile(tmp_path / "pass.safetensors", every_s=0)


class Killed(Exception):
    """What stops a pass in these tests."""


def until(batches, count):
    yield from batches[:count]
    raise Killed


def stop_after(count, model, graph, batches, file, **options):
    with pytest.raises(Killed):
        prunella.sensitivities(model, graph, until(batches, count), resume=file, **options)


def assert_same(found, whole):
    assert set(found) == set(whole)
    assert all(torch.equal(found[name], whole[name]) for name in whole)
    assert dict(found.sums) == dict(whole.sums)
    assert found.samples == whole.samples


class Counting(nn.Module):
    """Counts the samples that a network is run on."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.inner(x)


@pytest.mark.parametrize("count", [1, 4, 8])
@pytest.mark.parametrize("reduction", ["inner", "entry"])
def test_same_bits_after_a_stop(model, graph, batches, file, count, reduction):
    whole = prunella.sensitivities(model, graph, batches, reduction=reduction)
    stop_after(count, model, graph, batches, file, reduction=reduction)
    assert file.load().samples.count == 7 * count
    found = prunella.sensitivities(model, graph, batches, resume=file, reduction=reduction)
    assert_same(found, whole)


def test_stopped_again_and_again(model, graph, batches, file):
    whole = prunella.sensitivities(model, graph, batches)
    for count in (2, 3, 3, 7):
        stop_after(count, model, graph, batches, file)
    assert_same(prunella.sensitivities(model, graph, batches, resume=file), whole)


def test_samples_seen_before_are_not_run(batches, file):
    model = Counting(network())
    graph = prunella.trace(model, batches[0][:1])
    stop_after(6, model, graph, batches, file)
    model.calls = 0
    prunella.sensitivities(model, graph, batches, resume=file)
    assert model.calls == len(batches) - 6  # one block for each batch of seven


def test_a_finished_pass_runs_nothing_again(batches, file):
    model = Counting(network())
    graph = prunella.trace(model, batches[0][:1])
    whole = prunella.sensitivities(model, graph, batches, resume=file)
    model.calls = 0
    assert_same(prunella.sensitivities(model, graph, batches, resume=file), whole)
    assert model.calls == 0


def test_another_batch_size(model, graph, batches, file):
    whole = prunella.sensitivities(model, graph, batches)
    stop_after(5, model, graph, batches, file)
    others = torch.cat(batches).split(16)  # 35 samples were seen, which ends within a batch
    assert_same(prunella.sensitivities(model, graph, others, resume=file), whole)


def test_labels_and_keywords(graph, model, batches, file):
    whole = prunella.sensitivities(model, graph, batches)
    pairs = [({"input": batch}, torch.zeros(len(batch))) for batch in batches]
    stop_after(3, model, graph, pairs, file)
    assert_same(prunella.sensitivities(model, graph, pairs, resume=file), whole)


def test_nothing_is_kept_before_its_time(model, graph, batches, tmp_path):
    file = prunella.PassFile(tmp_path / "pass.safetensors", every_s=3600)
    stop_after(5, model, graph, batches, file)
    assert file.load() is None
    prunella.sensitivities(model, graph, batches, resume=file)
    assert file.load().samples.count == 61


def test_small_changes_of_weights_are_noticed(model, graph, batches, file):
    stop_after(3, model, graph, batches, file)
    with torch.no_grad():
        model[0].bias[2] += 1e-6
    with pytest.raises(FileError, match=r"pass\.safetensors: belongs .* differs in weights, so"):
        prunella.sensitivities(model, graph, batches, resume=file)
    with torch.no_grad():
        model[0].bias[2] -= 1e-6
    assert file.load().samples.count == 21


def test_another_graph(model, graph, batches, file):
    stop_after(3, model, graph, batches, file)
    other = prunella.trace(model, batches[0][:1], exclude=["0"])
    with pytest.raises(FileError, match=r"differs in graph, so .* delete it"):
        prunella.sensitivities(model, other, batches, resume=file)


def test_another_option(model, graph, batches, file):
    stop_after(3, model, graph, batches, file)
    with pytest.raises(FileError, match="differs in reduction, so"):
        prunella.sensitivities(model, graph, batches, resume=file, reduction="entry")


def test_other_samples(model, graph, batches, file):
    stop_after(3, model, graph, batches, file)
    kept = file.path.read_bytes()
    changed = [batches[0], batches[1] + 1e-3, *batches[2:]]
    with pytest.raises(DataError, match=r"other samples; 21 of .* seen 21, and 14 of them are the"):
        prunella.sensitivities(model, graph, changed, resume=file)
    with pytest.raises(DataError, match="14 of the loader stand where it has seen 21"):
        prunella.sensitivities(model, graph, batches[:2], resume=file)
    assert file.path.read_bytes() == kept


@pytest.mark.parametrize("part", [0, 7, 200, 0.5, 0.99])
def test_truncated(model, graph, batches, file, part):
    stop_after(3, model, graph, batches, file)
    content = file.path.read_bytes()
    kept = content[: int(part * len(content)) if isinstance(part, float) else part]
    file.path.write_bytes(kept)
    with pytest.raises(FileError, match=r"pass\.safetensors: no whole file of .* delete it, and"):
        prunella.sensitivities(model, graph, batches, resume=file)
    assert file.path.read_bytes() == kept


def test_a_file_of_something_else(model, graph, batches, tmp_path):
    path = tmp_path / "weights.safetensors"
    prunella.save_weights(path, model)
    with pytest.raises(FileError, match="no prunella-pass of version 1"):
        prunella.sensitivities(model, graph, batches, resume=prunella.PassFile(path))
    prunella.load_weights(path, model)  # it is as it was


def test_groups_of_another_size(model, graph, batches, file):
    stop_after(3, model, graph, batches, file)
    state = file.load()
    file.save(
        PassState(
            origin=state.origin,
            best={name: best[1:] for name, best in state.best.items()},
            counted=state.counted,
            samples=state.samples,
        )
    )
    with pytest.raises(FileError, match=r"damaged \(its groups are not those of the graph\)"):
        prunella.sensitivities(model, graph, batches, resume=file)


def test_no_store(model, graph, batches):
    with pytest.raises(InputError, match=r"resume is 'pass.safetensors'; expected .*PassFile"):
        prunella.sensitivities(model, graph, batches, resume="pass.safetensors")
    with pytest.raises(InputError, match=r"every_s is -1; expected seconds"):
        prunella.PassFile("pass.safetensors", every_s=-1)
