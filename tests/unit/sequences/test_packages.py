"""Tasks whose files come with packages, on small files of the same format."""

from __future__ import annotations

import gzip
import io
import tarfile
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from prunella.core.errors import DataError, FileError, InputError
from prunella.sequences import load
from prunella.sequences.archives import read_ts
from prunella.sequences.texts import part_of, words_of

# -- markets ------------------------------------------------------------------------------------


def write_market(folder, rows=300, name="nasdaq"):
    """A file as in arch.data, and its numbers."""
    generator = np.random.default_rng(0)
    close = 2000 * np.exp(np.cumsum(generator.normal(0, 0.01, rows)))
    open_ = close * np.exp(generator.normal(0, 0.003, rows))
    high = np.maximum(open_, close) * 1.004
    low = np.minimum(open_, close) * 0.995
    volume = generator.integers(900_000_000, 1_000_000_000, rows)
    lines = ["Date,Open,High,Low,Close,Adj Close,Volume"]
    lines += [
        f"1/{i % 28 + 1}/1999,{o:.6f},{h:.6f},{w:.6f},{c:.6f},{c:.6f},{v}"
        for i, (o, h, w, c, v) in enumerate(zip(open_, high, low, close, volume, strict=True))
    ]
    text = "\n".join(lines) + "\n"
    (folder / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
    return open_, high, low, close, volume


def test_the_return_is_that_of_the_next_day(tmp_path):
    _, _, _, close, _ = write_market(tmp_path)
    made = load("nasdaq-return", "test", data_dir=tmp_path, length=20)
    returns = 100 * np.diff(np.log(close))  # of day 1, 2, ...
    begin = round(0.85 * 299)
    got = made.in_units(made.targets)[0, :, 0].double().numpy()
    np.testing.assert_allclose(got, returns[begin + 1 : begin + 21], atol=1e-3)
    assert made.features == ("open", "high", "low", "close", "change of volume")
    # The return of the day itself is among what is known.
    train = load("nasdaq-return", "train", data_dir=tmp_path, length=1)
    known = returns[: round(0.7 * 299) - 1]
    got = train.inputs[:, 0, 3].double().numpy() * known.std() + known.mean()
    np.testing.assert_allclose(got, known, atol=1e-3)


def test_the_range_is_that_of_the_next_day(tmp_path):
    _, high, low, _, _ = write_market(tmp_path, name="sp500")
    made = load("sp500-range", "validation", data_dir=tmp_path, length=20)
    width = np.log(100 * np.log(high / low))[1:]
    begin = round(0.7 * 299)
    got = made.in_units(made.targets)[0, :, 0].double().numpy()
    np.testing.assert_allclose(got, width[begin + 1 : begin + 21], atol=1e-3)


def test_damaged_markets(tmp_path):
    path = tmp_path / "nasdaq.csv.gz"
    head = "Date,Open,High,Low,Close,Adj Close,Volume\n"
    for text, words in (
        ("Date,Open\n1,2\n", "has no column 'High'"),
        (head, "has no rows of data"),
        (head + "1/4/1999,1,2,1\n", "line 2: 4 fields, expected at least 7"),
        (head + "1/4/1999,1,2,x,1,1,5\n", "'x' in column 'Low', row 1 of the data"),
        (head + "1/4/1999,1,2,3,1,1,5\n" * 2, "a day's high below its low"),
    ):
        path.write_bytes(gzip.compress(text.encode()))
        with pytest.raises(FileError, match=words):
            load("nasdaq-return", "train", data_dir=tmp_path)
    path.write_bytes(gzip.compress(head.encode())[:-9])
    with pytest.raises(FileError, match="damaged gzip file"):
        load("nasdaq-return", "train", data_dir=tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match="byte 0 is no utf-8 text"):
        load("nasdaq-return", "train", data_dir=tmp_path)


def write_weather(folder, rows=120):
    days = np.datetime64("2012-01-01") + np.arange(rows)
    kinds = ("rain", "sun", "fog", "snow", "drizzle")
    lines = ["date,precipitation,temp_max,temp_min,wind,weather"]
    lines += [
        f"{str(day).replace('-', '/')},{i % 3},{i / 10},{i / 20},4.5,{kinds[i % 5]}"
        for i, day in enumerate(days)
    ]
    (folder / "seattle-weather.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


def test_weather(tmp_path):
    lines = write_weather(tmp_path)
    made = load("seattle-weather", "test", data_dir=tmp_path, length=5)
    assert made.inputs.shape == (3, 5, 11)
    got = made.in_units(made.targets)[0, :, 0].double().numpy()
    np.testing.assert_allclose(got, np.arange(103, 108) / 10, atol=1e-4)
    path = tmp_path / "seattle-weather.csv"
    path.write_text("\n".join(lines[:20] + lines[21:]), encoding="utf-8")
    with pytest.raises(FileError, match="expected one row for each day, in order"):
        load("seattle-weather", "test", data_dir=tmp_path, length=5)
    path.write_text("\n".join([lines[0], "yesterday,0,1,1,1,sun"]), encoding="utf-8")
    with pytest.raises(FileError, match="expected dates such as 2012/01/01"):
        load("seattle-weather", "test", data_dir=tmp_path, length=5)


# -- archives -----------------------------------------------------------------------------------

HEAD = """#Some words about the data.
@problemName JapaneseVowels
@timeStamps false
@missing false
@univariate false
@dimensions 12
@equalLength false
@classLabel true 1 2
@data
"""


def write_vowels(folder, part, count, shift=0.0):
    """Sequence i has 3 + i % 4 steps, the number of the dimension in each, plus a noise."""
    generator = np.random.default_rng(count)
    lines, sequences = [], []
    for i in range(count):
        steps = generator.normal(shift, 1, (3 + i % 4, 12)).round(4)
        sequences.append(steps)
        dimensions = [",".join(map(str, column)) for column in steps.T]
        lines.append(":".join([*dimensions, str(1 + i % 2)]))
    path = folder / f"JapaneseVowels_{part}.ts"
    path.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    return sequences


def test_sequences_of_different_lengths(tmp_path):
    train = write_vowels(tmp_path, "TRAIN", 20)
    test = write_vowels(tmp_path, "TEST", 8, shift=5)
    parts = {
        s: load("japanese-vowels", s, data_dir=tmp_path) for s in ("train", "validation", "test")
    }
    # Every fifth of each class: sequences 8 and 18 of the one, 9 and 19 of the other.
    fifth = {8, 9, 18, 19}
    assert [len(parts[s]) for s in ("train", "validation", "test")] == [16, 4, 8]
    seen = np.concatenate([s for i, s in enumerate(train) if i not in fifth])
    for i, sequence in enumerate(test):
        want = (sequence - seen.mean(axis=0)) / seen.std(axis=0)
        got = parts["test"].inputs[i].double().numpy()
        assert parts["test"].lengths[i] == len(sequence)
        np.testing.assert_allclose(got[: len(sequence)], want, atol=1e-5)
        assert (got[len(sequence) :] == 0).all()
    assert parts["test"].targets.tolist() == [0, 1] * 4
    assert parts["train"].inputs.shape == (16, 6, 12)
    short = load("japanese-vowels", "test", data_dir=tmp_path, length=4)
    assert short.inputs.shape == (8, 4, 12)
    assert short.lengths.tolist() == [3, 4, 4, 4] * 2


def test_missing_numbers_are_means(tmp_path):
    write_vowels(tmp_path, "TRAIN", 10)
    path = tmp_path / "JapaneseVowels_TEST.ts"
    line = ":".join(["?,1.5"] * 12 + ["2"])
    path.write_text(HEAD + line, encoding="utf-8")
    made = load("japanese-vowels", "test", data_dir=tmp_path)
    assert (made.inputs[0, 0] == 0).all()
    assert (made.inputs[0, 1] != 0).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD.replace("timeStamps false", "timeStamps true") + "1:1", "without time stamps"),
        (HEAD.replace("@data", ""), "no classification problem"),
        (HEAD, "no sequences"),
        (HEAD + "1,2:3,4:5", "sequence 1: class '5', expected one of 1, 2"),
        (HEAD + "1,2:3,x:1", "could not convert string to float"),
        (HEAD + "1,2:3:1", "dimensions of different numbers of steps"),
        (HEAD + "1,2:3,4:1\n1,2:1", "not all of the same number of dimensions"),
    ],
)
def test_damaged_archives(tmp_path, text, words):
    path = tmp_path / "X.ts"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileError, match=words):
        read_ts(path)


