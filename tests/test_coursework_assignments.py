"""The assignments of the course: masters, rosters of wrong answers, rubrics.

Assignment 3 and the grader are tested in test_coursework.py. Here answers are called in
this process; one test an assignment sends the students' notebook through the jail.
"""

import contextlib
import copy
import functools
import io
import re
from dataclasses import fields

import nbformat
import numpy as np
import pytest

from coursework import assignment, release
from coursework.cases import Other, run_case, unpack
from coursework.check import TITLE
from coursework.grade import grade
from coursework.questions import Question, edited

NAMES = ["descent", "rmsprop", "adamw", "capstone"]


@functools.cache
def load(name):
    return assignment.load(name)


@functools.cache
def master(name):
    """The code cells of a master by id, with their solutions, without its checks."""
    nb = nbformat.read(load(name).master, as_version=4)
    cells = {c.id: c.source for c in nb.cells if c.cell_type == "code"}
    return {key: text for key, text in cells.items() if not text.startswith("check(")}


def run(cells):
    """The namespace after these cells, as a notebook's kernel has it."""
    pytest.importorskip("matplotlib").use("Agg")
    space = {"__name__": "__main__"}
    for key, source in cells.items():
        if key != "checks":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(source, key, "exec"), space)
    return space


@functools.cache
def master_space(name):
    return run(master(name))


def messages(name, space, seed=1, only=None):
    """What the grader says of each question: a sentence, or None where it is right."""
    found = {}
    for question in load(name).questions:
        if only not in (None, question.name):
            continue
        rng = np.random.default_rng([seed, *question.name.encode()])
        cases, answers = [question.draw(rng) for _ in range(question.cases)], []
        for case in cases:
            try:
                answers.append([unpack(x) for x in run_case(case, space)])
            except Exception as error:
                answers.append(f"{type(error).__name__}: {error}")
        found[question.name] = question.verdict(cases, answers)
    return found


def wrong(found):
    return {name: message for name, message in found.items() if message}


# The masters and other right answers

