"""Pruned models on disk: a fresh process gets the same network, and nothing is executed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import prunella
from prunella.core.errors import FileError, InputError
from prunella.files import atomic
from prunella.files import weights as weight_files
from prunella.files.models import FORMAT_VERSION, load_plan
from prunella.files.plans import SCHEMA_VERSION

FACTORIES = textwrap.dedent(
    """
    import torch
    from torch import nn
    import prunella


    def convolutions():
        return nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3), nn.Conv2d(8, 6, 3),
            nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 10),
        )


    def half():
        return convolutions().half()


    def channels_last():
        return convolutions().to(memory_format=torch.channels_last)


    def tied():
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 784), nn.Linear(784, 8),
            nn.ReLU(), nn.Linear(8, 10),
        )
        model[4].weight = model[1].weight
        return model


    def lenet5():
        return prunella.networks.lenet5()


    def densenet22():
        return prunella.networks.densenet22(in_channels=1)
    """
)
LOAD = """
import sys, torch, prunella
from safetensors.torch import load_file, save_file
import factories
torch.set_num_threads(1)
for name in sys.argv[1:]:
    small = prunella.load(f"{name}.safetensors", getattr(factories, name)()).eval()
    given = load_file(f"{name}-given.safetensors")
    with torch.no_grad():
        found = small(given["inputs"])
    worst = float((found.double() - given["outputs"].double()).abs().max())
    scale = float(given["outputs"].double().abs().max())
    assert worst <= 1e-6 * scale, (name, worst, scale)
