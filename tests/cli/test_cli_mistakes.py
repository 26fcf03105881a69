"""A user's mistakes: one paragraph, exit code 2, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from prunella.cli import rundir


def replaced(arguments, **options):
    """The same command with other values of some options; None takes an option away."""
    result = list(arguments)
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if flag in result:
            place = result.index(flag)
            del result[place : place + 2]
        if value is not None:
            result += [flag, str(value)]
    return result


def assert_mistake(said, *parts, out=None):
    """One paragraph that starts with "Error:" and says all parts; no directory."""
    assert said.code == 2, said
    assert said.err.startswith("Error: "), said.err
    assert said.err.count("\n") == 1, said.err
    assert said.err.rstrip().endswith((".", ")")), said.err
    assert "Traceback" not in said.err
    for part in parts:
        assert part in said.err, (part, said.err)
    for path in [] if out is None else [Path(out)]:
        assert not path.exists(), sorted(path.rglob("*"))


@pytest.fixture
def prune(prunella, asked):
    """Run prune with some options changed, into runs/new, and check that it left nothing."""

    def run(*parts, **options):
        said = prunella(*replaced(asked, out="runs/new", **options))
        assert_mistake(said, *parts, out="runs")
        return said

    return run


# Weights


def test_missing_weights_are_noticed_before_the_data_is_read(prune):
    said = prune("--weights gone.safetensors", "no such file", weights="gone.safetensors",
                 data="own_nets:fails")  # fmt: skip
    assert "divisor" not in said.err


def test_weights_that_are_a_directory(prune, workplace):
    (workplace / "folder").mkdir()
    prune("folder", "is a directory", weights="folder")


@pytest.mark.parametrize("keep", [0, 7, 100, -10])
def test_truncated_weights(prune, weights, workplace, keep):
    (workplace / "cut.safetensors").write_bytes(weights.read_bytes()[:keep])
    prune("cut.safetensors", "not a whole safetensors file", weights="cut.safetensors")


def test_pickled_code_is_not_run(prune, workplace):
    torch.save({"first.weight": Path("x")}, workplace / "net.pt")
    prune("net.pt", "cannot be read as weights", weights="net.pt")


def test_weights_that_are_no_weights(prune, workplace):
    (workplace / "net.pt").write_text("hello")
    prune("net.pt", "cannot be read as weights", weights="net.pt")


def test_wrong_architecture_names_the_first_difference(prune):
    prune("'second.weight' has shape (16, 8, 3, 3)", "(24, 8, 3, 3)", network="own_nets:wider")


def test_weights_of_another_depth_name_the_first_tensor(prune, workplace):
    from prunella import save_weights
    from prunella.networks import resnet56

    save_weights(workplace / "deep.safetensors", resnet56(in_channels=1))
    prune("holds a tensor 'layer1.3.", "does not have",
          network="resnet20", weights="deep.safetensors", data="bundled")  # fmt: skip


def test_a_pruned_model_is_no_weights(prunella, prune, asked):
    assert prunella(*asked, "--out", "first").code == 0
    prune("holds a pruned model", weights="first/pruned.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(prune, weights, workplace, value):
    tensors = load_file(weights)
    tensors["second.weight"][0, 0, 0, 0] = value
    save_file(tensors, workplace / "bad.safetensors")
    prune("'second.weight' holds 1 NaN or infinite", weights="bad.safetensors")


def test_activations_that_overflow(prune, weights, workplace):
    tensors = load_file(weights)
    tensors["norm.weight"] *= 1e30
    tensors["second.weight"] *= 1e30
    save_file(tensors, workplace / "large.safetensors")
    prune("infinite", weights="large.safetensors")


# Data


def test_no_training_samples(prune):
    prune("own_nets:empty", "no train samples", data="own_nets:empty")


def test_no_test_samples(prune):
    prune("own_nets:no_test", "no test samples", data="own_nets:no_test")


def test_labels_out_of_range(prune):
    prune("mine: labels run from 5 to 14, expected 0 to 9", data="own_nets:bad_labels")


def test_more_classes_than_outputs_is_noticed_before_any_work(prunella, asked, weights, workplace):
    tensors = load_file(weights)
    for name in ("last.weight", "last.bias"):
        tensors[name] = tensors[name][:5].clone()
    save_file(tensors, workplace / "five.safetensors")
    said = prunella(*replaced(asked, out="new", network="own_nets:five_outputs",
                              weights="five.safetensors"))  # fmt: skip
    assert_mistake(said, "has 10 classes, but Net has 5 outputs", out="new")
    assert said.out == ""  # not a stage was begun


def test_certification_samples_that_calibrated(prune):
    prune("certification samples are also used for calibration or retraining",
          data="own_nets:overlapping")  # fmt: skip


def test_data_factory_that_raises(prune):
    prune("own_nets:fails", "ZeroDivisionError: one of my divisors is zero", "own_nets.py:",
          data="own_nets:fails")  # fmt: skip


def test_data_factory_that_returns_something_else(prune):
    prune("returned list", "prunella.data.ImageSet", data="own_nets:no_set")


def test_unknown_data_set(prune):
    prune("'fashion'", "fashion-mnist", "bundled", data="fashion")


def test_missing_data_directory(prune):
    prune("nowhere", "--data-dir", data="mnist", data_dir="nowhere")


def test_missing_image_folder(prune):
    prune("gone", data="imagefolder:gone")


@pytest.mark.parametrize("wanted", [300, 301, 10**12])
def test_more_certification_samples_than_there_are(prune, wanted):
    prune(f"--certification-samples {wanted}", "300 test samples", "299 or less",
          certification_samples=wanted)  # fmt: skip


def test_more_bundled_certification_samples_than_there_are(prune):
    prune("2,000 bundled", "2000 or less", data="bundled", certification_samples=2001)


def test_more_calibration_samples_than_there_are(prune):
    prune("--calibration-samples 301", "300 training samples", calibration_samples=301)


# Budgets, methods and other settings


@pytest.mark.parametrize("value", ["0", "1", "-0.5", "1.5", "40", "nan", "inf"])
@pytest.mark.parametrize("unit", ["params", "flops"])
def test_budget_that_is_no_fraction(prune, unit, value):
    prune(f"--{unit} should be", f"got {float(value)}", "0.4 keeps at most 40 %", data="nothing",
          **{"params": None, unit: value})  # fmt: skip


def test_no_budget(prune):
    prune("got no budget", "--params 0.4", "--flops 0.5", params=None, data="nothing")


def test_two_budgets(prune):
    prune("--params 0.6", "--flops 0.5", "give one", flops=0.5, data="nothing")


def test_budget_that_nothing_can_meet(prune):
    prune("0.0001", params=0.0001)


def test_unknown_method_lists_those_that_exist(prune):
    prune("'pfpp'", "pfp", "filter-norm", "random", method="pfpp", data="nothing")


def test_nothing_to_prune_says_why(prune, workplace):
    save_file({"only.weight": torch.zeros(10, 784), "only.bias": torch.zeros(10)},
              workplace / "one.safetensors")  # fmt: skip
    prune("OneLayer has no group", "only: is an output of the model", weights="one.safetensors",
          network="own_nets:one_layer")  # fmt: skip


@pytest.mark.parametrize("name", ["alpha", "delta"])
@pytest.mark.parametrize("value", ["0", "1", "-1", "nan"])
def test_levels_out_of_range(prune, name, value):
    prune(f"--{name} should be", data="nothing", **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", -1), ("learning_rate", 0), ("learning_rate", -1), ("multiple", 0),
     ("calibration_samples", 0), ("retraining_samples", -3), ("certification_samples", 0),
     ("seed", -1), ("seed", 2**64)],
)  # fmt: skip
def test_numbers_out_of_range(prune, name, value):
    prune(f"--{name.replace('_', '-')} should be", data="nothing", **{name: value})


def test_nothing_given(prunella):
    said = prunella("prune")
    assert_mistake(said, "--network", "--weights", "--data", "--config", out="runs")


# Networks


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("resnet21", ["resnet20", "torchvision:NAME"]),
        ("own_nyets:net", ["no module 'own_nyets'"]),
        ("own_nets.deep:net", ["'own_nets.deep'"]),
        ("own_nets:nat", ["'own_nets' has no 'nat'"]),
        ("own_nets:", ["has no ''"]),
        (":net", ["':net'"]),
        ("own_broken:net", ["SyntaxError", "own_broken.py"]),
        ("own_nets:number", ["is a int", "function"]),
        ("timm:resnet18_but_not", ["'timm:resnet18_but_not'"]),
    ],
)
def test_unknown_network(prune, name, parts):
    prune(*parts, network=name, data="nothing")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("own_nets:broken", ["OSError: the disk with my network is gone", "own_nets.py:"]),
        ("own_nets:seven", ["returned int", "torch.nn.Module"]),
        ("own_nets:loses", ["KeyError: 'no such thing'", "own_nets.py:"]),
        ("own_nets:doubles", ["should be the same", "own_nets.py:"]),
        ("own_nets:images", ["(1, 1, 28, 28)", "(1, classes)"]),
    ],
)
def test_network_that_cannot_be_used(prune, name, parts):
    prune(*parts, network=name)


def test_module_in_the_current_folder_is_found(prune, workplace, monkeypatch):
    (workplace / "just_here.py").write_text("number = 1\n")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(workplace))])
    prune("is a int", network="just_here:number")


def test_network_arguments_that_do_not_fit(prune, workplace):
    (workplace / "c.yaml").write_text("network_args: {colour: blue}\n")
    prune("colour='blue'", "unexpected keyword", config="c.yaml")


# Configuration files


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a: [1,\nb: 2", ["not valid YAML", "line 2"]),
        ("- just\n- a list", ["expected fields with values", "list"]),
        ("epoch: 3", ["c.yaml: epoch is no known field"]),
        ("methd: pfp", ["c.yaml: methd is no known field", "did you mean method?"]),
        ("recipe: {epoch: 3}", ["c.yaml: recipe.epoch is no known field", "did you mean epochs?"]),
        ("recipe: 5", ["c.yaml: recipe", "got 5"]),
        ("batch_size: many", ["c.yaml: batch_size should be a valid integer", "'many'"]),
        ("latency_batches: [1, 0]", ["c.yaml: latency_batches.1 should be", "got 0"]),
        ("1: 2", ["c.yaml: 1"]),
        ("!!python/object/apply:os.getcwd []", ["not valid YAML"]),
    ],
)
def test_bad_configuration_file(prune, workplace, text, parts):
    (workplace / "c.yaml").write_text(text)
    prune(*parts, config="c.yaml", data="nothing")


def test_missing_configuration_file(prune):
    prune("gone.yaml: no such file", config="gone.yaml")


def test_configuration_file_that_is_no_text(prune, workplace):
    (workplace / "c.yaml").write_bytes(b"\xff\xfe\x00\x80")
    prune("c.yaml", "cannot be read as text", config="c.yaml")


def test_parts_of_a_recipe_in_a_file_keep_the_other_defaults(workplace):
    from prunella.cli.config import TrainConfig, resolve

    (workplace / "c.yaml").write_text("network: resnet20\ndata: bundled\nrecipe: {epochs: 3}\n")
    settings = resolve(TrainConfig, Path("c.yaml"), {"recipe.learning_rate": 0.5})
    default = TrainConfig(network="x", data="y").recipe
    assert settings.recipe == default.model_copy(update={"epochs": 3, "learning_rate": 0.5})
    assert resolve(TrainConfig, Path("c.yaml"), {}).recipe.shift == default.shift == 2


def test_a_budget_given_as_an_option_replaces_that_of_the_file(workplace):
    from prunella.cli.config import PruneConfig, resolve

    (workplace / "c.yaml").write_text("network: a\ndata: b\nweights: c\nparams: 0.5\n")
    settings = resolve(PruneConfig, Path("c.yaml"), {"flops": 0.25})
    assert (settings.params, settings.flops) == (None, 0.25)


# Where files go


def test_out_is_a_file(prunella, asked, workplace):
    (workplace / "file").write_text("precious")
    assert_mistake(prunella(*asked, "--out", "file"), "--out file: is a file")
    assert (workplace / "file").read_text() == "precious"


def test_out_below_a_file(prunella, asked, workplace):
    (workplace / "file").write_text("precious")
    said = prunella(*replaced(asked, out="file/deep/er", data="nothing"))
    assert_mistake(said, "--out file/deep/er", "is a file")


def test_out_without_permission(prunella, asked, monkeypatch):
    # For root everything is permitted.
    monkeypatch.setattr(rundir.os, "access", lambda path, mode: not mode & os.W_OK)
    said = prunella(*replaced(asked, out="runs/x", data="nothing"))
    assert_mistake(said, "--out runs/x: no permission", out="runs")


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_out_with_files_of_somebody_else(prunella, asked, workplace, resume):
    (workplace / "full").mkdir()
    (workplace / "full" / "letter.txt").write_text("precious")
    said = prunella(*replaced(asked, out="full", data="nothing"), *resume)
    assert_mistake(said, "--out full: holds files")
    assert [p.name for p in (workplace / "full").iterdir()] == ["letter.txt"]


def test_a_failed_run_leaves_an_empty_directory_as_it_was(prunella, asked, workplace):
    (workplace / "mine").mkdir()
    said = prunella(*replaced(asked, out="mine", data="own_nets:overlapping"))
    assert_mistake(said, "certification samples")
    assert list((workplace / "mine").iterdir()) == []


def test_a_failed_run_leaves_the_files_of_others(prunella, asked, workplace, monkeypatch):
    """Somebody puts a file into the directory while the run lasts."""
    import own_nets

    def fill(split):
        Path("mine").mkdir(exist_ok=True)
        Path("mine/letter.txt").write_text("precious")
        return own_nets.overlapping(split)

    monkeypatch.setattr(own_nets, "filling", fill, raising=False)
    said = prunella(*replaced(asked, out="mine", data="own_nets:filling"))
    assert_mistake(said, "certification samples")
    assert [p.name for p in (workplace / "mine").iterdir()] == ["letter.txt"]


def test_resume_without_out(prunella, asked):
    assert_mistake(prunella(*asked, "--resume"), "--resume needs --out", out="runs")


def test_resume_with_another_configuration(prunella, asked, workplace):
    assert prunella(*asked, "--out", "run").code == 0
    before = {p.name: p.read_bytes() for p in (workplace / "run").iterdir()}
    said = prunella(*replaced(asked, out="run", epochs=3), "--resume")
    assert_mistake(said, "configured otherwise", "recipe.epochs 1, now 3")
    assert {p.name: p.read_bytes() for p in (workplace / "run").iterdir()} == before


def test_resume_with_the_configuration_of_another_command(prunella, asked, workplace):
    (workplace / "run").mkdir()
    (workplace / "run" / "config.yaml").write_text("network: resnet20\ndata: bundled\n")
    said = prunella(*asked, "--out", "run", "--resume")
    assert_mistake(said, "--weights")
    assert [p.name for p in (workplace / "run").iterdir()] == ["config.yaml"]


def test_resume_of_a_finished_run_changes_nothing(prunella, asked, workplace):
    assert prunella(*asked, "--out", "run").code == 0
    before = {p.name: p.stat().st_mtime_ns for p in (workplace / "run").iterdir()}
    said = prunella(*asked, "--out", "run", "--resume")
    assert said.code == 0
    assert "finished" in said.out
    assert "report.html" in said.out
    assert {p.name: p.stat().st_mtime_ns for p in (workplace / "run").iterdir()} == before


def test_damaged_results_of_an_interrupted_run(prunella, asked, workplace):
    assert prunella(*asked, "--out", "run").code == 0
    (workplace / "run" / "report.html").unlink()
    (workplace / "run" / "scores.safetensors").write_bytes(b"not scores")
    said = prunella(*asked, "--out", "run", "--resume")
    assert_mistake(said, "scores.safetensors", "not a whole safetensors file")
    assert (workplace / "run" / "pruned.safetensors").exists()


def test_a_full_disk_keeps_the_results_so_far(prunella, asked, workplace, monkeypatch):
    from prunella.cli import outcome
    from prunella.core.errors import FileError

    def full(path, *_):
        raise FileError(f"{path}: cannot be written (No space left on device).")

    with monkeypatch.context() as patch:
        patch.setattr(outcome, "save", full)
        said = prunella(*asked, "--out", "run")
    assert said.code == 2
    assert "No space left" in said.err
    assert "prune --config run/config.yaml --out run --resume" in said.err
    assert sorted(p.name for p in (workplace / "run").iterdir()) == [
        "config.yaml", "scores.safetensors", "training.safetensors",
    ]  # fmt: skip
    assert prunella(*asked, "--out", "run", "--resume").code == 0


def test_a_mistake_found_after_the_training_keeps_it(prunella, asked, workplace, monkeypatch):
    """Mending the samples is enough; the training is not done again."""
    from prunella.core.errors import DataError
    from prunella.pipeline import job

    def repeated(*_, **__):
        raise DataError("16 of the 100 certification samples repeat another one.")

    with monkeypatch.context() as patch:
        patch.setattr(job, "certify", repeated)
        said = prunella(*asked, "--out", "run")
    assert said.code == 2
    assert "repeat another one. The trained network is kept" in said.err
    said = prunella(*said.err.split("prunella ")[1].split())
    assert said.code == 0
    assert "1 of 1 epochs done before" in said.out
    assert (workplace / "run" / "report.html").exists()


def test_a_mistake_found_during_the_training_leaves_nothing(prune, monkeypatch):
    from prunella.cli import say
    from prunella.core.errors import DataError

    prune("the training loss became", "lower the learning rate", learning_rate=1e30)

    def fail(*_, **__):
        raise DataError("the training loss became nan.")

    monkeypatch.setattr(say.Speaker, "epoch", fail)  # after the first of two epochs
    prune("the training loss became nan.", epochs=2)


def test_a_bug_keeps_its_traceback_and_the_results_so_far(prunella, asked, workplace, monkeypatch):
    from prunella.cli import outcome

    def bug(*_):
        raise AssertionError("a bug")

    monkeypatch.setattr(outcome, "save", bug)
    with pytest.raises(AssertionError, match="a bug"):
        prunella(*asked, "--out", "run")
    assert (workplace / "run" / "training.safetensors").exists()


# train, certify, report, data, demo


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"epochs": -1}, ["--epochs should be"]),
        ({"batch_size": 0}, ["--batch-size should be"]),
        ({"data": "own_nets:empty"}, ["no train samples"]),
        ({"data": "own_nets:bad_labels"}, ["labels run from"]),
        ({"network": "own_nets:five_outputs"}, ["10 classes", "5 outputs"]),
        ({"network": "own_nets:seven"}, ["returned int"]),
        ({"learning_rate": 1e30}, ["the training loss became", "lower the learning rate"]),
    ],
)
def test_mistakes_in_train(prunella, options, parts):
    asked = ["train", "--network", "own_nets:net", "--data", "own_nets:samples", "--epochs", "2"]
    assert_mistake(prunella(*replaced(asked, out="runs/t", **options)), *parts, out="runs")


@pytest.fixture(scope="session")
def small(weights, tmp_path_factory) -> Path:
    """A pruned model, made without the command line."""
    import own_nets

    import prunella as library

    model = own_nets.net()
    library.load_weights(weights, model)
    graph = library.trace(model, torch.zeros(1, 1, 28, 28))
    loader = own_nets.samples("train").subset(range(32)).loader(32)
    scores = library.sensitivities(model, graph, loader)
    plan = library.plan(graph, scores, library.Params(0.6))
    path = tmp_path_factory.mktemp("small") / "pruned.safetensors"
    library.save(path, plan.apply(model), plan)
    return path


@pytest.fixture
def certify(prunella, weights, small):
    """Run certify with some options changed."""
    asked = [
        "certify", "--network", "own_nets:net", "--weights", weights, "--pruned", small,
        "--data", "own_nets:samples", "--certification-samples", "100",
    ]  # fmt: skip

    def run(**options):
        return prunella(*replaced([str(part) for part in asked], **options))

    return run


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"pruned": "gone.safetensors"}, ["gone.safetensors: no such file"]),
        ({"pruned": "WEIGHTS"}, ["holds plain weights, not a pruned model"]),
        ({"network": "own_nets:wider"}, ["'second.weight'"]),
        ({"data": "own_nets:overlapping"}, ["certification samples", "already used"]),
        ({"data": "own_nets:empty"}, ["no test samples"]),
        ({"certification_samples": 300}, ["--certification-samples 300", "299 or less"]),
        ({"alpha": 2}, ["--alpha should be less than 1"]),
        ({"out": "no_set/c.json"}, ["no_set", "is a file"]),
        ({"out": "no_set"}, ["no_set: exists already"]),
    ],
)
def test_mistakes_in_certify(certify, weights, workplace, options, parts):
    (workplace / "no_set").write_text("precious")
    options = {name: weights if value == "WEIGHTS" else value for name, value in options.items()}
    assert_mistake(certify(**options), *parts, out="certificate.json")
    assert [p.name for p in workplace.iterdir()] == ["no_set"]
    assert (workplace / "no_set").read_text() == "precious"


def test_certify_with_a_damaged_plan(certify, small, workplace):
    from prunella.files.weights import read_tensors

    tensors, header = read_tensors(small)
    header["plan"] = header["plan"].replace('"second"', '"third"', 1)
    save_file(tensors, workplace / "bad.safetensors", header)
    assert_mistake(certify(pruned="bad.safetensors"), "the plan in it is damaged",
                   out="certificate.json")  # fmt: skip


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ["report.json: no such file", "finished run"]),
        ("", ["report.json", "not JSON"]),
        ("{", ["report.json", "not JSON"]),
        ("[]", ["report.json", "[]", "expected an object"]),
        ('{"schema_version": 99}', ["report.json", "99"]),
        ('{"schema_version": 1}', ["report.json", "missing"]),
    ],
)
def test_report_that_is_missing_or_damaged(prunella, workplace, content, parts):
    (workplace / "run").mkdir()
    if content is not None:
        (workplace / "run" / "report.json").write_text(content)
    assert_mistake(prunella("report", "run"), *parts, out="run/report.html")


def test_report_of_something_else(prunella, workplace):
    (workplace / "net.safetensors").write_text("x")
    assert_mistake(prunella("report", "net.safetensors"), "is no report.json")
    assert_mistake(prunella("report", "nowhere"), "does not exist")


def test_report_to_a_place_that_cannot_be(prunella, asked, workplace):
    assert prunella(*asked, "--out", "run").code == 0
    (workplace / "file").write_text("precious")
    assert_mistake(prunella("report", "run", "--out", "file/r.html"), "is a file")
    assert_mistake(prunella("report", "run", "--out", "run"), "is a directory")


def test_report_with_a_changed_field(prunella, asked, workplace):
    assert prunella(*asked, "--out", "run").code == 0
    path = workplace / "run" / "report.json"
    data = json.loads(path.read_text())
    data["before"]["params"] = "many"
    path.write_text(json.dumps(data))
    before = (workplace / "run" / "report.html").read_bytes()
    assert_mistake(prunella("report", "run"), "report.json", "before.params", "a whole number")
    assert (workplace / "run" / "report.html").read_bytes() == before


def test_unknown_data_in_data(prunella):
    assert_mistake(prunella("data", "imagenet"), "'imagenet'", "fashion-mnist")
    assert_mistake(prunella("data", "--data-dir", "gone"), "gone: no such folder")


def test_data_reads_a_factory(prunella):
    said = prunella("data", "own_nets:samples")
    assert said.code == 0
    assert "own_nets:samples test: 300 images of 1 x 28 x 28, 10 classes" in said.out


def test_demo_does_not_replace_another_run(prunella, asked, workplace):
    assert prunella(*asked, "--out", "run").code == 0
    shutil.copytree(workplace / "run", workplace / "copy")
    (workplace / "copy" / "report.json").unlink()
    for name in ("run", "copy"):
        before = {p.name: p.stat().st_mtime_ns for p in (workplace / name).iterdir()}
        assert_mistake(prunella("demo", "--out", name), "holds files already")
        assert {p.name: p.stat().st_mtime_ns for p in (workplace / name).iterdir()} == before


def test_the_configuration_is_the_one_that_ran(prunella, asked, workplace):
    assert prunella(*asked, "--out", "run").code == 0
    data = yaml.safe_load((workplace / "run" / "config.yaml").read_text())
    assert data["params"] == 0.6
    assert data["recipe"]["epochs"] == 1
    assert data["certification_samples"] == 100


def test_digits_are_not_mirrored_unless_that_is_asked_for(workplace):
    from prunella.cli.config import TrainConfig, resolve

    given = {"network": "lenet5", "data": "mnist"}
    assert resolve(TrainConfig, None, given).recipe.flip is False
    assert resolve(TrainConfig, None, given | {"data": "fashion-mnist"}).recipe.flip is True
    Path("c.yaml").write_text("recipe: {flip: true}\n")
    asked = resolve(TrainConfig, Path("c.yaml"), given | {"recipe.epochs": 3}).recipe
    assert (asked.flip, asked.epochs, asked.shift) == (True, 3, 2)
