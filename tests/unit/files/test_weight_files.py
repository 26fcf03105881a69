"""Plain weights: safetensors and `torch.load(weights_only=True)`, nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunella
from prunella.core.errors import FileError


def build():
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


def same(a, b):
    return all(torch.equal(t, b.state_dict()[name]) for name, t in a.state_dict().items())


class Malicious:
    """Runs code when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_round_trip(tmp_path, suffix, kind):
    model, other = build(), build()
    path = kind(tmp_path / f"weights.{suffix}")
    if suffix == "safetensors":
        prunella.save_weights(path, model)
    else:
        torch.save(model.state_dict(), path)
    parameters = list(other.parameters())
    assert not same(model, other)
    prunella.load_weights(path, other)
    assert same(model, other)
    assert all(a is b for a, b in zip(parameters, other.parameters(), strict=True))


def test_checkpoint_with_a_state_dictionary_inside(tmp_path):
    model, other = build(), build()
    torch.save({"epoch": 3, "state_dict": model.state_dict()}, tmp_path / "checkpoint.pth")
    prunella.load_weights(tmp_path / "checkpoint.pth", other)
    assert same(model, other)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"0.weight": x}])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, wrap):
    target = tmp_path / "was-here"
    for legacy in (True, False):
        path = tmp_path / "evil.pt"
        torch.save(wrap(Malicious(target)), path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(FileError, match=r"evil.pt: cannot be read .* without executing code"):
            prunella.load_weights(path, build())
        assert not target.exists()


def test_whole_pickled_module_is_refused(tmp_path):
    torch.save(build(), tmp_path / "module.pt")
    with pytest.raises(FileError, match="without executing code"):
        prunella.load_weights(tmp_path / "module.pt", build())


@pytest.mark.parametrize("content", [3, [torch.zeros(2)], {"a": 3}, {"a": {"b": torch.zeros(1)}}])
def test_what_is_no_state_dictionary(tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(FileError, match="holds no state dictionary"):
        prunella.load_weights(tmp_path / "other.pt", build())


@pytest.mark.parametrize("keep", [0, 1, 10, 500, 0.5, 0.99])
def test_truncated_pickle(tmp_path, keep):
    path = tmp_path / "weights.pt"
    torch.save(build().state_dict(), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(FileError, match="cannot be read as weights"):
        prunella.load_weights(path, build())


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_differences_are_named_and_nothing_is_changed(tmp_path, suffix):
    path = tmp_path / f"weights.{suffix}"

    def write(model):
        if suffix == "pt":
            torch.save(model.state_dict(), path)
        else:
            prunella.save_weights(path, model)

    model = build()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wide = build()
    wide[3] = nn.Linear(16, 5)
    write(wide)
    with pytest.raises(FileError, match=r"'3.weight' has shape \(5, 16\), but in .* \(3, 16\)"):
        prunella.load_weights(path, model)
    longer = build()
    longer.append(nn.Linear(3, 3))
    write(longer)
    with pytest.raises(FileError, match=r"holds a tensor '4\.\w+' that Sequential does not have"):
        prunella.load_weights(path, model)
    write(nn.Sequential(*list(build())[:3]))
    with pytest.raises(FileError, match=r"has no tensor '3.weight', which Sequential needs"):
        prunella.load_weights(path, model)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_tied_tensors_are_written_once_and_stay_tied(tmp_path):
    def tied():
        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        model[2].weight = model[0].weight
        return model

    path, model = tmp_path / "tied.safetensors", tied()
    prunella.save_weights(path, model, {"note": "hello"})
    other = tied()
    prunella.load_weights(path, other)
    assert same(model, other)
    assert other[2].weight is other[0].weight
    # A model that does not tie them gets two tensors, which can be trained apart.
    apart = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    prunella.load_weights(path, apart)
    assert same(model, apart)
    with torch.no_grad():
        apart[0].weight.zero_()
    assert torch.equal(apart[2].weight, model[2].weight)


def test_views_of_one_memory_are_different_tensors(tmp_path):
    """A square matrix and its transpose start at the same address and have the same shape."""

    def build_views():
        model = nn.Linear(3, 3)
        model.register_buffer("transposed", model.weight.detach().t())
        model.register_buffer("row", model.weight.detach()[0])
        model.register_buffer("bits", model.weight.detach().view(torch.int32))
        return model

    path, model, other = tmp_path / "views.safetensors", build_views(), build_views()
    prunella.save_weights(path, model)
    prunella.load_weights(path, other)
    assert same(model, other)
    assert torch.equal(other.transposed, model.weight.t())
    assert other.bits.dtype == torch.int32


def test_types_follow_the_file(tmp_path):
    path, model = tmp_path / "half.safetensors", build().half()
    prunella.save_weights(path, model)
    other = build()
    prunella.load_weights(path, other)
    assert same(model, other)
    assert other[0].weight.dtype == torch.float16
    assert isinstance(other[0].weight, nn.Parameter)
