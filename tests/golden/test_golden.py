"""Files of every version load, and give what they gave when they were written."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

import prunella
from prunella.core import certificates, jsontext
from prunella.core.errors import FileError
from prunella.files import models, plans
from prunella.files.models import FORMAT_VERSION, load_plan
from prunella.files.plans import SCHEMA_VERSION, plan_from_json, plan_to_json
from prunella.files.weights import read_tensors, save_tensors
from prunella.report import from_json, load, render, to_json

HERE = Path(__file__).parent
FOLDERS = sorted(path.parent for path in HERE.glob("*/expected.json"))


@pytest.fixture(scope="session")
def make() -> ModuleType:
    """make.py, which has the network."""
    spec = importlib.util.spec_from_file_location("golden_make", HERE / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def named(folder: Path) -> str:
    return folder.name


@pytest.fixture(params=FOLDERS, ids=named)
def folder(request) -> Path:
    return request.param


@pytest.fixture
def expected(folder) -> dict:
    return json.loads((folder / "expected.json").read_text())


def test_every_version_has_a_folder(make):
    assert (HERE / make.present()) in FOLDERS
    newest = {"format": FORMAT_VERSION, "plan": SCHEMA_VERSION, "report": load.SCHEMA_VERSION,
              "certificate": certificates.SCHEMA_VERSION}  # fmt: skip
    names = [f"-{folder.name}-" for folder in FOLDERS]
    for kind, last in newest.items():
        for version in range(1, last + 1):
            assert any(f"-{kind}-{version}-" in name for name in names), (kind, version)


def test_network(make, folder, expected):
    """A freshly built network, whatever its weights, becomes the small one of the file."""
    small = prunella.load(folder / "pruned.safetensors", make.Golden()).eval()
    with torch.no_grad():
        outputs = small(make.inputs())
    torch.testing.assert_close(outputs, torch.tensor(expected["outputs"]), rtol=1e-6, atol=1e-6)
    assert small.twice.weight is small.again.weight
    assert sum(p.numel() for p in small.parameters()) == expected["achieved"][0]


def test_plan(make, folder, expected):
    plan = load_plan(folder / "pruned.safetensors")
    assert {name: units.tolist() for name, units in plan.kept.items()} == expected["kept"]
    scales = {name: values.tolist() for name, values in plan.scales.items()}
    assert scales == expected.get("scales", {})
    frozen = {group.name: group.reason for group in plan.graph.groups if not group.prunable}
    assert frozen == expected["frozen"]
    for cost, numbers in ((plan.original, "original"), (plan.achieved, "achieved")):
        assert [cost.params, cost.macs, cost.bytes] == expected[numbers]
    assert (plan.method, plan.seed) == (expected["method"], expected["seed"])
    assert plan.requested == prunella.Params(expected["fraction"])
    assert (plan.samples.count, plan.samples.digest) == (
        expected["samples"],
        expected["samples_digest"],
    )
    # It is still a plan: it can be applied, which compares with the masked original.
    model = make.Golden().eval()
    make.fill(model)
    small = plan.apply(model)
    assert sum(p.numel() for p in small.parameters()) == expected["achieved"][0]
    assert plan_from_json(plan_to_json(plan), source="again").achieved == plan.achieved


def test_certificate(folder, expected):
    certificate = prunella.Certificate.from_json((folder / "certificate.json").read_text())
    assert certificate.statement == expected["statement"]
    assert prunella.Certificate.from_json(certificate.to_json()) == certificate


def test_report(folder, expected):
    report = from_json((folder / "report.json").read_text())
    assert report.certificate is not None
    assert report.certificate.statement == expected["statement"]
    assert [report.after.params, report.after.macs, report.after.bytes] == expected["achieved"]
    assert {layer.name: [n for n, stays in enumerate(layer.kept) if stays]
            for layer in report.layers if not layer.reason} == expected["kept"]  # fmt: skip
    assert "golden on made-up samples" in render(report)
    assert from_json(to_json(report)) == report


# -- versions, with made-up steps ----------------------------------------------------------------


def test_steps_are_taken_one_after_the_other():
    steps = {
        1: lambda data: {**data, "b": data["a"] + 1},
        2: lambda data: {"c": data["a"] + data["b"]},
    }
    for data in (
        {"schema_version": 1, "a": 1},
        {"schema_version": 2, "a": 1, "b": 2},
        {"schema_version": 3, "c": 3},
    ):
        before = dict(data)
        newest = jsontext.upgraded(data, newest=3, steps=steps, what="it")
        assert newest == {"schema_version": 3, "c": 3}
        assert data == before
    with pytest.raises(ValueError, match="reads 3 and older ones; update prunella"):
        jsontext.upgraded({"schema_version": 4}, newest=3, steps=steps, what="it")


def test_all_older_versions_have_a_step():
    for newest, steps in (
        (FORMAT_VERSION, models._UPGRADES),
        (SCHEMA_VERSION, plans._UPGRADES),
        (certificates.SCHEMA_VERSION, certificates._UPGRADES),
        (load.SCHEMA_VERSION, load._UPGRADES),
    ):
        assert sorted(steps) == list(range(1, newest))


@pytest.fixture
def present(make) -> Path:
    return HERE / make.present()


def test_a_file_of_an_older_format_and_schema_is_upgraded(make, present, tmp_path, monkeypatch):
    """As if the present version were two: the present file is then an old one."""
    source = present / "pruned.safetensors"
    tensors, header = read_tensors(source)
    plan = json.loads(header["plan"])
    plan["how"] = plan.pop("method")  # what the next schema but one may call it
    plan["schema_version"] = SCHEMA_VERSION
    old = tmp_path / "old.safetensors"
    save_tensors(old, tensors, {**header, "design": json.dumps(plan), "plan": ""})

    def next_plan(data):
        return {**data, "method": data["how"]}

    def next_header(data):
        return {**data, "plan": data["design"]}

    with pytest.raises(FileError, match="damaged"):
        prunella.load(old, make.Golden())
    monkeypatch.setattr(plans, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr(plans, "_UPGRADES", {**plans._UPGRADES, SCHEMA_VERSION: next_plan})
    monkeypatch.setattr(models, "FORMAT_VERSION", FORMAT_VERSION + 1)
    monkeypatch.setattr(models, "_UPGRADES", {**models._UPGRADES, FORMAT_VERSION: next_header})
    small = prunella.load(old, make.Golden()).eval()
    expected = json.loads((present / "expected.json").read_text())
    torch.testing.assert_close(small(make.inputs()), torch.tensor(expected["outputs"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prunella": "99"}, r"has format version 99, this prunella reads \d+.*update prunella\.$"),
        ({"prunella": "0"}, "its header is damaged .*whole number from 1"),
        ({"prunella": "one"}, "its header is damaged .*'one'"),
        ({"prunella": ""}, "its header is damaged"),
    ],
)
def test_unknown_formats(make, present, tmp_path, change, message):
    tensors, header = read_tensors(present / "pruned.safetensors")
    path = tmp_path / "strange.safetensors"
    save_tensors(path, tensors, {**header, **change})
    with pytest.raises(FileError, match=message):
        prunella.load(path, make.Golden())


def test_plan_of_a_newer_schema(make, present, tmp_path):
    tensors, header = read_tensors(present / "pruned.safetensors")
    plan = {**json.loads(header["plan"]), "schema_version": 99}
    path = tmp_path / "newer.safetensors"
    save_tensors(path, tensors, {**header, "plan": json.dumps(plan)})
    with pytest.raises(FileError, match=r"the plan has schema version 99, this .*update prunella"):
        prunella.load(path, make.Golden())


def test_certificate_and_report_of_a_newer_schema(present):
    for name, read in (("certificate", prunella.Certificate.from_json), ("report", from_json)):
        data = json.loads((present / f"{name}.json").read_text())
        data["schema_version"] = 99
        with pytest.raises(FileError, match=f"the {name} has schema version 99, .*update prunella"):
            read(json.dumps(data))
