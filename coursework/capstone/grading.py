"""Assignment 5: a rule of one's own. There is no right answer: judges look at it."""

import numpy as np

from coursework.cases import call, function, look, put, ref
from coursework.questions import Question, edited

# The rule. These functions run where the submission runs, on what it hands in.

_PROBE = """
def probe(rule, p, grads, **hyper):
    states = rule.__code__.co_argcount - 3
    state, walk, moved = [np.zeros_like(p) for _ in range(states)], [], []
    try:
        for t, g in enumerate(grads, 1):
            given = [p, np.copy(g) if np.ndim(g) else g, *state]
            before = [np.copy(x) for x in given]
            with np.errstate(all="ignore"):
                new = rule(*given, t, **hyper)
            moved += [not np.array_equal(*pair) for pair in zip(before, given)]
            new = list(new) if states else [new]
            if len(new) != 1 + states:
                raise ValueError(
                    f"my_rule returned {len(new)} values, not p and {states} states"
                )
            walk.append(new)
            p, *state = new
    except Exception as error:
        return [f"{type(error).__name__}: {error}", False]
    return [walk, any(moved)]
"""
_BOWL = """
def bowl(rule, curvatures, p, rates, steps):
    states, ends = rule.__code__.co_argcount - 3, []
    with np.errstate(all="ignore"):
        for lr in rates:
            at, state = p.copy(), [np.zeros_like(p) for _ in range(states)]
            for t in range(1, steps + 1):
                new = rule(at, curvatures * at, *state, t, lr=lr)
                at, *state = new if states else [new]
            ends.append(float(np.sum(curvatures * np.square(at)) / 2))
    return ends
"""


def _handed_in(name, source, **values):
    """The start of a case: the rule that was handed in, and a function of ours.

    A function's `__get__` without an object is the function itself.
    """
    return [
        call("my_rule.__get__", None, 0, keep="rule", show=False),
        put(name, function(source, **values)),
    ]


def form(rng):
    code = "my_rule.__code__."
    parts = ["co_varnames", "co_argcount", "co_posonlyargcount", "co_kwonlyargcount"]
    grads = rng.normal(size=(6, 3)) * 10 ** rng.uniform(-2, 1, (6, 3))
    return [
        *(look(code + part) for part in [*parts, "co_flags"]),
        look("my_rule.__kwdefaults__"),
        *_handed_in("probe", _PROBE),
        call("probe", ref("rule"), rng.normal(size=3), grads, lr=0.05),
    ]


def has_form(case, answers):
    """The signature of a rule; and that it walks as none of the book's."""
    names, count, only, keywords, flags, defaults = answers[:6]
    numbers = (count, only, keywords, flags)
    if not isinstance(names, list) or not all(isinstance(x, int) for x in numbers):
        return "my_rule is not a function written with def."
    if flags & 12:
        return "my_rule has *args or **kwargs; a rule names all that it takes."
    places = names[:count]
    if places[:2] != ["p", "g"]:
        return "The first two arguments of a rule are p and g."
    if count < 3 or places[-1] != "t":
        return "The last argument before the * is t; the state stands before it."
    if not isinstance(defaults, dict) or "lr" not in defaults:
        return "lr is a hyperparameter with a default, after the *."
    if len(defaults) != keywords:
        return "Every hyperparameter has a default."
    for name, value in defaults.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return f"The default of {name} is not a number."
    walk = answers[6][0] if isinstance(answers[6], list) and answers[6] else None
    if isinstance(walk, str):
        return f"It raised {walk}"
    if not isinstance(walk, list) or not all(isinstance(x, list) for x in walk):
        return "my_rule does not return p and its state."
    start, grads = case[-1]["args"][1], case[-1]["args"][2]
    lr = case[-1]["kwargs"]["lr"]
    path = [x[0] if x else None for x in walk]
    if any(x is None for x in path):
        return "my_rule returns None: is it written?"
    if not all(isinstance(x, np.ndarray) and x.shape == start.shape for x in path):
        return "The new p has another shape than p."

    def adam(m, v, g, t, beta1=0.9, beta2=0.999):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        return m, v, m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + 1e-8)

    known = {name: start for name in ("gradient descent", "the heavy ball")}
    known |= {name: start for name in ("Nesterov's method", "AdaGrad", "RMSProp")}
    known |= {name: start for name in ("Adam", "AdamW")}
    same = dict.fromkeys(known, True)
    ball = total = mean = m = v = 0.0
    for t, (g, p) in enumerate(zip(grads, path, strict=True), 1):
        ball, total = 0.9 * ball + g, total + g**2
        mean = 0.9 * mean + 0.1 * g**2
        m, v, step = adam(m, v, g, t)
        steps = {
            "gradient descent": g,
            "the heavy ball": ball,
            "Nesterov's method": g + 0.9 * ball,
            "AdaGrad": g / (np.sqrt(total) + 1e-10),
            "RMSProp": g / (np.sqrt(mean) + 1e-8),
            "Adam": step,
            "AdamW": step + 0.01 * known["AdamW"],
        }
        for name, one in steps.items():
            known[name] = known[name] - lr * one
            same[name] &= bool(np.allclose(p, known[name], rtol=1e-4))
    for name in known:
        if same[name]:
            return f"Your rule walks as {name} does: change something in it."
    return None


