"""The copies for Colab: plain Markdown, and they run where there is no adamtut."""

import os
import re
import subprocess
import sys

import nbformat
import pytest
from markdown_it import MarkdownIt
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import colab, tidy

CHAPTERS = [path.stem for path in colab.chapters()]
FAST = ["notation", "playground"]  # run whole; `python -m tools.colab --check` runs all
# what Colab has, and what a copy installs where it is missing
PACKAGES = {"IPython", "matplotlib", "numpy", "sklearn", "torch", "torchvision", "tqdm"}
OPTIONAL = {"ray", "triton"}  # a cell does without it, and says so
INSTALLED = {"anywidget", "jax", "keras", "optax", "pytorch_optimizer"}

# MyST that Colab would show as it stands: a directive, a role, a target
MYST = re.compile(r"^ *(:::|`{3,}\{)|\{[\w:-]+\}`|^\([\w-]+\)=$", re.MULTILINE)
MARKDOWN = MarkdownIt("commonmark").enable("table")


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """The copy of every chapter, by name."""
    paths = colab.write(colab.chapters(), tmp_path_factory.mktemp("colab"))
    return {path.stem: path for path in paths}


@pytest.fixture(scope="module")
def book():
    return colab.Book()


def prose(nb):
    return [cell.source for cell in nb.cells if cell.cell_type == "markdown"]


def code(nb):
    return [cell.source for cell in nb.cells if cell.cell_type == "code"]


def plain(book, *sources):
    """What cells of these sources become."""
    nb = new_notebook(cells=[new_markdown_cell(source) for source in sources])
    return prose(colab.bundle(nb, book))


@pytest.mark.parametrize("name", CHAPTERS)
def test_no_myst_is_left(copies, name):
    for source in prose(nbformat.read(copies[name], as_version=4)):
        assert not MYST.search(source)
        html = MARKDOWN.render(source)
        assert html.count("<details>") == html.count("</details>")
        for address in re.findall(r'(?:href|src)="([^"]*)"', html):
            assert address.startswith("https://"), f"{address} is no address on Colab"


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_copy_keeps_code_and_outputs(copies, name):
    stored = tidy.read(tidy.CHAPTERS / f"{name}.ipynb")
    copied = {cell.id: cell for cell in tidy.read(copies[name]).cells}
    for cell in stored.cells:
        if cell.cell_type == "code" and cell.id != "install":
            copy = copied[cell.id]
            assert copy.outputs == cell.outputs
            assert copy.source.removeprefix("#@title").endswith(cell.source)
            tags = {"hide-input", "remove-input"} & set(cell.metadata.get("tags", []))
            hidden = bool(tags or cell.metadata.get("jupyter"))
            assert (copy.metadata.get("cellView") == "form") >= hidden
            assert copy.source.startswith("#@title") == ("cellView" in copy.metadata)


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_copy_imports_only_what_it_finds(copies, name):
    allowed = PACKAGES | OPTIONAL | {"adamtut"} | set(sys.stdlib_module_names)
    cells = code(tidy.read(copies[name]))
    if "%pip install" in cells[0]:
        allowed |= INSTALLED
    pattern = re.compile(r"^ *(?:import|from) (\w+)(?:[\w.]* import|\n|$| as)", re.M)
    names = {found for cell in cells[1:] for found in pattern.findall(cell)}
    assert names <= allowed


def test_a_python_without_adamtut(tmp_path):
    python = colab.environment(tmp_path)
    command = [python, "-c", "import torch, torchvision, sklearn, matplotlib, tqdm"]
    assert subprocess.run(command, cwd=tmp_path).returncode == 0
    command = [python, "-E", "-c", "import adamtut"]
    missing = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "ModuleNotFoundError" in missing.stderr


