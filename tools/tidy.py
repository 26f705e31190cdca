"""Bring every notebook into the one form that diffs well.

    python -m tools.tidy [--check] [NOTEBOOK ...]

Sorted keys, cell ids that are slugs, execution_count 1, metadata reduced to what the
book reads, figures as PNG of 256 colours (a third of the size), and a first cell that
installs adamtut where it is missing. Sources and text outputs stay as they are. With
--check nothing is written: the notebooks that are not tidy are listed and the exit
status is 1.
"""

import argparse
import ast
import base64
import copy
import hashlib
import io
import os
import re
import sys
from pathlib import Path

import nbformat
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = ROOT / "chapters"
PACKAGE = ROOT / "adamtut"

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# What Jupyter makes up when an author gives no id.
_RANDOM_ID = re.compile(r"[0-9a-f]{8}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_INSTALL = """\
try:
    import adamtut
except ModuleNotFoundError:
    %pip install --quiet "adamtut{extra} @ git+{url}\""""
_LIBRARIES = re.compile(r"^import (keras|optax|pytorch_optimizer)$", re.MULTILINE)


def notebooks() -> list[Path]:
    """Every notebook of chapters/, the template included."""
    return sorted(CHAPTERS.glob("*.ipynb"))


def repository(config: Path = ROOT / "_config.yml") -> str:
    """The repository's address, from the one place it is written in."""
    return yaml.safe_load(config.read_text(encoding="utf-8"))["repository"]["url"]


def read(path: Path) -> nbformat.NotebookNode:
    """The notebook at `path`; ValueError where it is none."""
    try:
        return nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is not a notebook: {reason}") from None


def text(nb: nbformat.NotebookNode) -> str:
    """The notebook as it is stored."""
    return nbformat.writes(nb, version=4) + "\n"


def write(path: Path, nb: nbformat.NotebookNode) -> None:
    """Store the notebook; an interruption leaves the old file whole."""
    new = path.with_name(path.name + ".new")
    try:
        new.write_text(text(nb), encoding="utf-8")
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def tidy(nb: nbformat.NotebookNode, url: str) -> nbformat.NotebookNode:
    """A tidy copy of the notebook; `url` is the repository's address."""
    nb = copy.deepcopy(nb)
    nb.nbformat, nb.nbformat_minor = 4, 5
    digest = nb.metadata.get("adamtut", {}).get("digest")
    nb.metadata = nbformat.from_dict(
        {
            "kernelspec": {
                "display_name": "Python 3",
                "language": "python",
                "name": "python3",
            },
            "language_info": {"name": "python"},
        }
    )
    if digest:
        nb.metadata["adamtut"] = {"digest": digest}
    _set_ids(nb)
    _set_install(nb, url)
    for cell in nb.cells:
        cell.metadata = _cell_metadata(cell.metadata)
        if cell.cell_type == "code":
            cell.execution_count = 1 if cell.outputs or cell.execution_count else None
            cell.outputs = _outputs(cell.outputs)
        else:
            cell.pop("attachments", None)
    return nb


def digest(nb: nbformat.NotebookNode) -> dict[str, str]:
    """What the outputs depend on, as two hashes.

    `code`: sources and tags of the code cells but the install cell. `package`: the
    modules of adamtut that these cells import, and the modules that those import.
    """
    cells = [
        [cell.source.strip(), sorted(cell.metadata.get("tags", []))]
        for cell in nb.cells
        if cell.cell_type == "code" and cell.get("id") != "install"
    ]
    modules = imported_modules("\n".join(_python(source) for source, _ in cells))
    package = [(PACKAGE / name).read_text(encoding="utf-8") for name in modules]
    return {"code": _hash(cells), "package": _hash([modules, package])}


def stale(nb: nbformat.NotebookNode) -> str | None:
    """Why the outputs are not those of today's code; None where they are."""
    stored = nb.metadata.get("adamtut", {}).get("digest")
    if not stored:
        return "it was never executed"
    now = digest(nb)
    if stored.get("code") != now["code"]:
        return "its code cells changed"
    if stored.get("package") != now["package"]:
        return "a module of adamtut that it uses changed"
    return None


def imported_modules(source: str) -> list[str]:
    """Files of adamtut that `source` imports, directly or through one another."""
    found, waiting = set(), _imports(source)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting |= _imports((PACKAGE / name).read_text(encoding="utf-8"))
    return sorted(found)


def _imports(source: str) -> set[str]:
    """Files of adamtut named by the import statements of `source`."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # the notebook fails when it is executed, with a better message
        return set()
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
    parts = [name.split(".")[1:] for name in names if name.split(".")[0] == "adamtut"]
    files = {"__init__.py"} if parts else set()
    for first, *_ in filter(None, parts):
        files.add(f"{first}.py")
        # a folder is imported as a whole
        files |= {f"{first}/{x.name}" for x in (PACKAGE / first).glob("*.py")}
    return {name for name in files if (PACKAGE / name).is_file()}


def _python(source: str) -> str:
    """The source without IPython's magic lines."""
    lines = source.splitlines()
    return "\n".join(x for x in lines if not x.lstrip().startswith(("%", "!")))


def _hash(thing) -> str:
    return hashlib.sha256(repr(thing).encode()).hexdigest()[:16]


def _cell_metadata(old: dict) -> nbformat.NotebookNode:
    new = {}
    if old.get("tags"):
        new["tags"] = sorted(set(old["tags"]))
    if alt := old.get("mystnb", {}).get("image", {}).get("alt"):
        new["mystnb"] = {"image": {"alt": alt}}
    if old.get("jupyter", {}).get("source_hidden"):
        new["jupyter"] = {"source_hidden": True}
    return nbformat.from_dict(new)


def _outputs(old: list) -> list:
    new = []
    for output in old:
        last = new[-1] if new else None
        if (
            output.output_type == "stream"
            and last is not None
            and last.output_type == "stream"
            and last.name == output.name
        ):
            last.text += output.text
            continue
        if "metadata" in output:
            # what show.claim measured
            kept = {k: v for k, v in output.metadata.items() if k == "adamtut"}
            output.metadata = nbformat.from_dict(kept)
        if output.output_type == "execute_result":
            output.execution_count = 1
        if png := output.get("data", {}).get("image/png"):
            output.data["image/png"] = _palette(png)
        new.append(output)
    return new


def _palette(png: str) -> str:
    """The base64 picture in 128 colours: a third of the bytes, the same to the eye.

    One that has a palette already stays as it is.
    """
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    if picture.mode == "P":
        return png
    white = Image.new("RGBA", picture.size, "white")
    flat = Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
    file = io.BytesIO()
    flat.quantize(128, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def _set_install(nb: nbformat.NotebookNode, url: str) -> None:
    """Make the install cell the first one, with today's address."""
    cells = [cell for cell in nb.cells if cell.id != "install"]
    compares = any(_LIBRARIES.search(cell.source) for cell in cells)
    extra = "[libraries]" if compares else ""
    source = _INSTALL.format(url=url, extra=extra)
    cell = nbformat.v4.new_code_cell(source, id="install")
    cell.metadata["tags"] = ["remove-cell"]
    cell.execution_count = 1
    nb.cells = [cell, *cells]


def _set_ids(nb: nbformat.NotebookNode) -> None:
    taken, heading = set(), "top"
    for cell in nb.cells:
        wanted = cell.metadata.get("id") or cell.get("id", "")
        first = next((x for x in cell.source.splitlines() if x.strip()), "")
        if cell.cell_type == "markdown" and first.startswith("#"):
            heading = _slug(first)
        if not SLUG.fullmatch(wanted) or is_random(wanted):
            own = cell.cell_type == "markdown"
            wanted = (_slug(first) if own else "") or f"{heading}-{cell.cell_type}"
        slug, number = wanted, 1
        while slug in taken:
            number += 1
            slug = f"{wanted}-{number}"
        taken.add(slug)
        cell.id = slug


def is_random(cell_id: str) -> bool:
    """Whether a cell id looks like one that Jupyter made up."""
    return bool(_RANDOM_ID.fullmatch(cell_id))


def _slug(line: str) -> str:
    """The first words of a line, as an id."""
    words = re.findall(r"[a-z0-9]+", line.lower())
    return "-".join(words[:5])[:50].strip("-")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.tidy", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    url, untidy = repository(), []
    for path in options.notebooks or notebooks():
        try:
            nb = read(path)
        except (OSError, ValueError) as error:
            print(f"tidy: {error}", file=sys.stderr)
            return 1
        new = tidy(nb, url)
        if text(new) != path.read_text(encoding="utf-8"):
            untidy.append(path)
            if not options.check:
                write(path, new)
                print(f"tidied {path.name}")
    if options.check and untidy:
        names = ", ".join(path.name for path in untidy)
        print(f"not tidy: {names}; run `make tidy`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
