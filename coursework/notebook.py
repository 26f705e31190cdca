"""A submission's file: found, opened without following links, read as cells of code.

Written for files that somebody broke or made to hurt: it needs no kernel name, no
metadata and no particular version of the format, and reads nothing over `LARGEST`.
"""

import json
import os
import stat
from pathlib import Path

LARGEST = 20 * 1024**2  # bytes; outputs of a sane notebook are below


class SubmissionError(ValueError):
    """A file that cannot be graded; the message is a sentence for its student."""


def read_bytes(path: Path) -> bytes:
    """The bytes of a plain file of at most LARGEST."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if os.path.islink(path):
            raise SubmissionError(
                f"{path.name} is a symbolic link; hand in the notebook itself."
            ) from None
        reason = (error.strerror or str(error)).lower()
        raise SubmissionError(f"{path.name} cannot be read: {reason}.") from None
    with os.fdopen(file, "rb") as stream:
        kind = os.fstat(file)
        if not stat.S_ISREG(kind.st_mode):
            raise SubmissionError(f"{path.name} is not a file.")
        data = stream.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise SubmissionError(
            f"{path.name} is over {LARGEST // 1024**2} MB; "
            "clear its outputs and hand it in again."
        )
    return data


def cells(data: bytes) -> list[tuple[str, str]]:
    """Kind and source of each cell: ("code", "x = 1").

    Raises SubmissionError where the bytes are not a notebook in Python.
    """
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise SubmissionError("The file is not a notebook (no valid JSON).") from None
    if not isinstance(notebook, dict):
        raise SubmissionError("The file is not a notebook (it has no cells).")
    language = _language(notebook)
    if language not in ("", "python", "python3", "ipython"):
        raise SubmissionError(f"The notebook is in {language[:40]!r}, not Python.")
    found = notebook.get("cells")
    if found is None and isinstance(sheets := notebook.get("worksheets"), list):
        found = [c for s in sheets if isinstance(s, dict) for c in s.get("cells", [])]
    if not isinstance(found, list):
        raise SubmissionError("The file is not a notebook (it has no cells).")
    return [cell for cell in map(_cell, found) if cell]


def _cell(cell):
    if not isinstance(cell, dict):
        return None
    source = cell.get("source", cell.get("input", ""))  # input: version 3
    if isinstance(source, list):
        source = "".join(x for x in source if isinstance(x, str))
    kind = cell.get("cell_type")
    return (kind, source) if isinstance(kind, str) and isinstance(source, str) else None


def _language(notebook):
    """What it says it is written in; "" where it says nothing."""
    metadata = notebook.get("metadata")
    if not isinstance(metadata, dict):
        return ""
    for part, key in (("language_info", "name"), ("kernelspec", "language")):
        inner = metadata.get(part)
        if isinstance(inner, dict) and isinstance(inner.get(key), str):
            return inner[key].lower()
    return ""
