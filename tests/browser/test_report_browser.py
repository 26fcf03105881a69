"""The page in a real browser: it draws, it fits, it follows the colour scheme, it prints.

The page runs in an iframe of the wanted width (a headless window has a smallest width of 500
pixels) with two scripts added: one first of all, which collects errors, and one at the end, which
measures and sends the result to the outer page, where --dump-dom shows it.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from prunella.core.panels import Curve, Panel, Study
from prunella.report import Table, render, render_sequences, render_studies
from prunella.theory import advise, answer, family
from prunella.theory.studies import advice_study

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no browser: apt-get install chromium"),
]
PHONE, DESKTOP = 390, 1200

COLLECT = """<script>
window.failures = [];
addEventListener("error", (event) => failures.push("error: " + event.message), true);
addEventListener("unhandledrejection", (event) => failures.push("rejected: " + event.reason));
addEventListener("securitypolicyviolation", (event) =>
  failures.push("policy: " + event.violatedDirective + " " + event.blockedURI));
for (const name of ["error", "warn"]) console[name] = (...words) => failures.push(words.join(" "));
</script>"""

MEASURE = """<script>
addEventListener("load", () => setTimeout(async () => {
  const style = (element) => getComputedStyle(element);
  const plots = [...document.querySelectorAll(".chart")];
  const measure = () => ({
    scroll_width: document.documentElement.scrollWidth,
    inner_width: innerWidth,
    undrawn: plots.filter((plot) => !plot.querySelector("svg.main-svg")).map((plot) => plot.id),
    marks: Object.fromEntries(plots.map((plot) => [plot.id, plot.querySelectorAll(
      ".main-svg .points path, .main-svg .point path, .main-svg path.js-fill, .main-svg .js-line"
    ).length])),
    too_wide: plots.filter(
      (plot) => (plot.querySelector("svg")?.clientWidth ?? 0) > plot.clientWidth
    ).map((plot) => plot.id),
    cut: plots.flatMap((plot) => [...plot.querySelectorAll("svg text")].filter((text) => {
      const inner = text.getBoundingClientRect(), outer = plot.getBoundingClientRect();
      return inner.width > 0 && (inner.left < outer.left - 1 || inner.right > outer.right + 1);
    }).map((text) => plot.id + ": " + text.textContent)),
    widths: plots.map((plot) => plot.querySelector("svg")?.clientWidth),
    closed: document.querySelectorAll("details:not([open])").length,
    page: style(document.body).backgroundColor,
    ink: style(document.body).color,
    tick: style(document.querySelector(".ytick text, .xtick text") ?? document.body).fill,
  });
  const screen = measure();
  dispatchEvent(new Event("beforeprint"));
  const print = measure();
  dispatchEvent(new Event("afterprint"));
  const again = measure();
  let copied = null;
  const button = document.getElementById("copy");
  if (button) {
    button.click();
    await new Promise((done) => setTimeout(done, 200));
    copied = [button.hidden, button.textContent];
  }
  parent.postMessage({ screen, print, again, copied, failures }, "*");
}, 300));
</script>"""

OUTER = """<body style="margin:0"><pre id="result"></pre><script>
addEventListener("message", (event) =>
  (document.getElementById("result").textContent = JSON.stringify(event.data)));
