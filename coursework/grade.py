"""One submission to one grade: its notebook runs in a jail and is called from here.

The trusted side draws the inputs, holds the expected answers, compares, and says what
is wrong. It never imports what was handed in.
"""

import datetime
import hashlib
import platform
import time

import numpy as np

from coursework import check, notebook
from coursework.assignment import Assignment
from coursework.cases import pack_case, unpack
from coursework.jail import Jail, JailError, how, protections

LONGEST_ANSWER = 20_000  # characters
MAX_STARTS = 20  # of the process; each start runs the cells again


class ProcessError(Exception):
    """The process of a submission failed; the message is a sentence for its student."""


class Session:
    """The notebook of one submission, running; started again where its process dies.

    cells      sources of its code cells
    """

    def __init__(self, assignment: Assignment, cells: list[str]):
        self.assignment, self.cells = assignment, cells
        self.faults: dict[int, str] = {}  # of the cells, by number from 1
        self._fatal: set[int] = set()  # cells that end the process
        self._jail: Jail | None = None
        self._starts = 0
        self._end = time.monotonic() + assignment.seconds

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop()

    def answers(self, case: list[dict], seconds: float) -> list | str:
        """What the notebook's functions answer, or the text of the error they raised.

        Raises ProcessError where the process failed; the next call starts a new one.
        """
        try:
            self._start()
            reply = self._jail.ask({"case": pack_case(case)}, self._left(seconds))
            if reply.get("error"):
                return str(reply["error"])[:300]
            found = reply["answers"]
            if not isinstance(found, list):
                raise TypeError
            return [unpack(x) for x in found]
        except JailError as error:
            self._stop()
            text = str(error)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            self._stop()
            text = "its answer cannot be read"
        raise ProcessError(f"{text[0].upper()}{text[1:]}.")

    def _left(self, seconds):
        left = self._end - time.monotonic()
        if left <= 0:
            raise JailError(f"all of it took over {self.assignment.seconds:g} s")
        return min(seconds, left)

    def _stop(self):
        if self._jail:
            self._jail.close()
        self._jail = None

    def _start(self):
        """A process in which every cell ran that does not end it."""
        while self._jail is None:
            self._left(1)
            if self._starts == MAX_STARTS:
                raise JailError(f"its process ended {MAX_STARTS} times")
            self._starts += 1
            self._jail = Jail(
                self.assignment.packages, self.assignment.bounds, self._handed_out()
            )
            for number, source in enumerate(self.cells, 1):
                if number in self._fatal or source.startswith(check.TITLE):
                    continue
                try:
                    seconds = self._left(self.assignment.cell_seconds)
                    reply = self._jail.ask({"cell": source}, seconds)
                except JailError as error:
                    self._stop()
                    self._fatal.add(number)
                    self.faults[number] = str(error)
                    break
                if reply.get("error"):
                    where = f"line {reply['line']}: " if reply.get("line") else ""
                    self.faults[number] = f"{where}{reply['error']}"[:300]

    def _handed_out(self):
        return [self.assignment.folder / name for name in self.assignment.files]


def grade(
    assignment: Assignment, data: bytes, student: str, seed: str, note: str = ""
) -> dict:
    """The grade of a submission, as plain JSON.

    data    the bytes of its notebook
    note    why it cannot be graded, where that is known already
    seed    secret of the course: with the student and the bytes it draws the inputs, so
            that nobody can know them before, and a second grading gives the same
    """
    begin = time.perf_counter()
    digest = hashlib.sha256(data).hexdigest()
    record = {
        "assignment": assignment.name,
        "student": student,
        "points": 0.0,
        "of": assignment.automatic,
        "note": "",
        "questions": [],
        "cells": {},
        "written": {},
        "submission": digest,
        "grader": assignment.digest(),
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "isolation": how(),
        "missing": [name for name, given in protections().items() if not given],
    }
    try:
        found = notebook.cells(data)
    except notebook.SubmissionError as error:
        found, note = [], note or str(error)
    if note:
        return _ungraded(record, assignment, note) | _when(begin)
    record["written"] = {
        part["name"]: text
        for part in assignment.written
        if (text := written(found, part["name"]))
    }
    code = [source for kind, source in found if kind == "code"]
    with Session(assignment, code) as session:
        for question in assignment.questions:
            text = f"{seed}/{student}/{digest}/{question.name}"
            drawn = hashlib.sha256(text.encode()).digest()
            rng = np.random.default_rng(int.from_bytes(drawn))
            fault = _fault(session, question, rng)
            points = 0.0 if fault else question.points
            record["questions"].append(
                {
                    "name": question.name,
                    "points": points,
                    "of": question.points,
                    "message": fault or "right",
                }
            )
            record["points"] += points
        record["cells"] = {str(n): text for n, text in session.faults.items()}
    return record | _when(begin)


def written(cells: list[tuple[str, str]], name: str) -> str:
    """The written answer to the question `name`; "" where there is none."""
    mark = check.answer_mark(name)
    texts = [text.replace(mark, "") for _, text in cells if mark in text]
    found = "\n".join(texts).strip()
    return "" if found == check.ANSWER else found[:LONGEST_ANSWER]


def _ungraded(record: dict, assignment: Assignment, note: str) -> dict:
    """The record of a submission that cannot be graded: no points, and why."""
    questions = [
        {"name": q.name, "points": 0.0, "of": q.points, "message": note}
        for q in assignment.questions
    ]
    return record | {"note": note, "questions": questions}


def _fault(session, question, rng):
    """What is wrong with the answers to a question; None where nothing is."""
    cases, answers = [], []
    for _ in range(question.cases):
        cases.append(question.draw(rng))
        try:
            answers.append(session.answers(cases[-1], question.seconds))
        except ProcessError as error:
            return str(error)
    return question.verdict(cases, answers)


def _when(begin):
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"graded": now, "seconds": round(time.perf_counter() - begin, 2)}
