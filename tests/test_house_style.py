"""The house style of CONTRIBUTING.md, asked of every chapter.

Each check takes a path and a notebook and returns what is wrong, one sentence a fault.
`BROKEN` holds for each check a notebook that it must reject.
"""

import re

import nbformat
import pytest
import yaml

from tools import tidy

TAGS = {
    "gpu",
    "hide-input",
    "hide-output",
    "nbval-ignore-output",
    "nbval-skip",
    "raises-exception",
    "remove-cell",
    "remove-input",
    "slow",
}
HIDDEN = {"hide-input", "remove-input", "remove-cell"}
BUDGET = 300_000  # bytes a notebook
TEMPLATE = "_template"
NOTEBOOKS = tidy.notebooks()
CHAPTERS = [path for path in NOTEBOOKS if path.stem != TEMPLATE]


def code_cells(nb):
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def tags(cell):
    return set(cell.metadata.get("tags", []))


def is_tidy(path, nb):
    if path.read_text(encoding="utf-8") != tidy.text(tidy.tidy(nb, tidy.repository())):
        yield "it is not tidy: run `make tidy`"


def is_fresh(path, nb):
    if reason := tidy.stale(nb):
        yield f"its outputs are stale ({reason}): run `make execute`"


def has_known_tags(path, nb):
    for cell in nb.cells:
        for tag in tags(cell) - TAGS:
            yield f"cell {cell.id} has tag {tag!r}; allowed: {', '.join(sorted(TAGS))}"
    for cell in nb.cells[1:]:
        if "remove-cell" in tags(cell):
            yield f"cell {cell.id} has tag remove-cell; allowed in the first cell only"


def has_slug_ids(path, nb):
    for cell in nb.cells:
        if not tidy.SLUG.fullmatch(cell.id) or tidy.is_random(cell.id):
            yield f"id {cell.id!r} is not a slug: run `make tidy`"


def opens_with_a_question(path, nb):
    if nb.cells[0].id != "install" or nb.cells[0].get("outputs"):
        yield "its first cell is not `install`, without output: run `make tidy`"
    second = nb.cells[1] if len(nb.cells) > 1 else None
    if second is None or second.cell_type != "markdown":
        yield "its second cell is not Markdown; it holds the title and the question"
        return
    title, *rest = [line for line in second.source.splitlines() if line.strip()]
    if not re.fullmatch(r"# \D.*", title):
        yield f"its title is {title!r}; allowed: `# ` and a noun, no number"
    if not rest or not re.match(r"\*\*[^*]+\?\*\*", rest[0]):
        yield "the line after its title is not a **bold question?**"


def has_short_cells(path, nb):
    for cell in code_cells(nb)[1:]:  # the first is the install cell, tidy's own
        limit = 25 if tags(cell) & HIDDEN else 15
        lines = [line for line in cell.source.splitlines() if line.strip()]
        if len(lines) > limit:
            yield f"cell {cell.id} has {len(lines)} lines of code; allowed: {limit}"
        for line in lines:
            if len(line) > 88:
                yield f"cell {cell.id} has a line of {len(line)} columns; allowed: 88"


def has_plain_imports(path, nb):
    for cell in code_cells(nb)[1:]:
        for line in map(str.strip, cell.source.splitlines()):
            if line.startswith(("!", "%")):
                yield f"cell {cell.id} runs {line.split()[0]!r}; allowed: Python only"
            if re.match(r"from\s+\S+\s+import\s+\*", line):
                yield f"cell {cell.id} imports *; name what it uses"
            if "sys.path" in line:
                yield f"cell {cell.id} touches sys.path; import adamtut as installed"


def is_small(path, nb):
    size = path.stat().st_size
    if size > BUDGET:
        yield f"it has {size // 1000} KB; allowed: {BUDGET // 1000}"


