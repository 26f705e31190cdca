# ruff: noqa: E501 -- programs in strings
"""Hostile and broken submissions, each graded between two honest ones.

`HOSTILE` says what each may get. All are bounded by the limits of the jail, which
`test_the_limits_hold` proves first, with numbers that would do no harm without them.
"""

import csv
import dataclasses
import http.server
import inspect
import json
import os
import threading
import time

import numpy as np
import pytest

from coursework import assignment, course, jail
from coursework.cases import run_case
from coursework.jail import Bounds, Jail, JailError
from coursework.release import VISIBLE
from tests.submissions import (
    CLASS,
    IMPORT,
    OWN_CLASS,
    RIGHT,
    STEP,
    adam,
    body,
    notebook,
)

# Short limits: a loop that ends at two seconds is as endless as any.
ADAM = assignment.load("adam")
ADAM = dataclasses.replace(
    ADAM,
    packages=("numpy",),
    cell_seconds=2,
    seconds=25,
    bounds=Bounds(memory=400 * jail.MB),
    questions=[dataclasses.replace(q, cases=2, seconds=1) for q in ADAM.questions],
)
FULL = ADAM.automatic
WRONG = STEP.replace("np.sqrt(v_hat) + eps", "np.sqrt(v_hat + eps)")
NOT_WRITTEN = "def adam_step(*args, **kwargs): ..."
# Every file but the system's and Python's, where solutions, tests or classmates may lie.
SEARCH = """
import os, sys
skip = ("/proc", "/sys", "/usr", "/packages", os.path.realpath(sys.base_prefix))
found = []
for top, folders, files in os.walk("/"):
    if top.startswith(skip):
        folders.clear()
        continue
    for name in files:
        if name.endswith((".ipynb", ".py", ".yml", ".json", ".csv", ".zip")):
            found.append(os.path.join(top, name))
found = [f for f in found if not f.startswith("/grader")]
"""


def cell_first(source):
    """An honest submission whose first cell is this."""
    return notebook(source, IMPORT, STEP, CLASS)


def with_step(*cells):
    """A submission that has no right class and gets `adam_step` from these cells."""
    return notebook(IMPORT, *cells)


def changed(data, change):
    book = json.loads(data)
    change(book)
    return json.dumps(book).encode()


def old_format(book):
    """nbformat 3: worksheets, and `input` for `source`."""
    cells = [{**c, "input": c.pop("source")} for c in book.pop("cells")]
    book.update(nbformat=3, nbformat_minor=0, worksheets=[{"cells": cells}])
    book["metadata"] = {"name": ""}


def set_kernel(book, name, language):
    book["metadata"] = {"kernelspec": {"name": name, "language": language}}


def bare(book):
    del book["metadata"]
    book["cells"] = [
        {"cell_type": c["cell_type"], "source": "".join(c["source"])}
        for c in book["cells"]
    ]


def swollen(book):
    output = {"output_type": "stream", "name": "stdout", "text": "x" * 25_000_000}
    book["cells"][0]["outputs"] = [output]


def seen():
    """The arguments of adam_step in the visible checks, and what it returned."""
    found = []

    def spy(*arguments, **numbers):
        result = dict(ADAM.questions[0].right)["adam_step"](*arguments, **numbers)
        found.append((key(*arguments), [np.asarray(x).tolist() for x in result]))
        return result

    for question in ADAM.questions[:5]:
        run_case(question.draw(np.random.default_rng(VISIBLE)), {"adam_step": spy})
    return dict(found)


def key(*arguments):
    return repr([np.asarray(x).tolist() for x in arguments])


KEY = inspect.getsource(key)


