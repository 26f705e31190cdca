"""The checks inside a notebook: fixed inputs, their answers, and those of wrong code.

Only numbers are in the notebook, no right or wrong function: they were made at release.
"""

import base64
import json
import zlib

from coursework.cases import run_case, unpack, unpack_case
from coursework.compare import describe, nearest

# The first line of the cell that holds them: Colab hides the rest, the grader skips it.
TITLE = '#@title Checks: run this cell once { display-mode: "form" }'
ANSWER = "_Type your answer here, replacing this line._"


def answer_mark(name):
    """What the cell of a written answer begins with, so that it is found again."""
    return f"<!-- answer: {name} -->"


class Check:
    """`check("one-step")` in a notebook: says what is right, or names the mistake.

    table      what `coursework.release.table` made, packed
    namespace  globals() of the notebook
    judges     functions of (case, answers) for questions without a single answer
    """

    def __init__(self, table, namespace, judges=None):
        self._questions = json.loads(zlib.decompress(base64.b64decode(table)))
        self._namespace, self._judges = namespace, judges or {}

    def __call__(self, name):
        if name not in self._questions:
            names = ", ".join(self._questions)
            raise ValueError(f"There is no question {name!r}; there are: {names}")
        message = self._fault(name, self._questions[name])
        print(f"{name}: {message or 'right on the visible numbers.'}")

    def _fault(self, name, question):
        cases = [unpack_case(case) for case in question["cases"]]
        answers = []
        for case in cases:
            try:
                answers.append([unpack(x) for x in run_case(case, self._namespace)])
            except Exception as error:
                answers.append(f"{type(error).__name__}: {error}")
        if name in self._judges:
            for case, answer in zip(cases, answers, strict=True):
                if isinstance(answer, str):
                    return f"It raised {answer}"
                try:
                    message = self._judges[name](case, answer)
                except Exception:  # made for answers of the right form
                    message = "Its answer has not the form that was asked for."
                if message:
                    return message
            return ""
        expected = unpack(question["expected"])
        known = (answers, expected, question["rtol"], question["atol"])
        wrong = [(message, unpack(theirs)) for message, theirs in question["wrong"]]
        text = describe(*known)
        return text and (nearest(*known, wrong) or text)
