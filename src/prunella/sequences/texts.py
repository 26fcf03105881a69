"""Texts with classes: numbers of words for an embedding."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from prunella.core.errors import DataError, FileError
from prunella.core.reading import read_at_most
from prunella.core.words import one_line, shown
from prunella.sequences.reading import decoded, folder_file, read_text
from prunella.sequences.series import at_most
from prunella.sequences.sets import SequenceSet
from prunella.sequences.task import Asked, Split, Task

PADDING, UNKNOWN = "<padding>", "<unknown>"  # words 0 and 1
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?|[^\sa-z0-9]")
_MOST_WORDS = 20_000  # of a vocabulary
_LEAST_SEEN = 2  # times in the training part
_MOST_BYTES = 1 << 26  # of an archive, and of what is read from it
_SNIPPETS = "movieReviewSnippets_GroundTruth.txt"
_SOURCE_FILE = "vaderSentiment-3.3.2.tar.gz"
_INNER = "hutto_ICWSM_2014.tar.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    words: tuple[str, ...]
    label: str
    split: Split


def words_of(text: str) -> tuple[str, ...]:
    """Words in small letters, and each other sign as a word of its own."""
    return tuple(_WORD.findall(text.lower()))


def part_of(text: str) -> Split:
    """The part of a text where the data have none of their own: 80 % train, 10 % the others each.

    Depends on its words alone, so that no text is in two parts even if it is there twice.
    """
    digest = hashlib.sha256(" ".join(words_of(text)).encode()).digest()
    place = int.from_bytes(digest[:4], "little") % 10
    return "test" if place == 0 else "validation" if place == 1 else "train"


def texts_set(name: str, texts: Sequence[_Text], asked: Asked, *, length: int) -> SequenceSet:
    """One part of the texts.

    The vocabulary has the words that the training part has at least twice, the most frequent first,
    behind padding (0) and unknown words (1). Texts longer than `length` lose their end.

    Raises:
        DataError: a part without texts.
    """
    seen = Counter(word for text in texts if text.split == "train" for word in text.words)
    ranked = sorted(seen.items(), key=lambda item: (-item[1], item[0]))
    known = [word for word, count in ranked[:_MOST_WORDS] if count >= _LEAST_SEEN]
    vocabulary = (PADDING, UNKNOWN, *known)
    numbers = {word: number for number, word in enumerate(vocabulary)}
    classes = tuple(sorted({text.label for text in texts}))
    part = [text for text in texts if text.split == asked.split and text.words]
    if not part or not known:
        raise DataError(
            f"{name}: {len(part)} texts in the {asked.split} part and {len(known)} words that the "
            "training part has twice; expected at least one of each."
        )
    steps = length if asked.length is None else asked.length
    inputs = torch.zeros(len(part), steps, dtype=torch.int64)
    for row, text in zip(inputs, part, strict=True):
        found = [numbers.get(word, 1) for word in text.words[:steps]]
        row[: len(found)] = torch.tensor(found)
    made = SequenceSet(
        name=f"{name} {asked.split}",
        inputs=inputs,
        targets=torch.tensor([classes.index(text.label) for text in part]),
        lengths=torch.tensor([min(len(text.words), steps) for text in part]),
        features=vocabulary,
        outputs=classes,
    )
    return at_most(made, asked)


def movie_snippets(asked: Asked) -> SequenceSet:
    """Sentences of film reviews, rated by people: whether the mean rating is above or below 0."""
    path = folder_file(
        (_SNIPPETS, _SOURCE_FILE),
        data_dir=asked.data_dir,
        advice="The file is in the source archive of the package vaderSentiment: pip download "
        "--no-deps --no-binary :all: vaderSentiment==3.3.2 --dest FOLDER.",
    )
    content = read_text(path) if path.name == _SNIPPETS else _from_archive(path)
    texts = []
    for number, line in enumerate(content.splitlines(), start=1):
        fields = line.split("\t")
        try:
            rating = float(fields[1])
            text = fields[2]
        except (IndexError, ValueError):
            raise FileError(
                f"{path}, line {number} of {_SNIPPETS}: {shown(line)}; expected a number, a rating "
                "and a text, parted by tabs."
            ) from None
        if rating:  # 0 is neither
            texts.append(_text(text, "positive" if rating > 0 else "negative"))
    return texts_set("movie-snippets", texts, asked, length=50)


def movie_reviews(asked: Asked) -> SequenceSet:
    """Sentences of film reviews, positive or negative (the paper's MR).

    Source: Pang and Lee, "Seeing stars", ACL 2005; files rt-polarity.pos and rt-polarity.neg.
    """
    texts = []
    for ending, label in (("neg", "negative"), ("pos", "positive")):
        path = folder_file(
            (f"rt-polarity.{ending}",),
            data_dir=asked.data_dir,
            advice="It is part of rt-polaritydata.tar.gz, "
            "https://www.cs.cornell.edu/people/pabo/movie-review-data/.",
        )
        lines = read_text(path, encoding="cp1252").splitlines()
        texts += [_text(line, label) for line in lines if line.strip()]
    return texts_set("movie-reviews", texts, asked, length=50)


def reuters(asked: Asked) -> SequenceSet:
    """News of Reuters in 52 classes (the paper's R52); a tenth of the training part validates."""
    texts = []
    for part in ("train", "test"):
        path = folder_file(
            (f"r52-{part}-all-terms.txt",),
            data_dir=asked.data_dir,
            advice="It is one of A. Cardoso-Cachopo's data sets for single-label text "
            "categorization, https://ana.cachopo.org/datasets-for-single-label-text-categorization.",
        )
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            label, tab, text = line.partition("\t")
            if not tab:
                raise FileError(f"{path}, line {number}: {shown(line)}; expected CLASS, tab, TEXT.")
            split: Split = "test"
            if part == "train":
                split = "validation" if part_of(text) == "validation" else "train"
            texts.append(_Text(words=words_of(text), label=label, split=split))
    return texts_set("reuters52", texts, asked, length=150)


def _text(text: str, label: str) -> _Text:
    return _Text(words=words_of(text), label=label, split=part_of(text))


def _from_archive(path: Path) -> str:
    """The snippets out of the archive in the archive."""
    inner = _member(read_at_most(path, _MOST_BYTES), _INNER, where=str(path))
    return decoded(_member(inner, _SNIPPETS, where=f"{path}, {_INNER}"), name=_SNIPPETS)


def _member(raw: bytes, name: str, *, where: str) -> bytes:
    """Content of the first file of a name in a tar archive; nothing is written to disk."""
    try:
        with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
            for member in _files(archive):
                stream = archive.extractfile(member)
                if Path(member.name).name == name and stream is not None:
                    if member.size > _MOST_BYTES:
                        break
                    return stream.read(_MOST_BYTES)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise FileError(f"{where}: no readable archive ({one_line(error)}).") from None
    raise FileError(f"{where}: holds no file {name} of a sensible size.")


def _files(archive: tarfile.TarFile) -> Iterable[tarfile.TarInfo]:
    return (member for member in archive if member.isfile())


TEXTS = (
    Task(
        name="movie-snippets",
        line="whether a sentence of a film review was rated as positive, from its words",
        kind="classification",
        source="source archive of vaderSentiment 3.3.2 (licence MIT), in data_dir: 10,605 snippets",
        make=movie_snippets,
    ),
    Task(
        name="movie-reviews",
        line="whether a sentence of a film review is positive, from its words (MR)",
        kind="classification",
        source="rt-polarity.pos and rt-polarity.neg of Pang and Lee, in data_dir",
        make=movie_reviews,
    ),
    Task(
        name="reuters52",
        line="which of 52 classes a piece of news has, from its words (R52)",
        kind="classification",
        source="r52-train-all-terms.txt and r52-test-all-terms.txt, in data_dir",
        make=reuters,
    ),
)