</script><iframe src="page.html" style="border:0;width:{width}px;height:900px"></iframe></body>"""


@dataclass(frozen=True)
class Browser:
    """Opens pages; each instance has a directory of its own."""

    folder: Path

    def open(self, page: str, *, width: int, dark: bool = False) -> dict[str, Any]:
        assert BROWSER is not None
        page = page.replace("<head>", f"<head>{COLLECT}", 1)
        page = f"{MEASURE}</body>".join(page.rsplit("</body>", 1))
        (self.folder / "page.html").write_text(page, "utf-8")
        (self.folder / "outer.html").write_text(OUTER.format(width=width), "utf-8")
        command = [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={self.folder / 'profile'}",
            "--window-size=1300,1000",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--virtual-time-budget=20000",
            "--dump-dom",
            (self.folder / "outer.html").as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
        assert found, done.stderr[-2000:]
        assert found[1], f"the page sent no result: {done.stderr[-2000:]}"
        result: dict[str, Any] = json.loads(html.unescape(found[1]))
        return result


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    return Browser(tmp_path)


def lightness(color: str) -> float:
    """Mean of the three channels of "rgb(r, g, b)", in [0, 1]."""
    channels = [int(part) for part in re.findall(r"\d+", color)[:3]]
    return sum(channels) / (3 * 255)


def check(result: dict[str, Any], width: int) -> None:
    screen = result["screen"]
    assert result["failures"] == []
    assert screen["inner_width"] == width
    assert screen["scroll_width"] <= width
    assert screen["undrawn"] == []
    assert screen["too_wide"] == []
    assert screen["cut"] == []
    assert all(number > 0 for number in screen["marks"].values()), screen["marks"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_complete_report(browser: Browser, sample: ModuleType, width: int, dark: bool) -> None:
    result = browser.open(render(sample.complete_report()), width=width, dark=dark)
    check(result, width)
    screen = result["screen"]
    assert len(screen["marks"]) == 5
    assert (lightness(screen["page"]) < 0.2) is dark
    assert (lightness(screen["ink"]) > 0.8) is dark
    assert (lightness(screen["tick"]) > 0.5) is dark
    assert result["copied"][0] is False
    assert result["copied"][1] in ("Copied", "Selected: press Ctrl+C")


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("name", ["minimal", "sobering", "large", "hostile", "walk"])
def test_other_reports(browser: Browser, sample: ModuleType, name: str, width: int) -> None:
    result = browser.open(render(getattr(sample, f"{name}_report")()), width=width, dark=True)
    check(result, width)


STEP = """<script>
addEventListener("load", () => {
  const slider = document.querySelector(".stepper input");
  const plot = document.getElementById(slider.dataset.figure);
  const means = [plot.data[3].x[0]];
  slider.value = 3;
  slider.dispatchEvent(new Event("input"));
  means.push(plot.data[3].x[0]);
  const told = document.querySelector(".stepper output").textContent;
  if (means[0] !== 0.6 || means[1] !== 0.8 || told !== "step 3 of 3")
    console.error(JSON.stringify([means, told]));
  if (document.querySelector(".stepper").hidden) console.error("no slider");
});
</script>"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_belief_step_by_step(browser: Browser, sample: ModuleType, width: int, dark: bool) -> None:
    """The slider puts in the frame of its step; also with many particles and steps it fits."""
    page = render_sequences(sample.sequence_report())
    page = f"{STEP}</body>".join(page.rsplit("</body>", 1))
    check(browser.open(page, width=width, dark=dark), width)
    many = sample.belief_walk(steps=80, count=30)
    check(browser.open(render_sequences(sample.sequence_report(walks=(many,))), width=width), width)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_calculator_of_the_theory(browser: Browser, width: int, dark: bool) -> None:
    """Its page, and one of panels with points, bands and both scales."""
    spectrum = family("spiked", 60)
    advice = advise(spectrum.eigenvalues, spectrum.coefficients, 0.3, 20, 4)
    numbers = tuple((f"{size:,}", "0.25") for size in advice.sizes)
    table = Table(title="Every size", head=("features", "dense"), rows=numbers)
    points = Curve(name="simulated", x=(1.0, 20.0), y=(0.4, 2.0), errors=(0.1, 0.2), marks=True)
    line = Curve(name="predicted", x=(1.0, 5.0, 20.0), y=(0.5, float("inf"), 1.9), dashed=True)
    panel = Panel(
        title="Errors of a name long enough for two lines on a small screen", x_title="features",
        y_title="squared error on new samples", curves=(line, points), log_y=True,
        lines=((5.0, "as many as samples"),),
    )  # fmt: skip
    study = Study(key="more", title="More", text="Words.", panels=(panel, panel))
    page = render_studies(
        "Small or large?", answer(advice), [advice_study(advice, 20), study], tables=[table],
        command="prunella theory predict --family spiked",
    )  # fmt: skip
    result = browser.open(page, width=width, dark=dark)
    check(result, width)
    assert (lightness(result["screen"]["ink"]) > 0.8) is dark


def test_printing_is_light_fits_and_is_undone(browser: Browser, sample: ModuleType) -> None:
    result = browser.open(render(sample.complete_report()), width=DESKTOP, dark=True)
    screen, print_ = result["screen"], result["print"]
    assert set(print_["widths"]) == {640}
    assert print_["closed"] == 0
    assert screen["closed"] > 0
    assert lightness(print_["tick"]) < 0.5 < lightness(screen["tick"])
    assert result["again"] == screen


@pytest.mark.parametrize(
    ("broken", "failure"),
    [
        ("<script>throw new Error('planted')</script>", "planted"),
        ("<script>console.error('planted')</script>", "planted"),
        ("<script>Promise.reject(new Error('planted'))</script>", "planted"),
        ("<img src='https://example.org/a.png' alt=''>", "policy: img-src"),
    ],
    ids=["thrown", "logged", "rejected", "network"],
)
def test_failures_are_noticed(
    browser: Browser, sample: ModuleType, broken: str, failure: str
) -> None:
    page = render(sample.minimal_report()).replace("<footer>", f"{broken}<footer>", 1)
    result = browser.open(page, width=DESKTOP)
    assert any(failure in text for text in result["failures"]), result["failures"]


def test_overflow_is_noticed(browser: Browser, sample: ModuleType) -> None:
    wide = '<div style="width: 600px">planted</div>'
    page = render(sample.minimal_report()).replace("<footer>", f"{wide}<footer>", 1)
    screen = browser.open(page, width=PHONE)["screen"]
    assert screen["scroll_width"] > screen["inner_width"]


def test_missing_figure_is_noticed(browser: Browser, sample: ModuleType) -> None:
    page = render(sample.complete_report()).replace("\n  drawAll();\n", "\n  draw(plots[0]);\n", 1)
    page = page.replace("plots.forEach((plot) => observer.observe(plot));", "", 1)
    assert "figure-latency" in browser.open(page, width=DESKTOP)["screen"]["undrawn"]
