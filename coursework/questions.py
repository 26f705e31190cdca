"""What a question is: cases drawn at random, the right functions, and the wrong ones.

An assignment's `grading.py` has `QUESTIONS`, a list of `Question`.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from coursework.cases import run_case, unpack
from coursework.compare import describe, nearest


@dataclass(frozen=True)
class Question:
    """A question graded by calls.

    name      a slug, also in the notebook: check("one-step")
    points    given when every answer of every case is right
    draw      of a numpy Generator: one case, a list of `call`, `put` and `look`
    right     the functions that a case calls, by name: {"adam_step": adam_step}
    wrong     {message: functions}: what the student reads when the answers are those of
              these functions. A name that is missing is the right one; a function alone
              stands for the only name of `right`.
    judge     instead of `right`, where no single answer is right: of (case, answers) to
              None or a message; its `wrong` is empty
    cases     how many are drawn
    rtol, atol   of numpy.isclose, for each number
    seconds   for one case
    """

    name: str
    points: float
    draw: Callable
    right: dict[str, Callable] | None = None
    wrong: dict[str, dict[str, Callable] | Callable | str] = field(default_factory=dict)
    judge: Callable | None = None
    cases: int = 4
    rtol: float = 1e-9
    atol: float = 0.0
    seconds: float = 5.0

    def __post_init__(self):
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name):
            raise TypeError(f"question {self.name!r}: its name is not a slug")
        if (self.right is None) == (self.judge is None):
            raise TypeError(f"question {self.name!r}: give either right or judge")
        for message, functions in self.wrong.items():
            if callable(functions) and len(self.right) != 1:
                raise TypeError(
                    f"question {self.name!r}, wrong {message!r}: name its functions, "
                    f"right has {len(self.right)}"
                )

    def answers(self, cases: list[list], message: str | None = None):
        """For each case what the right functions answer, or those of a message.

        An iterator; an error that wrong functions raise is its text.
        """
        functions = dict(self.right)
        if message is not None:
            wrong = self.wrong[message]
            if isinstance(wrong, str):
                wrong = _defined(wrong)
            only = next(iter(self.right))
            functions.update(wrong if isinstance(wrong, dict) else {only: wrong})
        for case in cases:
            try:
                with np.errstate(all="ignore"):
                    answers = [unpack(x) for x in run_case(case, functions)]
            except Exception as error:
                if message is None:
                    raise
                answers = f"{type(error).__name__}: {error}"
            yield answers

    def verdict(self, cases: list[list], answers: list[list | str]) -> str | None:
        """None where every answer is right; else what is wrong, as a sentence.

        answers   for each case the list of answers, or the text of an error
        """
        if self.judge:
            return self._judged(cases, answers)
        expected = list(self.answers(cases))
        if not describe(answers, expected, self.rtol, self.atol):
            return None
        wrong = ((message, self.answers(cases, message)) for message in self.wrong)
        known = (answers, expected, self.rtol, self.atol)
        return nearest(*known, wrong) or describe(*known)

    def _judged(self, cases, answers):
        for case, answer in zip(cases, answers, strict=True):
            if isinstance(answer, str):
                return f"It raised {answer}"
            try:
                message = self.judge(case, answer)
            except Exception:  # made for answers of the right form
                message = "Its answer has not the form that was asked for."
            if message:
                return message
        return None


def edited(source: str, *edits: tuple[str, str]) -> str:
    """The source after the edits (old, new), one after the other.

    For rosters of wrong functions: each is a right one with a line changed. Raises
    ValueError where an edit finds nothing.
    """
    for old, new in edits:
        if old not in source:
            raise ValueError(f"{old!r} is not in the source:\n{source}")
        source = source.replace(old, new)
    return source


def _defined(source):
    """What a source defines; `np` and `math` are at hand."""
    space = {"np": np, "math": math}
    exec(source, space)
    return space