# Loads the large packages once, then runs each set-up in a process of its own.
SET_UP = """
import json, os, sys
import IPython, matplotlib.pyplot, numpy, sklearn.datasets, torch.func, torchvision
from IPython.core.interactiveshell import InteractiveShell

for path in sys.argv[1:]:
    if os.fork() == 0:
        shell = InteractiveShell.instance()
        cells = ["".join(cell["source"]) for cell in json.load(open(path))["cells"]]
        os._exit(not all(shell.run_cell(cell).success for cell in cells))
    if os.wait()[1]:
        sys.exit(path)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_every_set_up_runs_elsewhere(copies, tmp_path):
    paths = []
    for name, path in copies.items():
        nb = tidy.read(path)
        nb.cells = [cell for cell in nb.cells if cell.cell_type == "code"][:2]
        assert "import" in nb.cells[-1].source
        paths.append(tmp_path / f"{name}.ipynb")
        tidy.write(paths[-1], nb)
    python = colab.environment(tmp_path / "environment")
    command = [python, "-E", "-c", SET_UP, *paths]
    subprocess.run(command, cwd=tmp_path, check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST)
def test_a_whole_copy_runs_elsewhere(copies, name):
    assert colab.run([copies[name]]) == 0


def test_a_copy_that_fails_is_seen(tmp_path):
    for source, printed in (("import adamtut", ""), ("print(1)", "2\n")):
        output = new_output("stream", name="stdout", text=printed)
        cell = new_code_cell(source, outputs=[output] if printed else [])
        cell.execution_count = 1
        tidy.write(tmp_path / "wrong.ipynb", new_notebook(cells=[cell]))
        assert colab.run([tmp_path / "wrong.ipynb"]) == 1


def test_a_solution_over_several_cells(book):
    cells = [
        "```{exercise-start} Twice\n:label: a\n```\nHow far?\n```{exercise-end}\n```",
        "````{solution-start} a\n:class: dropdown\n````\nFar.",
        "And further.\n:::{solution-end}\n:::\n\n## After",
    ]
    first, second, third = plain(book, *cells)
    assert first == "### Exercise 1: Twice\n\nHow far?"
    assert re.findall(r"<b>(.*)</b>", second) == ["Solution of exercise 1"]
    assert re.findall(r"<b>(.*)</b>", third) == ["Solution of exercise 1, continued"]
    assert third.endswith("And further.\n\n</details>\n\n## After")


def test_code_of_a_solution_is_collapsed(book):
    start = "```{exercise}\n:label: a\nHow?\n```\n```{solution-start} a\n```"
    cells = [new_markdown_cell(start), new_code_cell("x = 1"), new_code_cell("y = 2")]
    cells.insert(2, new_markdown_cell("```{solution-end}\n```"))
    nb = colab.bundle(new_notebook(cells=cells), book)
    assert code(nb)[1:] == ["#@title Solution of exercise 1\nx = 1", "y = 2"]


def test_an_admonition_is_a_quotation(book):
    source = ":::{admonition} Before\n:class: note\n- a $x$\n\nb\n:::\nafter"
    assert plain(book, source) == ["> **Before**\n>\n> - a $x$\n>\n> b\n\nafter"]


def test_code_in_the_text_stays(book):
    source = "```python\nx = '{cite}`a`'\n:::{note}\n```"
    assert plain(book, source) == [source]


def test_links(book):
    adam, licence, other, here = re.findall(
        r"\[\w\]\((.*?)\)|(d\.)",
        plain(
            book,
            "[a](adam.ipynb#x) [b](LICENSE) [c](https://example.org) [d](#e).",
        )[0],
    )
    colab_address = "https://colab.research.google.com/github/adamtut/adam-step-by-step"
    assert adam[0] == f"{colab_address}/blob/main/chapters/adam.ipynb"
    assert licence[0] == f"{book.url}/blob/main/chapters/LICENSE"
    assert other[0] == "https://example.org"
    assert here[1] == "d."


def test_the_playground_is_a_widget(book):
    source = '<adam-playground id="p">\n<p>a</p>\n</adam-playground>'
    cells = [new_markdown_cell(source), new_markdown_cell('<a href="#p" x="y">b</a>')]
    nb = colab.bundle(new_notebook(cells=cells), book)
    assert prose(nb)[0] == "The playground is what the next cell shows."
    assert prose(nb)[-1] == "b"
    package, widget = code(nb)
    assert "anywidget" in package.split("import sys")[0]
    assert all(f"playground/{x}.js" in package for x in ("draw", "widget"))
    assert widget.endswith("Playground()")


def test_citations(book):
    first, last = plain(
        book,
        "As known {cite}`kingma2015adam, robbins1951stochastic`.",
        "```{bibliography}\n:filter: docname in docnames\n```",
    )
    assert first == (
        "As known ([Kingma and Ba, 2015](https://arxiv.org/abs/1412.6980); "
        "[Robbins and Monro, 1951](https://doi.org/10.1214/aoms/1177729586))."
    )
    works = last.split("\n")
    assert [work.split()[1] for work in works] == ["Diederik", "Herbert"]
    assert all("https://" in work for work in works)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (":::{tip}\na\n:::", "{tip}"),
        ("see {ref}`a`", "{ref}"),
        ("{cite}`nobody1900`", "'nobody1900'"),
        ("```{admonition} A\nb", "never closed"),
        ("```{solution-start} a\n```", "'a'"),
    ],
)
def test_what_has_no_plain_form_is_named(book, source, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        plain(book, source)


def test_an_error_writes_nothing(tmp_path):
    wrong = tmp_path / "wrong.ipynb"
    tidy.write(wrong, new_notebook(cells=[new_markdown_cell("{ref}`a`")]))
    with pytest.raises(ValueError, match="wrong.ipynb: cell"):
        colab.write([*colab.chapters()[:1], wrong], tmp_path / "out")
    assert not (tmp_path / "out").exists()
