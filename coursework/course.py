"""A folder of submissions to grades.csv and a page of feedback for each student.

OUT/grades/STUDENT.json   the record, written once and whole, as soon as it is known
OUT/feedback/STUDENT.md   what the student reads
OUT/grades.csv            one row a student
OUT/seed                  what the inputs are drawn with; keep it to grade again
"""

import csv
import hashlib
import io
import json
import os
import re
import secrets
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tqdm import tqdm

from coursework import notebook
from coursework.assignment import Assignment
from coursework.grade import grade

_NAME = re.compile(r"\w[\w .,@+'-]*")


class CourseError(ValueError):
    """A folder that cannot be graded; the message says why."""


def submissions(folder: Path) -> dict[str, list[Path]]:
    """The notebooks of each student, by the student's name.

    FOLDER/anna.ipynb and FOLDER/anna/anything.ipynb are anna's; names that differ in
    case alone are one name, since the files of some systems do not tell them apart.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CourseError(f"{folder} is not a folder of submissions.")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            found.setdefault(path.name, []).extend(sorted(path.glob("*.ipynb")))
        else:
            found.setdefault(path.stem, []).append(path)
    if not found:
        raise CourseError(f"{folder} is empty: there is nothing to grade.")
    return found


def grade_course(
    assignment: Assignment, folder: Path, out: Path, jobs: int = 1
) -> tuple[Path, list[str]]:
    """Grade what is new; returns the path of the CSV and sentences on what is odd.

    A record stands where its submission and the grader are those of today.
    """
    todo, notes = _plan(submissions(folder))
    out = Path(out)
    seed = _seed(out)
    records = {}
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        waiting = {
            pool.submit(_one, assignment, student, paths, note, out, seed): student
            for student, (paths, note) in todo.items()
        }
        bar = tqdm(as_completed(waiting), "grading", len(waiting), unit="student")
        for done in bar:
            records[waiting[done]] = done.result()
    notes += [f"{s}: {r['note']}" for s, r in sorted(records.items()) if r["note"]]
    path = out / "grades.csv"
    write(path, table(assignment, [records[s] for s in sorted(records)]))
    return path, notes


def table(assignment: Assignment, records: list[dict]) -> str:
    """The CSV: no times in it, so that a second grading gives the same file."""
    names = [question.name for question in assignment.questions]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["student", "points", "of", *names, "note"])
    for record in records:
        points = {q["name"]: f"{q['points']:g}" for q in record["questions"]}
        total = [f"{record['points']:g}", f"{record['of']:g}"]
        row = [points[name] for name in names]
        writer.writerow([record["student"], *total, *row, record["note"]])
    return text.getvalue()


def feedback(assignment: Assignment, record: dict) -> str:
    """What the student reads, in Markdown."""
    lines = [
        f"# {assignment.title}",
        "",
        f"{record['student']}: {record['points']:g} of {record['of']:g} points",
        "",
    ]
    if record["note"]:
        lines += [record["note"], ""]
    for question in record["questions"]:
        points = f"{question['points']:g} of {question['of']:g}"
        lines += [f"- **{question['name']}** ({points}): {_safe(question['message'])}"]
    if record["cells"]:
        lines += ["", "Cells of your notebook that did not run to their end:", ""]
        lines += [f"- code cell {n}: {_safe(e)}" for n, e in record["cells"].items()]
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file, new = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(file, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(new, 0o644)
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise


def _plan(found) -> tuple[dict[str, tuple[list[Path], str]], list[str]]:
    """For each student the notebooks and why they cannot be graded, if so."""
    todo, notes = {}, []
    same: dict[str, list[str]] = {}
    for student in found:
        same.setdefault(student.casefold(), []).append(student)
    for names in same.values():
        paths = [path for name in names for path in found[name]]
        student, note = names[0], ""
        if not _NAME.fullmatch(student):
            notes.append(f"{student!r} is no student's name; it was not graded.")
            continue
        if not paths:
            note = "There is no notebook in the folder."
        elif len(paths) > 1:
            files = ", ".join(f"{p.parent.name}/{p.name}" for p in paths)
            note = (
                f"There are {len(paths)} notebooks of this name ({files}); hand in one."
            )
        todo[student] = (paths, note)
    return todo, notes


def _one(assignment, student, paths, note, out, seed):
    """The record of one student, from its file or graded now."""
    path = out / "grades" / f"{student}.json"
    try:
        data = b"" if note else notebook.read_bytes(paths[0])
    except notebook.SubmissionError as error:
        data, note = b"", str(error)
    record = None if note else _stored(path, assignment, data)
    if record is None:
        record = grade(assignment, data, student, seed, note)
        write(path, json.dumps(record, indent=1, sort_keys=True) + "\n")
    write(out / "feedback" / f"{student}.md", feedback(assignment, record))
    return record


def _stored(path, assignment, data):
    """The record of this submission by this grader, where there is one."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    now = (hashlib.sha256(data).hexdigest(), assignment.digest())
    return record if (record["submission"], record["grader"]) == now else None


def _seed(out):
    path = out / "seed"
    if not path.exists():
        write(path, secrets.token_hex(16) + "\n")
        path.chmod(0o600)
    return path.read_text(encoding="utf-8").strip()


def _safe(text):
    """A student's text as one line that Markdown and HTML leave alone."""
    line = " ".join(text.split())[:400]
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", line)