OTHERS = {
    "descent": [
        {
            "walk-solution": """
def descend(p, grad, lr, steps):
    path = np.empty((steps + 1, *np.shape(p)))
    path[0] = p
    for k in range(steps):
        path[k + 1] = path[k] - lr * np.asarray(grad(path[k]))
    return path
""",
            "rate-limits-solution": """
def rates(curvatures):
    h = sorted(float(x) for x in curvatures)
    return [1 / ((h[0] + h[-1]) / 2), 2 * h[-1] ** -1]
""",
            "gradient-solution": """
def batch_gradient(w, x, y):
    g = np.zeros(len(w))
    for row, target in zip(x, y):
        g = g + row * (np.dot(row, w) - target)
    return g / x.shape[0]
""",
            "heavy-ball-solution": """
def momentum_step(p, g, m, lr=1e-2, beta=0.9):
    new = g + m * beta
    return [p + (-lr) * new, new]
""",
            "look-ahead-solution": """
def nesterov_step(p, g, m, lr=1e-2, beta=0.9):
    p, m = momentum_step(p, g, m, lr, beta)
    return p - lr * (beta * m + g - m), m
""",
            "sgd-solution": """
class SGD:
    def __init__(self, params, **hyper):
        self.step_of = momentum_step
        if hyper.pop("nesterov", False):
            self.step_of = nesterov_step
        self.state = [(p.copy(), np.zeros(p.shape)) for p in params]
        self.hyper = hyper

    def step(self, grads):
        self.state = [
            tuple(self.step_of(p, g, m, **self.hyper))
            for (p, m), g in zip(self.state, grads)
        ]
        return [p for p, m in self.state]
""",
        },
        {
            "walk-solution": """
def descend(p, grad, lr, steps):
    p, path = np.array(p, dtype=float), []
    for _ in range(steps):
        path.append(p.copy())
        p -= lr * grad(p)
    return np.stack([*path, p])
""",
            "rate-limits-solution": """
def rates(curvatures):
    limit = 2 / np.asarray(curvatures).max()
    return np.array([2 / (2 / limit + min(curvatures)), limit])
""",
            "gradient-solution": """
def batch_gradient(w, x, y):
    error = np.einsum("nd,d->n", x, w) - y
    return (error[:, None] * x).mean(axis=0)
""",
            "heavy-ball-solution": """
def momentum_step(p, g, m, lr=1e-2, beta=0.9):
    p, m = np.array(p, dtype=float), np.array(m, dtype=float)
    m *= beta
    m += g
    p -= lr * m
    return p, m
""",
            "look-ahead-solution": """
def nesterov_step(p, g, m, lr=1e-2, beta=0.9):
    m_new = beta * m + g
    return p - lr * g - lr * beta * m_new, m_new
""",
            "sgd-solution": """
class SGD:
    def __init__(self, params, lr=1e-2, beta=0.9, nesterov=False):
        self.sizes = [p.shape for p in params]
        self.p = np.concatenate([p.ravel() for p in params])
        self.m = np.zeros(self.p.shape)
        self.lr, self.beta, self.nesterov = lr, beta, nesterov

    def step(self, grads):
        g = np.concatenate([x.ravel() for x in grads])
        self.m = self.beta * self.m + g
        ahead = g + self.beta * self.m if self.nesterov else self.m
        self.p = self.p - self.lr * ahead
        ends = np.cumsum([int(np.prod(s)) for s in self.sizes])[:-1]
        parts = np.split(self.p, ends)
        return tuple(x.reshape(s) for x, s in zip(parts, self.sizes))
""",
        },
    ],
    "rmsprop": [
        {
            "average-solution": """
def leaky_average(x, beta):
    out = np.empty(x.shape)
    for k in range(len(x)):
        before = out[k - 1] if k else 0.0
        out[k] = before + (1 - beta) * (x[k] - before)
    return out
""",
            "correction-solution": """
def corrected_average(x, beta):
    total = leaky_average(np.ones(len(x)), beta)
    return np.array([m / c for m, c in zip(leaky_average(x, beta), total)])
""",
            "rmsprop-solution": """
def rmsprop_step(p, g, v, lr=1e-3, beta2=0.9, eps=1e-8):
    v = v + (1 - beta2) * (g * g - v)
    return [p - g * (lr / (eps + v**0.5)), v]
""",
            "gain-solution": """
def step_lengths(n, beta1=0.9, beta2=0.999):
    m, v, out = 0.0, 0.0, []
    for _ in range(n):
        m, v = beta1 * m + 1 - beta1, beta2 * v + 1 - beta2
        out.append(m / v**0.5)
    return np.array(out)
""",
            "corrected-rmsprop-solution": """
def corrected_step(p, g, v, t, lr=1e-3, beta2=0.999, eps=1e-8):
    v = v + (1 - beta2) * (g * g - v)
    c = (1 - beta2**t) ** 0.5
    return p - lr * c * g / (np.sqrt(v) + eps * c), v
""",
            "optimiser-solution": """
class RMSProp:
    def __init__(self, params, lr=1e-3, beta2=0.99, eps=1e-8, corrected=False):
        self.numbers, self.corrected = (lr, beta2, eps), corrected
        self.state, self.t = [(p + 0.0, 0.0 * p) for p in params], 1

    def step(self, grads):
        rule = corrected_step
        if not self.corrected:
            rule = lambda p, g, v, t, *rest: rmsprop_step(p, g, v, *rest)
        for k, g in enumerate(grads):
            p, v = self.state[k]
            self.state[k] = tuple(rule(p, g, v, self.t, *self.numbers))
        self.t += 1
        return [p for p, v in self.state]
""",
        },
        {
            "average-solution": """
def leaky_average(x, beta):
    x = np.asarray(x)
    n = len(x)
    weights = np.array(
        [[(1 - beta) * beta ** (t - k) if k <= t else 0.0 for k in range(n)]
         for t in range(n)]
    )
    return (weights @ x.reshape(n, -1)).reshape(x.shape)
""",
            "correction-solution": """
def corrected_average(x, beta):
    m, out = 0 * x[0], []
    for t, value in enumerate(x):
        m = beta * m + (1 - beta) * value
        out.append(m / (1 - beta ** (t + 1)))
    return np.stack(out)
""",
            "rmsprop-solution": """
def rmsprop_step(p, g, v, lr=1e-3, beta2=0.9, eps=1e-8):
    p, v = np.array(p, dtype=float), np.array(v, dtype=float)
    v *= beta2
    v += (1 - beta2) * np.square(g)
    p -= np.divide(lr * np.asarray(g), np.sqrt(v) + eps)
    return p, v
""",
            "gain-solution": """
def step_lengths(n, beta1=0.9, beta2=0.999):
    lengths = [(1 - beta1**t) * (1 - beta2**t) ** -0.5 for t in range(1, n + 1)]
    return np.array(lengths)
""",
            "corrected-rmsprop-solution": """
def corrected_step(p, g, v, t, lr=1e-3, beta2=0.999, eps=1e-8):
    total = 1 - beta2**t
    new = (beta2 * v + (1 - beta2) * np.power(g, 2)) / total
    return p - lr * g / (eps + np.sqrt(new)), new * total
""",
            "optimiser-solution": """
class RMSProp:
    def __init__(self, params, lr=1e-3, beta2=0.99, eps=1e-8, corrected=False):
        self.p, self.v = [p.copy() for p in params], [0 * p for p in params]
        self.lr, self.beta2, self.eps, self.corrected = lr, beta2, eps, corrected
        self.total = 0.0

    def step(self, grads):
        self.total = self.beta2 * self.total + 1 - self.beta2
        for p, v, g in zip(self.p, self.v, grads):
            v *= self.beta2
            v += (1 - self.beta2) * g**2
            v_hat = v / self.total if self.corrected else v
            p -= self.lr * g / (np.sqrt(v_hat) + self.eps)
        return [p.copy() for p in self.p]
""",
        },
    ],
    "adamw": [
        {
            "step-solution": """
def adamw_step(
    p, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2
):
    m = m + (1 - beta1) * (g - m)
    v = v + (1 - beta2) * (g * g - v)
    p = (1 - lr * weight_decay) * p
    root = (v / (1 - beta2**t)) ** 0.5
    return p - lr / (1 - beta1**t) * m / (root + eps), m, v
""",
            "schedule-solution": """
def factor(t, steps, warmup=0, floor=0.0):
    if warmup and t <= warmup:
        return t * (1 / warmup)
    turn = np.pi * (steps - t) / (steps - warmup)
    return floor + (1 - floor) * (1 - np.cos(turn)) * 0.5
""",
            "optimiser-solution": """
class AdamW:
    def __init__(self, params, lr=1e-3, **hyper):
        self.params = [p.copy() for p in params]
        self.states = [[np.zeros(p.shape), np.zeros(p.shape)] for p in params]
        self.lr, self.hyper, self.steps = lr, hyper, 0

    def step(self, grads, factor=1.0):
        self.steps = self.steps + 1
        for k in range(len(grads)):
            hyper = dict(self.hyper)
            if len(self.params[k].shape) < 2:
                hyper["weight_decay"] = 0
            self.params[k], *self.states[k] = adamw_step(
                self.params[k], grads[k], *self.states[k], self.steps,
                factor * self.lr, **hyper
            )
        return list(self.params)
""",
            "choose-solution": """
def choose(losses):
    losses = np.array(losses, dtype=float)
    losses[~np.isfinite(losses)] = 1e300
    middle = np.sort(losses, axis=1)[:, losses.shape[1] // 2]
    k = middle.argmin()
    return k, bool(k not in (0, len(middle) - 1))
""",
            "comparison-solution": """
rates = [0.002 * 3**k for k in range(5)]
results = {}
results["schedule"] = [
    rates, loss(train(rates, 5, lambda t: factor(t, STEPS, 40, 0.05)), parts[1])
]
results["constant"] = [rates, loss(train(rates, 5, lambda t: 1), parts[1]).tolist()]
""",
        },
        {
            "step-solution": """
def adamw_step(
    p, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2
):
    m, v = np.array(m, dtype=float), np.array(v, dtype=float)
    m *= beta1
    m += (1 - beta1) * np.asarray(g)
    v *= beta2
    v += (1 - beta2) * np.square(g)
    c = np.sqrt(1 - beta2**t)
    adam = m * c / (1 - beta1**t) / (np.sqrt(v) + eps * c)
    return p - lr * adam - lr * weight_decay * p, m, v
""",
            "schedule-solution": """
def factor(t, steps, warmup=0, floor=0.0):
    line = np.inf if warmup == 0 else t / warmup
    u = max(0, t - warmup) / (steps - warmup)
    return line if line <= 1 else floor + (1 - floor) * np.cos(np.pi / 2 * u) ** 2
""",
            "optimiser-solution": """
class AdamW:
    def __init__(
        self, params, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2
    ):
        self.all = [(p, 0.0 * p, 0.0 * p, weight_decay * (p.ndim > 1)) for p in params]
        self.numbers, self.t, self.lr = (beta1, beta2, eps), 0, lr

    def step(self, grads, factor=1):
        self.t += 1
        lr, found = self.lr * factor, []
        for (p, m, v, decay), g in zip(self.all, grads):
            new = adamw_step(p, g, m, v, self.t, lr, *self.numbers, decay)
            found.append((*new, decay))
        self.all = found
        return tuple(p for p, *_ in self.all)
""",
            "choose-solution": """
def choose(losses):
    medians = []
    for row in losses:
        row = np.where(np.isnan(row), np.inf, row)
        medians.append(float(np.median(row)))
    k = medians.index(min(medians))
    return [k, k > 0 and k < len(medians) - 1]
""",
            "comparison-solution": """
rates = np.array([0.0015, 0.005, 0.015, 0.05, 0.15])
schedules = {"constant": lambda t: 1.0, "schedule": lambda t: factor(t, STEPS)}
results = {k: (rates, loss(train(rates, 6, f), parts[1])) for k, f in schedules.items()}
""",
        },
    ],
    "capstone": [
        {
            "rule-solution": """
def my_rule(p, g, t, *, lr=0.05, power=0.5):
    return p - lr * np.sign(g) * np.abs(g) ** power
""",
            "tests-solution": """
def test_my_rule(rule):
    g = np.array([4.0, -9.0, 0.0, 1e4, 1e-4])
    p = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    kept = p.copy(), g.copy()
    for t in (1, 2, 3, 7):
        for _ in range(2):
            new = rule(p, g, t, lr=0.1)
            wanted = [0.8, 2.3, 3.0, -6.0, 4.999]
            np.testing.assert_allclose(new, wanted, rtol=1e-11)
            new = rule(p, g, t, lr=0.1, power=2.0)
            np.testing.assert_allclose(
                new, [-0.6, 10.1, 3.0, -1e7 + 4, 5 - 1e-9], rtol=1e-11
            )
            np.testing.assert_allclose(rule(p, g, t)[1], 2.15, rtol=1e-11)
    assert (p == kept[0]).all() and (g == kept[1]).all()
""",
            "places-solution": """
def places(losses):
    out = np.empty(losses.shape[:2])
    for k in range(losses.shape[1]):
        table = losses[:, k].copy()
        table[~np.isfinite(table)] = np.inf
        lowest = np.min(np.median(table, axis=-1), axis=-1)
        out[:, k] = lowest / np.min(lowest)
    return out
""",
            "comparison-solution": """
rates = [10 ** (k / 2) for k in range(-7, 4)]
losses = sweep(rates, seeds=3)
""",
        },
        {
            "rule-solution": """
def my_rule(p, g, m, w, t, *, lr=0.01, beta=0.8):
    m = beta * m + (1 - beta) * g
    w = w + t * m * m
    return p - lr * m / np.sqrt(1e-6 + 2 * w / (t * (t + 1))), m, w
""",
            "tests-solution": """
def test_my_rule(rule):
    for size, lr, beta in ((1.0, 0.25, 0.5), (3.0, 0.01, 0.8), (500.0, 2.0, 0.9)):
        p, m, w = np.array([1.0, -1.0]), np.zeros(2), np.zeros(2)
        all_m = []
        for t in range(1, 6):
            g = np.array([0.0 if t == 3 else size, -size * t])
            old = p.copy(), g.copy(), m.copy(), w.copy()
            new = rule(p, g, m, w, t, lr=lr, beta=beta)
            if lr == 0.01:
                same = rule(p, g, m, w, t)
                assert np.allclose(same, new, rtol=1e-11, atol=0)
            for a, b in zip(old, (p, g, m, w)):
                if not np.array_equal(a, b):
                    raise AssertionError("changed in place")
            all_m.append(beta * m + (1 - beta) * g)
            share = np.arange(1, t + 1) / np.sum(np.arange(1, t + 1))
            mean = sum(s * x**2 for s, x in zip(share, all_m))
            step = lr * all_m[-1] / np.sqrt(1e-6 + mean)
            total = sum((k + 1) * x**2 for k, x in enumerate(all_m))
            for found, wanted in zip(new, (p - step, all_m[-1], total)):
                assert np.allclose(found, wanted, rtol=1e-11, atol=0)
            p, m, w = new
""",
            "places-solution": """
def places(losses):
    table = np.nan_to_num(losses, nan=np.inf, posinf=np.inf, neginf=np.inf)
    table = np.sort(table, axis=-1)
    middle = (table.shape[-1] - 1) / 2
    pair = table[..., [int(np.floor(middle)), int(np.ceil(middle))]]
    best = np.amin(pair.mean(axis=-1), axis=-1)
    return best * (1 / best.min(axis=0, keepdims=True))
""",
            "comparison-solution": """
rates = np.geomspace(3e-4, 30, 11)
losses = sweep(rates, 3)
""",
        },
    ],
}