def has_described_figures(path, nb):
    following = [*nb.cells[1:], None]
    for cell, after in zip(nb.cells, following, strict=True):
        if not any("image/png" in o.get("data", {}) for o in cell.get("outputs", [])):
            continue
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "").strip()
        if not alt:
            yield f"the figure of cell {cell.id} has no alt text (mystnb.image.alt)"
        if re.match(r"(an?\s+|the\s+)?(image|plot|figure|picture) of", alt, re.I):
            yield f"the alt text of cell {cell.id} says what it is, not what it shows"
        if after is None or not after.source.startswith("**Figure"):
            yield f"the cell after {cell.id} is not a caption beginning with **Figure"


def has_text_or_png_outputs(path, nb):
    allowed = {"image/png", "text/plain", "text/latex"}
    for cell in code_cells(nb):
        for output in cell.outputs:
            for kind in set(output.get("data", {})) - allowed:
                yield f"cell {cell.id} stores {kind}; allowed: {', '.join(allowed)}"


def has_no_errors(path, nb):
    for cell in code_cells(nb):
        errors = [o.ename for o in cell.outputs if o.output_type == "error"]
        if errors and "raises-exception" not in tags(cell):
            yield f"cell {cell.id} stores {errors[0]}, but has no tag raises-exception"


def makes_claims(path, nb):
    count = sum(len(re.findall(r"\bclaim\(", cell.source)) for cell in code_cells(nb))
    if path.stem != TEMPLATE and count < 8:
        yield f"it makes {count} claims; a chapter makes at least 8"


def has_exercises(path, nb):
    prose = "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    exercises = re.findall(r"\{exercise-start\}.*\n:label: (\S+)", prose)
    solutions = re.findall(r"\{solution-start\} (\S+)\n((?::.*\n)*)", prose)
    if not exercises:
        yield "it has no exercise ({exercise-start} with a :label:)"
    for kind in ("exercise", "solution"):
        starts = prose.count(f"{{{kind}-start}}")
        if starts != prose.count(f"{{{kind}-end}}"):
            yield f"it opens {starts} {kind}s and closes another number of them"
    for label, options in solutions:
        if label not in exercises:
            yield f"it solves {label!r}, which is not among its exercises"
        if ":class: dropdown" not in options:
            yield f"the solution of {label!r} is not a dropdown (:class: dropdown)"
    if not solutions:
        yield "it solves none of its exercises ({solution-start})"


def is_listed(path, nb):
    listed = path.stem in toc()
    if path.stem == TEMPLATE and listed:
        yield "the template is listed in _toc.yml; it is no chapter"
    if path.stem != TEMPLATE and not listed:
        yield "it is not listed in _toc.yml"