def behaviour(rng):
    shape = (2, 2)
    usual, start = rng.normal(size=(5, *shape)), rng.normal(size=shape)
    wild = 10 ** rng.uniform(-12, 6, (6, *shape)) * rng.choice([-1, 1], (6, *shape))
    wild[0] = wild[3] = 0.0
    numbers = [float(g) for g in rng.normal(size=5)]
    return [
        *_handed_in("probe", _PROBE),
        call("probe", ref("rule"), start, usual),
        call("probe", ref("rule"), start, usual),
        call("probe", ref("rule"), start, wild),
        call("probe", ref("rule"), start, usual, lr=0.0),
        call("probe", ref("rule"), float(rng.normal()), numbers),
    ]


def behaves(case, answers):
    """Shapes, finite numbers, equal calls, arguments, a rate of zero."""
    start = case[-2]["args"][1]
    kinds = ["an array", "an array", "gradients of zero and from 1e-12 to 1e6"]
    kinds += ["lr = 0", "single numbers"]
    walks = []
    for kind, answer in zip(kinds, answers, strict=True):
        shape = () if kind == "single numbers" else start.shape
        if not isinstance(answer, list) or len(answer) != 2:
            return f"With {kind} my_rule does not return p and its state."
        walk, moved = answer
        if isinstance(walk, str):
            return f"With {kind} it raised {walk}"
        try:
            walk = [[np.asarray(x, float) for x in row] for row in walk]
        except (TypeError, ValueError):
            return f"With {kind} my_rule returns something that is no number."
        for t, row in enumerate(walk, 1):
            for number, x in enumerate(row):
                what = "p" if number == 0 else f"state {number}"
                if x.shape != shape:
                    return (
                        f"With {kind} the new {what} has the shape {x.shape}; "
                        f"expected {shape}."
                    )
                if not np.all(np.isfinite(x)):
                    return f"With {kind} the new {what} is not finite at t = {t}."
        if moved is not False:
            return f"With {kind} an argument of my_rule is another after the call."
        walks.append(walk)
    first, again, _, still, _ = walks
    if not all(np.array_equal(a[0], b[0]) for a, b in zip(first, again, strict=True)):
        return "Two equal walks end at different points: something outside is kept."
    if np.array_equal(first[-1][0], start):
        return "With its defaults your rule does not move at all."
    if not all(np.array_equal(row[0], start) for row in still):
        return "With lr = 0 your rule moves."
    return None


def bowl(rng):
    curvatures, p = 10 ** rng.uniform(-0.5, 0.5, 4), rng.choice([-1, 1], 4) * 1.0
    p = p * rng.uniform(0.5, 2, 4)
    rates = (10 ** np.arange(-4, 1.5, 0.5)).tolist()
    return [
        *_handed_in("bowl", _BOWL),
        call("bowl", ref("rule"), curvatures, p, rates, 300),
    ]


def comes_down(case, answers):
    """At some rate 300 steps on a round bowl leave a hundredth of the loss or less."""
    curvatures, p = case[-1]["args"][1:3]
    ends, rates = answers[0], case[-1]["args"][3]
    if not isinstance(ends, list) or len(ends) != len(rates):
        return "The walk on a bowl gave no losses."
    if not all(isinstance(x, (int, float)) for x in ends):
        return "The walk on a bowl gave no losses."
    left = np.array(ends) / (np.sum(curvatures * p**2) / 2)
    left = np.where(np.isfinite(left), left, np.inf)
    best = int(np.argmin(left))
    if left[best] > 1:
        return (
            "On a round bowl your rule ends above its start at every rate from 1e-4 "
            "to 10: does it walk uphill?"
        )
    if left[best] > 0.01:
        return (
            f"On a round bowl {100 * left[best]:.3g} % of the loss is left after 300 "
            f"steps at your best rate, {rates[best]:.2g}; at most 1 % is asked for."
        )
    return None


