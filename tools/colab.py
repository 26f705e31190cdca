"""Copies of the chapters that run on Colab, or anywhere, without this repository.

    python -m tools.colab [--check] [--jobs N] [CHAPTER ...]

Writes _build/colab/CHAPTER.ipynb for each chapter of _toc.yml, or for those named. A
copy carries in one collapsed cell the modules of adamtut that it uses, keeps the stored
outputs, links to the other chapters on Colab, and has plain Markdown where the book has
MyST, which Colab does not know. With --check each copy is then run in an empty folder,
in an environment without adamtut, and its outputs are compared with the stored ones.
"""

import argparse
import ast
import copy
import os
import posixpath
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path

import nbformat
import yaml
from pybtex.backends.markdown import Backend as Markdown
from pybtex.database import Entry, parse_file
from pybtex.richtext import Text
from pybtex.style.formatting.unsrt import Style

from tools import tidy

OUT = tidy.ROOT / "_build" / "colab"

NEED_A_CLONE = {"instructors"}  # it runs the grader, which is not in the package
_NOTE = """\
> This copy of the chapter carries the package `adamtut` of [the book]({url}) in the \
next cell.
> Run that cell first; open it to read or change the code."""
_INSTALL = """\
from importlib.util import find_spec

if not all(map(find_spec, {modules})):
    %pip install --quiet {requirements}
"""
_UNPACK = """\
#@title The package adamtut, the part that this chapter uses
{install}import sys
import tempfile
from pathlib import Path

# a new folder, first on Python's path: nothing else on this machine is touched
_folder = Path(tempfile.mkdtemp(prefix="adamtut_"))
sys.path.insert(0, str(_folder))


def _write(name, text):
    path = _folder / "adamtut" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
"""
_FILE = "\n\n_write({name!r}, r'''{text}''')"

_WIDGET = """\
from adamtut.widget import Playground

Playground()"""

_PLAYGROUND = re.compile(r"<adam-playground\b.*?</adam-playground>", re.DOTALL)
_HERE = re.compile(r'<a href="#[^"]*"[^>]*>(?P<text>.*?)</a>', re.DOTALL)
_OPENS = re.compile(r"(?P<fence>`{3,}|:{3,})\{(?P<name>[\w:-]+)\} *(?P<argument>.*)")
_OPTION = re.compile(r":(?P<key>[\w-]+): *(?P<value>.*)")
_ROLE = re.compile(r"\{(?P<name>[\w:+-]+)\}`(?P<argument>[^`]+)`")
_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_TARGET = re.compile(r"^\([\w-]+\)=\n*", re.MULTILINE)  # a place that links lead to
_SCHEME = re.compile(r"[a-z]+:")


class Book:
    """What a copy needs to know of the book: addresses, bibliography, requirements."""

    def __init__(self, root: Path = tidy.ROOT):
        config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
        self.url = config["repository"]["url"]
        self.blob = f"{self.url}/blob/{config['repository']['branch']}"
        self.colab = self.blob.replace(
            "https://github.com", f"{config['launch_buttons']['colab_url']}/github"
        )
        self.sources = parse_file(root / "references.bib")
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
        extras = project["project"]["optional-dependencies"]
        wanted = [*extras["libraries"], *extras["widget"]]
        self.libraries = {re.match(r"\w+", x)[0]: x for x in wanted}

    def address(self, target: str) -> str:
        """Where a link of a chapter leads from outside the repository."""
        if _SCHEME.match(target):
            return target
        path, _, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join("chapters", path))
        if path.endswith(".ipynb"):
            return f"{self.colab}/{path}"  # Colab has no anchors of headings
        return f"{self.blob}/{path}" + (f"#{anchor}" if anchor else "")


