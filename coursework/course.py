"""A folder of submissions to grades.csv and a page of feedback for each student.

OUT/grades/STUDENT.json   the record, written once and whole, as soon as it is known
OUT/feedback/STUDENT.md   what the student reads
OUT/grades.csv            one row a student
OUT/upload.csv            the same in the columns of Canvas; Moodle maps them
OUT/written/STUDENT.md    written answers, for the person who reads them
OUT/written.csv           to be filled in: points and comment for each of them; the
                          next `grade` adds them up
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

from coursework import jail, notebook
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
            found.setdefault(path.name, []).extend(sorted(path.glob("[!.]*.ipynb")))
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
    if jobs < 1:
        raise CourseError(f"jobs is {jobs}; allowed: 1, 2, 3, ...")
    todo, notes = _plan(submissions(folder))
    jail.how()  # these two once, before there are threads
    jail.prepare(assignment.packages)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    seed = _seed(out)
    records = {}
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        waiting = {
            pool.submit(_one, assignment, student, paths, note, out, seed): student
            for student, (paths, note) in todo.items()
        }
        bar = tqdm(as_completed(waiting), "grading", len(waiting), unit="student")
        try:
            for done in bar:
                records[waiting[done]] = done.result()
        except BaseException:  # Ctrl-C: what is graded stays, the rest is not begun
            pool.shutdown(cancel_futures=True)
            raise
    ordered = [records[student] for student in sorted(records)]
    read, odd = _written(assignment, ordered, out)
    for record in ordered:
        comments = read.get(record["student"], {})
        page = feedback(assignment, record, comments)
        write(out / "feedback" / f"{record['student']}.md", page)
    notes += odd + [f"{r['student']}: {r['note']}" for r in ordered if r["note"]]
    write(out / "upload.csv", upload(assignment, ordered, read))
    write(out / "grades.csv", table(assignment, ordered, read))
    return out / "grades.csv", notes


def table(assignment: Assignment, records: list[dict], read: dict) -> str:
    """The CSV: no times in it, so that a second grading gives the same file.

    read    points and comments by student and written question; a question that nobody
            read yet is an empty field and counts nothing
    """
    names = [question.name for question in assignment.questions]
    parts = [part["name"] for part in assignment.written]
    rows = [["student", "points", "of", *names, *parts, "note"]]
    for record in records:
        points = {q["name"]: f"{q['points']:g}" for q in record["questions"]}
        hand = {n: f"{p:g}" for n, (p, _) in read.get(record["student"], {}).items()}
        rows.append(
            [
                record["student"],
                f"{_total(record, read):g}",
                f"{assignment.points:g}",
                *(points[name] for name in names),
                *(hand.get(name, "") for name in parts),
                record["note"],
            ]
        )
    return _csv(rows)


def upload(assignment: Assignment, records: list[dict], read: dict) -> str:
    """The points as a gradebook takes them."""
    who = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    rows = [[*who, assignment.title]]
    rows += [["Points Possible", "", "", "", "", f"{assignment.points:g}"]]
    for record in records:
        name = record["student"]
        rows.append([name, "", "", name, "", f"{_total(record, read):g}"])
    return _csv(rows)


def feedback(assignment: Assignment, record: dict, comments: dict) -> str:
    """What the student reads, in Markdown."""
    total = record["points"] + sum(points for points, _ in comments.values())
    lines = [
        f"# {assignment.title}",
        "",
        f"{_safe(record['student'])}: {total:g} of {assignment.points:g} points",
        "",
    ]
    if record["note"]:
        lines += [_safe(record["note"]), ""]
    for question in record["questions"]:
        points = f"{question['points']:g} of {question['of']:g}"
        lines += [f"- **{question['name']}** ({points}): {_safe(question['message'])}"]
    for part in assignment.written:
        points, comment = comments.get(part["name"], (None, "not read yet"))
        given = "" if points is None else f"{points:g} of "
        text = f"({given}{part['points']:g}): {_safe(comment)}"
        lines += [f"- **{part['name']}** {text}"]
    if record["cells"]:
        lines += ["", "Cells of your notebook that did not run to their end:", ""]
        lines += [f"- code cell {n}: {_safe(e)}" for n, e in record["cells"].items()]
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> None:
    """Write a text as a whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all; only its owner can read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file, new = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
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
        try:
            record = grade(assignment, data, student, seed, note)
        except Exception as error:  # of the grader: nobody else pays for it
            note = f"The grader failed on it ({type(error).__name__}: {error})."
            return grade(assignment, b"", student, seed, _safe(note))
        write(path, json.dumps(record, indent=1, sort_keys=True) + "\n")
    return record


def _written(assignment, records, out):
    """Points and comments given by hand, by student and question; odd rows of the file.

    Writes the answers and a line to fill in for each that has none.
    """
    allowed = {part["name"]: part["points"] for part in assignment.written}
    if not allowed:
        return {}, []
    path, read, odd = out / "written.csv", {}, []
    rows = _rows(path)
    for student, name, points, comment in rows:
        if not points:
            continue
        try:
            number = float(points)
            if not 0 <= number <= allowed[name]:
                raise ValueError
        except (ValueError, KeyError):
            odd.append(
                f"{path.name}: {student}, {name}: points are {points!r}; allowed: "
                f"0 to {allowed.get(name, 0):g}, for {', '.join(allowed)}."
            )
            continue
        read.setdefault(student, {})[name] = (number, comment)
    there = {(student, name) for student, name, *_ in rows}
    for record in records:
        student = record["student"]
        new = [name for name in allowed if (student, name) not in there]
        rows += [[student, name, "", ""] for name in new]
        answers = [f"## {n}\n\n{text}\n" for n, text in record["written"].items()]
        text = "\n".join(answers) or "No written answer.\n"
        write(out / "written" / f"{student}.md", f"# {student}\n\n{text}")
    write(path, _csv([_FIELDS, *rows]))
    return read, odd


_FIELDS = ["student", "question", "points", "comment"]


def _rows(path):
    if not path.exists():
        return []
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restval="")
        if missing := set(_FIELDS) - set(reader.fieldnames or ()):
            raise CourseError(f"{path} has no column {', '.join(sorted(missing))}.")
        return [[row[field].strip() for field in _FIELDS] for row in reader]


def _total(record, read):
    by_hand = read.get(record["student"], {}).values()
    return record["points"] + sum(points for points, _ in by_hand)


def _csv(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


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
    return path.read_text(encoding="utf-8").strip()


def _safe(text):
    """A student's text as one line that Markdown and HTML leave alone."""
    line = " ".join(text.split())[:400]
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", line)
