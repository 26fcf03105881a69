"""Written files compute what the network computes, for any batch size, or are not there."""

from __future__ import annotations

import io
import logging
import sys
import zipfile
from importlib.resources import files

import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

import prunella
from prunella.core.errors import ExportError, InputError
from prunella.exporting import formats, write

FORMATS = ["onnx", "pt2"]


def outputs_of(path, *arguments, **keywords):
    """All output tensors, by the runtimes alone."""
    if path.suffix == ".pt2":
        outputs = torch.export.load(path).module()(*arguments, **keywords)
        return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    leaves = [x for x in tree_leaves((arguments, keywords)) if isinstance(x, torch.Tensor)]
    names = [node.name for node in session.get_inputs()]
    feed = {name: leaf.numpy() for name, leaf in zip(names, leaves, strict=True)}
    return [torch.from_numpy(array) for array in session.run(None, feed)]


# Models


class One(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4)


class TwoInputs(One):
    def forward(self, x, y):
        return self.layer(x) - 2 * self.layer(y)


class Dictionary(One):
    def forward(self, x):
        out = self.layer(x)
        return {"logits": out, "more": [out.exp(), out > 0], "classes": out.argmax(1)}


class Keywords(One):
    def forward(self, x, *, mask, scale=1.0, table=None):
        return self.layer(x) * mask * scale + table.sum(0)


class Nested(One):
    def forward(self, pair, more):
        return self.layer(pair[0]) + self.layer(pair[1]) * more["factor"]


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.cells = nn.LSTM(6, 5, batch_first=True)

    def forward(self, numbers):
        return self.cells(self.table(numbers))[0].mean(1)


class Normed(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))


class FixedBatch(One):
    def forward(self, x):
        return self.layer(x).reshape(2, -1)


class Branches(One):
    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else x


class Draws(One):
    def forward(self, x):
        return self.layer(x) + torch.rand(len(x), 4)


class DrawsInVain(nn.Module):
    def forward(self, x):
        return x + 0 * torch.rand(x.shape[0], 1)


class NoOnnx(One):
    """The singular value decomposition has no counterpart in ONNX."""

    def forward(self, x):
        return torch.linalg.svd(self.layer(x))[1]


class NoTensors(One):
    def forward(self, x):
        return "four"


class Nothing(One):
    def forward(self, x):
        return x[:, :0], [x[:, :0]]


class Fails(One):
    def forward(self, x):
        raise KeyError("no such thing")


class Large(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 64)

    def forward(self, x):
        return self.layer(x)


