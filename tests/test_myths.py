"""The chapter on myths: a verdict that is changed fails, and the page says one thing.

Its cells run here one after the other in one namespace, without a kernel. A cell with a
verdict runs again with each of the two other words, in a copy of the namespace as it
was before that cell.
"""

import ast
import copy
import os
import re
from pathlib import Path
from typing import NamedTuple

import matplotlib
import nbformat
import pytest

from tools import tidy

CHAPTER = tidy.CHAPTERS / "myths.ipynb"
WORDS = ("true", "half-true", "false")
LABEL = re.compile(r"^\(myth-([a-z0-9-]+)\)=$", re.MULTILINE)
HEADING = re.compile(
    r"\(myth-(?P<label>[a-z0-9-]+)\)=\n"
    r'### (?P<number>\d+)\. "(?P<statement>.+)"\n\n'
    r"\*\*(?P<word>True|Half-true|False)\.\*\* (?P<why>.+)",
    re.DOTALL,
)

# Other sites link to these places: new ones are added, none is taken away.
PLACES = """
worked-example sign bound loss-scale first-steps too-short ten-gradients eps-zero
eps-root unit order sum variance second-order fisher momentum convex amsgrad schedule
local-minima spikes generalises conditioning no-tuning clipping zero-gradient zero-grad
l2 adamw-lr radam forgets root-rule memory half-precision scipy keywords t-zero sparse
in-place no-backward
"""


class Myth(NamedTuple):
    number: int
    label: str  # of its place on the page, after "myth-"
    group: str  # the heading above
    statement: str
    word: str  # the verdict in the text
    why: str
    source: str  # of the cell that settles it


def myths(nb: nbformat.NotebookNode) -> list[Myth]:
    """The statements of the page, each from its text and the cell below."""
    found, group = [], ""
    for cell, below in zip(nb.cells, nb.cells[1:], strict=False):
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            group = cell.source.splitlines()[0].removeprefix("## ")
        if match := HEADING.fullmatch(cell.source):
            x = match.groupdict()
            number, word = int(x["number"]), x["word"].lower()
            text = x["statement"], word, x["why"]
            found.append(Myth(number, x["label"], group, *text, below.source))
    return found


def verdict(source: str) -> ast.Call:
    """The call of `verdict` in a cell; ValueError unless there is one, spelt out."""
    calls = [
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) == "verdict"
    ]
    if len(calls) != 1:
        raise ValueError(f"{len(calls)} verdicts in a cell; allowed: one\n{source}")
    if not all(isinstance(x, ast.Constant) for x in calls[0].args[:2]):
        raise ValueError(f"its word and statement are not strings\n{source}")
    return calls[0]


