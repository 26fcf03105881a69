"""`prunella theory`: the calculator and the figures."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from prunella import theory
from prunella.cli.commands import theory as command
from prunella.core.panels import Curve, Panel, Study

CURVE = Curve(name="dense", x=(0.0, 1.0, 2.0), y=(1.0, float("inf"), 3.0))
STUDY = Study(
    key="one",
    title="One <study>",
    text="Words.",
    panels=(Panel(title="a", x_title="x", y_title="y", curves=(CURVE,)),),
)


def test_the_answer_and_the_table(prunella):
    said = prunella("theory", "predict", "--family", "power")
    assert (said.code, said.err) == (0, "")
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert "1,000 0.2107 0.2716 0.2216 0.2158 0.3445 0.265" in lines
    assert "200 inf inf inf inf 1.429 1.13" in lines
    assert "Small model of the best features, trained directly: 0.2341" in lines
    assert "Prune large: a model of 1000 features, pruned by the Hessian rule" in said.out
    assert all(len(line) <= 80 for line in said.out.splitlines())


def test_numbers_of_one_s_own(prunella, tmp_path):
    spectrum = theory.family("spiked", 120)
    rows = zip(spectrum.eigenvalues, spectrum.coefficients, strict=True)
    text = "eigenvalue,coefficient\n" + "".join(f"{float(a)!r},{float(b)!r}\n" for a, b in rows)
    (tmp_path / "mine.csv").write_text(text, encoding="utf-8-sig")  # as spreadsheets write it
    out = tmp_path / "out"
    said = prunella("theory", "predict", "--spectrum", str(tmp_path / "mine.csv"), "--n", "40",
                    "--s", "6", "--noise", "0.5", "--out", str(out), "--quiet")  # fmt: skip
    assert said.out.splitlines() == [str(out / "prediction.csv"), str(out / "prediction.html")]
    with (out / "prediction.csv").open() as file:
        table = list(csv.DictReader(file))
    assert int(table[-1]["features"]) == 120
    exact = theory.predict(spectrum.eigenvalues, spectrum.coefficients, 0.5, 40, 120, 6)
    for name, risk in exact.risks().items():
        assert float(table[-1][name]) == pytest.approx(risk, rel=1e-3)
    page = (out / "prediction.html").read_text()
    assert '"figure-curve-0"' in page
    assert "prunella theory predict --spectrum" in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict"], "--family and --spectrum: neither was given"),
        (["predict", "--family", "power", "--spectrum", "x.csv"], "both were given"),
        (["predict", "--family", "flat"], "family 'flat' is not known"),
        (["predict", "--family", "power", "--s", "0"], "s is 0; expected"),
        (["predict", "--family", "power", "--n", "-3"], "n is -3; expected"),
        (["predict", "--family", "power", "--s", "300"], "s is 300 and n is 200"),
        (["predict", "--family", "power", "--noise", "nan"], "noise is nan"),
        (["predict", "--spectrum", "none.csv"], "--spectrum none.csv: no such file"),
        (["predict", "--spectrum", "bad.csv"], "bad.csv, line 2: '1,two'; expected two numbers"),
        (["predict", "--spectrum", "empty.csv"], "empty.csv: holds no numbers"),
        (["predict", "--spectrum", "minus.csv"], "minus.csv, line 1: '-1,1'; expected a variance"),
        (["predict", "--family", "power", "--noise", "1e200"], "a number from 0 to 1e+100"),
        (["predict", "--family", "power", "--features", "1"], "there is 1 feature; expected 2"),
        (["predict", "--spectrum", "huge.csv"], "are too large to be computed with"),
        (["predict", "--spectrum", "bad.csv", "--features", "5"], "--features 5 is for a named"),
        (["figures", "--n", "5"], "--n 5 is for predict; give that, or leave out --n"),
        (["predict", "--family", "power", "--out", "bad.csv"], "--out bad.csv"),
        (["paint"], "paint"),
    ],
)
def test_mistakes_are_one_paragraph(prunella, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bad.csv").write_text("1,1\n1,two\n")
    Path("empty.csv").write_text("eigenvalue,coefficient\n")
    Path("minus.csv").write_text("-1,1\n1,1\n")
    Path("huge.csv").write_text("1,1e90\n1,1\n")
    said = prunella("theory", *arguments)
    assert said.code == 2
    assert said.out == ""
    assert words in " ".join(said.err.split())


def test_figures_are_written(prunella, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "STUDIES", {"one": lambda: STUDY})
    out = tmp_path / "figures"
    said = prunella("theory", "figures", "--out", str(out), "--quiet")
    assert said.out.splitlines() == [str(out / "one.svg"), str(out / "figures.html")]
    assert (out / "one.svg").read_text().startswith("<svg ")
    assert "One &lt;study&gt;" in (out / "figures.html").read_text()
