"""The samples that come with the package, and the script that makes them."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch

from prunella.core.errors import FileError, InputError
from prunella.core.samples import SampleIds
from prunella.data import bundled, load

ROOT = Path(__file__).parents[3]
BUNDLE = ROOT / "src" / "prunella" / "data" / "bundle"
FULL = Path("/usr/share/datasets/fashion-mnist")
PARTS = ("calibration", "certification", "test")


def script() -> ModuleType:
    path = ROOT / "scripts" / "make_bundled_data.py"
    spec = importlib.util.spec_from_file_location("make_bundled_data", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_parts() -> None:
    sizes = {part: len(bundled(part)) for part in PARTS}  # type: ignore[arg-type]
    assert sizes == {"calibration": 2400, "certification": 2000, "test": 2000}
    calibration = bundled("calibration")
    assert calibration.images.shape == (2400, 1, 28, 28)
    assert calibration.labels.bincount().tolist() == [240] * 10
    # random order: a sorted or blocked one would make the first batch one-sided
    assert calibration.labels[:200].bincount(minlength=10).min() >= 8
    # a simple random draw is not balanced to the last sample
    for part in ("certification", "test"):
        counts = bundled(part).labels.bincount(minlength=10)  # type: ignore[arg-type]
        assert counts.min() >= 150
        assert counts.max() <= 250
        assert len(counts.unique()) > 1


def test_parts_are_disjoint_and_without_repetition() -> None:
    ids = [SampleIds.of(bundled(part).images) for part in PARTS]  # type: ignore[arg-type]
    assert all(len(i.hashes) == i.count for i in ids)
    assert ids[0].overlap(ids[1]) == ids[0].overlap(ids[2]) == ids[1].overlap(ids[2]) == 0


def test_load_by_name() -> None:
    assert torch.equal(load("bundled", "train").images, bundled("calibration").images)
    assert torch.equal(load("bundled", "test").images, bundled("test").images)


def test_unknown_part() -> None:
    with pytest.raises(InputError, match="'train': expected one of calibration, certification"):
        bundled("train")  # type: ignore[arg-type]


def test_sizes_of_the_files() -> None:
    sizes = {path.name: path.stat().st_size for path in BUNDLE.glob("*.gz")}
    assert sorted(sizes) == sorted(f"{p}-{k}.idx.gz" for p in PARTS for k in ("images", "labels"))
    assert sum(sizes.values()) < 3_000_000
    assert max(sizes.values()) < 1_500_000


def test_readme_states_the_digests() -> None:
    text = (BUNDLE / "README.md").read_text()
    rows = re.findall(r"\| (\S+\.gz) \| ([\d,]+) \| (\w{64}) \| (\w{64}) \|", text)
    assert len(rows) == 6
    for name, size, packed, unpacked in rows:
        raw = (BUNDLE / name).read_bytes()
        assert len(raw) == int(size.replace(",", ""))
        assert hashlib.sha256(raw).hexdigest() == packed
        assert hashlib.sha256(gzip.decompress(raw)).hexdigest() == unpacked


def test_damaged_or_missing_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # by its full name: `prunella.data.bundled` is the function
    module = importlib.import_module("prunella.data.bundled")
    monkeypatch.setattr(module, "files", lambda package: tmp_path)
    with pytest.raises(FileError, match=r"calibration-images.*install prunella again"):
        bundled("calibration")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "calibration-images.idx.gz").write_bytes(b"\x1f\x8b\x08")
    with pytest.raises(FileError, match=r"calibration-images.*damaged gzip"):
        bundled("calibration")


def test_order_depends_on_purpose_only() -> None:
    shuffled = script().shuffled
    order = shuffled(1000, purpose="train")
    assert sorted(order) == list(range(1000))
    assert order == shuffled(1000, purpose="train")
    assert order != shuffled(1000, purpose="test")
    assert [i for i in order if i < 500] == shuffled(500, purpose="train")


def test_packing_is_reproducible() -> None:
    pack = script().pack
    packed = pack(b"abc" * 100)
    assert gzip.decompress(packed) == b"abc" * 100
    assert packed[:10] == bytes.fromhex("1f8b 08 00 00000000 02 ff")  # no name, no time


def test_made_from_the_published_set() -> None:
    if not FULL.is_dir():
        pytest.skip("needs the full set: apt-get install dataset-fashion-mnist")
    make = script()
    train = load("fashion-mnist", "train", data_dir=FULL)
    test = load("fashion-mnist", "test", data_dir=FULL)
    made = make.contents(make.choose(train, test))
    assert len(made) == 6
    for name, content in made.items():
        assert gzip.decompress((BUNDLE / name).read_bytes()) == content
