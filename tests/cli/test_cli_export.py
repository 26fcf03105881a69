"""`prunella export`: from the directory of a run, or a file, to files for other programs."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import onnxruntime
import pytest
import torch
import yaml

import prunella as library
from prunella.exporting import formats, write


@pytest.fixture
def run(prunella, asked):
    """The directory of a finished run."""
    asked[asked.index("--epochs") + 1] = "0"
    assert prunella(*asked, "--out", "runs/small").code == 0
    return Path("runs/small")


def small_network():
    import own_nets

    return library.load("runs/small/pruned.safetensors", own_nets.net()).eval()


def test_both_formats_from_the_directory_of_a_run(run, prunella):
    before = {path.name for path in run.iterdir()}
    said = prunella("export", run)
    assert (said.code, said.err) == (0, "")
    assert {path.name for path in run.iterdir()} - before == {"pruned.onnx", "pruned.pt2"}
    import own_nets

    inputs, _ = next(iter(own_nets.samples("test").loader(7)))
    with torch.no_grad():
        expected = small_network()(inputs)
    session = onnxruntime.InferenceSession(run / "pruned.onnx")
    (found,) = session.run(None, {"x": inputs.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)
    loaded = torch.export.load(run / "pruned.pt2").module()
    torch.testing.assert_close(loaded(inputs), expected, rtol=1e-4, atol=1e-4)


def test_the_table_shows_sizes_differences_and_times_before_and_after(run, prunella):
    said = prunella("export", run)
    assert all(len(line) <= 80 for line in said.out.splitlines()), said.out
    for name in ("pruned.onnx", "pruned.pt2"):
        row = re.search(rf"bytes of {name} +([\d,]+) +([\d,]+) +([\d.]+) % kept", said.out)
        before, after = (int(number.replace(",", "")) for number in row.groups()[:2])
        assert after == (run / name).stat().st_size < before
        assert float(row[3]) == pytest.approx(100 * after / before, abs=0.05)
    differences = re.findall(r"largest difference +(\S+) +(\S+)", said.out)
    assert len(differences) == 2
    assert all(0 <= float(value) <= 1e-4 for row in differences for value in row)
    times = re.findall(r"batch of (\d+) +[\d.,]+ ms +[\d.,]+ ms +[\d.]+ x as fast", said.out)
    assert times == ["1", "64"]
    assert "batches of 1, 32 and 64." in said.out
    assert "medians of 30 runs of each network, in turn, in ONNX Runtime" in said.out
    assert re.search(r"pruned\.onnx uses opset \d+\.", said.out)
    assert not list(Path().glob("*.onnx"))  # those of the original are gone


def test_a_file_and_options_without_the_weights_of_the_original(run, prunella):
    shutil.copy(run / "pruned.safetensors", "tiny.safetensors")
    said = prunella("export", "tiny.safetensors", "--network", "own_nets:net",
                    "--data", "own_nets:samples", "--out", "new/folder")  # fmt: skip
    assert said.code == 0
    assert "Nothing is shown of the original; name its weights with --weights." in said.out
    assert re.search(r"bytes of tiny\.onnx +[\d,]+ *$", said.out, flags=re.MULTILINE)
    assert re.search(r"batch of 64 +[\d.,]+ ms *$", said.out, flags=re.MULTILINE)
    assert {p.name for p in Path("new/folder").iterdir()} == {"tiny.onnx", "tiny.pt2"}


def test_one_format_over_an_earlier_file(run, prunella):
    (run / "pruned.pt2").write_bytes(b"earlier")
    said = prunella("export", run, "--format", "pt2", "--quiet")
    assert said == type(said)(0, f"{run}/pruned.pt2\n", "")
    assert (run / "pruned.pt2").stat().st_size > 1000
    assert not (run / "pruned.onnx").exists()
    said = prunella("export", run, "--format", "pt2")
    assert "time for a batch" not in said.out
    assert "opset" not in said.out


def test_weights_that_have_gone(run, weights, prunella):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["weights"] = "gone.safetensors"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    said = prunella("export", run, "--format", "pt2")
    assert said.code == 0
    assert "its weights gone.safetensors are not there" in " ".join(said.out.split())
    said = prunella("export", run, "--format", "pt2", "--weights", weights)
    assert "% kept" in said.out


def test_a_configuration_of_its_own(run, weights, prunella):
    settings = {"network": "own_nets:net", "data": "own_nets:samples", "format": "onnx",
                "weights": str(weights), "latency_batches": [3]}  # fmt: skip
    Path("export.yaml").write_text(yaml.safe_dump(settings))
    said = prunella("export", run / "pruned.safetensors", "--config", "export.yaml")
    assert said.code == 0
    assert re.findall(r"time for a batch of (\d+)", said.out) == ["3"]
    assert not (run / "pruned.pt2").exists()


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["runs/none"], ["runs/none: no such file"]),
        (["runs"], ["runs: holds no pruned.safetensors", "directory of a finished run"]),
        (["runs/small/pruned.safetensors"], ["give --", "--network", "--data", "--config"]),
        (["runs/small", "--format", "tflite"], ["--format should be 'onnx', 'pt2' or 'both'"]),
        (["runs/small", "--out", "a.onnx"], ["--out a.onnx: give a folder", "pruned.onnx and"]),
        (["runs/small", "--out", "runs/small/config.yaml"], ["config.yaml: give a folder"]),
        (["runs/small", "--weights", "no.safetensors"], ["--weights no.safetensors: no such"]),
        (["runs/small", "--network", "resnet21"], ["network 'resnet21'", "resnet20"]),
        (["runs/small", "--network", "own_nets:wider"], ["shape", "same factory"]),
        (["runs/small", "--data", "mnits"], ["data set 'mnits'", "fashion-mnist"]),
        (["runs/small", "--data", "own_nets:empty"], ["there are no test samples"]),
        (["runs/small/config.yaml", "--network", "own_nets:net", "--data", "bundled"],
         ["config.yaml: not a whole safetensors file"]),
    ],
)  # fmt: skip
def test_mistakes_are_one_paragraph(arguments, parts, run, prunella):
    before = sorted(Path().rglob("*"))
    said = prunella("export", *arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("Error: ")
    assert said.err.count("\n") == 1
    for part in parts:
        assert part in said.err
    assert sorted(Path().rglob("*")) == before


def test_weights_of_another_network_are_noticed_before_anything_is_written(run, prunella):
    import own_nets

    library.save_weights("wider.safetensors", own_nets.wider())
    said = prunella("export", run, "--weights", "wider.safetensors")
    assert said.code == 2
    assert "wider.safetensors" in said.err
    assert not list(run.glob("pruned.[op]*"))


def test_without_the_extra(run, monkeypatch, prunella):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    said = prunella("export", run)
    assert (said.code, said.out) == (2, "")
    assert "pip install 'prunella[onnx]'" in said.err
    assert not list(run.glob("pruned.[op]*"))
    assert prunella("export", run, "--format", "pt2", "--quiet").code == 0


def test_a_file_that_computes_something_else_is_not_reached(run, monkeypatch, prunella):
    right = formats.encode

    def wrong(program, file_format):
        with torch.no_grad():
            next(iter(program.state_dict.values())).mul_(2)
        return right(program, file_format)

    monkeypatch.setattr(write, "encode", wrong)
    said = prunella("export", run, "--format", "onnx")
    assert said.code == 1
    assert "pruned.onnx: was not written" in said.err
    assert not list(run.glob("*.onnx*"))
    assert not list(run.glob(".*"))