def test_another_problem_is_noticed(tmp_path):
    for part in ("TRAIN", "TEST"):
        (tmp_path / f"JapaneseVowels_{part}.ts").write_text(HEAD + "1,2:1", encoding="utf-8")
    with pytest.raises(FileError, match=r"1 dimensions and the classes .* expected 12"):
        load("japanese-vowels", "train", data_dir=tmp_path)


# -- texts --------------------------------------------------------------------------------------


def snippets(count=400):
    good = [f"a fine film , number {i} ; really good" for i in range(count)]
    bad = [f"It's dull - number {i}" for i in range(count)]
    lines = [f"{2 * i}\t1.5\t{text}" for i, text in enumerate(good)]
    lines += [f"{2 * i + 1}\t-0.25\t{text}" for i, text in enumerate(bad)]
    return [*lines, "9999\t0.0\tneither nor"]


def archive_of(name, content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_words():
    found = words_of("It's a FINE film , 10/10!")
    assert " ".join(found) == "it's a fine film , 10 / 10 !"


def test_snippets_from_the_file_and_from_the_archive(tmp_path):
    content = "\r\n".join(snippets())
    loose, packed = tmp_path / "loose", tmp_path / "packed"
    loose.mkdir()
    packed.mkdir()
    name = "movieReviewSnippets_GroundTruth.txt"
    (loose / name).write_text(content, encoding="utf-8", newline="")
    inner = archive_of(f"hutto_ICWSM_2014/{name}", content.encode())
    outer = archive_of("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz", inner)
    (packed / "vaderSentiment-3.3.2.tar.gz").write_bytes(outer)
    parts = {s: load("movie-snippets", s, data_dir=loose) for s in ("train", "validation", "test")}
    assert sum(map(len, parts.values())) == 800
    assert 0.75 < len(parts["train"]) / 800 < 0.85
    again = load("movie-snippets", "test", data_dir=packed)
    assert torch.equal(again.inputs, parts["test"].inputs)
    test = parts["test"]
    assert test.outputs == ("negative", "positive")
    assert test.features[:2] == ("<padding>", "<unknown>")
    words = [
        [test.features[n] for n in row[:length].tolist()]
        for row, length in zip(test.inputs, test.lengths.tolist(), strict=True)
    ]
    for label, found in zip(test.targets.tolist(), words, strict=True):
        assert ("fine" in found, "dull" in found) == (label == 1, label == 0)
        assert "<padding>" not in found
    # The number of a text that no training text has is not in the vocabulary.
    assert any("<unknown>" in found for found in words)
    train = parts["train"]
    seen = torch.bincount(train.inputs[train.inputs > 1], minlength=len(train.features))
    assert (seen[2:] >= 2).all()
    assert (seen[2:].diff() <= 0).all()
    short = load("movie-snippets", "test", data_dir=loose, length=3, count=5)
    assert short.inputs.shape == (5, 3)
    assert short.lengths.tolist() == [3] * 5


def test_the_same_text_is_in_one_part():
    texts = [f"text number {i}" for i in range(2000)]
    parts = [part_of(text) for text in texts]
    assert [part_of(f"  {text.upper()} ") for text in texts] == parts
    shares = [parts.count(s) / 2000 for s in ("train", "validation", "test")]
    np.testing.assert_allclose(shares, (0.8, 0.1, 0.1), atol=0.03)


def test_damaged_texts(tmp_path):
    name = "movieReviewSnippets_GroundTruth.txt"
    (tmp_path / name).write_text("1\t2.5\tgood\n2\tbad\n", encoding="utf-8")
    with pytest.raises(FileError, match=r"line 2 of .*expected a number, a rating and a text"):
        load("movie-snippets", "train", data_dir=tmp_path)
    (tmp_path / name).write_text("1\t2.5\tgood\n", encoding="utf-8")
    with pytest.raises(DataError, match="expected at least one of each"):
        load("movie-snippets", "train", data_dir=tmp_path)
    (tmp_path / name).unlink()
    packed = tmp_path / "vaderSentiment-3.3.2.tar.gz"
    packed.write_bytes(b"none")
    with pytest.raises(FileError, match="no readable archive"):
        load("movie-snippets", "train", data_dir=tmp_path)
    packed.write_bytes(archive_of("other.txt", b"x"))
    with pytest.raises(FileError, match=r"holds no file hutto_ICWSM_2014.tar.gz"):
        load("movie-snippets", "train", data_dir=tmp_path)


def test_what_to_do_without_the_files(tmp_path):
    with pytest.raises(InputError, match=r"pip download --no-deps .* vaderSentiment==3.3.2"):
        load("movie-snippets", "train")
    with pytest.raises(FileError, match=r"holds none of movieReviewSnippets.*pip download"):
        load("movie-snippets", "train", data_dir=tmp_path)


# -- packages -----------------------------------------------------------------------------------

TASKS_OF = {
    "arch": ("nasdaq-return", "sp500-range"),
    "vega_datasets": ("seattle-weather",),
    "sktime": ("basic-motions", "japanese-vowels", "italy-power"),
}


@pytest.mark.parametrize("package", TASKS_OF)
def test_a_missing_package_is_named(package, monkeypatch):
    monkeypatch.setattr("prunella.sequences.reading.find_spec", lambda name: None)
    for name in TASKS_OF[package]:
        words = rf"comes with the package {package}, which is not installed; install it with pip "
        with pytest.raises(InputError, match=words + r"install 'prunella\[sequences\]'"):
            load(name, "train")


def test_a_package_without_the_file(monkeypatch):
    monkeypatch.setattr("prunella.sequences.reading.find_spec", lambda name: find_spec("prunella"))
    with pytest.raises(FileError, match="not there, though the package arch is installed"):
        load("nasdaq-return", "train")


@pytest.mark.parametrize("package", TASKS_OF)
def test_installed_packages(package):
    if find_spec(package) is None:
        pytest.skip(f"needs the package {package}: pip install 'prunella[sequences]'")
    for name in TASKS_OF[package]:
        parts = [load(name, split) for split in ("train", "validation", "test")]
        ids = [part.ids for part in parts]
        assert not any(a.overlap(b) for i, a in enumerate(ids) for b in ids[:i])
        assert len({part.features for part in parts}) == 1