# name: (the submission, the points it may get, words of a message, note or cell fault)
HOSTILE = {
    # cells
    "endless loop in a cell": (cell_first("while True: pass"), FULL, "took too long"),
    "exit in a cell": (cell_first("import sys\nsys.exit(0)"), FULL, "SystemExit"),
    "os._exit in a cell": (cell_first("import os\nos._exit(0)"), FULL, "exit status 0"),
    "raised error": (cell_first("raise ValueError('no')"), FULL, "ValueError: no"),
    "keyboard interrupt": (cell_first("raise KeyboardInterrupt"), FULL, "Keyboard"),
    "syntax error": (cell_first("def f(:"), FULL, "SyntaxError"),
    "segmentation fault": (
        cell_first("import ctypes\nctypes.string_at(0)"),
        FULL,
        "SIGSEGV",
    ),
    "deleted cells": (notebook(IMPORT, STEP), FULL - 4, "there is no Adam"),
    "all cells deleted": (notebook(), 0, "there is no adam_step"),
    "duplicated cells": (notebook(IMPORT, WRONG, STEP, STEP, CLASS, CLASS), FULL, ""),
    "reordered cells": (notebook(CLASS, IMPORT, 'check("arrays")', STEP), FULL, ""),
    "input()": (cell_first("x = input('name? ')"), FULL, "EOFError"),
    "magic commands": (
        notebook(
            "%matplotlib inline\n!pip install torch\nimport math\nimport numpy as np",
            "%%bash\nrm -rf /",
            "%%time\n" + STEP,
            "get_ipython().run_line_magic('load_ext', 'autoreload')\nnp.sqrt?\n"
            + CLASS,
        ),
        FULL,
        "",
    ),
    "closed streams": (
        cell_first("import os\nfor i in range(3):\n    os.close(i)"),
        FULL,
        "",
    ),
    "every descriptor closed": (
        cell_first("import os\nos.closerange(0, 99)"),
        FULL,
        "exit status",
    ),
    "signals ignored": (
        cell_first(
            "import signal\nfor n in range(1, 65):\n    try:\n"
            "        signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError):\n"
            "        pass\nwhile True: pass"
        ),
        FULL,
        "took too long",
    ),
    # functions
    "endless function": (adam(body("while True: pass"), OWN_CLASS), 4, "too long"),
    "exit in a function": (adam(body("import os\nos._exit(3)")), 0, "exit status 3"),
    "endless at the third call": (
        adam(
            "calls = 0\n"
            + body("global calls\ncalls += 1\nwhile calls > 2: pass\nreturn p, m, v")
        ),
        0,
        "took too long",
    ),
    "deep recursion": (
        adam(body("return adam_step(p, g, m, v, t)")),
        0,
        "RecursionError",
    ),
    "a huge integer": (adam(body("return 10**9000, m, v")), 0, ""),
    "a gigantic answer": (adam(body("return np.zeros(6_000_000), m, v")), 0, ""),
    "an answer nested too deep": (
        adam(body("x = []\nfor _ in range(100_000):\n    x = [x]\nreturn x, m, v")),
        0,
        "",
    ),
    "not a number": (adam(body("return p * np.nan, m, v")), 0, "not finite"),
    # the grader, from inside
    "edited checks": (
        notebook(
            IMPORT, "def check(name):\n    print('right')", WRONG, 'check("arrays")'
        ),
        0,
        "eps is inside the root",
    ),
    "patched numpy": (
        notebook(
            IMPORT,
            "np.allclose = np.isclose = np.array_equal = lambda *a, **k: True\n"
            "np.abs = np.asarray = lambda *a, **k: 0\nnp.testing = None",
            NOT_WRITTEN,
        ),
        0,
        "",
    ),
    "patched torch": (
        notebook("import torch\ntorch.allclose = lambda *a: True", IMPORT, WRONG),
        0,
        "No module named 'torch'",
    ),
    "patched builtins": (
        notebook(
            IMPORT,
            "import builtins\nbuiltins.all = builtins.any = lambda *a: True\n"
            "builtins.abs = builtins.max = lambda *a, **k: 0\n"
            "builtins.isinstance = lambda *a: True",
            NOT_WRITTEN,
        ),
        0,
        "",
    ),
    "patched grader": (
        notebook(
            IMPORT,
            "import sys, gc, json\nfor module in list(sys.modules.values()):\n"
            "    for name in ('compare', 'verdict', 'describe', 'distance', 'grade'):\n"
            "        if hasattr(module, name):\n"
            "            setattr(module, name, lambda *a, **k: '')\n"
            "import cases\ncases.run_case = lambda *a: []",
            WRONG,
        ),
        0,
        "",
    ),
    "walks the stack to the expected values": (
        notebook(
            IMPORT,
            body(
                "import sys, gc\nframe = sys._getframe()\nwhile frame:\n"
                "    for name in ('expected', 'want', 'right', 'answers'):\n"
                "        if name in frame.f_locals:\n"
                "            return frame.f_locals[name]\n    frame = frame.f_back\n"
                "return next(o['expected'] for o in gc.get_objects()\n"
                "            if isinstance(o, dict) and 'expected' in o)"
            ),
        ),
        0,
        "",
    ),
    "equals everything": (
        notebook(
            IMPORT,
            "class Same:\n    __eq__ = lambda *a: True\n    __array__ = lambda *a, **k: 1/0\n"
            "    __len__ = lambda s: 3\n    __iter__ = lambda s: iter([s, s, s])\n"
            "    __getattr__ = lambda s, n: s\n    __call__ = lambda s, *a, **k: s",
            body("return Same()"),
        ),
        0,
        "",
    ),
    "a float that equals everything": (
        notebook(
            IMPORT,
            "class F(float):\n    __eq__ = lambda *a: True\n    __sub__ = lambda *a: 0.0\n"
            "    __rsub__ = __sub__\n    __hash__ = None",
            body("return F(p), F(m), F(v)"),
        ),
        0,
        "",
    ),
    "a forged pickle": (
        notebook(
            IMPORT,
            "class Bomb:\n    def __reduce__(self):\n"
            '        return (exec, (\'open("/tmp/was-here", "w")\',))',
            body("return Bomb(), Bomb(), Bomb()"),
        ),
        0,
        "is a Bomb",
    ),
    "writes into the channel": (
        notebook(
            IMPORT,
            "import os, json\n"
            "for n in range(3, 64):\n    for k in range(1, 40):\n        try:\n"
            "            os.write(n, json.dumps({'id': k, 'answers': [[0, 0, 0]], "
            "'error': None, 'points': 15}).encode() + b'\\n')\n"
            "        except OSError:\n            break",
            WRONG,
        ),
        0,
        "",
    ),
    "junk into the channel": (
        adam(
            "import os\nfor n in range(3, 64):\n    try:\n        os.write(n, b'{{{\\n')\n"
            "    except OSError:\n        pass\n" + STEP
        ),
        0,
        "channel of the grader",
    ),
    # what lies on the disk
    "hidden tests and solutions read from disk": (
        with_step(SEARCH, "exec(open(found[0]).read())"),
        0,
        "list index out of range",
    ),
    "the book's own rules": (
        with_step("from adamtut import rules\nadam_step = rules.adam"),
        0,
        "No module named 'adamtut'",
    ),
    "writes results itself": (
        notebook(
            IMPORT,
            "import os, json\nfor folder in ('.', '/', '/tmp', '/grader', '/autograder/results',"
            " os.path.expanduser('~')):\n    for name in ('results.json', 'grades.csv', "
            "'eve.json', 'grade.json'):\n        try:\n"
            "            open(os.path.join(folder, name), 'w').write('{\"score\": 15}')\n"
            "        except OSError:\n            pass",
            WRONG,
        ),
        0,
        "",
    ),
    "removes everything": (
        cell_first("import shutil\nshutil.rmtree('/', ignore_errors=True)"),
        FULL,
        "",
    ),
    "another student's answer": (
        with_step(
            SEARCH + "found += [f'FOLDER/{f}' for f in os.listdir('FOLDER')]",
            "import json\nfor cell in json.load(open(found[0]))['cells']:\n"
            "    exec(''.join(cell['source']))",
        ),
        0,
        "FileNotFoundError",
    ),
    "secrets of the environment": (
        with_step("import os\nraise ValueError(dict(os.environ))"),
        0,
        "ValueError",
    ),
    "network": (
        with_step(
            "import urllib.request, socket\nsocket.setdefaulttimeout(1)\n"
            "urllib.request.urlopen('http://127.0.0.1:PORT/').read()"
        ),
        0,
        "URLError",
    ),
    # bombs
    "endless print": (
        cell_first("while True: print('x' * 10000)"),
        FULL,
        "took too long",
    ),
    "memory bomb": (
        cell_first("x = []\nwhile True: x.append(bytearray(10**7))"),
        FULL,
        "MemoryError",
    ),
    "memory bomb in many processes": (
        cell_first(
            "import os, time\nfor i in range(6):\n    if os.fork() == 0:\n"
            "        x = bytearray(b'x' * 150_000_000)\n        time.sleep(9)\ntime.sleep(9)"
        ),
        FULL,
        "MB of memory",
    ),
    "process bomb": (cell_first("import os\nwhile True: os.fork()"), FULL, ""),
    "thread bomb": (
        cell_first(
            "import threading, time\nwhile True:\n"
            "    threading.Thread(target=time.sleep, args=(9,)).start()"
        ),
        FULL,
        "can't start new thread",
    ),
    "a full disk": (
        cell_first(
            "n = 0\nwhile True:\n    n += 1\n    open(f'/tmp/{n}', 'wb').write(b'x' * 10**6)"
        ),
        FULL,
        "No space left",
    ),
    "one huge file": (
        cell_first("open('/tmp/x', 'wb').truncate(10**12)"),
        FULL,
        "File too large",
    ),
    "files without end": (
        cell_first("x = []\nwhile True: x.append(open('/dev/null'))"),
        FULL,
        "Too many open files",
    ),
    "kills everything it can": (
        cell_first("import os\nos.kill(-1, 9)"),
        FULL,
        "",
    ),
    "kills the grader": (
        cell_first("import os\nfor pid in (os.getppid(), 1, 2):\n    os.kill(pid, 9)"),
        FULL,
        "",
    ),
    "a process that stays": (
        cell_first(
            "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
            "        time.sleep(300)\n    os._exit(0)"
        ),
        FULL,
        "",
    ),
    # lies about the numbers
    "hard-coded answers of the visible check": (
        notebook(
            IMPORT,
            f"TABLE = {seen()!r}",
            KEY + "def adam_step(*arguments, **numbers):\n"
            "    return [np.array(x)[()] for x in TABLE[key(*arguments)]]",
        ),
        0,
        "KeyError",
    ),
    "right under the visible check alone": (
        notebook(
            IMPORT,
            f"KEYS = {list(seen())!r}",
            KEY
            + STEP.replace("adam_step", "right")
            + WRONG.replace("adam_step", "wrong"),
            "def adam_step(*arguments, **numbers):\n"
            "    one = right if key(*arguments) in KEYS else wrong\n"
            "    return one(*arguments, **numbers)",
        ),
        0,
        "eps is inside the root",
    ),
    # files
    "no valid JSON": (b'{"cells": [', 0, "no valid JSON"),
    "JSON nested too deep": (b"[" * 200_000, 0, "no valid JSON"),
    "not a notebook": (b'["cells"]', 0, "it has no cells"),
    "cells that are none": (b'{"cells": [1, null, {"cell_type": 3}]}', 0, "adam_step"),
    "empty file": (b"", 0, "no valid JSON"),
    "bytes": (bytes(range(256)), 0, "no valid JSON"),
    "wrong kernel": (
        changed(adam(), lambda b: set_kernel(b, "ir", "R")),
        0,
        "in 'r', not Python",
    ),
    "unknown kernel": (
        changed(adam(), lambda b: set_kernel(b, "env", "python")),
        FULL,
        "",
    ),
    "no kernel name": (changed(adam(), lambda b: b.update(metadata={})), FULL, ""),
    "no metadata at all": (changed(adam(), bare), FULL, ""),
    "nbformat 3": (changed(adam(), old_format), FULL, ""),
    "gigantic notebook": (changed(adam(), swollen), 0, "over 20 MB"),
    "symbolic link": ("link", 0, "symbolic link"),
    "error that is markup": (
        cell_first("raise ValueError('<script>x</script> [a](b) `c` \\n# d')"),
        FULL,
        "ValueError",
    ),
}

