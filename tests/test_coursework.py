"""Assignments and their grades: hand out, check, grade, hand over."""

import contextlib
import csv
import dataclasses
import hashlib
import inspect
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import nbformat
import numpy as np
import pytest

from coursework import __main__ as command
from coursework import assignment, check, course, package, release
from coursework.assignment import AssignmentError
from coursework.cases import call, pack, unpack
from coursework.course import CourseError
from coursework.grade import grade
from coursework.questions import Question, edited
from tests.submissions import CLASS, IMPORT, RIGHT, STEP, WRONG, adam, honest, notebook

ADAM = assignment.load("adam")


@pytest.fixture(scope="session")
def student():
    """The students' notebook of an assignment, made once."""
    made = {}

    def notebook_of(name):
        if name not in made:
            made[name] = release.student_notebook(assignment.load(name))
        return made[name]

    return notebook_of


def graded(data, name="anna", of=ADAM, seed="a seed"):
    return grade(of, data, name, seed)


def messages(record):
    return {q["name"]: q["message"] for q in record["questions"]}


def solutions(name):
    """The code cells of a master, as a student with every answer would hand them in."""
    nb = nbformat.read(assignment.load(name).master, as_version=4)
    return [c.source for c in nb.cells if c.cell_type == "code"]


# Hand out


def lines_of(name):
    """The lines of a master: those handed out, and those between solution marks."""
    given, secret, inside = [], [], False
    for cell in nbformat.read(assignment.load(name).master, as_version=4).cells:
        for line in cell.source.splitlines():
            inside = inside and "END SOLUTION" not in line
            code = inside and cell.cell_type == "code"
            (secret if code else given).append(line.strip())
            inside = inside or ("BEGIN SOLUTION" in line and cell.cell_type == "code")
    return given, secret


def shown(lines, nb):
    """Those of some lines of code that a notebook shows."""
    text = nbformat.writes(nb)
    return {x for x in lines if len(x) > 12 and json.dumps(x)[1:-1] in text}


@pytest.mark.parametrize("name", assignment.names())
def test_student_notebook_has_no_trace_of_solutions(name, student):
    given, secret = lines_of(name)
    assert any(len(line) > 12 for line in secret), "the master marks no solution"
    assert not shown(set(secret) - set(given), student(name))
    for word in ("SOLUTION", "from coursework", "import coursework"):
        assert word not in nbformat.writes(student(name))


@pytest.mark.parametrize("name", assignment.names())
def test_student_notebook_has_no_trace_of_hidden_tests(name, student):
    found = assignment.load(name)
    source = (found.folder / "grading.py").read_text(encoding="utf-8")
    judges = [inspect.getsource(q.judge) for q in found.questions if q.judge]
    public = lines_of(name)[0] + "".join(judges).splitlines()
    lines = {line.strip() for line in source.splitlines() if len(line.strip()) > 30}
    lines -= {line.strip() for line in public}
    hidden = {line for line in lines if not line.startswith(("def ", "class ", "#"))}
    assert not shown(hidden, student(name))


def test_trace_of_a_solution_is_found(student, monkeypatch):
    """The two tests above can fail: a solution that nobody marked is seen."""
    nb = nbformat.from_dict(json.loads(nbformat.writes(student("adam"))))
    nb.cells.append(nbformat.v4.new_code_cell(STEP))
    nb.cells.append(
        nbformat.v4.new_code_cell("size = 10 ** rng.uniform(-4, 2, (steps, *shape))")
    )
    for test in (
        test_student_notebook_has_no_trace_of_solutions,
        test_student_notebook_has_no_trace_of_hidden_tests,
    ):
        with pytest.raises(AssertionError):
            test("adam", lambda name: nb)


