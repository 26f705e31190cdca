"""Start a chapter: a copy of chapters/_template.ipynb and its line in _toc.yml.

    python -m tools.new_chapter NAME

NAME is a slug in snake case, such as weight_decay. The line goes below the last
chapter; move it where it belongs.
"""

import argparse
import re
import sys
from pathlib import Path

from tools import tidy

_ENTRY = "      - file: chapters/"  # a line of _toc.yml, less the name
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def new_chapter(name: str, root: Path = tidy.ROOT) -> Path:
    """Create chapters/NAME.ipynb under `root` and list it; returns its path."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"NAME is {name!r}; allowed: lower-case words joined by _, such as "
            "weight_decay"
        )
    path = root / "chapters" / f"{name}.ipynb"
    toc = root / "_toc.yml"
    line = f"{_ENTRY}{name}"
    old = toc.read_text(encoding="utf-8")
    if path.exists():
        raise FileExistsError(f"chapters/{name}.ipynb exists already; choose another")
    if line.strip() in [x.strip() for x in old.splitlines()]:
        raise FileExistsError(f"_toc.yml lists chapters/{name} already")
    nb = tidy.read(root / "chapters" / "_template.ipynb")
    title = name.replace("_", " ").capitalize()
    for cell in nb.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("# "):
            rest = cell.source.split("\n")[1:]
            cell.source = "\n".join([f"# {title}", *rest])
            break
    # it claims nothing yet, so its outputs are nobody's
    nb.metadata.pop("adamtut", None)
    tidy.write(path, tidy.tidy(nb, tidy.repository(root / "_config.yml")))
    lines = old.rstrip("\n").split("\n")
    last = max(i for i, x in enumerate(lines) if x.startswith(_ENTRY))
    lines.insert(last + 1, line)
    toc.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.new_chapter", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", metavar="NAME")
    try:
        path = new_chapter(parser.parse_args(arguments).name)
    except (OSError, ValueError) as error:
        print(f"new chapter: {error}", file=sys.stderr)
        return 1
    print(
        f"wrote chapters/{path.name} and its line in _toc.yml; "
        f"write, then: python -m tools.execute chapters/{path.name}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