needs_bubblewrap = pytest.mark.skipif(
    "bubblewrap" not in jail.how(), reason="bubblewrap does not work on this machine"
)
SHUT_OFF = {  # what only namespaces hold back: elsewhere nobody runs it
    "hidden tests and solutions read from disk",
    "the book's own rules",
    "another student's answer",
    "network",
    "a full disk",
    "kills everything it can",
    "kills the grader",
    "removes everything",
    "patched torch",
}


SECRET = "a-password-of-the-grader"


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Records of one class by name: honest before and after each hostile one."""
    if jail.how() == "limits":
        pytest.skip("limits alone do not hold these: they would harm this machine")
    top = tmp_path_factory.mktemp("class")
    folder, out = top / "adam", top / "out"
    folder.mkdir()
    out.mkdir()
    # not drawn anew each time: with two cases a question, luck may find a wrong step right
    (out / "seed").write_text("5eed5eed5eed\n")
    honest = list(RIGHT.values())
    with pytest.MonkeyPatch.context() as patch, server() as port:
        patch.setenv("GRADER_PASSWORD", SECRET)
        for number, (name, (data, *_)) in enumerate(HOSTILE.items()):
            right = folder / f"{number:02}-a-honest.ipynb"
            right.write_bytes(honest[number % len(honest)])
            path = folder / f"{number:02}-b-hostile.ipynb"
            if name in SHUT_OFF and "bubblewrap" not in jail.how():
                continue
            if data == "link":
                path.symlink_to(right)
            else:
                data = data.replace(b"PORT", str(port).encode())
                path.write_bytes(data.replace(b"FOLDER", str(folder).encode()))
        (folder / "99-a-honest.ipynb").write_bytes(honest[0])
        before = {p: p.lstat().st_mtime_ns for p in folder.iterdir()}
        path, _ = course.grade_course(ADAM, folder, out)
    assert before == {p: p.lstat().st_mtime_ns for p in folder.iterdir()}
    with open(path, encoding="utf-8", newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    records = {p.stem: json.loads(p.read_text()) for p in (out / "grades").iterdir()}
    assert rows.keys() == records.keys()
    assert all(float(rows[s]["points"]) == records[s]["points"] for s in rows)
    return records, out


class server:
    """A page on this machine that the jail must not reach."""

    def __enter__(self):
        handler = http.server.SimpleHTTPRequestHandler
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self.server.server_port

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_submission_gets_what_it_may(name, graded):
    if name in SHUT_OFF and "bubblewrap" not in jail.how():
        pytest.skip("bubblewrap does not work on this machine")
    number = list(HOSTILE).index(name)
    record = graded[0][f"{number:02}-b-hostile"]
    _, points, words = HOSTILE[name]
    said = [q["message"] for q in record["questions"]]
    said += [record["note"], *record["cells"].values()]
    assert record["points"] == points, said
    assert any(words in text for text in said), said


def test_others_keep_their_grades(graded):
    """Each honest one, before, between and after the hostile ones: every point."""
    honest = {name: r for name, r in graded[0].items() if "honest" in name}
    assert len(honest) == len(HOSTILE) + 1
    assert {r["points"] for r in honest.values()} == {FULL}
    assert not any(r["cells"] or r["note"] for r in honest.values())


def test_nothing_of_the_grader_is_in_a_record_or_a_page(graded):
    _, out = graded
    for path in [*(out / "grades").iterdir(), *(out / "feedback").iterdir()]:
        text = path.read_text(encoding="utf-8")
        assert SECRET not in text
        assert (out / "seed").read_text().strip() not in text
    assert not os.path.exists("/tmp/was-here")


def test_markup_of_a_student_is_text_on_the_page(graded):
    number = list(HOSTILE).index("error that is markup")
    page = graded[1] / "feedback" / f"{number:02}-b-hostile.md"
    text = page.read_text(encoding="utf-8")
    assert "<script>" not in text and "\\<script\\>" in text and "\n# d" not in text


def test_no_process_of_a_submission_is_left(graded):
    if os.geteuid() != 0:
        pytest.skip("only root gives each submission a user to find it by")
    first = jail._FIRST_USER + os.getpid() % 1_000_000 * 1000

    def alive():
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if first <= os.stat(f"/proc/{pid}").st_uid < first + 1000:
                    yield int(pid)
            except OSError:
                continue

    for _ in range(50):  # the kernel takes a moment to end a namespace
        if not list(alive()):
            return
        time.sleep(0.1)
    assert not list(alive())


# The limits, first with numbers that would do no harm without them.


def told(source, seconds=5, **bounds):
    """The error of a cell under these bounds."""
    with Jail(bounds=Bounds(**bounds)) as one:
        return one.ask({"cell": source}, seconds)["error"]


def test_the_limits_hold():
    fork = "import os, time\nfor _ in range(30):\n    if os.fork() == 0: time.sleep(2)"
    assert "BlockingIOError" in told(fork, processes=16)
    assert told(fork.replace("30", "3"), processes=16) is None
    grow = "x = bytearray(300_000_000)"
    assert "MemoryError" in told(grow, memory=256 * jail.MB)
    assert told(grow, memory=512 * jail.MB) is None
    file = "open('x', 'wb').write(b'x' * 3_000_000)"
    assert "File too large" in told(file, file=2 * jail.MB)
    assert told(file, file=4 * jail.MB) is None
    many = "x = [open('/dev/null') for _ in range(60)]"
    assert "Too many open files" in told(many, files=40)
    assert told(many, files=80) is None
    with pytest.raises(JailError, match="over 1 s of processor time|SIGKILL"):
        told("while True: pass", cpu=1)
    with pytest.raises(JailError, match="took too long"):
        told("import time\ntime.sleep(9)", seconds=0.5)


@needs_bubblewrap
def test_what_a_submission_sees():
    with Jail() as one:

        def shown(expression):
            return one.ask({"cell": f"raise ValueError({expression})"}, 5)["error"]

        assert one.ask({"cell": "import os, sys"}, 5)["error"] is None
        assert shown("sorted(os.listdir('/packages'))").count("numpy") >= 1
        assert shown("os.listdir('/grader')").count("py") == 2
        assert shown("os.listdir('.')") == "ValueError: []"
        assert "No such file" in shown(f"os.listdir({str(jail.HERE)!r})")
        names = shown("sorted(k for k in os.environ if 'PY' not in k)")
        assert "PASSWORD" not in names and "ADAMTUT" not in names
        assert shown("len([p for p in os.listdir('/proc') if p.isdigit()])").endswith(
            "2"
        )
        assert "Read-only" in shown("open('/etc/x', 'w')") + shown("open('/x', 'w')")
        assert "Error" in shown("open('/grader/runner.py', 'a')")
        assert "unreachable" in shown(
            "__import__('socket').create_connection(('192.0.2.1', 80), 1)"
        )


def test_weaker_ways_work_and_say_what_is_missing(monkeypatch):
    """Without bubblewrap a submission still runs, under the limits that there are."""
    for way in ("another user", "limits"):
        if way == "another user" and os.geteuid() != 0:
            continue
        monkeypatch.setattr(jail, "how", lambda way=way: way)
        given = jail.protections()
        assert not given["no network"]
        assert given["another user than the grader's"] == (way == "another user")
        with Jail(way=way, bounds=Bounds(memory=256 * jail.MB)) as one:
            reply = one.ask({"cell": "x = bytearray(b'x' * 300_000_000)"}, 5)
            assert "MemoryError" in reply["error"]
            if way == "limits":  # what the searches above would find, were they let
                questions = jail.HERE / "adam" / "grading.py"
                cell = f"raise ValueError(open({str(questions)!r}).read(20))"
                assert "Assignment 3" in one.ask({"cell": cell}, 5)["error"]
