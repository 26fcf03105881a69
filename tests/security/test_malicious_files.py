"""Files made to do harm: one clear error, nothing executed, no memory taken."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

import prunella
from prunella.cli.config import PruneConfig, resolve
from prunella.core.certificates import Certificate
from prunella.core.errors import FileError, InputError
from prunella.core.jsontext import MOST_TEXT
from prunella.core.samples import SampleIds
from prunella.data.cifar import decode_cifar10, read_cifar10
from prunella.data.folders import read_image_folder
from prunella.data.idx import decode_idx, read_idx
from prunella.files.models import load_plan
from prunella.files.plan_checks import MOST_ELEMENTS, MOST_POSITIONS
from prunella.files.stages import StageFiles
from prunella.files.weights import aliased, fill, read_tensors, save_tensors
from prunella.report import from_json, to_json

SOURCE = Path(prunella.__file__).parents[1]


@pytest.fixture
def refuse(tmp_path, fresh, refused):
    """Write bytes to a file, load it as a pruned model, and check what the error says."""

    def check(data: bytes, *parts: str) -> None:
        path = tmp_path / "evil.safetensors"
        path.write_bytes(data)
        message = refused(lambda: prunella.load(path, fresh()))
        assert message is not None, "the file was read"
        assert message.startswith(str(path)), message
        for part in parts:
            assert part in message, message

    return check


def test_the_file_that_the_attacks_change_is_sound(tmp_path, fresh, pruned):
    path = tmp_path / "good.safetensors"
    path.write_bytes(pruned)
    small = prunella.load(path, fresh())
    assert small.first.out_channels == 2
    assert small(torch.zeros(2, 1, 2, 2)).shape == (2, 3)
    assert load_plan(path).samples.count == 4


# -- the container -------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**40, 100_000_001, 10_000])
def test_length_of_the_header(refuse, pruned, length):
    refuse(length.to_bytes(8, "little") + pruned[8:], "not a whole safetensors file")


def tensors(**changes):
    def change(header, plan):
        header["last.weight"].update(changes)

    return change


@pytest.mark.parametrize(
    "change",
    [
        tensors(shape=[10**15, 10**15]),
        tensors(shape=[2**63, 0]),
        tensors(shape=[2**64, 3]),
        tensors(shape=[-3, -3]),
        tensors(shape=[0.5, 6]),
        tensors(shape=[float("nan"), 3]),
        tensors(shape=[1] * 5000),
        tensors(shape=[]),
        tensors(dtype="pickle"),
        tensors(dtype="I32"),
        tensors(dtype="F8_E4M3"),
        tensors(dtype="BOOL"),
        tensors(data_offsets=[0, 36]),  # overlaps another one
        tensors(data_offsets=[0, 2**63]),
        tensors(data_offsets=[2**63, 2**64 - 1]),
        tensors(data_offsets=[36, 0]),
        tensors(data_offsets=[-36, 0]),
        tensors(data_offsets=[]),
        lambda header, plan: header.pop("last.weight"),
        lambda header, plan: header.update(more=dict(header["last.weight"])),
        lambda header, plan: header.update({"": header.pop("last.weight")}),
        lambda header, plan: header.update({"../../x": header.pop("last.weight")}),
        lambda header, plan: header["__metadata__"].update(more=[1]),
        lambda header, plan: header["__metadata__"].update(prunella=1),
        lambda header, plan: header.update(__metadata__={}),
    ],
)
def test_tensors_of_the_header(refuse, tampered, change):
    refuse(tampered(change))


def test_an_integer_tensor_for_a_parameter(refuse, tampered):
    """torch would fail on it, or compute with it."""
    refuse(tampered(tensors(dtype="I32")), "'last.weight' has elements of type torch.int32")


def test_a_header_of_brackets(refuse):
    refuse((10**6).to_bytes(8, "little") + b"[" * 10**6)
    refuse((10**6).to_bytes(8, "little") + b'{"a":' * 200_000)


# -- the plan ------------------------------------------------------------------------------------


def at(*keys, value):
    """Sets one entry of the plan."""

    def change(header, plan):
        place = plan
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


GROUP = ("graph", "groups", 1)
MEMBER = (*GROUP, "members", 0)  # first.weight on axis 0, of four channels
UNSAVED = (*GROUP, "members", 9)  # a buffer that is in no list of tensors
INPUT = ("graph", "inputs", 0)
TENSOR = ("graph", "tensors", 0)


def image(**spec):
    return at(*INPUT, value={"tensor": {"shape": [1], "dtype": "float32", **spec}})


def nested(kind, depth):
    value = {"value": 1}
    for _ in range(depth):
        value = {"list": [value]} if kind == "list" else {"dict": {"a": value}}
    return value


PLANS = {
    "progression of 10^12 units": at(*MEMBER, 3, value=[0, 1, 1, 10**12, 10**6]),
    "progression of 10^12 positions": at(*MEMBER, 3, value=[0, 1, 1, 4, 10**12]),
    "progression of no positions": at(*MEMBER, 3, value=[0, 1, 1, 4, 0]),
    "progression of negative positions": at(*MEMBER, 3, value=[0, 1, 1, 4, -1]),
    "progression on the spot": at(*MEMBER, 3, value=[0, 0, 1, 4, 1]),
    "progression backwards out of the axis": at(*MEMBER, 3, value=[0, -1, 1, 4, 1]),
    "progression beyond the axis": at(*MEMBER, 3, value=[1, 1, 1, 4, 1]),
    "progression of huge steps": at(*MEMBER, 3, value=[0, 2**63, 1, 4, 1]),
    "progression of fractions": at(*MEMBER, 3, value=[0.0, 1.0, 1.0, 4.0, 1.0]),
    "progression of NaN": at(*MEMBER, 3, value=[float("nan"), 1, 1, 4, 1]),
    "progression of truth": at(*MEMBER, 3, value=[False, True, True, 4, True]),
    "progression on an unsaved buffer": at(*UNSAVED, 3, value=[0, 1, 1, 4, 10**12]),
    "more positions than an unsaved buffer has": at(*UNSAVED, 3, value=[9, 1, 1, 4, 1]),
    "positions owned twice": at(*MEMBER, 3, value=[[0], [1], [2], [2]]),
    "positions of others": at(*GROUP, "members", 10, 0, value="first.weight"),
    "size 10^15": at(*GROUP, "size", value=10**15),
    "size 0": at(*GROUP, "size", value=0),
    "size of truth": at(*GROUP, "size", value=True),
    "no members": at(*GROUP, "members", value=[]),
    "name again": at(*GROUP, "name", value="left"),
    "name is a list": at(*GROUP, "name", value=["left"]),
    "reason is a number": at(*GROUP, "reason", value=0),
    "axis negative": at(*MEMBER, 1, value=-4),
    "axis huge": at(*MEMBER, 1, value=2**70),
    "axis of an unsaved buffer": at(*UNSAVED, 1, value=9),
    "tensor is a path": at(*UNSAVED, 0, value="../../x"),
    "tensor is a chain of attributes": at(*UNSAVED, 0, value="__class__.__init__.__globals__"),
    "tensor is an attribute of a parameter": at(*UNSAVED, 0, value="first.weight.data"),
    "tensor is a method": at(*UNSAVED, 0, value="forward"),
    "tensor is a dictionary of parameters": at(*UNSAVED, 0, value="_parameters"),
    "tensor is nothing": at(*UNSAVED, 0, value=""),
    "tensor is null": at(*UNSAVED, 0, value=None),
    "stored tensor again": at("graph", "tensors", 1, 0, value="first.weight"),
    "stored shape huge": at(*TENSOR, 1, value=[10**15, 1, 3, 3]),
    "stored shape of NaN": at(*TENSOR, 1, value=[float("nan"), 1, 3, 3]),
    "stored shape negative": at(*TENSOR, 1, value=[-4, 1, 3, 3]),
    "stored shape of 2^70": at(*TENSOR, 1, value=[2**70, 1, 3, 3]),
    "stored shape of too many axes": at(*TENSOR, 1, value=[1] * 10**5),
    "uses infinite": at(*TENSOR, 4, value=float("inf")),
    "other work not a number": at("graph", "other_macs", value=float("nan")),
    "kept is huge": at("kept", "first", value=[0, 2**70]),
    "kept is negative": at("kept", "first", value=[-1, 0]),
    "kept is a list of lists": at("kept", "first", value=[[0], [1]]),
    "kept is truth": at("kept", "first", value=[True, False]),
    "kept of a frozen group": at("kept", "last", value=[0]),
    "kept of a group lacks": at("kept", value={}),
    "input type is a function": image(dtype="load"),
    "input type is a class": image(dtype="Generator"),
    "input type is a dunder": image(dtype="__dict__"),
    "input type is a list": image(dtype=["float32"]),
    "input of 10^12 elements": image(shape=[10**6, 10**6]),
    "input just too large": image(shape=[MOST_ELEMENTS + 1]),
    "input of a huge empty shape": image(shape=[0, 2**62]),
    "input of negative shape": image(shape=[-1]),
    "input with values of another number": image(dtype="int64", shape=[9], values=[1]),
    "input with values out of range": image(dtype="uint8", shape=[1], values=[256]),
    "input with endless values": image(dtype="int64", shape=[1], values=[float("inf")]),
    "input nested in lists": at(*INPUT, value=nested("list", 400)),
    "input nested in dictionaries": at(*INPUT, value=nested("dict", 400)),
    "input of nothing": at("graph", "inputs", value=[]),
    "input of two kinds": at(*INPUT, value={"value": 1, "tensor": {}}),
    "method is null": at("method", value=None),
    "seed is huge": at("seed", value=2**70),
    "seed is NaN": at("seed", value=float("nan")),
    "budget falsy": at("requested", value=0),
    "budget of a dunder": at("requested", value={"kind": "__class__", "fraction": 0.5}),
    "budget of a list": at("requested", value={"kind": [], "fraction": 0.5}),
    "budget NaN": at("requested", value={"kind": "Params", "fraction": float("nan")}),
    "budget of 10^400": at("requested", value={"kind": "Params", "fraction": 10**400}),
    "hashes of garbage": at("samples", value={"count": 1, "hashes": "%%% not base64 %%%"}),
    "hashes of three bytes": at("samples", value={"count": 1, "hashes": "AAAA"}),
    "hashes twice": at(
        "samples", value={"count": 2, "hashes": base64.b64encode(bytes(16)).decode()}
    ),
    "hashes are a number": at("samples", value={"count": 1, "hashes": 5}),
    "count negative": at("samples", "count", value=-1),
    "count too small": at("samples", "count", value=3),
    "count is text": at("samples", "count", value="4"),
    "count without hashes": at("samples", "hashes", value=""),
    "version is truth": at("schema_version", value=True),
    "version is negative": at("schema_version", value=-1),
    "version is 10^30": at("schema_version", value=10**30),
}


@pytest.mark.parametrize("name", PLANS)
def test_plan(refuse, tampered, memory, name):
    data = tampered(PLANS[name])
    with memory(512 << 20):
        refuse(data)


def test_the_largest_plan_takes_little_memory(tampered, tmp_path, fresh, refused, memory):
    """As many positions as may be read at all, which only the model shows to be wrong."""

    def change(header, plan):
        width = MOST_POSITIONS // 4 - 40
        plan["graph"]["groups"][1]["members"][9][3] = [0, width, 1, 4, width]

    path = tmp_path / "large.safetensors"
    path.write_bytes(tampered(change))
    with memory(2 << 30):
        message = refused(lambda: prunella.load(path, fresh()))
    assert message is not None
    assert "on axis 1 of 'scale'" in message


def test_a_plan_larger_than_that_is_refused_at_once(refuse, tampered, memory):
    quarter = MOST_POSITIONS // 4
    with memory(64 << 20):
        refuse(
            tampered(at(*UNSAVED, 3, value=[0, quarter, 1, 4, quarter])),
            "positions; at most 33,554,432 are read",
        )


def test_a_plan_that_leaves_other_shapes_than_the_file_has(tampered, tmp_path, refused):
    """Noticed without a model, too."""
    path = tmp_path / "evil.safetensors"
    path.write_bytes(tampered(at(*TENSOR, 1, value=[5, 1, 3, 3])))
    message = refused(lambda: load_plan(path))
    assert message is not None
    assert "'first.weight' has shape (2, 1, 3, 3), but in its plan shape (3, 1, 3, 3)" in message


def test_texts_that_are_no_plan(refuse, pruned, files):
    split, join = files
    header, body = split(pruned)
    plan = header["__metadata__"]["plan"]
    for text, part in (
        ("[" * 100_000, "too deeply nested"),
        ('{"a":' * 100_000, "too deeply nested"),
        (plan.replace('"seed":3', '"seed":' + "9" * 5000), "a whole number of 5,000 digits"),
        (plan.replace('"seed":3', '"seed":1e999'), "seed is inf"),
        (plan.replace('"seed":3', '"seed":3,"seed":4'), "the name 'seed' is given twice"),
        (plan[:-1] + ',"kept":{}}', "the name 'kept' is given twice"),
        ('"' + "x" * 10_000 + '"', "the plan is 'xxx"),
        (" " * MOST_TEXT + plan, "more than the 33,554,432 that are read"),
    ):
        header["__metadata__"]["plan"] = text
        refuse(join(header, body), "the plan in it is damaged", part)


def test_what_a_plan_says_cannot_run_on_in_a_message(refuse, tampered):
    refuse(tampered(at(*MEMBER, 0, value="x" * 10**6)))
    refuse(tampered(at(*GROUP, "name", value=["\x1b[2J\n" * 10**5])))
    refuse(tampered(lambda header, plan: header["__metadata__"].update(prunella="\x1b[2J\n" * 99)))
    refuse(tampered(lambda header, plan: header["__metadata__"].update(prunella="9" * 9999)))


def test_nothing_but_parameters_and_buffers_is_reached(tampered, tmp_path, fresh, refused):
    """A property of the model is not even looked at, and no attribute is set."""
    looked = []

    class Trap(nn.Module):
        @property
        def secret(self):
            looked.append(1)
            return torch.zeros(1, 4, 1, 1)

    path = tmp_path / "trap.safetensors"
    for name in ("trap.secret", "trap.plain", "trap.__dict__", "trap"):
        path.write_bytes(tampered(at(*UNSAVED, 0, value=name)))
        net = fresh()
        net.trap = Trap()
        net.trap.plain = torch.zeros(1, 4, 1, 1)
        before = dict(net.trap.__dict__)
        message = refused(lambda net=net: prunella.load(path, net))
        assert message is not None
        assert "is no parameter or buffer" in message
        assert net.trap.__dict__ == before
    assert looked == []


# -- aliases -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "aliases",
    [
        "twice.weight\tnothing",
        "twice.weight",
        "twice.weight\ttwice.weight",
        "twice.weight\tagain.weight\ntwice.weight\tagain.weight",
        "a\tb\nb\ta",
        "last.weight\tagain.weight",
        "__class__\tagain.weight",
        "twice.weight\tagain.weight\n../../x\tagain.weight",
        "\t",
        "\n",
        "twice.weight\tfirst.weight",
    ],
)
def test_aliases(refuse, tampered, aliases):
    refuse(tampered(lambda header, plan: header["__metadata__"].update(aliases=aliases)))


def test_a_million_aliases_are_a_million_names_for_one_tensor(refuse, tampered, memory):
    """Copies of them would take the memory of a million tensors."""
    lines = "".join(f"\na{i}\tlast.weight" for i in range(300_000))
    aliases = f"twice.weight\tagain.weight{lines}"
    data = tampered(lambda header, plan: header["__metadata__"].update(aliases=aliases))
    with memory(384 << 20):
        refuse(data, "holds a tensor 'a0' that Net does not have")


def test_aliases_of_a_large_tensor_take_no_memory(memory):
    large = {"large": torch.zeros(8 << 18)}  # 8 MiB
    lines = "\n".join(f"a{i}\tlarge" for i in range(1000))
    with memory(256 << 20):
        copies = aliased(large, {"aliases": lines}, source="file")
    assert len(copies) == 1000


def test_what_a_file_ties_and_the_model_does_not_is_copied():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    one = torch.eye(2)
    fill(net, {"0.weight": one, "1.weight": one}, source="file")
    with torch.no_grad():
        net[0].weight.zero_()
    assert torch.equal(net[1].weight, torch.eye(2))


# -- weights -------------------------------------------------------------------------------------


def test_weights_with_code_in_them(tmp_path, fresh, refused):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil()))
    torch.save({"state_dict": Evil()}, tmp_path / "new.pt")
    torch.save(Evil(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("plain.pt", "new.pt", "old.pt"):
        message = refused(lambda name=name: prunella.load_weights(tmp_path / name, fresh()))
        assert message is not None
        assert "without executing code" in message
    assert not (tmp_path / "executed").exists()


def test_weights_that_unpack_to_more_than_the_file(tmp_path, fresh, refused, memory):
    path = tmp_path / "bomb.pt"
    torch.save(fresh().state_dict(), path)
    prunella.load_weights(path, fresh())
    with zipfile.ZipFile(path) as whole:
        members = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name, content in members.items():
            bomb.writestr(name, content if name.endswith(".pkl") else bytes(200 << 20))
            if "data/" in name:
                break
    assert path.stat().st_size < 1 << 20
    with memory(128 << 20):
        message = refused(lambda: prunella.load_weights(path, fresh()))
    assert message is not None
    assert "unpacks to" in message


# -- names of files ------------------------------------------------------------------------------


READERS = {
    "load": lambda path, model: prunella.load(path, model),
    "load_weights": lambda path, model: prunella.load_weights(path, model),
    "idx": lambda path, model: read_idx(path),
    "cifar": lambda path, model: read_cifar10(path),
    "config": lambda path, model: resolve(PruneConfig, path, {}),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_names_that_are_no_ordinary_files(tmp_path, fresh, refused, memory, reader, suffix):
    read = READERS[reader]
    names = {
        "directory": lambda path: path.mkdir(),
        "endless": lambda path: path.symlink_to("/dev/zero"),
        "pipe": os.mkfifo,  # opening it would wait for a writer that never comes
        "loop": lambda path: path.symlink_to(path),
        "dangling": lambda path: path.symlink_to(tmp_path / "gone"),
        "x" * 300: lambda path: None,
        "nul\0": lambda path: None,
    }
    for name, make in names.items():
        path = tmp_path / f"{name}{suffix}"
        make(path)
        with memory(256 << 20):
            message = refused(lambda path=path: read(path, fresh()))
        assert message is not None, name
        assert "no such file" in message or "cannot be read" in message


def test_a_link_to_a_file_is_read(tmp_path, fresh, pruned):
    (tmp_path / "real.safetensors").write_bytes(pruned)
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "real.safetensors")
    assert prunella.load(tmp_path / "link.safetensors", fresh()).first.out_channels == 2


# -- data sets -----------------------------------------------------------------------------------


def idx(*shape, kind=8):
    return bytes([0, 0, kind, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)


@pytest.mark.parametrize(
    "raw",
    [
        idx(2**32 - 1, 2**32 - 1, 2**32 - 1),
        idx(*[2**32 - 1] * 255),
        idx(*[0] * 255),
        idx(0, *[2**32 - 1] * 7),
        idx(*[1] * 65) + b"x",
        idx(2**31),
    ],
)
def test_idx_heads(refused, memory, raw):
    with memory(128 << 20):
        assert refused(lambda: decode_idx(raw, name="evil")) is not None


def test_idx_bomb(tmp_path, refused, memory):
    """A megabyte that unpacks to a gigabyte, just as its head says."""
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb") as stream:
        stream.write(idx(1 << 30))
        for _ in range(64):
            stream.write(bytes(16 << 20))
    assert path.stat().st_size < 2 << 20
    with memory(600 << 20):
        message = refused(lambda: read_idx(path))
    assert message is not None
    assert "unpack to more than" in message


@pytest.mark.parametrize(
    "raw",
    [
        b"\x80\x02]r" + (2**28).to_bytes(4, "little") + b".",
        b"\x80\x02]p268435456\n.",
        b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"x.",
        b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"x.",
        b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"].",
        b"\x80\x02\x8b" + (2**31 - 1).to_bytes(4, "little") + b"1.",
        b"\x80\x02cos\nsystem\n(S'true'\ntR.",
        b"\x80\x02" + b"(" * 10**6 + b".",
        b"\x80\x02" + b"]" * 10**6 + b"a" * 10**6 + b".",
    ],
)
def test_cifar_pickles(refused, memory, raw):
    """Numbers in a pickle for which the unpickler would set memory aside."""
    with memory(256 << 20):
        assert refused(lambda: decode_cifar10(raw, name="evil")) is not None


def test_cifar_bomb(tmp_path, refused, memory):
    path = tmp_path / "batch.gz"
    with gzip.open(path, "wb") as stream:
        for _ in range(30):
            stream.write(bytes(3073 * 5461))
    with memory(400 << 20):
        message = refused(lambda: read_cifar10(path))
    assert message is not None
    assert "unpack to more than" in message


def test_images_that_grow(tmp_path, refused, memory):
    """One pixel wide and very long: at the size asked for it would have 10^10 pixels."""
    from PIL import Image

    (tmp_path / "cat").mkdir()
    Image.new("L", (1, 200_000)).save(tmp_path / "cat" / "thin.png")
    with memory(512 << 20):
        message = refused(lambda: read_image_folder(tmp_path, size=224))
    assert message is not None
    assert "thin.png: cannot be read as an image" in message
    assert "pixels, at most" in message


# -- certificates, reports, results of stages ----------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, '{"schema_version":1,"schema_version":1}',
     '{"schema_version":1e999}', '{"schema_version":' + "1" * 41 + "}", "NaN", '"\\ud800"',
     "x" * (MOST_TEXT + 1), '{"schema_version":1,"alpha":' + '"x' * 10_000 + '"}'],
)  # fmt: skip
@pytest.mark.parametrize("read", [Certificate.from_json, from_json])
def test_texts_that_are_no_certificate_and_no_report(refused, memory, read, text):
    with memory(256 << 20):
        assert refused(lambda: read(text)) is not None


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("alpha", 7, "the certificate's alpha is 7"),
        ("delta", "nan", "the certificate's delta is nan"),
        ("n", 0, "the certificate's n is 0"),
        ("disagreement", 1, "above its own upper bound"),
        ("accuracy_drop", None, "only one of accuracy_drop and accuracy_drop_upper"),
        ("logit_error_bound", -1, "the certificate's logit_error_bound is -1"),
    ],
)
def test_a_certificate_that_can_be_none_in_itself_or_in_a_report(
    refused, mutate, name, value, part
):
    certificate = json.loads(mutate.CERTIFICATE.to_json())
    certificate[name] = float("nan") if value == "nan" else value
    message = refused(lambda: Certificate.from_json(json.dumps(certificate)))
    assert message is not None
    assert part in message
    report = json.loads(to_json(mutate.REPORT))
    report["certificate"][name] = value
    message = refused(lambda: from_json(json.dumps(report)))
    assert message is not None
    assert part in message


def test_unfinished_pass(tmp_path, refused):
    file = StageFiles(tmp_path).scoring()
    samples = json.dumps(SampleIds.none().to_json())
    good = {"prunella-pass": "1", "origin": "{}", "counted": "[]", "samples": samples}
    values = {"a": torch.ones(2, dtype=torch.float64)}
    for name, header in (
        ("prunella-pass", "2"), ("origin", "[" * 100_000), ("origin", '{"a":1}'),
        ("counted", '[["a","b",1e999,1]]'), ("counted", '[["a","b",0]]'), ("counted", "{}"),
        ("counted", '[["a","b",-1,1]]'), ("samples", '{"count":1,"hashes":"%"}'),
    ):  # fmt: skip
        save_tensors(file.path, values, {**good, name: header})
        message = refused(file.load)
        assert message is not None
        assert "no whole file of an unfinished pass" in message
    for bad in (torch.tensor([float("nan")]), torch.tensor([-1.0]), torch.ones(2, 2)):
        save_tensors(file.path, {"a": bad.double()}, good)
        assert refused(file.load) is not None
    save_tensors(file.path, values, good)
    assert file.load() is not None


def test_results_of_stages(tmp_path, refused):
    stages = StageFiles(tmp_path)
    samples = json.dumps(SampleIds.none().to_json())
    good = {"method": "pfp", "sums": "{}", "samples": samples}
    values = {"values/a": torch.ones(2)}
    for name, header in (
        ("sums", "[" * 100_000), ("sums", '{"a":-1}'), ("sums", '{"a":1e999}'), ("sums", "[]"),
        ("samples", "9" * 5000), ("samples", '{"count":1,"hashes":"%"}'),
    ):  # fmt: skip
        save_tensors(tmp_path / "scores.safetensors", values, {**good, name: header})
        message = refused(stages.load_scores)
        assert message is not None
        assert "damaged" in message
    for bad in (torch.tensor([float("nan")]), torch.tensor([-1.0]), torch.ones(2, 2)):
        save_tensors(tmp_path / "scores.safetensors", {"values/a": bad}, good)
        assert refused(stages.load_scores) is not None
    save_tensors(tmp_path / "scores.safetensors", values, good)
    assert stages.load_scores() is not None
    for records in ("[" * 100_000, '[{"epoch":1e999}]', '[{"epoch":-1,"loss":0,"accuracy":0}]'):
        save_tensors(tmp_path / "training.safetensors", {}, {"records": records})
        message = refused(stages.load_training)
        assert message is not None
        assert "damaged" in message


def test_a_checkpoint_of_another_network(tmp_path):
    from prunella.retrain import Checkpoint, EpochRecord, Recipe, fit

    net = nn.Linear(2, 2)
    record = EpochRecord(epoch=1, loss=1.0, accuracy=1.0, learning_rate=0.1)
    batches = [(torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64))]
    count = {"weight": torch.zeros(()), "bias": torch.zeros(())}
    whole = {name: torch.zeros_like(tensor) for name, tensor in net.state_dict().items()}
    sgd, adam = Recipe(epochs=2), Recipe(epochs=2, optimizer="adam")
    for recipe, model, pieces in (
        (sgd, {"weight": torch.zeros(2, 2)}, {}),
        (sgd, {**net.state_dict(), "__class__": torch.zeros(1)}, {}),
        (sgd, net.state_dict(), {"momentum_buffer": {"weight": torch.zeros(9)}}),
        (sgd, net.state_dict(), {"momentum_buffer": {"__class__": torch.zeros(9)}}),
        (adam, net.state_dict(), {"step": count}),
        (adam, net.state_dict(), {"step": whole, "exp_avg": whole, "exp_avg_sq": whole}),
        (adam, net.state_dict(), {"step": count, "exp_avg": whole, "exp_avg_sq": {}}),
    ):
        checkpoint = Checkpoint(epoch=1, model=model, optimizer=pieces, records=(record,))
        with pytest.raises(InputError, match="the checkpoint holds other tensors than Linear"):
            fit(net, batches, recipe, seed=0, resume=checkpoint)


# -- configurations ------------------------------------------------------------------------------


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (LAUGHS, "aliases (*name) are not read"),
        (LAUGHS.replace("j:", "network:"), "aliases (*name) are not read"),
        ("a: &a [*a]", "aliases (*name) are not read"),
        ("!!python/object/apply:os.mkdir [executed]", "python/object/apply"),
        ("network: !!python/name:os.system", "python/name"),
        ("network: !!python/object/new:os.system [mkdir executed]", "python/object/new"),
        ("network: a\nnetwork: b", "given twice"),
        ("recipe: {epochs: 1, epochs: 2}", "given twice"),
        ("seed: 2026-13-45", "month must be in 1..12"),
        ("seed: " + "9" * 5000, "digits"),
        ("seed: " + "1:" * 5000 + "1", "got a whole number of 29,535 bits"),
        ("seed: !!float x", "could not convert"),
        ("seed: !!timestamp x", "not valid YAML"),
        ("? [a]\n: 1", "unhashable"),
        ("[" * 5000, "nested more than 20 deep"),
        ("a: " * 5000, "not allowed here"),
        ("- " * 5000, "nested more than 20 deep"),
        ("x" * 10**6, "more than the 262,144 that are read"),
        ("x" * (MOST_TEXT + 1), "more than the"),
        ("network: " + "x" * 100_000 + "\nseed: " + "y" * 100_000, "seed should be"),
        ("".join(f"field{i}: 1\n" for i in range(5000)), "and 4994 more"),
        ("y" * 1000 + ": 1", "is no known field"),
        ("latency_batches: [" + "-1, " * 5000 + "]", "latency_batches"),
        ("seed: .nan", "seed should be"),
        ("params: .inf", "params should be"),
    ],
)
def test_configurations(tmp_path, monkeypatch, refused, memory, text, part):
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(text)
    begin = time.monotonic()
    with memory(512 << 20):
        message = refused(lambda: resolve(PruneConfig, Path("c.yaml"), {}))
    assert message is not None
    assert part in message, message
    assert time.monotonic() - begin < 20
    assert not Path("executed").exists()


# -- all at once, in a process that has no memory to give ----------------------------------------


SCRIPT = textwrap.dedent(
    """
    import json, resource, sys
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    import prunella
    from prunella.data.cifar import read_cifar10
    from prunella.data.idx import read_idx
    from prunella.files.models import load_plan

    readers = {"plan": load_plan, "idx": read_idx, "cifar": read_cifar10}
    prunella.load_weights  # everything is imported; what comes now is reading
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + (192 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    said = {}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in sorted(Path(sys.argv[1]).iterdir()):
        try:
            readers[path.name.split("-")[0]](path)
        except prunella.FileError as error:
            said[path.name] = str(error).removeprefix(str(path))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"said": said, "mebibytes": peak / 1024}))
    """
)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the memory limits of Linux")
def test_worst_attacks_on_memory_in_a_process_of_their_own(tmp_path, tampered, pruned):
    folder = tmp_path / "files"
    folder.mkdir()
    for name in PLANS:
        if "10^" in name or "huge" in name:
            (folder / f"plan-{name}").write_bytes(tampered(PLANS[name]))
    (folder / "plan-header").write_bytes((2**63).to_bytes(8, "little") + pruned[8:])
    (folder / "plan-shape").write_bytes(tampered(tensors(shape=[10**9, 10**9])))
    (folder / "idx-claim").write_bytes(idx(2**32 - 1, 2**32 - 1))
    (folder / "cifar-memo").write_bytes(b"\x80\x02]r" + (2**28).to_bytes(4, "little") + b".")
    stream = io.BytesIO()
    with gzip.open(stream, "wb") as packed:
        packed.write(idx(1 << 29) + bytes(1 << 29))
    (folder / "idx-bomb").write_bytes(stream.getvalue())
    names = {path.name for path in folder.iterdir()}
    assert len(names) > 12
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert set(result["said"]) == names
    assert not any("alloc" in text or "memory" in text for text in result["said"].values())
    assert result["mebibytes"] < 150


def test_read_tensors_keeps_to_the_file(tmp_path, pruned):
    """What is read is as large as the file says, whatever else lies beside it."""
    path = tmp_path / "good.safetensors"
    path.write_bytes(pruned)
    found, _ = read_tensors(path)
    assert sum(t.numel() * t.element_size() for t in found.values()) < len(pruned)
    path.write_bytes(pruned + b"more")
    with pytest.raises(FileError, match="not a whole safetensors file"):
        read_tensors(path)