@pytest.mark.parametrize("name", NAMES)
def test_master_gets_full_marks(name):
    for seed in (1, 2, 3):
        assert not wrong(messages(name, master_space(name), seed))


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_other_right_answers_get_full_marks(name, number):
    other = OTHERS[name][number]
    asked = {key for key in master(name) if key.endswith("-solution")}
    assert other.keys() == asked, "an answer to every question, and to no other"
    assert not wrong(messages(name, run({**master(name), **other})))


# Wrong answers

ROSTERS = [
    (name, q.name) for name in NAMES for q in load(name).questions if not q.judge
]


class Remembering(Question):
    """A question that works out the answers of each message once, not once a verdict.

    For one list of cases.
    """

    def answers(self, cases, message=None):
        known = self.__dict__.setdefault("known", {})
        if message not in known:
            known[message] = list(super().answers(cases, message))
        return known[message]


@pytest.mark.parametrize("name, asked", ROSTERS)
def test_each_wrong_answer_reads_its_own_message(name, asked):
    """With what the grader draws, and with the one case that students see.

    A message of an earlier question may find nothing wrong here, or say what is wrong
    as another one does; but it is one of the roster.
    """
    (plain,) = (q for q in load(name).questions if q.name == asked)
    before = load(name).questions[: load(name).questions.index(plain)]
    earlier = {message for q in before for message in q.wrong}
    own = [message for message in plain.wrong if message not in earlier]
    assert len(own) >= 4
    for seed, number in ((1, plain.cases), (release.VISIBLE, 1)):
        question = Remembering(
            **{f.name: getattr(plain, f.name) for f in fields(plain)}
        )
        rng = np.random.default_rng(seed)
        cases = [question.draw(rng) for _ in range(number)]
        for message in own:
            theirs = list(question.answers(cases, message))
            assert question.verdict(cases, theirs) == message
    for message in [m for m in question.wrong if m in earlier][::5]:
        theirs = list(question.answers(cases, message))
        assert question.verdict(cases, theirs) in (None, *question.wrong)


