"""The student's notebook: `otter assign` takes the solutions out, checks come in."""

import base64
import contextlib
import inspect
import io
import json
import logging
import os
import re
import shutil
import tempfile
import zlib
from pathlib import Path

import nbformat
import numpy as np

from coursework import cases, check, compare
from coursework.assignment import Assignment, AssignmentError
from coursework.cases import pack, pack_case

VISIBLE = 2014  # the seed of the inputs that students see
MARK = "checks"  # the tag of the master's cell that becomes the checks
_IMPORTS = ("from coursework",)


def release(assignment: Assignment, destination: Path) -> Path:
    """Write the student's notebook and its files to `destination`; returns its path.

    The folder DESTINATION/NAME is replaced as a whole, or stays as it was.
    """
    target = Path(destination) / assignment.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".release-") as folder:
        new = Path(folder) / assignment.name
        new.mkdir()
        path = new / f"{assignment.name}.ipynb"
        nbformat.write(student_notebook(assignment), path)
        for name in assignment.files:
            shutil.copy(assignment.folder / name, new / name)
        if target.exists():
            os.rename(target, Path(folder) / "old")
        os.rename(new, target)
    return target / path.name


def student_notebook(assignment: Assignment) -> nbformat.NotebookNode:
    """The master without solutions, with its header and its checks."""
    # Five seconds to import, and only a release needs it.
    from otter.assign import main as assign

    if not assignment.master.is_file():
        raise AssignmentError(f"Assignment {assignment.name!r} has no master.ipynb")
    with tempfile.TemporaryDirectory() as folder:
        master = Path(folder) / f"{assignment.name}.ipynb"
        shutil.copy(assignment.master, master)
        logging.getLogger("otter").setLevel(logging.ERROR)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                assign(str(master), str(Path(folder) / "out"), no_run_tests=True)
        except Exception as error:
            raise AssignmentError(
                f"otter assign cannot read {assignment.master}: {error}"
            ) from None
        nb = nbformat.read(Path(folder) / "out" / "student" / master.name, as_version=4)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nb.metadata = nbformat.from_dict({"kernelspec": kernel})
    for number, cell in enumerate(nb.cells, 1):
        cell.id = f"{assignment.name}-{number}"
        if MARK in cell.metadata.get("tags", []):
            cell.source = checks_source(assignment)
            cell.metadata = nbformat.from_dict(
                {"cellView": "form", "jupyter": {"source_hidden": True}}
            )
    _mark_answers(nb, [part["name"] for part in assignment.written])
    header = nbformat.v4.new_markdown_cell(about(assignment), id="about")
    nb.cells.insert(1, header)
    return nb


def _mark_answers(nb, names):
    """Name the cells for the written answers, which otter marks by their place."""
    waiting = list(names)
    for cell in nb.cells:
        if cell.cell_type != "markdown":
            continue
        cell.source = re.sub("<!-- (BEGIN|END) QUESTION -->", "", cell.source).strip()
        if "otter_answer_cell" in cell.metadata.get("tags", []):
            if not waiting:
                raise AssignmentError(
                    f"The master has more written answers than assignment.yml: {names}"
                )
            cell.source = f"{check.answer_mark(waiting.pop(0))}\n{check.ANSWER}"
    if waiting:
        raise AssignmentError(
            f"The master has no written answer (manual: true) for: {', '.join(waiting)}"
        )
    nb.cells = [cell for cell in nb.cells if cell.source]


def about(assignment: Assignment) -> str:
    """Aims, minutes, points and what may be used, as the students read them."""
    rows = [(q.name, f"{q.points:g}") for q in assignment.questions]
    rows += [(p["name"], f"{p['points']:g} (read by hand)") for p in assignment.written]
    return "\n".join(
        [
            "**What you will be able to do**",
            "",
            *(f"- {aim}" for aim in assignment.aims),
            "",
            f"**Time:** about {assignment.minutes} minutes.  ",
            f"**Points:** {assignment.points:g}.  ",
            f"**What you may use:** {assignment.may_use}",
            "",
            "| question | points |",
            "|---|---|",
            *(f"| {name} | {points} |" for name, points in rows),
            "",
            "`check(...)` compares your function with numbers that you can see.",
            "The grade comes from other numbers, drawn anew for each submission.",
        ]
    )


def checks_source(assignment: Assignment) -> str:
    """The cell that defines `check`: it needs NumPy alone, holds no answer's code."""
    judges = [q for q in assignment.questions if q.judge]
    parts = [
        check.TITLE,
        *(_alone(module) for module in (cases, compare, check)),
        *(inspect.getsource(q.judge) for q in judges),
        "check = Check(",
        *(f'    "{line}"' for line in _lines(table(assignment))),
        "    , globals(),",
        f"    {{{', '.join(f'{q.name!r}: {q.judge.__name__}' for q in judges)}}},",
        ")",
    ]
    return "\n".join(parts)


def table(assignment: Assignment) -> str:
    """The visible cases of each question, right answers, and those of the wrong."""
    rows = {}
    for question in assignment.questions:
        draw = np.random.default_rng(VISIBLE)
        visible = [question.draw(draw)]
        row = {"cases": [pack_case(case) for case in visible]}
        if not question.judge:
            row |= {"rtol": question.rtol, "atol": question.atol}
            row["expected"] = pack(list(question.answers(visible)))
            row["wrong"] = [
                [message, pack(list(question.answers(visible, message)))]
                for message in question.wrong
            ]
        rows[question.name] = row
    data = zlib.compress(json.dumps(rows).encode(), 9)
    return base64.b64encode(data).decode()


def check_of(assignment: Assignment, namespace: dict) -> check.Check:
    """`check` for somebody who runs the master itself."""
    judges = {q.name: q.judge for q in assignment.questions if q.judge}
    return check.Check(table(assignment), namespace, judges)


def _alone(module):
    """The source of a module without its imports from this package."""
    lines = inspect.getsource(module).splitlines()
    return "\n".join(line for line in lines if not line.startswith(_IMPORTS))


def _lines(text, width=80):
    return [text[i : i + width] for i in range(0, len(text), width)]
