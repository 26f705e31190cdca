"""How far an answer is from another, and in which words.

The notebook's own checks carry this file, so it imports nothing but NumPy.
"""

import math

import numpy as np

NEAR = 1e-6  # relative: an answer this near to that of a wrong function is taken for it


def describe(answers, expected, rtol, atol):
    """The first difference between the answers of some cases, as a sentence; or ""."""
    for number, pair in enumerate(zip(answers, expected, strict=True), 1):
        if text := compare(*pair, rtol, atol)[1]:
            which = f"In case {number} of {len(expected)}, {text}"
            return which if len(expected) > 1 else text[0].upper() + text[1:]
    return ""


def nearest(answers, expected, rtol, atol, wrong):
    """The message whose answers are nearest to these, and near; None where none is.

    expected   the right answers: wrong functions that are right here explain nothing
    wrong      pairs (message, answers of the same cases, as an iterator)
    """
    best, least = None, math.inf
    for message, theirs in wrong:
        theirs, seen = iter(theirs), []
        gap = 0.0
        for answer in answers:  # the next case only where this one fits
            seen.append(next(theirs))
            far, text = compare(answer, seen[-1], NEAR, 0.0)
            gap = math.inf if text else max(gap, far)
            if gap >= least:
                break
        if gap < least and describe(seen, expected, rtol, atol):
            best, least = message, gap
    return best


def compare(answer, expected, rtol, atol, where="") -> tuple[float, str]:
    """How far an answer is from the expected one.

    Returns the largest relative difference of their numbers, and the first difference
    beyond the tolerance as a sentence, "" where there is none. An answer that is a
    text at the top is an error that was raised.
    """
    if not where and (isinstance(answer, str) or isinstance(expected, str)):
        if answer == expected:
            return 0.0, ""
        return math.inf, (
            f"it raised {answer}" if isinstance(answer, str) else "it raised nothing."
        )
    at = where or "the answer"
    if hasattr(answer, "cannot_travel"):
        return (
            math.inf,
            f"{at} is a {answer.cannot_travel}; expected numbers or arrays.",
        )
    if isinstance(expected, (list, dict)):
        if type(answer) is not type(expected) and not (
            isinstance(expected, list) and isinstance(answer, np.ndarray)
        ):
            return math.inf, f"{at} is {_kind(answer)}; expected {_kind(expected)}."
        if len(answer) != len(expected):
            return math.inf, f"{at} has {len(answer)} parts; expected {len(expected)}."
        if isinstance(expected, dict) and answer.keys() != expected.keys():
            return math.inf, f"{at} has other keys than {', '.join(expected)}."
        keys = expected if isinstance(expected, dict) else range(len(expected))
        found = [
            compare(answer[k], expected[k], rtol, atol, _place(where, k)) for k in keys
        ]
        texts = [text for _, text in found if text]
        return max((e for e, _ in found), default=0.0), texts[0] if texts else ""
    if expected is None or isinstance(expected, (bool, str)):
        same = type(answer) is type(expected) and answer == expected
        text = f"{at} is {_kind(answer)}; expected {_kind(expected)}."
        return (0.0, "") if same else (math.inf, text)
    if isinstance(answer, (list, dict, str)) or answer is None:
        text = f"{at} is {_kind(answer)}; expected {_kind(expected)}."
        return math.inf, text
    got, want = np.asarray(answer), np.asarray(expected)
    if got.shape != want.shape:
        return math.inf, f"{at} has the shape {got.shape}; expected {want.shape}."
    with np.errstate(all="ignore"):
        got, want = got.astype(float), want.astype(float)
        same = (got == want) | (np.isnan(got) & np.isnan(want))
        gaps = np.where(same, 0.0, np.abs(got - want))
        right = same | (gaps <= atol + rtol * np.abs(want))
        ratios = np.where(same, 0.0, gaps / np.maximum(np.abs(want), 1e-300))
        worst = float(np.max(ratios, initial=0.0))
    worst = math.inf if math.isnan(worst) else worst
    if right.all():
        return worst, ""
    if not np.isfinite(got[~right]).all():
        return math.inf, f"{at} is not finite."
    return worst, f"{at} is off by {_percent(worst)}."


def _place(where, key):
    if not where:
        return f"answer {key + 1}"
    return f"{where}, part {key + 1 if isinstance(key, int) else repr(key)}"


def _percent(ratio):
    return f"{100 * ratio:.3g} %" if ratio < 10 else f"a factor of {ratio:.3g}"


def _kind(value):
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, (bool, str)):
        return repr(value)[:60]
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return {dict: "a dictionary"}.get(type(value), "a number")