print("loaded", len(sys.argv) - 1)
"""


@pytest.fixture(scope="module")
def factories():
    scope = {}
    exec(FACTORIES, scope)
    return scope


def halve(model, example):
    graph = prunella.trace(model, example)
    kept = {group.name: torch.arange(0, group.size, 2) for group in graph.prunable}
    plan = prunella.Plan.from_kept(graph, kept)
    return plan, plan.apply(model)


def mlp(width=12):
    return nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, 3))


@pytest.fixture
def saved(tmp_path):
    """A pruned model in a file: (path, model, plan)."""
    model = mlp()
    plan, small = halve(model, torch.randn(1, 5))
    path = tmp_path / "small.safetensors"
    prunella.save(path, small, plan)
    return path, small, plan


def test_a_new_process_gets_the_same_network(tmp_path, factories):
    names = ["convolutions", "half", "channels_last", "tied", "lenet5", "densenet22"]
    (tmp_path / "factories.py").write_text(FACTORIES)
    for name in names:
        model = factories[name]()
        dtype = next(model.parameters()).dtype
        with torch.no_grad():  # as after training
            for tensor in (*model.parameters(), *model.buffers()):
                if tensor.dtype.is_floating_point:
                    tensor.add_(0.1 * torch.rand_like(tensor))
        plan, small = halve(model, torch.randn(1, 1, 28, 28, dtype=dtype))
        prunella.save(tmp_path / f"{name}.safetensors", small, plan)
        inputs = torch.randn(4, 1, 28, 28, dtype=dtype)
        with torch.no_grad():
            outputs = small.eval()(inputs)
        weight_files.save_tensors(
            tmp_path / f"{name}-given.safetensors", {"inputs": inputs, "outputs": outputs}, {}
        )
    source = Path(prunella.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *names],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"loaded {len(names)}"


def test_the_file_is_a_header_and_raw_numbers(saved):
    path, small, plan = saved
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    assert set(header) == set(small.state_dict())
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        assert start == end
        end = stop
        body = bytearray(data[8 + length + start : 8 + length + stop])
        raw = torch.frombuffer(body, dtype=torch.float32)
        assert torch.equal(raw.reshape(entry["shape"]), small.state_dict()[name])
    assert len(data) == 8 + length + end
    assert end == plan.achieved.bytes
    assert json.loads(metadata["plan"])["kept"] == {"0": [0, 2, 4, 6, 8, 10]}


def test_size_of_the_file_is_about_the_kept_bytes(tmp_path):
    model = prunella.networks.resnet20()
    plan, small = halve(model, torch.randn(1, 3, 32, 32))
    prunella.save(tmp_path / "a.safetensors", small, plan)
    size = (tmp_path / "a.safetensors").stat().st_size
    assert plan.achieved.bytes < size < plan.achieved.bytes + 50_000
    assert size < 0.5 * plan.original.bytes


def test_fresh_model_keeps_its_mode_and_stays_untouched(saved):
    path, small, _ = saved
    fresh = mlp()
    fresh.train()
    fresh[1].eval()
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    loaded = prunella.load(str(path), fresh)
    assert [m.training for m in loaded.modules()] == [m.training for m in fresh.modules()]
    assert all(torch.equal(before[name], t) for name, t in fresh.state_dict().items())
    assert all(torch.equal(small.state_dict()[n], t) for n, t in loaded.state_dict().items())
    assert loaded[0].out_features == 6


def test_trained_further_and_saved_again(saved, tmp_path):
    path, small, plan = saved
    with torch.no_grad():
        small[0].weight.mul_(2)
    prunella.save(path, small, plan)
    loaded = prunella.load(path, mlp())
    assert torch.equal(loaded[0].weight, small[0].weight)
    again = load_plan(path)
    assert again.achieved == plan.achieved
    assert torch.equal(again.kept["0"], plan.kept["0"])


def test_tied_weights_are_written_once(tmp_path, factories):
    model = factories["tied"]()
    plan, small = halve(model, torch.randn(1, 1, 28, 28))
    prunella.save(tmp_path / "tied.safetensors", small, plan)
    assert "4.weight" not in load_file(tmp_path / "tied.safetensors")
    loaded = prunella.load(tmp_path / "tied.safetensors", factories["tied"]())
    assert loaded[4].weight is loaded[1].weight
    assert torch.equal(loaded[4].weight, small[1].weight)


# -- what does not fit ---------------------------------------------------------------------------


def test_file_of_another_network_names_the_first_difference(tmp_path):
    model = prunella.networks.resnet20()
    plan, small = halve(model, torch.randn(1, 3, 32, 32))
    path = tmp_path / "resnet20.safetensors"
    prunella.save(path, small, plan)
    with pytest.raises(FileError) as caught:
        prunella.load(path, prunella.networks.resnet56())
    message = str(caught.value)
    assert "\n" not in message
    assert message.count("layer") == 1
    assert "'layer1.3.conv1.weight'" in message
    assert str(path) in message
    with pytest.raises(FileError, match=r"'conv1.weight' has shape \(16, 3, 3, 3\), but in the"):
        prunella.load(path, prunella.networks.resnet20(in_channels=1))


def test_model_that_was_not_made_with_the_plan_is_not_saved(saved, tmp_path):
    plan = saved[2]
    path = tmp_path / "wrong.safetensors"
    with pytest.raises(InputError, match="the model has 111 parameters but the plan leaves 57"):
        prunella.save(path, mlp(), plan)
    # As many parameters, but others: 5 x 6 and 6 x 3 against 6 x 5 and 5 x 3 with a bias of 12.
    other = nn.Sequential(nn.Linear(5, 9, bias=False), nn.ReLU(), nn.Linear(9, 1), nn.ReLU())
    other.append(nn.ParameterList([torch.zeros(2)]))
    assert sum(p.numel() for p in other.parameters()) == 57
    with pytest.raises(InputError, match=r"the plan leaves '0.weight' with shape \(6, 5\), but"):
        prunella.save(path, other, plan)
    assert not path.exists()


# -- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 100, 0.5, 0.9, -1])
def test_truncated_file(saved, keep):
    path, _, _ = saved
    data = path.read_bytes()
    length = int(keep * len(data)) if isinstance(keep, float) else keep % len(data)
    path.write_bytes(data[:length])
    with pytest.raises(FileError, match=r"not a whole safetensors file"):
        prunella.load(path, mlp())


def test_random_bytes(tmp_path):
    generator = torch.Generator().manual_seed(0)
    for size in (1, 8, 64, 4096):
        for suffix in ("safetensors", "pt"):
            path = tmp_path / f"noise-{size}.{suffix}"
            noise = torch.randint(0, 256, (size,), dtype=torch.uint8, generator=generator)
            path.write_bytes(noise.numpy().tobytes())
            with pytest.raises(FileError, match=f"noise-{size}"):
                prunella.load(path, mlp())
            with pytest.raises(FileError, match=f"noise-{size}"):
                prunella.load_weights(path, mlp())


def tampered(path, change):
    """Change the plan in the header and write the file again."""
    tensors, metadata = weight_files.read_tensors(path)
    plan = json.loads(metadata["plan"])
    result = change(plan, metadata)
    metadata["plan"] = result if isinstance(result, str) else json.dumps(plan)
    weight_files.save_tensors(path, tensors, metadata)


def changes():
    def at(*keys, value):
        def change(plan, metadata):
            place = plan
            for key in keys[:-1]:
                place = place[key]
            if value is KeyError:
                del place[keys[-1]]
            else:
                place[keys[-1]] = value

        return change

    group = ("graph", "groups", 1)
    member = (*group, "members", 0)
    return {
        "next schema": at("schema_version", value=SCHEMA_VERSION + 1),
        "no schema": at("schema_version", value=KeyError),
        "no kept": at("kept", value=KeyError),
        "no graph": at("graph", value=KeyError),
        "no tensors": at("graph", "tensors", value=KeyError),
        "no samples": at("samples", value=KeyError),
        "kept out of range": at("kept", value={"0": [0, 12]}),
        "kept twice": at("kept", value={"0": [0, 0]}),
        "kept nothing": at("kept", value={"0": []}),
        "kept of unknown group": at("kept", value={"nowhere": [0]}),
        "kept of text": at("kept", value={"0": "all"}),
        "kept is a list": at("kept", value=[0, 1]),
        "unknown budget": at("requested", value={"kind": "Wishes", "fraction": 0.5}),
        "budget out of range": at("requested", value={"kind": "Params", "fraction": 7}),
        "size too large": at(*group, "size", value=13),
        "size negative": at(*group, "size", value=-1),
        "size of text": at(*group, "size", value="12"),
        "member out of range": at(*member, 3, value=[1, 1, 1, 12, 1]),
        "member negative": at(*member, 3, value=[-1, 1, 1, 12, 1]),
        "member short": at(*member, 3, value=[0, 1, 1, 11, 1]),
        "member empty": at(*member, 3, value=[]),
        "member pattern short": at(*member, 3, value=[0, 1]),
        "member ragged": at(*member, 3, value=[[0], [1, 2]]),
        "axis out of range": at(*member, 1, value=5),
        "axis of text": at(*member, 1, value="first"),
        "role unknown": at(*member, 2, value="villain"),
        "shape not numbers": at("graph", "tensors", 0, 1, value=["a", "b"]),
        "input of unknown type": at("graph", "inputs", 0, value={"tensor": {"shape": [1]}}),
        "input type no type": at(
            "graph", "inputs", 0, value={"tensor": {"shape": [1], "dtype": "save"}}
        ),
        "input too few values": at(
            "graph", "inputs", 0, value={"tensor": {"shape": [9], "dtype": "int64", "values": [1]}}
        ),
        "hashes damaged": at("samples", value={"count": 1, "hashes": "abc"}),
        "not JSON": lambda plan, metadata: "{",
        "a JSON number": lambda plan, metadata: "3",
        "a JSON list": lambda plan, metadata: "[]",
        "deep": lambda plan, metadata: "[" * 100_000,
        "next format": lambda plan, metadata: metadata.update(prunella="2"),
        "alias of nothing": lambda plan, metadata: metadata.update(aliases="a\tb"),
        "alias without name": lambda plan, metadata: metadata.update(aliases="a"),
    }


@pytest.mark.parametrize("name", changes())
def test_tampered_header(saved, name):
    path, _, _ = saved
    tampered(path, changes()[name])
    with pytest.raises(FileError) as caught:
        prunella.load(path, mlp())
    assert str(path) in str(caught.value)
    if name.startswith("next"):
        newest = SCHEMA_VERSION if name == "next schema" else FORMAT_VERSION
        assert f"version {newest + 1}, this prunella reads {newest}" in str(caught.value)
        assert "update prunella" in str(caught.value)


def test_tensors_that_do_not_fit_the_plan(saved):
    path, _, _ = saved
    tensors, metadata = weight_files.read_tensors(path)
    for change, message in (
        ({"0.bias": torch.zeros(7)}, r"'0.bias' has shape \(7,\), but in .* shape \(6,\)"),
        ({"more": torch.zeros(1)}, "holds a tensor 'more'"),
    ):
        weight_files.save_tensors(path, {**tensors, **change}, metadata)
        with pytest.raises(FileError, match=message):
            prunella.load(path, mlp())
    weight_files.save_tensors(
        path, {name: t for name, t in tensors.items() if name != "2.bias"}, metadata
    )
    with pytest.raises(FileError, match=r"has no tensor '2.bias'"):
        prunella.load(path, mlp())


def test_plain_weights_and_pruned_models_are_told_apart(saved, tmp_path):
    path, _, _ = saved
    plain = tmp_path / "plain.safetensors"
    prunella.save_weights(plain, mlp())
    with pytest.raises(FileError, match="holds plain weights, not a pruned model"):
        prunella.load(plain, mlp())
    with pytest.raises(FileError, match="holds a pruned model, not plain weights"):
        prunella.load_weights(path, mlp())


def test_missing_file_and_directory(tmp_path):
    for path, message in (
        (tmp_path / "none.safetensors", "none.safetensors: no such file; give the path"),
        (tmp_path, r"cannot be read \(is a directory\); give the path"),
    ):
        with pytest.raises(FileError, match=message):
            prunella.load(path, mlp())
        with pytest.raises(FileError, match=message):
            prunella.load_weights(path, mlp())


# -- writing -------------------------------------------------------------------------------------


def test_interrupted_writing_leaves_the_old_file(saved, monkeypatch):
    path, small, plan = saved
    before = path.read_bytes()

    def interrupted(tensors, filename, metadata):
        Path(filename).write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(weight_files, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prunella.save(path, small, plan)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_full_disk_is_a_file_error(saved, monkeypatch):
    path, small, plan = saved

    def full(tensors, filename, metadata):
        raise weight_files.SafetensorError("No space left on device")

    monkeypatch.setattr(weight_files, "save_file", full)
    with pytest.raises(FileError, match=r"cannot be written .*No space left"):
        prunella.save(path, small, plan)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_directory_that_cannot_be_written(saved, tmp_path):
    _, small, plan = saved
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    with pytest.raises(FileError, match=r"blocked/small.safetensors: cannot be written"):
        prunella.save(blocked / "small.safetensors", small, plan)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(FileError, match="folder: cannot be written"):
        prunella.save(folder, small, plan)
    assert not list(tmp_path.glob(".*"))


def test_missing_folders_are_made(saved, tmp_path):
    _, small, plan = saved
    path = tmp_path / "a" / "b" / "small.safetensors"
    prunella.save(path, small, plan)
    assert prunella.load(path, mlp())[0].out_features == 6


def test_text_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    atomic.write_atomically(path, "first é")
    assert atomic.read_text(path) == "first é"

    def fails(part):
        raise OSError(28, "No space left on device")

    with pytest.raises(FileError, match=r"page.html: cannot be written \(No space left"):
        atomic.write_atomically(path, fails)
    assert atomic.read_text(path) == "first é"
    atomic.write_atomically(path, b"\xff\xfe")
    with pytest.raises(FileError, match="cannot be read as text"):
        atomic.read_text(path)
    with pytest.raises(FileError, match="no such file"):
        atomic.read_text(tmp_path / "none")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
