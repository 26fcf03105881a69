"""The names of the package: imported when they are asked for, the same ones that types see."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import prunella


def static_imports() -> dict[str, str]:
    """Name to origin, of the imports that only a check of types sees."""
    tree = ast.parse(Path(prunella.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for name in node.names:
            apart = "." if node.module == "prunella" else ":"
            found[name.asname or name.name] = f"{node.module}{apart}{name.name}"
    return found


def test_both_lists_are_the_same():
    assert static_imports() == prunella._HOMES
    assert sorted(prunella._HOMES) == sorted(prunella.__all__)


@pytest.mark.parametrize("name", prunella.__all__)
def test_every_name_is_there(name):
    home, _, attribute = prunella._HOMES[name].partition(":")
    module = importlib.import_module(home)
    assert getattr(prunella, name) is (getattr(module, attribute) if attribute else module)
    assert name in dir(prunella)


def test_parts_of_the_package_can_be_named_and_other_names_not():
    assert prunella.bounds is importlib.import_module("prunella.bounds")
    with pytest.raises(AttributeError, match="module 'prunella' has no attribute 'nonsense'"):
        prunella.nonsense  # noqa: B018
    with pytest.raises(ImportError):
        from prunella import nonsense  # noqa: F401


def test_star_import():
    scope: dict[str, object] = {}
    exec("from prunella import *", scope)
    assert set(prunella.__all__) <= set(scope)


@pytest.mark.parametrize(
    ("script", "heavy"),
    [
        ("import prunella; prunella.__version__; prunella.FileError", False),
        ("import prunella.cli.main", False),
        ("import prunella; prunella.Plan", True),
    ],
)
def test_torch_is_imported_only_when_needed(script, heavy):
    source = str(Path(prunella.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {source!r}); {script}; "
         "print('torch' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{heavy}\n"


def test_the_wheel_says_that_it_has_types(tmp_path):
    """Without the marker type checkers take every name of an installed package for `Any`."""
    root = Path(__file__).parents[3]
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel",
         "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", tmp_path, root],
        check=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("prunella-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"prunella/py.typed", "prunella/__init__.py"} <= names