def is_computed(source: str) -> bool:
    """Whether what the verdict is compared with depends on anything."""
    assigned = {
        target.id: node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return any(isinstance(x, ast.Name) for x in ast.walk(assigned["holds"]))


def changed(source: str, word: str) -> str:
    """The cell with another verdict."""
    old = verdict(source).args[0]
    lines = source.splitlines()
    line = lines[old.lineno - 1]
    quoted = line[old.col_offset : old.end_col_offset]
    lines[old.lineno - 1] = line.replace(quoted, f'"{word}"', 1)
    return "\n".join(lines)


def refused(source: str, namespace: dict) -> bool:
    """Whether the cell fails, and by its verdict rather than by another claim."""
    word, statement = (x.value for x in verdict(source).args[:2])
    try:
        exec(compile(source, "<cell>", "exec"), dict(namespace))
    except AssertionError as error:
        return str(error).startswith(f"false: {word}: {statement}")
    return False


def summary(nb: nbformat.NotebookNode) -> str:
    """The table of all verdicts, as it has to stand on the page."""
    rows, group = ["| no. | statement | verdict |", "|---|---|---|"], None
    for myth in myths(nb):
        if myth.group != group:
            group = myth.group
            rows.append(f"| | **{group}** | |")
        link = f"[{myth.number}](#myth-{myth.label})"
        rows.append(f"| {link} | {myth.statement} | {myth.word} |")
    return "\n".join(rows)


def faults(nb: nbformat.NotebookNode):
    """What the page says in two ways, or does not say; one sentence a fault."""
    found = myths(nb)
    labels = [x for cell in nb.cells for x in LABEL.findall(cell.source)]
    if labels != [myth.label for myth in found]:
        yield "a label stands over something else than heading, verdict and reason"
    if len(set(labels)) < len(labels):
        yield "two statements have one label"
    for number, myth in enumerate(found, start=1):
        word, statement = (x.value for x in verdict(myth.source).args[:2])
        if myth.number != number:
            yield f"{myth.label} has number {myth.number}; it is number {number}"
        if (word, statement) != (myth.word, myth.statement):
            yield f"{myth.label}: cell and text differ in verdict or statement"
        if not is_computed(myth.source):
            yield f"{myth.label}: nothing is computed, holds is a constant"
        if len(myth.why.splitlines()) > 3:
            yield f"{myth.label}: its reason has more than three sentences"
    if not any(summary(nb) in cell.source for cell in nb.cells):
        yield f"its table of verdicts is not this one:\n{summary(nb)}"


PAGE = tidy.read(CHAPTER)
MYTHS = myths(PAGE)
FLIPS = [(myth, word) for myth in MYTHS for word in WORDS if word != myth.word]


@pytest.fixture(scope="module")
def before():
    """The namespace before each cell with a verdict, by the cell's source."""
    matplotlib.use("Agg")
    here = os.getcwd()
    os.chdir(tidy.CHAPTERS)
    namespace, snapshots = {"__name__": "__main__"}, {}
    try:
        for cell in PAGE.cells:
            if cell.cell_type == "code" and cell.id != "install":
                snapshots[cell.source] = dict(namespace)
                exec(compile(cell.source, cell.id, "exec"), namespace)
        yield snapshots
    finally:
        os.chdir(here)
        matplotlib.pyplot.close("all")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
@pytest.mark.parametrize(
    ("myth", "word"), FLIPS, ids=[f"{myth.label}-{word}" for myth, word in FLIPS]
)
def test_another_verdict_fails(myth, word, before):
    assert refused(changed(myth.source, word), before[myth.source])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_a_verdict_that_is_not_compared_would_be_found(before):
    """The test above, on a `verdict` that accepts every word."""
    myth, word = FLIPS[0]
    careless = before[myth.source] | {"verdict": lambda *_, **__: None}
    assert not refused(changed(myth.source, word), careless)


def test_the_page_says_one_thing():
    assert not list(faults(PAGE))


def test_the_page_has_what_it_promises():
    count = {word: sum(myth.word == word for myth in MYTHS) for word in WORDS}
    assert len(MYTHS) >= 30
    assert len({myth.group for myth in MYTHS}) == 5
    assert count["true"] >= 3 and count["half-true"] >= 5


def test_no_place_is_taken_away():
    assert set(PLACES.split()) <= {myth.label for myth in MYTHS}


def test_the_years_are_those_of_the_references():
    (source,) = (myth.source for myth in MYTHS if myth.label == "order")
    years = ast.literal_eval(re.search(r"year = (\{.*?\})", source).group(1))
    keys = {
        "adagrad": "duchi2011adaptive",
        "rmsprop": "tieleman2012rmsprop",
        "adam": "kingma2015adam",
    }
    bib = Path(tidy.ROOT, "references.bib").read_text(encoding="utf-8")
    for name, key in keys.items():
        entry = re.search(rf"@\w+\{{{key},.*?\n\}}", bib, re.DOTALL).group()
        assert f"year = {{{years[name]}}}" in entry


def _text(nb):
    """The text of statement 1."""
    return next(cell for cell in nb.cells if cell.source.startswith("(myth-"))


def _cell(nb):
    """The cell of statement 1."""
    return nb.cells[nb.cells.index(_text(nb)) + 1]


def _edit(cell, old, new):
    assert old in cell.source
    cell.source = cell.source.replace(old, new)


BROKEN = [
    lambda nb: _edit(_text(nb), "**False.**", "**True.**"),
    lambda nb: _edit(_text(nb), "### 1.", "### 2."),
    lambda nb: _edit(_text(nb), "One step", "A step"),
    lambda nb: _edit(_text(nb), "(myth-worked", "(myth-unworked"),
    lambda nb: _edit(_text(nb), "is copied", "\nis\ncopied"),
    lambda nb: _edit(_cell(nb), '"false"', '"true"'),
    lambda nb: _edit(
        _cell(nb), "holds = abs(p.item() - 4.995) < 5e-4", "holds = False"
    ),
    lambda nb: nb.cells.remove(_text(nb)),
    lambda nb: nb.cells.append(nb.cells.pop(nb.cells.index(_text(nb)) + 2)),
]


@pytest.mark.parametrize("breaks", BROKEN)
def test_a_page_that_says_two_things_is_found(breaks):
    nb = copy.deepcopy(PAGE)
    breaks(nb)
    assert list(faults(nb))