@pytest.mark.parametrize("name", assignment.names())
def test_student_notebook_is_a_notebook_that_says_what_it_asks(name, student):
    nb, found = student(name), assignment.load(name)
    nbformat.validate(nb)
    about = nb.cells[1].source
    assert all(aim in about for aim in found.aims)
    assert f"about {found.minutes} minutes" in about
    assert f"**Points:** {found.points:g}" in about and found.may_use in about
    for part in found.written:
        mark = check.answer_mark(part["name"])
        assert sum(mark in cell.source for cell in nb.cells) == 1
    cells = [c.source for c in nb.cells if not c.source.startswith(check.TITLE)]
    asked = re.findall(r'check\("([^"]+)"\)', "\n".join(cells))
    assert set(asked) == {question.name for question in found.questions}


def test_release_replaces_the_folder_as_a_whole(tmp_path, monkeypatch, student):
    nb = student("adam")
    monkeypatch.setattr(release, "student_notebook", lambda assignment: nb)
    old = tmp_path / "adam" / "old.txt"
    old.parent.mkdir()
    old.write_text("of last year")
    path = release.release(ADAM, tmp_path)
    assert [x.name for x in path.parent.iterdir()] == ["adam.ipynb"]
    assert [x.name for x in tmp_path.iterdir()] == ["adam"]

    def fails(a):
        raise AssignmentError("no")

    monkeypatch.setattr(release, "student_notebook", fails)
    with pytest.raises(AssignmentError):
        release.release(ADAM, tmp_path)
    assert [x.name for x in path.parent.iterdir()] == ["adam.ipynb"]


# The checks of the notebook


