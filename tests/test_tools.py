"""tidy, execute, new_chapter and the markers of cells, on small notebooks."""

import base64
import importlib.util
import io
import json
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from tools import execute, new_chapter, tidy
from tools.pages import api, ledger

URL = "https://example.org/book"


def notebook(*cells, **metadata):
    return new_notebook(cells=list(cells), metadata=metadata)


def picture(mode="RGBA"):
    file = io.BytesIO()
    Image.new(mode, (40, 30), 0).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def stream(text, name="stdout"):
    return new_output("stream", name=name, text=text)


@pytest.fixture
def untidy():
    return notebook(
        new_markdown_cell("# A title: with more words than five\n\ntext"),
        new_code_cell(
            "1 + 1",
            execution_count=7,
            metadata={"tags": ["slow", "hide-input"], "collapsed": True},
            outputs=[
                stream("a\n"),
                stream("b\n"),
                stream("c\n", "stderr"),
                new_output("execute_result", {"text/plain": "2"}, execution_count=7),
            ],
        ),
        new_code_cell("x = 1", metadata={"id": "named-by-jupytext"}),
        kernelspec={"name": "mine", "display_name": "Mine"},
        author="me",
    )


def test_tidy_names_cells_by_heading_and_by_jupytext_id(untidy):
    ids = [cell.id for cell in tidy.tidy(untidy, URL).cells]
    title = "a-title-with-more-words"
    assert ids == ["install", title, f"{title}-code", "named-by-jupytext"]


def test_tidy_makes_ids_unique():
    cells = [new_markdown_cell("## Same") for _ in range(3)]
    ids = [cell.id for cell in tidy.tidy(notebook(*cells), URL).cells]
    assert ids == ["install", "same", "same-2", "same-3"]


def test_tidy_keeps_slugs_and_replaces_random_ids():
    kept = new_code_cell("x", id="adam-by-hand")
    random = new_code_cell("y", id="0a1b2c3d")
    ids = [cell.id for cell in tidy.tidy(notebook(kept, random), URL).cells]
    assert ids == ["install", "adam-by-hand", "top-code"]


def test_tidy_reduces_metadata(untidy):
    nb = tidy.tidy(untidy, URL)
    assert set(nb.metadata) == {"kernelspec", "language_info"}
    assert nb.metadata.kernelspec.name == "python3"
    assert nb.cells[2].metadata == {"tags": ["hide-input", "slow"]}
    assert nb.cells[3].metadata == {}


def test_tidy_keeps_alt_text_hidden_source_and_digest():
    metadata = {
        "mystnb": {"image": {"alt": "a line falls", "width": 3}, "other": 1},
        "jupyter": {"source_hidden": True, "outputs_hidden": True},
    }
    digest = {"code": "1", "package": "2"}
    nb = notebook(new_code_cell("x", metadata=metadata), adamtut={"digest": digest})
    nb = tidy.tidy(nb, URL)
    assert nb.metadata.adamtut == {"digest": digest}
    assert nb.cells[1].metadata == {
        "mystnb": {"image": {"alt": "a line falls"}},
        "jupyter": {"source_hidden": True},
    }


def test_tidy_counts_one_and_merges_streams(untidy):
    cell = tidy.tidy(untidy, URL).cells[2]
    assert cell.execution_count == 1
    assert [o.get("text") for o in cell.outputs] == ["a\nb\n", "c\n", None]
    assert cell.outputs[2].execution_count == 1


def test_tidy_leaves_a_cell_that_never_ran_without_count(untidy):
    assert tidy.tidy(untidy, URL).cells[3].execution_count is None


def test_tidy_keeps_what_claims_measured_and_no_other_output_metadata():
    output = new_output(
        "display_data",
        {"text/plain": "✓ true"},
        metadata={"adamtut": {"measured": 0.98}, "isolated": True},
    )
    nb = tidy.tidy(notebook(new_code_cell("claim()", outputs=[output])), URL)
    assert nb.cells[1].outputs[0].metadata == {"adamtut": {"measured": 0.98}}


def test_tidy_gives_pictures_a_palette_once():
    output = new_output("display_data", {"image/png": picture()})
    once = tidy.tidy(notebook(new_code_cell("plot()", outputs=[output])), URL)
    png = once.cells[1].outputs[0].data["image/png"]
    image = Image.open(io.BytesIO(base64.b64decode(png)))
    assert image.mode == "P"
    assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)  # clear is white
    assert tidy.tidy(once, URL) == once