# Its tests

_VERDICT = """
def verdict(test, rule, other):
    def walk(f):
        states, out = rule.__code__.co_argcount - 3, []
        for hyper in ({}, changed):
            p, state = start, [np.zeros_like(start) for _ in range(states)]
            for t, g in enumerate(grads, 1):
                given = [p.copy(), g.copy(), *(np.copy(x) for x in state)]
                new = f(*given, t, **hyper)
                p, *state = new if states else [new]
                out += [p, *map(np.copy, state), *given]
        return np.array([np.broadcast_to(x, start.shape) for x in out])

    changed = {
        k: 0.9 * x for k, x in rule.__kwdefaults__.items() if isinstance(x, float)
    }
    try:
        with np.errstate(all="ignore"):
            same = np.allclose(walk(other), walk(rule), 1e-10, 0, equal_nan=True)
    except Exception:
        same = False
    try:
        test(other)
    except Exception as error:
        return [f"{type(error).__name__}: {error}", bool(same)]
    return ["", bool(same)]
"""
_OTHER = """
def other(p, g, *rest, **hyper):
    *state, t = rest
    old = [p, *state]
    # before
    new = rule(p, g, *state, t, **hyper)
    new = list(new) if state else [new]
    # after
    return tuple(new) if state else new[0]
"""
_BEFORE, _AFTER = "    # before\n", "    # after\n"


def _change(before="", after=""):
    return edited(
        _OTHER,
        (_BEFORE, f"    {before}\n" if before else ""),
        (_AFTER, f"    {after}\n" if after else ""),
    )


SAME = {
    "Your tests reject your own rule.": _change(),
    "Your tests reject a right rule that rounds differently: compare with a tolerance, "
    "as np.allclose does, not with ==.": _change(
        after="new = [x + 1e-14 * np.abs(x) for x in new]"
    ),
}
COARSE = {
    "Your tests accept every rule.": _change(after="new = [0 * x - 7 for x in new]"),
    "Your tests accept a rule that walks uphill.": _change(
        after="new[0] = 2 * p - new[0]"
    ),
    "Your tests accept a rule that does not move.": _change(after="new[0] = p"),
    "Your tests accept a rule whose steps are twice as long.": _change(
        after="new[0] = 2 * new[0] - p"
    ),
    "Your tests accept a rule that ignores lr.": _change("hyper.pop('lr', None)"),
    "Your tests accept a rule that forgets its state before each step.": _change(
        "state = [0 * x for x in state]"
    ),
    "Your tests accept a rule that returns its old state.": _change(
        after="new[1:] = state"
    ),
}
SHARP = {
    "Your tests accept a rule that ignores every hyperparameter but lr: call it with "
    "others than the defaults.": _change(
        "hyper = {k: x for k, x in hyper.items() if k == 'lr'}"
    ),
    "Your tests accept a rule whose defaults are others, all smaller by a tenth.": (
        _change(
            "hyper = {**{k: 0.9 * x for k, x in rule.__kwdefaults__.items() "
            "if isinstance(x, float)}, **hyper}"
        )
    ),
    "Your tests accept a rule for which t is always 1.": _change("t = 1"),
    "Your tests accept a rule that is right at t = 1 and 2 and wrong from t = 3 on.": (
        _change("g = 1.5 * g if t > 2 else g")
    ),
    "Your tests accept a rule whose t is one ahead.": _change("t = t + 1"),
    "Your tests accept a rule for single numbers alone: call it with arrays too.": (
        _change("float(np.squeeze(p))")
    ),
    "Your tests accept a rule that takes the mean of the gradient for all coordinates: "
    "let them differ.": _change("g = np.mean(g) + 0 * g"),
    "Your tests accept a rule that changes the gradient in place: look at g after the "
    "call.": _change(after="g = np.multiply(g, 0.5, out=g) if np.ndim(g) else g"),
    "Your tests accept a rule that changes p in place: look at p after the call.": (
        _change(after="p = np.copyto(p, new[0]) if np.ndim(p) else p")
    ),
    "Your tests accept a rule that does nothing where the gradient is zero: let one be "
    "zero after the first step.": _change(
        after="new = [np.where(g == 0, a, b) for a, b in zip(old, new)]"
    ),
    "Your tests accept a rule that clips the gradient to 1: let one be larger.": (
        _change("g = np.clip(g, -1, 1)")
    ),
    "Your tests accept a rule whose numbers are right to seven digits alone: float32 "
    "is not enough, compare more closely.": _change(
        after="new = [np.asarray(np.float32(x), float) for x in new]"
    ),
}