def run_checks(nb, *sources, question):
    """What `check(question)` prints in a notebook with these cells, NumPy alone."""
    program = "\n\n".join(
        [
            "import sys\nsys.modules['coursework'] = sys.modules['adamtut'] = None",
            next(c.source for c in nb.cells if c.source.startswith(check.TITLE)),
            *sources,
            *(f"check({name!r})" for name in question),
        ]
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_checks_name_the_mistake(student):
    nb = student("adam")
    names = [question.name for question in ADAM.questions]
    lines = run_checks(nb, IMPORT, STEP, CLASS, question=names)
    assert lines == [f"{name}: right on the visible numbers." for name in names]
    wrong = STEP.replace("v / (1 - beta2**t)", "v")
    lines = run_checks(nb, IMPORT, wrong, CLASS, question=names)
    assert all(
        "Your v is not corrected: at t = 1 your step is 31.62 lr" in x for x in lines
    )
    lines = run_checks(nb, IMPORT, question=["ten-steps", "optimiser"])
    assert "there is no adam_step in the notebook" in lines[0]
    assert "there is no Adam in the notebook" in lines[1]


@pytest.mark.parametrize(
    ("words", "size"),
    [
        ("Your v is not corrected: at t = 1 your step is 31.62 lr", "31.62"),
        ("Neither m nor v is corrected: at t = 1 your step is 3.162 lr", "3.162"),
        ("Your m is not corrected: at t = 1 your step is a tenth of", "0.1"),
    ],
)
def test_the_numbers_in_the_messages_are_true(words, size):
    roster = ADAM.questions[0].wrong
    (source,) = (code for message, code in roster.items() if message.startswith(words))
    step = {"np": np}
    exec(source, step)
    p, _, _ = step["adam_step"](0.0, 1.0, 0.0, 0.0, 1, lr=1.0, eps=0.0)
    assert f"{-p:.4g}" == size


def test_check_of_an_unknown_question_names_those_there_are():
    checks = release.check_of(ADAM, {})
    with pytest.raises(
        ValueError, match="There is no question 'first_step'.*first-step"
    ):
        checks("first_step")


# Grades


@pytest.mark.parametrize("name", assignment.names())
def test_the_master_gets_every_point(name):
    found = assignment.load(name)
    cells = [s for s in solutions(name) if "coursework" not in s and "plt." not in s]
    cells = [s.replace("import matplotlib.pyplot as plt\n", "") for s in cells]
    record = graded(notebook(*cells), of=found)
    assert messages(record) == {q.name: "right" for q in found.questions}
    assert record["points"] == found.automatic


@pytest.mark.parametrize("name", assignment.names())
def test_the_notebook_as_handed_out_gets_nothing(name, student):
    record = graded(nbformat.writes(student(name)).encode(), of=assignment.load(name))
    assert record["points"] == 0


@pytest.mark.parametrize("name", RIGHT)
def test_right_ones_written_differently_get_every_point(name):
    record = graded(RIGHT[name])
    assert messages(record) == {q.name: "right" for q in ADAM.questions}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_ones_read_what_is_wrong(name):
    data, words, question = WRONG[name]
    record = graded(data)
    assert words in messages(record)[question]
    assert record["points"] < ADAM.automatic


@pytest.mark.parametrize("name", assignment.names())
def test_every_wrong_function_of_the_roster_gets_its_own_message(name):
    """On random inputs, as they are drawn for a submission; no process needed."""
    found = assignment.load(name)
    nowhere = {}
    for question in found.questions:
        for message in question.wrong:
            nowhere.setdefault(message, [])
    for question in found.questions:
        for message in question.wrong:
            if nowhere[message] is None:
                continue
            rng = np.random.default_rng(7)
            cases = [question.draw(rng) for _ in range(question.cases)]
            got = question.verdict(cases, list(question.answers(cases, message)))
            if got == message:
                nowhere[message] = None
            elif got:
                nowhere[message].append((question.name, got))
    left = {m: read for m, read in nowhere.items() if read is not None}
    assert not left


def test_grading_again_gives_the_same_and_another_seed_other_inputs():
    first, second = graded(honest()), graded(honest())
    for record in (first, second):
        del record["graded"], record["seconds"]
    assert first == second
    drawn = []

    def draw(rng):
        drawn.append(rng.normal())
        return ADAM.questions[0].draw(rng)

    spy = dataclasses.replace(ADAM.questions[0], draw=draw, cases=1)
    one = dataclasses.replace(ADAM, questions=[spy])
    for name, data, seed in (
        ("anna", honest(), "a"),
        ("anna", honest(), "b"),
        ("bert", honest(), "a"),
        ("anna", honest() + b" ", "a"),
        ("anna", honest(), "a"),
    ):
        graded(data, name, one, seed)
    assert len(set(drawn)) == 4 and drawn[0] == drawn[4]


def test_record_says_what_was_graded_and_how():
    record = graded(honest())
    assert record["submission"] == hashlib.sha256(honest()).hexdigest()
    assert record["versions"].keys() == {"python", "numpy"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*\+00:00", record["graded"])
    assert record["isolation"] and isinstance(record["missing"], list)


# A course


@pytest.fixture
def submissions(tmp_path):
    folder = tmp_path / "adam"
    folder.mkdir()
    (folder / "anna.ipynb").write_bytes(honest())
    (folder / "bert").mkdir()
    (folder / "bert" / "Untitled.ipynb").write_bytes(WRONG["Keras' eps"][0])
    return folder


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def run(*arguments):
    """Exit status, output and errors of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = command.main([str(x) for x in arguments])
    return status, out.getvalue(), err.getvalue()


def test_grade_writes_csv_and_feedback(submissions, tmp_path):
    out = tmp_path / "out"
    status, said, _ = run("grade", submissions, "--out", out)
    assert status == 0 and said.strip() == str(out / "grades.csv")
    found = rows(out / "grades.csv")
    assert found["anna"]["points"] == "15" and found["bert"]["points"] == "13"
    page = (out / "feedback" / "bert.md").read_text(encoding="utf-8")
    assert "Your default of eps is 1e-7" in page and "13 of 15" in page
    upload = rows_of_upload(out)
    assert upload["anna"] == "15" and upload["Points Possible"] == "15"
    kept = {path: path.stat().st_mtime_ns for path in (out / "grades").iterdir()}
    run("grade", submissions, "--out", out)
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    (submissions / "anna.ipynb").write_bytes(adam(STEP.replace("1e-8", "1e-7")))
    run("grade", submissions, "--out", out)
    assert rows(out / "grades.csv")["anna"]["points"] == "13"


def rows_of_upload(out):
    with open(out / "upload.csv", encoding="utf-8", newline="") as file:
        return {row["Student"]: row[ADAM.title] for row in csv.DictReader(file)}


def test_bad_input_gets_a_sentence_and_everything_else_a_grade(submissions, tmp_path):
    (submissions / "carl.ipynb").write_text("{", encoding="utf-8")
    (submissions / "dora.ipynb").mkdir()
    os.mkfifo(submissions / "emil.ipynb")
    (submissions / "frida").mkdir()
    (submissions / "gerd.ipynb").write_bytes(honest())
    (submissions / "GERD").mkdir()
    (submissions / "GERD" / "adam.ipynb").write_bytes(honest())
    (submissions / "=1+1.ipynb").write_bytes(honest())
    (submissions / "hugo.ipynb").write_bytes(b"")
    out = tmp_path / "out"
    status, _, errors = run("grade", submissions, "--out", out, "--jobs", 2)
    assert status == 0
    found = rows(out / "grades.csv")
    notes = {name: row["note"] for name, row in found.items()}
    assert notes == {
        "anna": "",
        "bert": "",
        "carl": "The file is not a notebook (no valid JSON).",
        "dora.ipynb": "There is no notebook in the folder.",
        "emil": "emil.ipynb is not a file.",
        "frida": "There is no notebook in the folder.",
        "GERD": "There are 2 notebooks of this name (GERD/adam.ipynb, "
        "adam/gerd.ipynb); "
        "hand in one.",
        "hugo": "The file is not a notebook (no valid JSON).",
    }
    assert found["anna"]["points"] == "15" and found["bert"]["points"] == "13"
    assert "'=1+1' is no student's name" in errors
    for name in ("carl", "emil", "GERD"):
        assert f"{name}: {notes[name]}" in errors


def test_errors_of_the_commands_are_sentences(tmp_path, submissions):
    empty = tmp_path / "empty"
    empty.mkdir()
    cases = [
        (("grade", empty, "--assignment", "adam", "--out", "o"), "is empty"),
        (
            ("grade", tmp_path / "no", "--assignment", "adam", "--out", "o"),
            "not a folder",
        ),
        (
            ("grade", submissions, "--assignment", "adm", "--out", "o"),
            "no assignment 'adm'",
        ),
        (("grade", submissions, "--out", "o", "--jobs", 0), "jobs is 0; allowed"),
        (("release", tmp_path, "adm"), "no assignment 'adm'; there are: .*adam"),
        (("package", "adm"), "no assignment 'adm'"),
    ]
    for arguments, words in cases:
        status, _, errors = run(*arguments)
        assert status == 1 and re.search(words, errors), errors


def folder_of(tmp_path, **files):
    """A copy of the assignment on Adam with some files changed; None takes one away."""
    folder = tmp_path / "mine"
    shutil.copytree(ADAM.folder, folder)
    for name, text in files.items():
        path = folder / {"yml": "assignment.yml", "master": "master.ipynb"}[name]
        path.unlink() if text is None else path.write_text(text, encoding="utf-8")
    return folder


SETTINGS = "title: T\naims: [a]\nminutes: 5\nmay_use: NumPy\n"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"yml": None}, "There is no assignment"),
        ({"yml": "title: ["}, "cannot be read"),
        ({"yml": "- a"}, "no list of"),
        ({"yml": "title: T\n"}, "does not say: aims, minutes, may_use"),
        ({"yml": SETTINGS + "minuts: 4\n"}, "'minuts'; allowed: title"),
        ({"yml": SETTINGS + "seconds: long\n"}, "seconds is 'long'"),
        ({"yml": SETTINGS + "written: [{name: arrays, points: 1}]"}, "twice"),
    ],
)
def test_assignments_that_cannot_be_used(tmp_path, files, words):
    with pytest.raises(AssignmentError, match=words):
        assignment.load(folder_of(tmp_path, **files))


def test_a_missing_master_is_named_and_its_submissions_are_graded(tmp_path):
    found = assignment.load(folder_of(tmp_path, master=None))
    with pytest.raises(AssignmentError, match="'mine' has no master.ipynb"):
        release.student_notebook(found)
    assert graded(honest(), of=found)["points"] == 15


def test_a_master_without_the_written_answer_is_named(tmp_path):
    text = SETTINGS + "written: [{name: why, points: 1}]"
    found = assignment.load(folder_of(tmp_path, yml=text))
    with pytest.raises(AssignmentError, match="no written answer .* for: why"):
        release.student_notebook(found)


def test_questions_that_cannot_be_asked():
    right = {"f": abs, "g": abs}
    for arguments, words in (
        ({}, "either right or judge"),
        ({"right": right, "judge": abs}, "either right or judge"),
        ({"right": right, "wrong": {"No.": abs}}, "name its functions"),
    ):
        with pytest.raises(TypeError, match=words):
            Question("q", 1, lambda rng: [], **arguments)
    with pytest.raises(TypeError, match="is not a slug"):
        Question("my question", 1, lambda rng: [], right=right)
    with pytest.raises(ValueError, match="'x' is not in the source"):
        edited("def f(): pass", ("x", "y"))


def test_a_failure_of_the_grader_is_one_students_and_is_tried_again(
    submissions, tmp_path, monkeypatch
):
    out, real = tmp_path / "out", course.grade

    def fails(assignment, data, student, seed, note):
        if student == "anna" and not note:
            raise ZeroDivisionError("a fault of ours")
        return real(assignment, data, student, seed, note)

    monkeypatch.setattr(course, "grade", fails)
    path, notes = course.grade_course(ADAM, submissions, out)
    assert notes == [
        "anna: The grader failed on it (ZeroDivisionError: a fault of ours)."
    ]
    assert rows(path)["bert"]["points"] == "13"
    monkeypatch.undo()
    path, notes = course.grade_course(ADAM, submissions, out)
    assert not notes and rows(path)["anna"]["points"] == "15"


def test_answers_of_any_form_are_wrong_answers():
    """What the comparison must survive, whatever was expected."""
    odd = [10**400, "text", None, True, [], {}, {"a": 1}, [[[]]], float("nan")]
    odd += [np.zeros((0,)), np.zeros((2, 2)), np.array(["a"]), object(), b"bytes", 1j]

    def judge(case, answers):
        return None if answers[0][0] + 1 > 0 else "no"

    asked = [[call("f")]]
    for right in (lambda: 1.5, lambda: np.ones(3), lambda: (1.0, 2.0), lambda: "x"):
        question = Question("q", 1, lambda rng: [], {"f": right}, {"No.": lambda: 7})
        for value in odd:
            answers = [unpack(json.loads(json.dumps(pack(value))))]
            assert question.verdict(asked, [answers])
    judged = Question("q", 1, lambda rng: [], judge=judge)
    for value in odd[1:8]:
        answers = [unpack(json.loads(json.dumps(pack(value))))]
        assert "form" in judged.verdict(asked, [answers])


def test_a_package_that_is_not_installed_is_named(tmp_path, submissions):
    folder = folder_of(tmp_path, yml=SETTINGS + "packages: [numpy, no-such-package]")
    words = ("grade", submissions, "--assignment", folder, "--out", tmp_path / "out")
    status, _, errors = run(*words)
    assert status == 1 and "may use 'no-such-package', which is not" in errors


def test_written_answers_are_handed_to_a_person(tmp_path):
    text = SETTINGS + "written: [{name: why, points: 3}]"
    found = assignment.load(folder_of(tmp_path, yml=text))
    found = dataclasses.replace(found, questions=found.questions[:1])
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name, answer in (("anna", "Both start at zero."), ("bert", check.ANSWER)):
        book = json.loads(honest())
        source = f"{check.answer_mark('why')}\n{answer}"
        book["cells"].append(
            {"cell_type": "markdown", "metadata": {}, "source": source}
        )
        (folder / f"{name}.ipynb").write_text(json.dumps(book))
    path, _ = course.grade_course(found, folder, out)
    assert (
        rows(path)["anna"] | {"of": "5", "points": "2", "why": ""} == rows(path)["anna"]
    )
    page = (out / "written" / "anna.md").read_text(encoding="utf-8")
    assert "Both start at zero." in page
    assert "No written answer" in (out / "written" / "bert.md").read_text(
        encoding="utf-8"
    )
    (out / "written.csv").write_text(
        "student,question,points,comment\nanna,why,2.5,Say which.\nbert,why,7,\n"
    )
    path, notes = course.grade_course(found, folder, out)
    assert rows(path)["anna"]["points"] == "4.5" and rows(path)["anna"]["why"] == "2.5"
    assert rows(path)["bert"]["points"] == "2" and rows(path)["bert"]["why"] == ""
    assert notes == [
        "written.csv: bert, why: points are '7'; allowed: 0 to 3, for why."
    ]
    assert "Say which." in (out / "feedback" / "anna.md").read_text(encoding="utf-8")
    (out / "written.csv").write_text("who,points\n")
    with pytest.raises(CourseError, match="no column comment, question, student"):
        course.grade_course(found, folder, out)


def test_a_class_killed_in_the_middle_resumes_with_the_same_csv(tmp_path):
    folder, whole, cut = tmp_path / "adam", tmp_path / "whole", tmp_path / "cut"
    folder.mkdir()
    class_of = [*RIGHT.values(), *(data for data, *_ in list(WRONG.values())[-5:])]
    for number, data in enumerate(class_of):
        (folder / f"student-{number:02}.ipynb").write_bytes(data)
    start = [sys.executable, "-m", "coursework", "grade", str(folder), "--out"]
    whole.mkdir()
    (whole / "seed").write_text("a seed\n")
    course.grade_course(ADAM, folder, whole)
    cut.mkdir()
    (cut / "seed").write_text("a seed\n")
    grader = subprocess.Popen([*start, str(cut)], stderr=subprocess.DEVNULL)
    while len(list(cut.glob("grades/*.json"))) < 4:
        assert grader.poll() is None
        time.sleep(0.02)
    grader.send_signal(signal.SIGKILL)
    grader.wait()
    kept = {p: p.stat().st_mtime_ns for p in cut.glob("grades/*.json")}
    assert 4 <= len(kept) < len(class_of) and not (cut / "grades.csv").exists()
    course.grade_course(ADAM, folder, cut)
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert (cut / "grades.csv").read_bytes() == (whole / "grades.csv").read_bytes()
    assert len(rows(cut / "grades.csv")) == len(class_of)


# Hand over


def test_gradescope_zip_grades_on_its_own(tmp_path):
    """Unpacked elsewhere, with nothing of the repository but what is in it."""
    path = package.package(ADAM, tmp_path / "adam.zip")
    again = package.package(ADAM, tmp_path / "again.zip")
    assert path.read_bytes() == again.read_bytes()
    source, results = tmp_path / "source", tmp_path / "results"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(source)
        modes = {x.filename: x.external_attr >> 16 for x in archive.infolist()}
    assert modes["run_autograder"] == modes["setup.sh"] == 0o755
    assert not (source / "coursework" / "adam" / "master.ipynb").exists()
    folder = tmp_path / "submission"
    folder.mkdir()
    (folder / "my notebook.ipynb").write_bytes(WRONG["Keras' eps"][0])
    script = (source / "run_autograder").read_text(encoding="utf-8")
    script = script.replace("/autograder/venv/bin/python", sys.executable)
    script = script.replace("/autograder", str(tmp_path))
    results.mkdir()
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((results / "results.json").read_text(encoding="utf-8"))
    assert found["score"] == 13
    assert [t["max_score"] for t in found["tests"]] == [
        q.points for q in ADAM.questions
    ]
    assert "1e-7" in found["tests"][0]["output"]
    assert found["tests"][0]["status"] == "failed"
    assert json.loads((results / "grade.json").read_text())["points"] == 13


def test_setup_installs_the_versions_of_the_book():
    lines = package._requirements(ADAM)
    assert any(line.startswith("numpy==") for line in lines)
    assert any(line.startswith("matplotlib==") for line in lines)