def test_tidy_writes_the_address_into_the_first_cell(untidy):
    old = tidy.tidy(untidy, "https://example.org/old")
    new = tidy.tidy(old, URL)
    assert len(new.cells) == len(old.cells)
    assert f'"adamtut @ git+{URL}"' in new.cells[0].source
    assert new.cells[0].metadata == {"tags": ["remove-cell"]}


def test_a_chapter_that_compares_libraries_installs_them(untidy):
    untidy.cells[-1].source = "import keras"
    new = tidy.tidy(untidy, URL)
    assert f'"adamtut[libraries] @ git+{URL}"' in new.cells[0].source


def test_tidy_is_idempotent_and_leaves_its_argument_alone(untidy):
    before = tidy.text(untidy)
    once = tidy.tidy(untidy, URL)
    assert tidy.text(untidy) == before
    assert tidy.text(tidy.tidy(once, URL)) == tidy.text(once)
    nbformat.validate(once)


def test_text_is_sorted_indented_and_ends_in_a_newline(untidy):
    text = tidy.text(tidy.tidy(untidy, URL))
    data = json.loads(text)
    assert text == json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def test_check_writes_nothing_and_fails_until_tidied(untidy, tmp_path, capsys):
    path = tmp_path / "x.ipynb"
    tidy.write(path, untidy)
    before = path.read_bytes()
    assert tidy.main(["--check", str(path)]) == 1
    assert "x.ipynb; run `make tidy`" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert tidy.main([str(path)]) == 0
    assert tidy.main(["--check", str(path)]) == 0


def test_tidy_says_what_is_no_notebook(tmp_path, capsys):
    path = tmp_path / "x.ipynb"
    path.write_text("{")
    assert tidy.main([str(path)]) == 1
    assert "x.ipynb is not a notebook" in capsys.readouterr().err