def bundle(nb: nbformat.NotebookNode, book: Book) -> nbformat.NotebookNode:
    """A copy of a chapter that needs no repository.

    Raises ValueError for a directive or a role that it cannot turn into plain Markdown,
    and for a citation that references.bib does not have.
    """
    nb = copy.deepcopy(nb)
    nb.metadata.pop("adamtut", None)
    nb.metadata["colab"] = {"provenance": [], "toc_visible": True}
    cells = [cell for cell in nb.cells if cell.id != "install"]
    for at, cell in reversed(list(enumerate(cells))):
        if cell.cell_type == "markdown" and _PLAYGROUND.search(cell.source):
            cells.insert(at + 1, _widget_cell(cell.id))
    package = _package_cell(cells, book)
    plain, nb.cells = Plain(book), []
    for cell in cells:
        if cell.cell_type == "markdown":
            try:
                cell.source = plain.markdown(cell.source)
            except ValueError as error:
                raise ValueError(f"cell {cell.id}: {error}") from None
            if not cell.source:  # it only closed a solution
                continue
        else:
            _hide(cell, plain.solution)
            if package not in nb.cells:
                note = _NOTE.format(url=book.url)
                nb.cells.append(nbformat.v4.new_markdown_cell(note, id="package-note"))
                nb.cells.append(package)
        nb.cells.append(cell)
    return nb


def _widget_cell(name: str) -> nbformat.NotebookNode:
    """What a notebook shows where the page has a playground."""
    cell = nbformat.v4.new_code_cell(_WIDGET, id=f"{name}-widget", execution_count=1)
    cell.metadata["tags"] = ["nbval-ignore-output"]
    return cell


def _package_cell(cells: list, book: Book) -> nbformat.NotebookNode:
    """The cell that installs what is missing and writes the modules of adamtut."""
    code = "\n".join(x.source for x in cells if x.cell_type == "code")
    files = {}
    for name in _files(code):
        files[name] = text = (tidy.PACKAGE / name).read_text(encoding="utf-8")
        if ast.literal_eval(f"r'''{text}'''") != text:
            raise ValueError(f"adamtut/{name} holds ''', where its literal would end")
    code = "\n".join([code, *files.values()])
    libraries = [
        x for x in book.libraries if re.search(rf"^ *import {x}\b", code, re.M)
    ]
    install = ""
    if libraries:
        requirements = " ".join(f'"{book.libraries[x]}"' for x in libraries)
        install = _INSTALL.format(modules=libraries, requirements=requirements)
    source = _UNPACK.format(install=install)
    source += "".join(_FILE.format(name=name, text=x) for name, x in files.items())
    cell = nbformat.v4.new_code_cell(source, id="package", execution_count=1)
    cell.metadata = nbformat.from_dict(
        # pip's lines, where there are any, are nobody's to compare
        {"tags": ["hide-input", "nbval-ignore-output"]}
    )
    _hide(cell)
    return cell


def _files(code: str) -> list[str]:
    """What `code` needs of adamtut: modules, and the files that stand beside them.

    Beside a module stands its .json, in a folder the scripts and styles.
    """
    modules = tidy.imported_modules(code)
    folders = sorted({Path(name).parent for name in modules} - {Path()})
    beside = [x for folder in folders for x in (tidy.PACKAGE / folder).glob("*.[jc]s*")]
    data = [(tidy.PACKAGE / name).with_suffix(".json") for name in modules]
    beside = sorted({*beside, *(x for x in data if x.exists())})
    return modules + [x.relative_to(tidy.PACKAGE).as_posix() for x in beside]


def _hide(cell, solution: str | None = None) -> None:
    """Collapse what the book hides, in Colab (a form) and in Jupyter."""
    tags = set(cell.metadata.get("tags", []))
    hidden = cell.metadata.get("jupyter", {}).get("source_hidden")
    if not (hidden or solution or tags & {"hide-input", "remove-input"}):
        return
    if not cell.source.startswith("#@title"):
        picture = any("image/png" in x.get("data", {}) for x in cell.outputs)
        title = solution or ("Code of the figure" if picture else "Code")
        cell.source = f"#@title {title}\n{cell.source}"
    cell.metadata["cellView"] = "form"
    cell.metadata["jupyter"] = {"source_hidden": True}


@dataclass(frozen=True)
class Solution:
    """From here on the text is that of a solution; None ends it."""

    title: str | None