def test_a_message_that_is_not_the_answer_s_own_is_found():
    """The test above can fail: two messages for one mistake, one for no mistake."""
    (question,) = (q for q in load("descent").questions if q.name == "rates")
    first, source = next(iter(question.wrong.items()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(question.wrong, "The same again.", source)
        with pytest.raises(AssertionError):
            test_each_wrong_answer_reads_its_own_message("descent", "rates")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(question.wrong, first, question.right)
        with pytest.raises(AssertionError, match="None =="):
            test_each_wrong_answer_reads_its_own_message("descent", "rates")


@pytest.mark.parametrize("name", NAMES)
def test_visible_numbers_are_not_those_that_are_graded(name):
    for question in load(name).questions:
        seen = question.draw(np.random.default_rng(release.VISIBLE))
        for seed in range(5):
            drawn = question.draw(np.random.default_rng(seed))
            assert str(drawn) != str(seen) or question.judge, question.name


# Tests of the master's own rule that are right; each edit of them misses one mistake.
SHARP = """
def right(p, g, m, v, t, lr=1e-2, beta1=0.9, beta2=0.99, eps=1e-8, doubt=0.5):
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    step = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
    return p - lr * np.where(m * g < 0, doubt, 1.0) * step, m, v


def test_my_rule(rule):
    for numbers in ({}, {"lr": 0.3, "beta1": 0.5, "doubt": 0.1}):
        state = np.ones(3), np.zeros(3), np.zeros(3)
        for t in range(1, 6):
            g = np.array([-2.0, 0.4, 30.0]) * (-1) ** t
            if t == 2:
                g[0] = 0.0
            kept = np.copy(state[0]), np.copy(g)
            new = rule(state[0], g, *state[1:], t, **numbers)
            assert np.array_equal(state[0], kept[0])
            assert np.array_equal(g, kept[1])
            wanted = right(*kept, *state[1:], t, **numbers)
            for found, number in zip(new, wanted):
                assert np.allclose(found, number, rtol=1e-10, atol=0)
            state = new
"""
# Questions without a single answer: what a student might have done instead, run after
# the master's cells, and words of the message.
JUDGED = {
    ("adamw", "comparison"): {
        'results = {"constant": results["constant"], "schedule": None}': "still None",
        'results = {"constant": results["constant"]}': "other keys",
        "results = {k: pair[1] for k, pair in results.items()}": "not a pair",
        'results = {k: (r, "good") for k, (r, x) in results.items()}': "is no number",
        "results = {k: (r, x.T) for k, (r, x) in results.items()}": "a row a rate",
        "results = {k: (r[:4], x[:4]) for k, (r, x) in results.items()}": "too few",
        "results = {k: (r, x[:, :3]) for k, (r, x) in results.items()}": "about luck",
        "results = {k: (r - 1, x) for k, (r, x) in results.items()}": "positive",
        "results = {k: (r[::-1], x[::-1]) for k, (r, x) in results.items()}": (
            "from small to large"
        ),
        "results = {k: (r**2, x) for k, (r, x) in results.items()}": "factor of 6.81",
        "results = {k: (r, -x) for k, (r, x) in results.items()}": "below zero",
        "results = {k: (r[3:] / 4, np.tile(x[3:], 1)) for k, (r, x) in "
        "results.items()}\nresults = {k: (np.r_[r, r[-1] * 2], np.r_[x, x[-1:] + 1]) "
        "for k, (r, x) in results.items()}": "the smallest that you tried",
        "results = {k: (r, x[::-1].cumsum(0)[::-1]) for k, (r, x) in "
        "results.items()}": "the largest that you tried",
        "results = {k: (r, x + 1) for k, (r, x) in results.items()}": "did you use",
        "results = {k: (r, x[:, :1].repeat(5, 1)) for k, (r, x) in "
        "results.items()}": "are they other seeds",
        'results["schedule"] = (results["schedule"][0] * 2, results["schedule"][1])': (
            "other rates"
        ),
        'results["schedule"] = (results["schedule"][0], '
        'np.tile(results["schedule"][1], 2))': "other numbers of seeds",
        'results["schedule"] = results["constant"]': "was the schedule used",
    },
    ("capstone", "form"): {
        "my_rule = 3": "raised",
        "my_rule = max": "raised",
        "def my_rule(p, g, *rest, lr=0.1): return p": "*args",
        "def my_rule(g, p, t, *, lr=0.1): return p": "p and g",
        "def my_rule(p, g, t, m, *, lr=0.1): return p, m": "last argument",
        "def my_rule(p, g, t, lr=0.1): return p": "last argument",
        "def my_rule(p, g, t, *, rate=0.1): return p": "lr is a",
        "def my_rule(p, g, t, *, lr=0.1, b): return p": "every hyperparameter",
        "def my_rule(p, g, t, *, lr=0.1, b=True): return p": "not a number",
        "def my_rule(p, g, m, t, *, lr=0.1): return p": "returned 3 values",
        "def my_rule(p, g, t, *, lr=0.1): return p[:2]": "another shape",
        "def my_rule(p, g, t, *, lr=0.1): return p - lr * g": "gradient descent does",
        "def my_rule(p, g, k, t, *, lr=0.1):\n"
        "    k = 0.9 * k + g\n    return p - lr * k, k": "the heavy ball does",
        "def my_rule(p, g, k, t, *, lr=0.1):\n"
        "    k = 0.9 * k + g\n    return p - lr * (g + 0.9 * k), k": "nesterov's",
        "def my_rule(p, g, k, t, *, lr=0.1):\n"
        "    k = k + g**2\n    return p - lr * g / np.sqrt(k), k": "adagrad does",
        "def my_rule(p, g, k, t, *, lr=0.1):\n    k = 0.9 * k + 0.1 * g**2\n"
        "    return p - lr * g / np.sqrt(k), k": "rmsprop does",
        "from adamtut import rules\n"
        "def my_rule(p, g, m, v, t, *, lr=0.1): "
        "return rules.adam(p, g, m, v, t, lr=lr)": "as adam does",
        "from adamtut import rules\n"
        "def my_rule(p, g, m, v, t, *, lr=0.1): "
        "return rules.adamw(p, g, m, v, t, lr=lr)": "as adamw does",
    },
    ("capstone", "behaviour"): {
        "def my_rule(p, g, t, *, lr=0.1): return (p - lr * g)[0]": "has the shape",
        "def my_rule(p, g, t, *, lr=0.1): return 'p'": "is no number",
        "def my_rule(p, g, m, t, *, lr=0.1): return p - lr * g, 0.0": "new state 1",
        "def my_rule(p, g, t, *, lr=0.1): return p - lr * g / abs(g)": "not finite",
        "def my_rule(p, g, t, *, lr=0.1):\n    if np.ndim(p): p -= lr * g\n"
        "    return p * 1": "is another after the call",
        "count = [0]\ndef my_rule(p, g, t, *, lr=0.1):\n    count[0] += 1\n"
        "    return p - lr * g / count[0]": "something outside is kept",
        "def my_rule(p, g, t, *, lr=0.1): return p": "does not move at all",
        "def my_rule(p, g, t, *, lr=0.1): return p - (lr + 0.1) * g": "with lr = 0",
        "def my_rule(p, g, t, *, lr=0.1):\n"
        "    return p - lr * np.array([x for x in g])": "raised",
    },
    ("capstone", "descends"): {
        "def my_rule(p, g, t, *, lr=0.1): return p + lr * g": "uphill",
        "def my_rule(p, g, t, *, lr=0.1): return p - lr * 1e-4 * np.sign(g)": "% of",
        "def my_rule(p, g, t, *, lr=0.1): return 'p'": "raised",
    },
    ("capstone", "tests"): {
        "def test_my_rule(rule): pass": "accept",
        "def test_my_rule(rule): assert rule is my_rule": "reject your own rule",
        "def test_my_rule(rule): assert False": "reject your own rule",
        "old = test_my_rule\ndef test_my_rule(rule):\n    old(rule)\n"
        "    a = np.ones(3), np.ones(3), np.zeros(3), np.zeros(3), 1\n"
        "    assert all((x == y).all() for x, y in zip(rule(*a), my_rule(*a)))": (
            "rounds differently"
        ),
        # of one step from ones with a gradient of one
        **{
            f"""
def test_my_rule(rule):
    o, z = np.ones(2), np.zeros(2)
    new = rule(o, o, z, z, 1)[0]
    assert {said}
""": words
            for said, words in {
                "np.all(np.isfinite(new))": "every rule",
                "not np.allclose(new, 1) and new[0] != -7": "walks uphill",
                "np.all(new <= 1) and new[0] != -7": "does not move",
                "np.all(new < 1) and new[0] != -7": "twice as long",
                "np.allclose(new, 0.99)": "ignores lr",
                "np.allclose(rule(o, o, z, z, 1, lr=0.5)[0], 0.5)": "forgets its state",
                "np.allclose(rule(o, o, o, 2 * o, 2, lr=0.5)[0], "
                "my_rule(o, o, o, 2 * o, 2, lr=0.5)[0])": "returns its old state",
            }.items()
        },
    },
    ("capstone", "sharp-tests"): {
        edited(SHARP, *edits): words
        for words, edits in {
            "ignores every hyperparameter but lr": [
                (', "beta1": 0.5, "doubt": 0.1', "")
            ],
            "whose defaults are others": [
                ("({}, ", "("),
                ("0.1})", '0.1, "beta2": 0.9, "eps": 1e-8},)'),
            ],
            "t is always 1": [("t, **numbers", "1, **numbers")],
            "wrong from t = 3 on": [("range(1, 6)", "range(1, 3)")],
            "t is one ahead": [("range(1, 6)", "range(10**5, 10**5 + 3)")],
            "for single numbers alone": [
                ("np.ones(3), np.zeros(3), np.zeros(3)", "1.0, 0.0, 0.0"),
                ("np.array([-2.0, 0.4, 30.0])", "30.0"),
                ("g[0] = 0.0", "g = 0.0"),
            ],
            "takes the mean of the gradient": [
                ("[-2.0, 0.4, 30.0]", "[30.0, 30.0, 30.0]"),
                ("g[0] = 0.0", "g[:] = 0.0"),
            ],
            "changes the gradient in place": [("np.array_equal(g, kept[1])", "True")],
            "changes p in place": [("np.array_equal(state[0], kept[0])", "True")],
            "does nothing where the gradient is zero": [("g[0] = 0.0", "pass")],
            "clips the gradient": [("[-2.0, 0.4, 30.0]", "[-0.2, 0.4, 0.3]")],
            "float32": [("1e-10", "1e-5")],
        }.items()
    },
    ("capstone", "comparison"): {
        "rates = None": "still None",
        "losses = 'good'": "is no number",
        "losses = losses[0]": "expected (4, 3, rates, seeds)",
        "rates = rates[1:]": "10 rates",
        "losses = losses[..., :2]": "three seeds",
        "rates = -rates": "positive",
        "rates = rates[::-1]": "from small to large",
        "rates = rates**3": "at most four times",
        "rates, losses = rates[:5], losses[:, :, :5]": "largest that you tried",
        "rates, losses = rates[6:], losses[:, :, 6:]": "smallest that you tried",
        "losses[0] = losses[1]": "the losses of sgd",
        "losses = losses[..., :1].repeat(3, 3)": "other seeds",
    },
}


def test_every_judged_question_is_among_these():
    found = {(name, q.name) for name in NAMES for q in load(name).questions if q.judge}
    assert found == set(JUDGED)


@pytest.mark.parametrize("name, asked", JUDGED)
def test_each_misjudged_answer_reads_its_message(name, asked):
    for source, words in JUDGED[name, asked].items():
        # what a cell changes is made anew for each, or copied
        space = {**master_space(name), **copied(master_space(name))}
        exec(source, space)
        message = messages(name, space, only=asked)[asked]
        assert message and words.lower() in message.lower(), (source, message)


JUNK = [
    None,
    True,
    "text",
    -1,
    float("nan"),
    [],
    [[]],
    [None, None],
    [[["text"]], False],
    {},
    {"lr": "x"},
    {"constant": None, "schedule": [[], []]},
    {"constant": [[1.0], [[2.0]]], "schedule": 3},
    np.zeros((2, 2)),
    np.full((4, 3, 5, 3), np.nan),
    np.zeros((0, 0)),
    Other("function"),
]


@pytest.mark.parametrize("name, asked", JUDGED)
def test_junk_gets_a_message_and_breaks_no_judge(name, asked):
    """Whatever a submission sends: with junk in any one place, then in all."""
    (question,) = (q for q in load(name).questions if q.name == asked)
    case = question.draw(np.random.default_rng(1))
    good = [unpack(x) for x in run_case(case, dict(master_space(name)))]
    assert question.verdict([case], [good]) is None
    for junk in JUNK:
        for place in range(len(good)):
            answers = [*good[:place], junk, *good[place + 1 :]]
            message = question.verdict([case], [answers])
            assert message is None or isinstance(message, str), (place, junk)
        assert question.verdict([case], [[junk] * len(good)]), junk
    for number in (0, len(good) + 1):  # fewer or more answers than calls
        assert question.verdict([case], [[None] * number])


def copied(space):
    """Copies of the plain values of a namespace."""
    plain = (dict, list, np.ndarray)
    return {
        key: copy.deepcopy(value)
        for key, value in space.items()
        if isinstance(value, plain) and key != "__builtins__"
    }


# The students' notebook


def hand_in(nb, cells):
    """The students' notebook with these answers; a cell is told by what it defines."""
    waiting = {_defines(source): source for source in cells.values()}
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.source = waiting.pop(_defines(cell.source), cell.source)
    assert not waiting, "answers without a cell"
    return nbformat.writes(nb)


def _defines(source):
    found = re.search(
        r"^(?:def |class )?(\w+)(?= =|, \w+ =|[(:])", source, re.MULTILINE
    )
    return found and found[1]


@pytest.mark.parametrize("name", NAMES)
def test_students_notebook_from_release_to_grade(name):
    """No solution in it; its checks pass the master's answers, and so does the jail.

    As it was handed out it gets no point, and every check says a sentence.
    """
    nb = release.student_notebook(load(name))
    space = {}
    for cell in nb.cells:
        if cell.cell_type == "code" and not cell.source.startswith("check("):
            with contextlib.suppress(Exception):  # a figure of what is not there yet
                exec(cell.source, space)
    for question in load(name).questions:
        assert said_by(space, question) not in ("", "right on the visible numbers.")
        assert messages(name, space, only=question.name)[question.name]
    text = "\n".join(cell.source for cell in nb.cells)
    answers = {k: x for k, x in master(name).items() if k.endswith("-solution")}
    for source in answers.values():
        inside = re.findall("# BEGIN SOLUTION\n(.*?)# END SOLUTION", source, re.DOTALL)
        lines = {x.strip() for part in inside for x in part.splitlines()}
        assert not [x for x in lines if len(x) > 12 and x in text]
    data = hand_in(nb, answers)
    assert grade(load(name), data.encode(), "anna", "a seed")["points"] == (
        load(name).automatic
    )
    code = [c.source for c in nb.cells if c.cell_type == "code"]
    (checks,) = (source for source in code if source.startswith(TITLE))
    space = dict(master_space(name))
    exec(checks, space)
    for question in load(name).questions:
        assert said_by(space, question) == "right on the visible numbers."


def said_by(space, question):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        space["check"](question.name)
    name, _, message = said.getvalue().strip().partition(": ")
    assert name == question.name
    return message


@pytest.mark.parametrize("name", NAMES)
def test_points_of_the_rubric_add_up(name):
    rubric = load(name).folder / "rubric.md"
    parts = {part["name"]: part["points"] for part in load(name).written}
    if not parts:
        assert not rubric.exists()
        return
    text = rubric.read_text(encoding="utf-8")
    found = {}
    for part in text.split("\n## ")[1:]:
        title, points = re.match(r"([\w-]+) \((\d+) points\)", part).groups()
        rows = re.findall(r"^\| (\d+) \|", part, re.MULTILINE)
        assert sum(map(int, rows)) == int(points), title
        found[title] = int(points)
    assert found == parts
