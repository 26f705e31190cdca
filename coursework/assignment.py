"""An assignment: its folder, what `assignment.yml` says, and its questions.

coursework/adam/
    assignment.yml   title, aims, minutes, may_use, packages, written answers, bounds
    master.ipynb     text, solutions and checks, in the format of `otter assign`
    grading.py       QUESTIONS; never leaves this side
    rubric.md        how the written answers are graded, where there are any
"""

import hashlib
import importlib.util
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from coursework.jail import MB, Bounds
from coursework.questions import Question

HERE = Path(__file__).resolve().parent
_KEYS = {
    "title": str,
    "aims": list,
    "minutes": int,
    "may_use": str,
    "packages": list,
    "written": list,
    "files": list,
    "cell_seconds": (int, float),
    "seconds": (int, float),
    "memory_mb": int,
}
_NEEDED = ("title", "aims", "minutes", "may_use")


class AssignmentError(ValueError):
    """An assignment that cannot be used; the message says why."""


@dataclass(frozen=True)
class Assignment:
    """One assignment, read and checked by `load`."""

    name: str
    folder: Path
    title: str
    aims: list[str]
    minutes: int
    may_use: str
    questions: list[Question]
    written: list[dict]  # name, points
    packages: tuple[str, ...] = ("numpy",)
    files: tuple[str, ...] = ()  # handed out with the notebook
    cell_seconds: float = 20
    seconds: float = 120  # for all of a submission
    bounds: Bounds = Bounds()

    @property
    def master(self) -> Path:
        return self.folder / "master.ipynb"

    @property
    def automatic(self) -> float:
        """Points of the questions graded by calls."""
        return sum(question.points for question in self.questions)

    @property
    def points(self) -> float:
        return self.automatic + sum(part["points"] for part in self.written)

    def digest(self) -> str:
        """SHA-256 of what a grade depends on on this side: questions and grader."""
        files = [self.folder / "assignment.yml", *self.folder.glob("*.py")]
        files += HERE.glob("*.py")
        total = hashlib.sha256()
        for file in sorted(files):
            total.update(file.read_bytes())
        return total.hexdigest()


def names() -> list[str]:
    """The assignments of this folder, in the order of the course."""
    order = ["descent", "rmsprop", "adam", "adamw", "capstone"]
    found = [path.parent.name for path in HERE.glob("*/assignment.yml")]
    return sorted(found, key=lambda n: (order.index(n) if n in order else 99, n))


def load(name: str | Path) -> Assignment:
    """The assignment of this name here, or in the folder of that path."""
    folder = Path(name) if Path(name).is_dir() else HERE / str(name)
    if not (folder / "assignment.yml").is_file():
        raise AssignmentError(
            f"There is no assignment {str(name)!r}; there are: {', '.join(names())}"
        )
    settings = _settings(folder / "assignment.yml")
    if not (folder / "grading.py").is_file():
        raise AssignmentError(f"Assignment {folder.name!r} has no grading.py")
    questions = list(_module(folder).QUESTIONS)
    written = settings.pop("written", [])
    seconds = settings.setdefault("seconds", Assignment.seconds)
    memory = settings.pop("memory_mb", 1024) * MB
    bounds = Bounds(memory=memory, cpu=math.ceil(seconds))
    slugs = [q.name for q in questions] + [part["name"] for part in written]
    twice = {slug for slug in slugs if slugs.count(slug) > 1}
    if twice:
        raise AssignmentError(f"Assignment {folder.name!r} has {twice} twice")
    return Assignment(
        name=folder.resolve().name,
        folder=folder,
        questions=questions,
        written=written,
        bounds=bounds,
        packages=tuple(settings.pop("packages", ["numpy"])),
        files=tuple(settings.pop("files", [])),
        **settings,
    )


def _settings(path):
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise AssignmentError(f"{path} cannot be read: {error}") from None
    if not isinstance(settings, dict):
        raise AssignmentError(f"{path} is no list of `key: value`")
    for key, value in settings.items():
        if key not in _KEYS:
            raise AssignmentError(f"{path}: {key!r}; allowed: {', '.join(_KEYS)}")
        if not isinstance(value, _KEYS[key]):
            raise AssignmentError(f"{path}: {key} is {value!r}")
    if missing := [key for key in _NEEDED if key not in settings]:
        raise AssignmentError(f"{path} does not say: {', '.join(missing)}")
    return settings


def _module(folder):
    name = f"coursework_{folder.resolve().name}_grading"
    spec = importlib.util.spec_from_file_location(name, folder / "grading.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and inspect look there
    spec.loader.exec_module(module)
    return module