def test_imported_modules_follow_imports():
    assert tidy.imported_modules("import numpy") == []
    modules = tidy.imported_modules("from adamtut import walk")
    assert {"__init__.py", "walk.py", "rules/form.py", "ops.py"} <= set(modules)
    assert "train.py" not in modules
    assert "train.py" in tidy.imported_modules("import adamtut.train as training")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two modules in place of adamtut."""
    monkeypatch.setattr(tidy, "PACKAGE", tmp_path)
    for name in ("__init__", "used", "unused"):
        (tmp_path / f"{name}.py").write_text("x = 1\n")
    return tmp_path


def executed(source):
    nb = notebook(new_code_cell(source, id="a"))
    nb.metadata["adamtut"] = {"digest": tidy.digest(nb)}
    return nb


def test_stale_tells_code_from_package(package):
    nb = executed("from adamtut import used")
    assert tidy.stale(nb) is None
    (package / "unused.py").write_text("x = 2\n")
    assert tidy.stale(nb) is None
    (package / "used.py").write_text("x = 2\n")
    assert "module of adamtut" in tidy.stale(nb)
    nb.cells[0].source += "\ny = 1"
    assert "code cells" in tidy.stale(nb)
    del nb.metadata["adamtut"]
    assert "never executed" in tidy.stale(nb)


def test_stale_sees_tags_but_no_prose_and_no_address(package):
    nb = executed("from adamtut import used")
    nb.cells.append(new_markdown_cell("more words"))
    assert tidy.stale(tidy.tidy(nb, URL)) is None
    nb.cells[0].metadata["tags"] = ["slow"]
    assert tidy.stale(nb) is not None


def test_execute_stores_outputs_and_digest(tmp_path):
    path = tmp_path / "x.ipynb"
    tidy.write(path, notebook(new_code_cell("print(6 * 7)", id="product")))
    assert execute.main([str(path)]) == 0
    nb = tidy.read(path)
    assert nb.cells[1].outputs[0].text == "42\n"
    assert nb.cells[1].execution_count == 1
    assert tidy.stale(nb) is None
    assert tidy.main(["--check", str(path)]) == 0


def test_execute_names_the_cell_and_leaves_the_notebook(tmp_path, capsys):
    path = tmp_path / "x.ipynb"
    tidy.write(path, notebook(new_code_cell("1 / 0", id="division")))
    before = path.read_bytes()
    assert execute.main([str(path)]) == 1
    assert "x.ipynb, cell division: ZeroDivisionError" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_execute_runs_only_what_is_stale(package, tmp_path, monkeypatch):
    fresh, old = package / "fresh.ipynb", package / "old.ipynb"
    tidy.write(fresh, executed("1"))
    tidy.write(old, notebook(new_code_cell("1", id="a")))
    monkeypatch.setattr(tidy, "CHAPTERS", package)
    ran = []
    monkeypatch.setattr(execute, "execute", ran.append)
    assert execute.main([]) == 0
    assert ran == [old]
    assert execute.main(["--all"]) == 0
    assert ran == [old, fresh, old]


def test_write_keeps_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "x.ipynb"
    path.write_text("old")

    def full(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(tidy.os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        tidy.write(path, notebook())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def book(tmp_path):
    """A book of one chapter, with the template."""
    (tmp_path / "chapters").mkdir()
    template = (tidy.CHAPTERS / "_template.ipynb").read_bytes()
    (tmp_path / "chapters" / "_template.ipynb").write_bytes(template)
    (tmp_path / "_config.yml").write_text(f"repository:\n  url: {URL}\n")
    (tmp_path / "_toc.yml").write_text(
        "# a comment\nparts:\n  - caption: One\n    chapters:\n"
        "      - file: chapters/adam  # another\n"
        "  - caption: Appendices\n    chapters:\n      - file: CONTRIBUTING\n"
    )
    return tmp_path


def test_new_chapter_copies_the_template_and_lists_it(book):
    path = new_chapter.new_chapter("weight_decay", book)
    nb = tidy.read(path)
    assert nb.cells[1].source.startswith("# Weight decay\n\n**")
    assert "adamtut" not in nb.metadata
    assert tidy.stale(nb) is not None
    lines = (book / "_toc.yml").read_text().splitlines()
    assert lines[0] == "# a comment"
    assert lines[4:6] == [
        "      - file: chapters/adam  # another",
        "      - file: chapters/weight_decay",
    ]
    assert lines[-1] == "      - file: CONTRIBUTING"


@pytest.mark.parametrize("name", ["", "Yogi", "4_yogi", "yo gi", "yogi.ipynb", "../x"])
def test_new_chapter_refuses_other_names(book, name):
    toc = (book / "_toc.yml").read_text()
    with pytest.raises(ValueError, match="lower-case words joined by _"):
        new_chapter.new_chapter(name, book)
    assert (book / "_toc.yml").read_text() == toc


def test_new_chapter_refuses_what_exists(book):
    path = new_chapter.new_chapter("yogi", book)
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="exists already"):
        new_chapter.new_chapter("yogi", book)
    assert path.read_text() == "mine"
    path.unlink()
    with pytest.raises(FileExistsError, match=r"_toc\.yml lists"):
        new_chapter.new_chapter("yogi", book)


@pytest.mark.parametrize("cuda", [True, False])
def test_cells_get_the_markers_of_their_tags(cuda, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    spec = importlib.util.spec_from_file_location("_root", tidy.ROOT / "conftest.py")
    conftest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conftest)
    items = []
    for tags in (["gpu", "hide-input"], ["slow"], []):
        marks = []
        items.append(
            SimpleNamespace(
                cell=new_code_cell("1", metadata={"tags": tags}),
                add_marker=lambda mark, marks=marks: marks.append(
                    mark if isinstance(mark, str) else mark.name
                ),
                get_closest_marker=lambda name, marks=marks: name in marks,
                marks=marks,
            )
        )
    conftest.pytest_collection_modifyitems(items)
    gpu = ["gpu"] if cuda else ["gpu", "skip"]
    assert [item.marks for item in items] == [gpu, ["slow"], []]


@pytest.mark.parametrize(
    "block",
    [
        "f     a function\nstep  its first step",  # no line is indented
        "f  a function\n   of two lines",
        "    code()",
    ],
)
def test_a_docstring_keeps_its_lists_of_arguments(block):
    page = api.markdown(f"What it does.\n\n{block}\n\nReturns *nothing*.")
    assert page.split("\n\n") == [
        "What it does.",
        f"```text\n{block}\n```",
        r"Returns \*nothing\*.",
    ]


def test_the_ledger_shows_what_was_measured():
    shown = ledger.shown
    assert (
        shown({"('adam', 1.0)": 0.123456, "f(x)": True})
        == "adam, 1.0: 0.1235, f(x): yes"
    )
    assert shown([[1.0, 2.0], None]) == "(1, 2), ()"