def judged_tests(others):
    """A case of the student's tests on right rules and on these wrong ones."""

    def draw(rng):
        start = rng.normal(size=3)
        grads = rng.normal(size=(5, 3)) * [0.1, 1.0, 10.0]
        grads[2, 1] = grads[3, 2] = 0.0
        case = [
            *_handed_in("verdict", _VERDICT, start=start, grads=grads),
            call("test_my_rule.__get__", None, 0, keep="test", show=False),
        ]
        messages = [*SAME, *others]
        for number in rng.permutation(len(messages)):
            message = messages[number]
            text = SAME.get(message) or others[message]
            other = function(text, rule=ref("rule"))
            args = [ref("test"), ref("rule"), other]
            case.append({**call("verdict", *args), "tells": [int(number), message]})
        return case

    return draw


def tells_apart(case, answers):
    """Right rules pass, wrong ones do not, unless they are the same rule after all."""
    told = [step["tells"] for step in case if "tells" in step]
    for (_, message), answer in sorted(
        zip(told, answers, strict=True), key=lambda x: x[0]
    ):
        if not isinstance(answer, list) or len(answer) != 2:
            return "The tests gave no verdict."
        said, same = answer
        if "reject" in message:
            if said != "":
                return f"{message} They said: {str(said)[:120]}"
        elif said == "" and same is not True:
            return message
    return None


# Its place among others


