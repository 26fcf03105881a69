"""Who may import whom, and what importing the package may not do."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import prunella

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "pyproject.toml"
SOURCE = Path(prunella.__file__).parent

_LINT = """
import sys
from importlinter.cli import lint_imports
sys.exit(lint_imports(config_filename=sys.argv[1], no_cache=True, no_logo=True))
"""
_IMPORT = """
import json, logging, os, sys, warnings
import torch

def state():
    return {
        "threads": torch.get_num_threads(),
        "inter-op threads": torch.get_num_interop_threads(),
        "default type": str(torch.get_default_dtype()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "gradients": torch.is_grad_enabled(),
        "random state": torch.get_rng_state().sum().item(),
        "root handlers": [str(handler) for handler in logging.getLogger().handlers],
        "root level": logging.getLogger().level,
        "environment": dict(os.environ),
        "folder": os.listdir(),
        "CUDA": torch.cuda.is_initialized(),
    }

before = state()
import prunella
json.dump({"before": before, "after": state(), "modules": sorted(sys.modules)}, sys.stdout)
"""


def run(script, *arguments, folder, source):
    environment = {**os.environ, "PYTHONPATH": str(source), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def verdicts(output):
    """Name of each contract to KEPT or BROKEN."""
    return dict(re.findall(r"^(.+?) (KEPT|BROKEN)\b", output, flags=re.MULTILINE))


def test_the_layer_rule_is_kept(tmp_path):
    done = run(_LINT, CONFIG, folder=tmp_path, source=SOURCE.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(verdicts(done.stdout).values()) == ["KEPT"] * 5


def test_every_contract_notices_a_breach(tmp_path):
    """On a copy with one forbidden import for each contract."""
    copy = tmp_path / "prunella"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.gz"))
    breaches = {
        "core/errors.py": "import prunella.cli.main",
        "bounds/checks.py": "import torch",
        "report/units.py": "import numpy",
        "methods/registry.py": "from rich import print",
        "networks/lenet.py": "import torchvision",
    }
    for name, line in breaches.items():
        with (copy / name).open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")
    done = run(_LINT, CONFIG, folder=tmp_path, source=tmp_path)
    assert done.returncode == 1
    assert list(verdicts(done.stdout).values()) == ["BROKEN"] * 5, done.stdout + done.stderr


def test_the_layers_in_contributing_are_those_of_the_contract():
    config = CONFIG.read_text(encoding="utf-8")
    contract = re.search(r"^layers = \[\n(.*?)^\]", config, flags=re.MULTILINE | re.DOTALL)
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    told = re.search(r"```text\n(.*?)```", text, flags=re.DOTALL)
    assert contract is not None
    assert told is not None
    enforced = [line.strip(' ",').replace("(", "").replace(")", "")
                for line in contract[1].splitlines()]  # fmt: skip
    assert [re.split(r"\s{3,}", line)[0] for line in told[1].splitlines()] == enforced


def test_importing_changes_nothing_and_takes_no_optional_package(tmp_path):
    done = run(_IMPORT, folder=tmp_path, source=SOURCE.parent)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["after"] == found["before"]
    optional = {"matplotlib", "torchvision", "timm", "PIL", "onnx", "onnxruntime", "onnxscript",
                "ray", "tensorboard"}  # fmt: skip
    assert not optional & set(found["modules"])
    assert "prunella.cli" not in found["modules"]
    assert done.stderr == ""
