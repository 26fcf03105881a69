"""One HTML page that needs no network and no other file: its template, style, scripts, figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from prunella.core.version import __version__
from prunella.report.plots import Figure

# Inside a script element these could end it, open a comment, or (U+2028, U+2029) end a line.
_SCRIPT_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def page(template: str, drawn: Sequence[Figure], /, **content: object) -> str:
    """The text of a page; the same content gives the same text.

    Args:
        template: Its file.
        drawn: All figures of the page.
        content: What the template names beside them.
    """
    text = (
        _environment()
        .get_template(template)
        .render(
            figure_data=script_json({figure.key: figure.spec for figure in drawn}),
            plotly=_plotly_script() if drawn else "",
            style=_asset("report.css"),
            script=_asset("report.js"),
            version=__version__,
            **content,
        )
    )
    # A lone surrogate, from an undecodable file name, cannot be written to a file.
    return text.lstrip().encode("utf-8", "replace").decode("utf-8")


def script_json(data: Any) -> Markup:
    """JSON for a script element: no layer's name can end the element."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.translate(_SCRIPT_ESCAPES))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Reads the templates of this package."""
    return Environment(
        loader=PackageLoader("prunella.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _asset(name: str) -> Markup:
    """A file of this package, for a style or script element; it holds no "</"."""
    return Markup((files("prunella.report") / "templates" / name).read_text("utf-8"))


def _plotly_script() -> Markup:
    """Plotly for a script element; its strings hold "</script" and "<!--"."""
    source = get_plotlyjs()
    return Markup(source.replace("</script", "<\\/script").replace("<!--", "<\\!--"))