class Plain:
    """Turns a chapter's Markdown cells, in their order, from MyST into plain Markdown.

    It remembers between cells which exercises there were, whether the text stands in a
    solution, and what was cited.
    """

    def __init__(self, book: Book):
        self.book = book
        self.solution: str | None = None  # its title, while inside one
        self.numbers: dict[str, int] = {}  # of the exercises, by label
        self.cited: list[str] = []
        self._continued = False  # whether the solution had text already

    def markdown(self, source: str) -> str:
        """The cell's text in plain Markdown; empty where it held only markers."""
        source = _PLAYGROUND.sub("The playground is what the next cell shows.", source)
        source = _TARGET.sub("", source)
        source = _HERE.sub(r"\g<text>", source)  # Colab does not follow such links
        parts, part = [], []

        def close():
            text = "\n\n".join(part)
            part.clear()
            if text:
                parts.append(self._details(text) if self.solution else text)

        for block in self._blocks(source.split("\n")):
            if isinstance(block, Solution):
                close()
                self.solution, self._continued = block.title, False
            else:
                part.append(block)
        close()
        return "\n\n".join(parts)

    def _blocks(self, lines: list[str]):
        """The text between directives, and what stands for each directive."""
        at, prose = 0, []
        while at < len(lines):
            line = lines[at].rstrip()
            opening = _OPENS.fullmatch(line)
            if not opening and not line.startswith("```"):
                prose.append(self._line(line))
                at += 1
                continue
            fence = opening["fence"] if opening else re.match("`+", line)[0]
            end = _end(lines, at, fence)
            if opening:
                yield from _text(prose)
                prose = []
                yield from self._directive(opening, lines[at + 1 : end])
            else:
                prose += lines[at : end + 1]
            at = end + 1
        yield from _text(prose)

    def _directive(self, opening: re.Match, body: list[str]):
        """What stands for a directive: text, or where a solution begins or ends."""
        name, argument = opening["name"], opening["argument"].strip()
        options = {}
        while body and (option := _OPTION.fullmatch(body[0].rstrip())):
            options[option["key"]] = option["value"]
            body = body[1:]
        if name == "admonition":
            text = "\n\n".join([f"**{argument}**", *self._blocks(body)])
            yield "\n".join(f"> {line}".rstrip() for line in text.split("\n"))
        elif name in ("exercise", "exercise-start"):
            number = len(self.numbers) + 1
            self.numbers[options.get("label", "")] = number
            yield f"### Exercise {number}" + (f": {argument}" if argument else "")
            yield from self._blocks(body)
        elif name == "solution-start":
            if argument not in self.numbers:
                raise ValueError(
                    f"a solution of {argument!r}; allowed: an exercise above it, of "
                    f"{sorted(self.numbers)}"
                )
            yield Solution(f"Solution of exercise {self.numbers[argument]}")
        elif name == "solution-end":
            yield Solution(None)
        elif name == "bibliography":
            yield self._references()
        elif name != "exercise-end":
            raise ValueError(
                f"the directive {{{name}}} has no plain form; allowed: admonition, "
                "exercise, exercise-start, solution-start, their ends, bibliography"
            )

    def _details(self, text: str) -> str:
        title = self.solution + (", continued" if self._continued else "")
        self._continued = True
        return f"<details>\n<summary><b>{title}</b></summary>\n\n{text}\n\n</details>"

    def _line(self, line: str) -> str:
        return _LINK.sub(self._link, _ROLE.sub(self._role, line))

    def _link(self, link: re.Match) -> str:
        if link["target"].startswith("#"):
            return link["text"]
        return f"[{link['text']}]({self.book.address(link['target'])})"

    def _role(self, role: re.Match) -> str:
        if role["name"] != "cite":
            raise ValueError(
                f"the role {{{role['name']}}} has no plain form; allowed: cite"
            )
        return (
            f"({'; '.join(self._cite(x.strip()) for x in role['argument'].split(','))})"
        )

    def _cite(self, key: str) -> str:
        if key not in self.book.sources.entries:
            raise ValueError(f"{{cite}} of {key!r}; allowed: a key of references.bib")
        if key not in self.cited:
            self.cited.append(key)
        entry = self.book.sources.entries[key]
        label, address = _label(entry), _address(entry)
        return f"[{label}]({address})" if address else label

    def _references(self) -> str:
        """The works cited so far, one a line, by name and year."""
        entries = self.book.sources.entries
        keys = sorted(self.cited, key=lambda key: _label(entries[key]))
        works = Style().format_bibliography(self.book.sources, keys)
        texts = [" ".join(x.text.render(Markdown()).split()) for x in works]
        # pybtex escapes more than it must, and \( is where a formula begins for some
        return "\n".join("- " + re.sub(r"\\([().-])", r"\1", x) for x in texts)


