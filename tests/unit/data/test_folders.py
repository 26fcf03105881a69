"""Folders of images."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunella.core.errors import DataError, FileError, InputError
from prunella.core.progress import silent
from prunella.data import folders, load
from prunella.data.folders import in_test_part, read_image_folder

Image = pytest.importorskip("PIL.Image", reason="needs Pillow (the vision extra)")


def write(path: Path, pixels: object, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, dtype=np.uint8))
    (image if mode is None else image.convert(mode)).save(path)


def noise(
    height: int, width: int, seed: int = 0
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def flat(height: int, width: int, colour: tuple[int, int, int]) -> object:
    return np.broadcast_to(np.array(colour, dtype=np.uint8), (height, width, 3)).copy()


def test_reads_all_formats_and_labels_by_sorted_class(tmp_path: Path) -> None:
    pixels = {}
    for i, suffix in enumerate((".png", ".bmp", ".ppm")):  # lossless
        pixels[i] = noise(8, 8, seed=i)
        write(tmp_path / "dog" / f"{i}{suffix}", pixels[i])
    write(tmp_path / "cat" / "deep" / "x.JPEG", flat(8, 8, (10, 200, 30)))
    write(tmp_path / "cat" / "y.jpg", flat(8, 8, (10, 200, 30)))
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "cat" / "._y.jpg").write_bytes(b"not an image either")
    (tmp_path / ".hidden").mkdir()
    seen = []

    def progress(items, *, description, total=None):  # type: ignore[no-untyped-def]
        seen.append((description, total))
        return silent(items, description=description)

    images = read_image_folder(tmp_path, size=8, progress=progress)
    assert images.classes == ("cat", "dog")
    assert images.labels.tolist() == [0, 0, 1, 1, 1]
    assert images.images.shape == (5, 3, 8, 8)
    for i in range(3):
        assert np.array_equal(images.images[2 + i].permute(1, 2, 0).numpy(), pixels[i])
    for i in range(2):  # JPEG loses a little
        colour = images.images[i].float().mean(dim=(1, 2))
        torch.testing.assert_close(colour, torch.tensor([10.0, 200.0, 30.0]), atol=3, rtol=0)
    assert seen == [(f"Reading {tmp_path.name}", 5)]
    assert images.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(("height", "width"), [(10, 30), (30, 10), (10, 10), (11, 30), (3, 7)])
def test_shorter_side_and_centre(height: int, width: int, tmp_path: Path) -> None:
    # three bands along the longer side: only the middle one may survive
    bands = np.zeros((height, width, 3), dtype=np.uint8)
    axis = 0 if height > width else 1
    index = np.arange(max(height, width))
    third = np.clip(index * 3 // max(height, width), 0, 2)
    bands[..., 0] = np.expand_dims(third * 100, 1 - axis)
    write(tmp_path / "a" / "x.png", bands)
    got = read_image_folder(tmp_path, size=10).images
    assert got.shape == (1, 3, 10, 10)
    if (height, width) in ((10, 30), (30, 10)):
        assert set(got[0, 0].flatten().tolist()) == {100}


def test_crop_within_a_larger_shorter_side(tmp_path: Path) -> None:
    pixels = noise(12, 12)
    write(tmp_path / "a" / "x.png", pixels)
    got = read_image_folder(tmp_path, size=8, shorter_side=12).images[0]
    assert np.array_equal(got.permute(1, 2, 0).numpy(), pixels[2:10, 2:10])


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(0, 20))
def test_every_shape_gives_the_size(height: int, width: int, size: int, extra: int) -> None:
    image = Image.fromarray(np.full((height, width, 3), 77, dtype=np.uint8))
    fitted = folders._fit(image, size=size, shorter=size + extra)
    assert fitted.size == (size, size)
    # no black rim: the crop lies within the resized image
    assert set(np.asarray(fitted).flatten().tolist()) == {77}


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK"])
def test_other_modes_become_rgb(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a" / ("x.jpg" if mode == "CMYK" else "x.png")
    write(path, flat(6, 6, (255, 255, 255)), mode)
    got = read_image_folder(tmp_path, size=6).images
    assert got.shape == (1, 3, 6, 6)
    assert int(got.min()) >= 250


def test_palette_with_transparency(tmp_path: Path) -> None:
    # half transparent: Pillow warns of this when it goes straight to RGB, and warnings are errors
    (tmp_path / "a").mkdir()
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    image.save(tmp_path / "a" / "x.png", transparency=b"\x80\xff")
    assert read_image_folder(tmp_path, size=4).images[0, :, 0, 0].tolist() == [9, 8, 7]


@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_damaged_image_is_named(damage: str, suffix: str, tmp_path: Path) -> None:
    write(tmp_path / "a" / f"good{suffix}", noise(40, 40))
    bad = tmp_path / "a" / f"bad{suffix}"
    raw = (tmp_path / "a" / f"good{suffix}").read_bytes()
    bad.write_bytes({"truncated": raw[: len(raw) // 2], "text": b"hello", "empty": b""}[damage])
    with pytest.raises(FileError, match=rf"bad\{suffix}: cannot be read as an image"):
        read_image_folder(tmp_path, size=8)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="absent: no such folder"):
        read_image_folder(tmp_path / "absent", size=8)
    with pytest.raises(FileError, match="no sub-folders; expected one for each class"):
        read_image_folder(tmp_path, size=8)
    (tmp_path / "a").mkdir()
    with pytest.raises(FileError, match="a: holds no images"):
        read_image_folder(tmp_path, size=8)
    write(tmp_path / "a" / "x.png", noise(8, 8))
    with pytest.raises(FileError, match="no images to read"):
        read_image_folder(tmp_path, size=8, keep=lambda path: path != "a/x.png")
    with pytest.raises(FileError, match="class folder a is not among"):
        read_image_folder(tmp_path, size=8, classes=("b",))


@pytest.mark.parametrize(("size", "shorter"), [(0, None), (-1, None), (8, 7)])
def test_impossible_sizes(size: int, shorter: int | None, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected 1 <= size <= shorter"):
        read_image_folder(tmp_path, size=size, shorter_side=shorter)


def test_too_much_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a" / "x.png", noise(8, 8))
    monkeypatch.setattr(folders, "MOST_BYTES", 3 * 8 * 8 - 1)
    with pytest.raises(DataError, match="more than the"):
        read_image_folder(tmp_path, size=8)
    monkeypatch.setattr(folders, "MOST_BYTES", 3 * 8 * 8)
    assert len(read_image_folder(tmp_path, size=8)) == 1


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a" / "x.png", noise(8, 8))
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match=r"needs Pillow.*prunella\[vision\]"):
        read_image_folder(tmp_path, size=8)


def test_divided_folder(tmp_path: Path) -> None:
    for part, names in {"train": "ac", "val": "bc"}.items():
        for name in names:
            write(tmp_path / part / name / "x.png", flat(8, 8, (ord(name), 0, 0)))
    train = load(f"imagefolder:{tmp_path}", "train", size=8)
    test = load(f"imagefolder:{tmp_path}", "test", size=8)
    # one numbering for both parts, although each lacks a class
    assert train.classes == test.classes == ("a", "b", "c")
    assert train.labels.tolist() == [0, 2]
    assert test.labels.tolist() == [1, 2]
    assert test.images[:, 0, 0, 0].tolist() == [ord("b"), ord("c")]


def test_divided_folder_without_test_part(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a" / "x.png", noise(8, 8))
    assert len(load(f"imagefolder:{tmp_path}", "train", size=8)) == 1
    with pytest.raises(FileError, match="folder train, but none of test, val, validation"):
        load(f"imagefolder:{tmp_path}", "test", size=8)


def test_undivided_folder_is_divided_once_and_for_all(tmp_path: Path) -> None:
    # "train" is a class here: it holds images, not folders
    for i in range(40):
        write(tmp_path / ("train" if i % 2 else "car") / f"{i}.png", flat(4, 4, (i, 0, 0)))

    def part(split: str) -> set[int]:
        images = load(f"imagefolder:{tmp_path.name}", split, data_dir=tmp_path.parent, size=4)  # type: ignore[arg-type]
        assert images.classes == ("car", "train")
        values = images.images[:, 0, 0, 0]
        assert torch.equal(values % 2, images.labels)
        return set(values.tolist())

    train, test = part("train"), part("test")
    assert train | test == set(range(40))
    assert not train & test
    assert test
    for i in range(40, 60):
        write(tmp_path / "car" / f"{2 * i}.png", flat(4, 4, (2 * i, 0, 0)))
    assert train <= part("train")
    assert test <= part("test")


def test_a_fifth_is_for_testing() -> None:
    share = sum(in_test_part(f"a/{i}.png") for i in range(20_000)) / 20_000
    # 52 of the 256 first bytes are multiples of 5; four standard errors
    assert share == pytest.approx(52 / 256, abs=4 * (0.2 * 0.8 / 20_000) ** 0.5)


def test_absent_image_folder() -> None:
    with pytest.raises(FileError, match="nowhere: no such folder"):
        load("imagefolder:nowhere", "train")
