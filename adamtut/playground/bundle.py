"""The playground as one script: the rules and surfaces it offers, then its own files.

`script()` is what a page of the book loads, `module()` what a notebook's widget loads.
Both are made from today's `adamtut.rules`, `adamtut.surfaces` and `adamtut.plots`, so
that no generated file can be out of date.
"""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import matplotlib.colors
import numpy as np

from adamtut.playground import translate
from adamtut.plots import DOTS, LONG, LOOK
from adamtut.rules import RULES, check_hyper
from adamtut.surfaces import SURFACES, Surface, quadratic

HERE = Path(__file__).parent
PARTS = ["simulate.js", "setting.js", "draw.js", "element.js"]
DARK = "#121212"  # the background of the book's dark theme
CONTRAST = 4.5  # of a line with it; WCAG asks 3 of a line, 4.5 of text
_DASHES = {
    "-": [],
    "--": [8, 4],
    "-.": [8, 3, 2, 3],
    ":": [2, 3],
    LONG: [16, 4],
    DOTS: [8, 3, 2, 3, 2, 3],
}


def offered_rules() -> dict[str, Callable]:
    """The rules that take one coordinate at a time."""
    return {k: x for k, x in RULES.items() if getattr(x, "unit", "number") == "number"}


def offered_surfaces() -> dict[str, Surface]:
    """The surfaces of the plane, by name; the ravine also turned by 30 degrees."""
    turned = quadratic(1, 50, angle=np.pi / 6, name="turned ravine")
    return SURFACES | {turned.name: turned}


def script() -> str:
    """A classic script that defines the element `<adam-playground>`.

    Classic, since a browser loads no module from a file:// page.
    """
    return f'(() => {{\n"use strict";\n{_body()}}})();\n'


def module() -> str:
    """An ECMAScript module whose default export is the widget of anywidget."""
    return _body() + (HERE / "widget.js").read_text(encoding="utf-8")


def _body() -> str:
    parts = {name: (HERE / name).read_text(encoding="utf-8") for name in PARTS}
    style = (HERE / "element.css").read_text(encoding="utf-8")
    # simulate.js has what the translated lines call
    first = parts.pop("simulate.js")
    data = [_rules(), _surfaces(), f"const STYLE = {json.dumps(style)};\n"]
    text = "\n".join([first, *data, *parts.values()])
    # a page may declare another encoding than ours: "\u2212" is the same in all
    return text.encode("ascii", "backslashreplace").decode()


def _rules() -> str:
    rows = []
    for name, rule in offered_rules().items():
        corrects = translate.has_correction(rule)
        plain = translate.rule_js(rule, correction=False) if corrects else "null"
        facts = {
            "state": rule.state,
            "starts": {k: v for k, v in rule.starts.items() if v == "p"},
            "defaults": rule.defaults,
            "ranges": {key: _range(rule, key) for key in rule.defaults},
            **_look(name),
        }
        entries = ",\n".join(f"{k}: {json.dumps(v)}" for k, v in facts.items())
        step = translate.rule_js(rule)
        rows.append(f"{name}: {{\n{entries},\nstep: {step},\nuncorrected: {plain} }}")
    return "const RULES = {\n" + ",\n".join(rows) + "\n};\n"


def _surfaces() -> str:
    rows = []
    for name, surface in offered_surfaces().items():
        facts = {
            "minima": surface.minima.tolist(),
            "lowest": surface.lowest,
            "start": surface.start.tolist(),
            "window": surface.window,
        }
        text, code = json.dumps(facts), translate.surface_js(surface)
        rows.append(f"{json.dumps(name)}: {{ ...{text}, ...{code} }}")
    return "const SURFACES = {\n" + ",\n".join(rows) + "\n};\n"


def _range(rule: Callable, name: str) -> dict:
    """What `adamtut.rules` allows: bounds (None: none), whether they belong, words."""
    try:
        check_hyper(rule, {name: math.nan})
    except ValueError as error:
        words = str(error).split("allowed: ")[1]
    if words == "a finite number":
        return {"least": None, "most": None, "words": words}
    bounds = re.fullmatch(rf"(\S+) (<=?) {name} (<=?) (\S+)", words)
    if bounds is None:
        raise ValueError(f"the range of {name} is {words!r}; allowed: a <= {name} < b")
    least, below, above, most = bounds.groups()
    return {
        "least": float(least),
        "withLeast": below == "<=",
        "most": None if most == "inf" else float(most),
        "withMost": above == "<=",
        "words": words,
    }


def _look(name: str) -> dict:
    """Colours for both themes and dashes of a rule; grey where `plots` has none."""
    color, line, _ = LOOK.get(name, LOOK["sgd"])
    return {"color": color, "dark": _on_dark(color), "dash": _DASHES[line]}


def _on_dark(color: str) -> str:
    """The colour mixed with white until it stands out from the dark background."""
    rgb = np.array(matplotlib.colors.to_rgb(color))
    for share in np.linspace(0, 1, 21):
        mixed = (1 - share) * rgb + share
        if contrast(mixed, matplotlib.colors.to_rgb(DARK)) >= CONTRAST:
            break
    return matplotlib.colors.to_hex(mixed)


def contrast(a, b) -> float:
    """The contrast ratio of two colours (red, green, blue in 0 to 1), from 1 to 21.

    WCAG 2.2, definition of contrast ratio and of relative luminance.
    """

    def luminance(rgb):
        s = np.asarray(rgb)
        linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    low, high = sorted([luminance(a), luminance(b)])
    return float((high + 0.05) / (low + 0.05))