def places(losses):
    """The definition, one number after the other."""
    rules, tasks, rates, seeds = losses.shape
    best = np.full((rules, tasks), np.inf)
    for r, k, a in np.ndindex(rules, tasks, rates):
        row = sorted(x if np.isfinite(x) else np.inf for x in losses[r, k, a])
        middle = (row[(seeds - 1) // 2] + row[seeds // 2]) / 2
        best[r, k] = min(best[r, k], middle)
    return np.array(
        [[x / min(col) for x, col in zip(r, best.T, strict=True)] for r in best]
    )


_PLACES = """
def places(losses):
    finite = np.where(np.isfinite(losses), losses, np.inf)
    tuned = np.median(finite, axis=3).min(axis=2)
    return tuned / tuned.min(axis=0)
"""
PLACES = {
    "You take the mean of the seeds: one bad run decides. The median is asked for.": [
        ("np.median(finite", "np.mean(finite")
    ],
    "You take the best seed: that is luck. The median is asked for.": [
        ("np.median(finite", "np.min(finite")
    ],
    "You take the worst seed; the median is asked for.": [
        ("np.median(finite", "np.max(finite")
    ],
    "You look at the first seed alone.": [
        ("np.median(finite, axis=3)", "finite[..., 0]")
    ],
    "You take the best rate of each seed and then the median: nobody knows the seed "
    "before. The median over the seeds comes first.": [
        (
            "np.median(finite, axis=3).min(axis=2)",
            "np.median(finite.min(axis=2), axis=1 + 1)",
        )
    ],
    "You give each rule one rate for all tasks; each task has its own.": [
        (
            "    return",
            "    every = np.median(finite, axis=3)\n"
            "    one = np.where(np.isfinite(every), every, 1e9).sum(1).argmin(1)\n"
            "    tuned = every[np.arange(len(one)), :, one]\n    return",
        )
    ],
    "You give all rules the same rate; each has its own best.": [
        (
            "    return",
            "    every = np.median(finite, axis=3)\n"
            "    one = np.where(np.isfinite(every), every, 1e9).sum(0).argmin(1)\n"
            "    tuned = np.take_along_axis(every, one[None, :, None], 2)[..., 0]\n"
            "    return",
        )
    ],
    "A run that diverged is left out: a rate at which most runs are lost looks good.": [
        ("losses, np.inf)", "losses, np.nan)"),
        (
            "np.median(finite, axis=3).min(axis=2)",
            "np.nanmin(np.nanmedian(finite, axis=3), axis=2)",
        ),
    ],
    "A nan spreads: it counts as infinite, so that other rates stay.": [
        ("np.where(np.isfinite(losses), losses, np.inf)", "losses")
    ],
    "A run that diverged counts as 0 with you, the best of all.": [
        ("losses, np.inf)", "losses, 0.0)")
    ],
    "Your ratio is the wrong way round: the best rule has 1, the others more.": [
        ("tuned / tuned.min(axis=0)", "tuned.min(axis=0) / tuned")
    ],
    "You divide by the worst rule of the task; divide by the best.": [
        ("tuned.min(axis=0)", "tuned.max(axis=0)")
    ],
    "You divide by the first rule; divide by the best rule of the task.": [
        ("tuned.min(axis=0)", "tuned[0]")
    ],
    "You divide by each rule's best task; divide by each task's best rule.": [
        ("tuned.min(axis=0)", "tuned.min(axis=1, keepdims=True)")
    ],
    "You divide by the lowest loss of all tasks; each task has its own best.": [
        ("tuned.min(axis=0)", "tuned.min()")
    ],
    "You subtract the best; tasks have losses of different sizes, so divide.": [
        ("tuned / tuned", "tuned - tuned")
    ],
    "You return ranks; ratios are asked for.": [
        ("tuned / tuned.min(axis=0)", "1.0 + tuned.argsort(axis=0).argsort(axis=0)")
    ],
    "You return the losses at the best rates, not yet divided.": [
        ("tuned / tuned.min(axis=0)", "tuned")
    ],
    "Your table has tasks for rows; the rows are rules.": [
        ("return tuned / tuned.min(axis=0)", "return (tuned / tuned.min(axis=0)).T")
    ],
}


def tables(rng):
    """Losses with wild seeds, tasks of different sizes, and runs that are lost."""
    losses = np.exp(rng.normal(size=(4, 3, 6, 5))) * [[[1.0]], [[9.0]], [[80.0]]]
    losses[:, :, 4:, :3] = np.array([np.inf, np.nan, np.nan])[:, None, None]
    losses[:, :, 4:, 3:] *= 1e-3
    return [call("places", losses)]


def compared(case, answers):
    """The form of the sweep, and that every best rate lies inside it."""
    if answers[0] is None or answers[1] is None:
        return "rates or losses is still None."
    try:
        rates, losses = (np.asarray(x, float) for x in answers)
    except (TypeError, ValueError):
        return "rates or losses has something in it that is no number."
    if losses.ndim != 4 or losses.shape[:2] != (4, 3):
        return (
            f"losses has the shape {losses.shape}; expected (4, 3, rates, seeds), what "
            "`sweep` returns."
        )
    if rates.shape != losses.shape[2:3]:
        return f"There are {rates.size} rates, but losses of {losses.shape[2]}."
    if losses.shape[3] < 3:
        return "Fewer than three seeds say nothing about luck."
    if not np.all(np.isfinite(rates)) or np.any(rates <= 0):
        return "A rate is a positive number."
    ratio = rates[1:] / rates[:-1]
    if np.any(ratio <= 1) or np.any(ratio > 4 + 1e-9):
        return (
            "The rates go from small to large, each at most four times the one before."
        )
    median = np.median(np.where(np.isfinite(losses), losses, np.inf), axis=3)
    names = ["mine", "sgd", "momentum", "adam"]
    for r, name in enumerate(names):
        for k, task in enumerate(["ravine", "noise", "words"]):
            best = int(np.argmin(median[r, k]))
            if best in (0, len(rates) - 1):
                edge = "smallest" if best == 0 else "largest"
                return (
                    f"The best rate of {name} on {task} is the {edge} that you tried: "
                    "the sweep is too narrow on that side."
                )
    for r, name in enumerate(names[1:], 1):
        if np.array_equal(losses[0], losses[r], equal_nan=True):
            return f"Your rule has the losses of {name}: is it another rule?"
    seeds = losses[:, :2, np.argmin(median[0, 0])]
    if np.all(seeds == seeds[..., :1]):
        return "All seeds have the same losses: are they other seeds?"
    return None


def _roster(source, table):
    return {message: edited(source, *edits) for message, edits in table.items()}


QUESTIONS = [
    Question("form", 2, form, judge=has_form, cases=2),
    Question("behaviour", 2, behaviour, judge=behaves, cases=2),
    Question("descends", 2, bowl, judge=comes_down, cases=2),
    Question("tests", 3, judged_tests(COARSE), judge=tells_apart, cases=1),
    Question("sharp-tests", 3, judged_tests(SHARP), judge=tells_apart, cases=1),
    Question("places", 3, tables, {"places": places}, _roster(_PLACES, PLACES)),
    Question(
        "comparison",
        2,
        lambda rng: [look("rates"), look("losses")],
        judge=compared,
        cases=1,
    ),
]