def _text(lines: list[str]):
    text = "\n".join(lines).strip("\n")
    if text:
        yield text


def _end(lines: list[str], at: int, fence: str) -> int:
    """The line that closes the fence which `lines[at]` opens."""
    for end in range(at + 1, len(lines)):
        line = lines[end].rstrip()
        if len(line) >= len(fence) and set(line) == {fence[0]}:
            return end
    raise ValueError(f"{lines[at]!r} is never closed")


def _label(entry: Entry) -> str:
    """Kingma and Ba, 2015; Reddi et al., 2018."""
    names = [
        str(Text.from_latex(" ".join(x.prelast_names + x.last_names)))
        for x in entry.persons["author"]
    ]
    if len(names) > 2:
        names = [f"{names[0]} et al."]
    return f"{' and '.join(names)}, {entry.fields['year']}"


def _address(entry: Entry) -> str | None:
    """Where the work can be read, if the bibliography knows."""
    if "doi" in entry.fields:
        return f"https://doi.org/{entry.fields['doi']}"
    if "eprint" in entry.fields:
        return f"https://arxiv.org/abs/{entry.fields['eprint']}"
    return entry.fields.get("url")


def chapters(root: Path = tidy.ROOT) -> list[Path]:
    """The notebooks that _toc.yml lists, in order, without those of NEED_A_CLONE."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    files = [x["file"] for part in toc["parts"] for x in part["chapters"]]
    paths = [root / f"{file}.ipynb" for file in files]
    return [x for x in paths if x.is_file() and x.stem not in NEED_A_CLONE]


def write(paths: list[Path], folder: Path) -> list[Path]:
    """Store a copy of each chapter in `folder`; an error leaves it as it was."""
    book, copies = Book(), {}
    for path in paths:
        try:
            copies[folder / path.name] = bundle(tidy.read(path), book)
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None
    folder.mkdir(parents=True, exist_ok=True)
    for path, nb in copies.items():
        tidy.write(path, nb)
    return list(copies)


def environment(folder: Path) -> Path:
    """A Python that has this one's packages but not adamtut; returns its path."""
    venv.create(folder, symlinks=True)
    paths = sysconfig.get_paths(vars={"base": folder, "platbase": folder})
    # a folder named in a .pth file is searched, but its own .pth files, of which one
    # leads to adamtut, are not read
    here = sysconfig.get_paths()["purelib"]
    Path(paths["purelib"], "packages.pth").write_text(f"{here}\n", encoding="utf-8")
    return Path(paths["scripts"], "python")


def run(paths: list[Path], *options: str) -> int:
    """Run copies with nbval in an empty folder, in an environment without adamtut.

    Compares the outputs with the stored ones; leaves out the cells tagged gpu where
    there is none. Returns pytest's exit status; `options` are pytest's.
    """
    with tempfile.TemporaryDirectory(prefix="adamtut_") as temporary:
        folder = Path(temporary, "empty")
        folder.mkdir()
        for path in [*paths, tidy.ROOT / "conftest.py"]:
            shutil.copy(path, folder)
        python = environment(Path(temporary, "environment"))
        command = [python, "-m", "pytest", "--nbval", "--nbval-current-env"]
        command += ["--nbval-cell-timeout=600", "-p", "no:cacheprovider", *options]
        clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return subprocess.run(command, cwd=folder, env=clean).returncode


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.colab", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("chapters", nargs="*", type=Path, metavar="CHAPTER")
    parser.add_argument("--check", action="store_true", help="run the copies")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    options = parser.parse_args(arguments)
    try:
        copies = write(options.chapters or chapters(), OUT)
    except (OSError, ValueError) as error:
        print(f"colab: {error}", file=sys.stderr)
        return 1
    print(f"{len(copies)} notebooks in {OUT}")
    if options.check:
        return run(copies, "-n", str(options.jobs), "--dist=loadfile")
    return 0


if __name__ == "__main__":
    sys.exit(main())