def rand(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


CASES = {
    # name: (model, positional arguments for 6 samples, keyword arguments)
    "two inputs": (TwoInputs, (rand(6, 3), rand(6, 3)), {}),
    "dictionary": (Dictionary, (rand(6, 3),), {}),
    "keywords": (
        Keywords,
        (rand(6, 3),),
        {"table": rand(5, 4), "scale": 3.0, "mask": rand(6, 4)},  # not in the order of forward
    ),
    "nested": (Nested, ([rand(6, 3), rand(6, 3)], {"factor": rand(6, 1)}), {}),
    "tokens": (Tokens, (torch.arange(30).reshape(6, 5) % 11,), {}),
    "normed": (Normed, (rand(6, 3),), {}),
    "double": (lambda: One().layer.double(), (rand(6, 3).double(),), {}),
}


def repeated(leaf):
    """From 6 samples to 9; what is no sample stays."""
    is_samples = isinstance(leaf, torch.Tensor) and len(leaf) == 6
    return torch.cat([leaf, leaf[:3]]) if is_samples else leaf


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("name", CASES)
def test_models_of_all_kinds(name, file_format, tmp_path):
    make, arguments, keywords = CASES[name]
    model = make()
    path = tmp_path / f"model.{file_format}"
    check = prunella.export(model, arguments, path, keywords=keywords)
    assert check.agrees
    assert check.batches == (1, 3, 6)
    assert check.relative_difference < 1e-5
    # A batch size that was not compared; keywords in the order of forward.
    more, named = tree_map(repeated, (arguments, keywords))
    if name == "keywords":
        named = {key: named[key] for key in ("mask", "scale", "table")}
    with torch.no_grad():
        expected = tree_leaves(model.eval()(*more, **named))
    found = outputs_of(path, *more, **named)
    assert [t.shape for t in found] == [t.shape for t in expected]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def pair():
    """The bundled network, and the same with half of its channels."""
    model = prunella.networks.resnet20(in_channels=1)
    prunella.load_weights(files("prunella.networks") / "weights/resnet20.safetensors", model)
    graph = prunella.trace(model, torch.zeros(1, 1, 28, 28))
    halves = {group.name: list(range(group.size // 2)) for group in graph.prunable}
    return model.eval(), prunella.Plan.from_kept(graph, halves).apply(model).eval()


@pytest.fixture(scope="module")
def images():
    held_out = prunella.data.bundled("test").subset(range(16))
    return next(iter(held_out.loader(16)))[0]


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_pruned_network_gives_a_smaller_file(file_format, pair, images, tmp_path):
    model, small = pair
    paths = [tmp_path / f"{name}.{file_format}" for name in ("before", "after")]
    before, after = (prunella.export(m, images, p) for m, p in zip(pair, paths, strict=True))
    assert [check.bytes for check in (before, after)] == [p.stat().st_size for p in paths]
    weights = 4 * sum(p.numel() for p in model.parameters())
    less = weights - 4 * sum(p.numel() for p in small.parameters())
    assert before.bytes - after.bytes == pytest.approx(less, rel=0.02)
    assert before.agrees
    assert after.agrees
    assert after.absolute_difference < 1e-4
    (found,) = outputs_of(paths[1], images[:5])
    with torch.no_grad():
        torch.testing.assert_close(found, small(images[:5]), rtol=1e-4, atol=1e-4)
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_onnx_says_its_opset_and_leaves_the_batch_open(tmp_path):
    path = tmp_path / "m.onnx"
    check = prunella.export(Normed(), rand(6, 3), path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import if not entry.domain] == [check.opset]
    assert check.opset >= 18
    (first,) = model.graph.input
    batch, width = first.type.tensor_type.shape.dim
    assert (batch.dim_param, width.dim_value) == ("batch", 3)
    (last,) = model.graph.output
    assert [dim.dim_param for dim in last.type.tensor_type.shape.dim] == ["batch", ""]
    assert prunella.export(Normed(), rand(6, 3), tmp_path / "m.pt2").opset is None


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_file_tells_nothing_about_this_machine_or_the_samples(file_format, pair, tmp_path):
    samples = rand(4, 1, 28, 28)
    path = tmp_path / f"m.{file_format}"
    prunella.export(pair[1], samples, path)
    content = path.read_bytes()
    assert samples.numpy()[0, 0, 0].tobytes() not in content
    if file_format == "pt2":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content = b"".join(archive.read(name) for name in archive.namelist())
    assert b"resnet.py" not in content
    assert b"pkg.torch" not in content
    assert samples.numpy()[0, 0, 0].tobytes() not in content


def test_the_network_and_the_random_state_stay_as_they_were(tmp_path):
    model = nn.Sequential(Normed(), DrawsInVain())
    model[0].eval()
    flags = [module.training for module in model.modules()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    levels = [logging.getLogger(name).level for name in ("torch", "torch.onnx", "onnxscript")]
    generator = torch.get_rng_state()
    for file_format in FORMATS:
        prunella.export(model, rand(4, 3), tmp_path / f"m.{file_format}")
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(state[name], t) for name, t in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert levels == [logging.getLogger(n).level for n in ("torch", "torch.onnx", "onnxscript")]


def test_one_sample_is_enough(tmp_path):
    path = tmp_path / "m.pt2"
    assert prunella.export(One().layer, rand(1, 3), path).batches == (1, 2)
    assert outputs_of(path, rand(7, 3))[0].shape == (7, 4)


def test_half_precision_is_compared_more_loosely(tmp_path):
    model = Large().half()
    check = prunella.export(model, rand(6, 64).half(), tmp_path / "m.onnx")
    assert check.tolerance == pytest.approx(16 / 1024)
    assert check.relative_difference <= check.tolerance  # 0 on some processors
    plain = prunella.export(Large(), rand(6, 64), tmp_path / "plain.pt2")
    assert plain.tolerance == 1e-4


# Files that are wrong


@pytest.fixture
def tampered(monkeypatch):
    """The first weights in the file are 1 % larger than those of the network."""
    right = formats.encode

    def wrong(program, file_format):
        with torch.no_grad():
            next(iter(program.state_dict.values())).mul_(1.01)
        return right(program, file_format)

    monkeypatch.setattr(write, "encode", wrong)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_file_with_other_weights_is_not_kept(file_format, tampered, tmp_path):
    path = tmp_path / f"m.{file_format}"
    message = rf"m\.{file_format}: was not written.*Linear.*differ by 0\.0.*at most 0\.0001"
    with pytest.raises(ExportError, match=message):
        prunella.export(One().layer, rand(6, 3), path)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"of an earlier export")
    with pytest.raises(ExportError):
        prunella.export(One().layer, rand(6, 3), path)
    assert path.read_bytes() == b"of an earlier export"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("file_format", "runtime"), [("onnx", "ONNX Runtime"), ("pt2", r"torch\.export\.load")]
)
def test_a_damaged_file_is_not_kept(file_format, runtime, monkeypatch, tmp_path):
    right = formats.encode
    monkeypatch.setattr(write, "encode", lambda *given: right(*given)[:-300])
    with pytest.raises(ExportError, match=f"{runtime} cannot run the file of Linear"):
        prunella.export(One().layer, rand(6, 3), tmp_path / f"m.{file_format}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_network_that_draws_at_random_cannot_be_compared(file_format, tmp_path):
    with pytest.raises(ExportError, match="Does its forward draw at random"):
        prunella.export(Draws(), rand(6, 3), tmp_path / f"m.{file_format}")
    assert list(tmp_path.iterdir()) == []


# Networks and inputs that cannot be used


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (FixedBatch(), r"FixedBatch cannot be exported.*any batch size.*constant \(2\)"),
        (Branches(), r"Branches cannot be exported.*test_export\.py:\d+\).*values of tensors"),
        (NoTensors(), "NoTensors returned str without tensors"),
        (Nothing(), "Nothing gives outputs without a single number"),
        (Fails(), "Fails cannot be run on a batch of 1 of the inputs.*no such thing"),
    ],
)
def test_networks_that_cannot_be_exported(model, message, file_format, tmp_path, capfd, caplog):
    with pytest.raises(InputError, match=message) as caught:
        prunella.export(model, rand(6, 3), tmp_path / f"m.{file_format}")
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


def test_an_operation_that_onnx_does_not_know(tmp_path, capfd):
    message = r"NoOnnx cannot be exported as \.onnx.*aten\._linalg_svd.*another format"
    with pytest.raises(InputError, match=message):
        prunella.export(NoOnnx(), rand(6, 3), tmp_path / "m.onnx")
    assert prunella.export(NoOnnx(), rand(6, 3), tmp_path / "m.pt2").agrees
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt2"]
    assert capfd.readouterr() == ("", "")


def test_a_network_that_cannot_be_copied(tmp_path):
    model = One().layer
    model.earlier = model(rand(2, 3))  # a result, with its history
    with pytest.raises(InputError, match="Linear cannot be copied for the export"):
        prunella.export(model, rand(6, 3), tmp_path / "m.pt2")


@pytest.mark.parametrize(
    ("inputs", "keywords", "message"),
    [
        (torch.zeros(0, 3), None, "hold no samples"),
        ((), None, "hold no samples"),
        ((3, "text"), {"x": torch.tensor(1.0)}, "hold no samples"),
        (torch.zeros(2, 5), None, "cannot be run on a batch of 1.*2x5|1x5"),
        (torch.zeros(2, 3), {"y": 1}, "cannot be run on a batch of 1.*unexpected keyword"),
    ],
)
def test_inputs_that_do_not_fit(inputs, keywords, message, tmp_path):
    with pytest.raises(InputError, match=message):
        prunella.export(One().layer, inputs, tmp_path / "m.pt2", keywords=keywords)


@pytest.mark.parametrize("name", ["model", "model.pt", "model.ONNX", "onnx"])
def test_endings(name, tmp_path):
    with pytest.raises(InputError, match=rf"{name}: the ending .* expected \.onnx or \.pt2"):
        prunella.export(One().layer, rand(6, 3), tmp_path / name)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_extra_one_clear_error(package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    message = rf"{package} cannot be imported .*pip install 'prunella\[onnx\]'"
    with pytest.raises(InputError, match=message):
        prunella.export(One().layer, rand(6, 3), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
    assert prunella.export(One().layer, rand(6, 3), tmp_path / "m.pt2").agrees


def test_a_network_too_large_for_one_onnx_file(monkeypatch, tmp_path):
    monkeypatch.setattr(formats, "_ONNX_LIMIT", 63)  # bytes; the network has 64
    with pytest.raises(InputError, match=r"64 bytes of weights.*at most 63; write a \.pt2 file"):
        prunella.export(One().layer, rand(6, 3), tmp_path / "m.onnx")
    monkeypatch.setattr(formats, "_ONNX_LIMIT", 64)
    assert prunella.export(One().layer, rand(6, 3), tmp_path / "m.onnx").agrees