def toc():
    parts = yaml.safe_load((tidy.ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [chapter["file"] for part in parts["parts"] for chapter in part["chapters"]]
    return [name[len("chapters/") :] for name in files if name.startswith("chapters/")]


CHECKS = [
    is_tidy,
    is_fresh,
    has_known_tags,
    has_slug_ids,
    opens_with_a_question,
    has_short_cells,
    has_plain_imports,
    is_small,
    has_described_figures,
    has_text_or_png_outputs,
    has_no_errors,
    makes_claims,
    has_exercises,
    is_listed,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, check):
    faults = list(check(path, tidy.read(path)))
    assert not faults, "\n".join([f"{path.name}:", *faults])


def test_toc_lists_only_chapters_that_exist():
    missing = set(toc()) - {path.stem for path in CHAPTERS}
    assert not missing, f"_toc.yml lists {missing}, which chapters/ does not hold"


def test_address_is_written_in_one_place():
    address = tidy.repository()
    files = [
        path
        for pattern in ("*.*", "adamtut/*.py", "tools/*.py", ".github/**/*.yml")
        for path in tidy.ROOT.glob(pattern)
        if path.is_file() and address in path.read_text(encoding="utf-8")
    ]
    assert [path.name for path in files] == ["_config.yml"]


# What each check must reject: a change that breaks the template, which passes above.


def _cell(nb, name):
    return next(cell for cell in nb.cells if cell.id == name)


def _code(nb):
    return _cell(nb, "half-the-rate")


def _output(nb, **data):
    _code(nb).outputs = [nbformat.v4.new_output("display_data", data)]


def _edit(cell, old, new):
    assert old in cell.source
    cell.source = cell.source.replace(old, new)


BROKEN = [
    (is_tidy, lambda nb: nb.metadata.update(author="me")),
    (is_tidy, lambda nb: _code(nb).update(execution_count=7)),
    (is_fresh, lambda nb: _edit(_code(nb), "lr=0.1", "lr=0.05")),
    (is_fresh, lambda nb: nb.metadata.adamtut.digest.update(package="0")),
    (is_fresh, lambda nb: nb.metadata.pop("adamtut")),
    (has_known_tags, lambda nb: _code(nb).metadata.update(tags=["hide-celll"])),
    (has_known_tags, lambda nb: _code(nb).metadata.update(tags=["remove-cell"])),
    (has_slug_ids, lambda nb: _code(nb).update(id="Half_The_Rate")),
    (has_slug_ids, lambda nb: _code(nb).update(id="3f9a1c2e")),
    (opens_with_a_question, lambda nb: nb.cells.pop(0)),
    (opens_with_a_question, lambda nb: nb.cells.pop(1)),
    (opens_with_a_question, lambda nb: _edit(nb.cells[1], "# Template", "# 4 Adam")),
    (opens_with_a_question, lambda nb: _edit(nb.cells[1], "?**", ".**")),
    (has_short_cells, lambda nb: _code(nb).update(source="x = 1\n" * 16)),
    (has_short_cells, lambda nb: _cell(nb, "setup").update(source="x = 1\n" * 26)),
    (has_short_cells, lambda nb: _code(nb).update(source="x = " + "1" * 85)),
    (has_plain_imports, lambda nb: _code(nb).update(source="!pip install numpy")),
    (has_plain_imports, lambda nb: _code(nb).update(source="%matplotlib inline")),
    (has_plain_imports, lambda nb: _code(nb).update(source="from numpy import *")),
    (has_plain_imports, lambda nb: _code(nb).update(source="sys.path.append('..')")),
    (is_small, lambda nb: _code(nb).update(source="#" * BUDGET)),
    (has_described_figures, lambda nb: _cell(nb, "figure-bowl").metadata.clear()),
    (
        has_described_figures,
        lambda nb: _cell(nb, "figure-bowl").metadata.mystnb.image.update(
            alt="A plot of a walk"
        ),
    ),
    (
        has_described_figures,
        lambda nb: nb.cells.remove(_cell(nb, "figure-bowl-caption")),
    ),
    (has_text_or_png_outputs, lambda nb: _output(nb, **{"image/svg+xml": "<svg/>"})),
    (has_text_or_png_outputs, lambda nb: _output(nb, **{"text/html": "<b>1</b>"})),
    (
        has_no_errors,
        lambda nb: _code(nb).update(
            outputs=[nbformat.v4.new_output("error", ename="E", evalue="")]
        ),
    ),
    (has_exercises, lambda nb: nb.cells.remove(_cell(nb, "exercises"))),
    (has_exercises, lambda nb: nb.cells.remove(_cell(nb, "solution-half-life-end"))),
    (has_exercises, lambda nb: nb.cells.remove(_cell(nb, "solution-half-life"))),
    (has_exercises, lambda nb: _edit(_cell(nb, "solution-half-life"), "dropdown", "x")),
    (makes_claims, lambda nb: None),  # under another name than the template's
    (is_listed, lambda nb: None),
]


@pytest.mark.parametrize(("check", "breaks"), BROKEN)
def test_check_rejects(check, breaks, tmp_path):
    nb = tidy.read(tidy.CHAPTERS / f"{TEMPLATE}.ipynb")
    breaks(nb)
    path = tmp_path / "broken.ipynb"
    path.write_text(tidy.text(nb), encoding="utf-8")
    assert list(check(path, nb))


def test_every_check_has_a_notebook_that_it_rejects():
    assert {check for check, _ in BROKEN} == set(CHECKS)
