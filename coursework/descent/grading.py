"""Assignment 1: gradient descent and momentum. Expected answers: `adamtut.rules`."""

import numpy as np

from adamtut import rules
from coursework.cases import call, function, look, put, ref
from coursework.questions import Question, edited

# A walk


def descend(p, grad, lr, steps):
    """The points of `adamtut.rules.sgd`."""
    path = [p]
    for t in range(1, steps + 1):
        path.append(rules.sgd(path[-1], grad(path[-1]), t, lr=lr))
    return np.stack(path)


_DESCEND = """
def descend(p, grad, lr, steps):
    path = [p]
    for k in range(steps):
        p = p - lr * grad(p)
        path.append(p)
    return np.array(path)
"""
DESCEND = {
    "You walk uphill: the step is subtracted from p.": [("p - lr", "p + lr")],
    "Every row of your path is the last point: you change p in place and keep the same "
    "array again and again.": [
        ("[p]", "[p.copy()]"),
        ("    for", "    p = p.copy()\n    path = [p]\n    for"),
        ("p = p - lr", "p -= lr"),
    ],
    "Your path does not have the start: it is the first row.": [("[p]", "[]")],
    "Your path is one step too short: the last of the steps is missing.": [
        ("range(steps)", "range(steps - 1)")
    ],
    "Your path is one step too long.": [("range(steps)", "range(steps + 1)")],
    "You return the last point alone; all points are asked for.": [
        ("np.array(path)", "p")
    ],
    "Your steps all use the gradient of the start: ask `grad` again in each step.": [
        ("    for", "    g = grad(p)\n    for"),
        ("grad(p)\n        path", "g\n        path"),
    ],
    "Your steps are all of the length lr: you divide by the length of the gradient, "
    "and gradient descent does not.": [
        ("lr * grad(p)", "lr * grad(p) / np.linalg.norm(grad(p))")
    ],
    "You use the sign of the gradient alone.": [("grad(p)", "np.sign(grad(p))")],
    "Your learning rate falls with the steps; here it is constant.": [
        ("lr * grad", "lr / (k + 1) * grad")
    ],
    "You ignore lr and always take 0.01.": [("lr * grad", "0.01 * grad")],
    "You return the steps, not the points.": [
        ("np.array(path)", "np.diff(path, axis=0, prepend=path[:1])")
    ],
    "You write into the caller's array: its p has moved to the end of the walk.": [
        ("[p]", "[p.copy()]"),
        ("p = p - lr", "p -= lr"),
        ("append(p)", "append(p.copy())"),
    ],
}


def path(rng):
    values = {"h": 10 ** rng.uniform(-1, 1, 3), "c": rng.normal(size=3)}
    grad = function("lambda p: h * (p - c) + 0.1 * np.sin(p)", **values)
    lr, steps = rng.uniform(0.01, 0.1), int(rng.integers(4, 8))
    start = put("p", rng.normal(size=3))
    return [start, call("descend", ref("p"), grad, lr, steps), look("p")]


# How large may the rate be?


def rates(curvatures):
    """The end points of where the worst of all factors is smallest, or is one."""
    low, high = np.min(curvatures), np.max(curvatures)
    return 2 / (low + high), 2 / high


_RATES = """
def rates(curvatures):
    steepest, flattest = np.max(curvatures), np.min(curvatures)
    return 2 / (steepest + flattest), 2 / steepest
"""
_BEST, _LIMIT = "2 / (steepest + flattest)", ", 2 / steepest"
RATES = {
    "Your limit is 1 / the steepest curvature, where that coordinate lands at once; it "
    "diverges only from twice that on.": [(_LIMIT, ", 1 / steepest")],
    "Your limit looks at the flattest direction; the steepest diverges first.": [
        (_LIMIT, ", 2 / flattest")
    ],
    "Your limit looks at the mean curvature; the steepest diverges first.": [
        (_LIMIT, ", 2 / np.mean(curvatures)")
    ],
    "Your best rate is 1 / the steepest curvature: there the flattest direction is the "
    "slowest; a larger rate makes the worst of both better.": [(_BEST, "1 / steepest")],
    "Your best rate is half of it: 1 - lr h may be negative, and both ends have the "
    "same size where lr (steepest + flattest) = 2.": [
        (_BEST, "1 / (steepest + flattest)")
    ],
    "Your best rate is 2 / the mean curvature; only the two extreme ones count.": [
        (_BEST, "2 / np.mean(curvatures)")
    ],
    "Your best rate is 1 / the mean curvature; only the two extreme ones count.": [
        (_BEST, "1 / np.mean(curvatures)")
    ],
    "Your best rate has the difference of the curvatures; it is their sum.": [
        (_BEST, "2 / (steepest - flattest)")
    ],
    "Your best rate is Polyak's, of the heavy ball; this is gradient descent.": [
        (_BEST, "4 / (np.sqrt(steepest) + np.sqrt(flattest)) ** 2")
    ],
    "You take the first and the last curvature; they are not sorted.": [
        ("np.max(curvatures), np.min(curvatures)", "curvatures[-1], curvatures[0]")
    ],
    "You return the limit before the best rate.": [
        (f"{_BEST}{_LIMIT}", "2 / steepest, 2 / (steepest + flattest)")
    ],
}


def curvatures(rng):
    values = np.sort(10 ** rng.uniform(-2, 2, rng.integers(3, 7)))
    return [call("rates", np.roll(values, 1))]


# The gradient of a minibatch


def batch_gradient(w, x, y):
    """The derivative along an imaginary step: right to the last digit, no formula."""
    steps = w + 1e-20j * np.eye(len(w))
    loss = np.mean((steps @ x.T - y) ** 2 / 2, axis=1)
    return loss.imag / 1e-20


_BATCH = """
def batch_gradient(w, x, y):
    return x.T @ (x @ w - y) / len(y)
"""
BATCH = {
    "Your gradient is a sum over the batch; the loss is a mean, so divide by the "
    "number of examples. With a sum, a batch twice as large needs half the rate.": [
        (" / len(y)", "")
    ],
    "Your gradient is twice too large: the loss has a half before the square.": [
        ("x.T", "2 * x.T")
    ],
    "Your gradient is a sum and twice too large: the loss is the mean of half the "
    "squares.": [("x.T", "2 * x.T"), (" / len(y)", "")],
    "Your gradient has the wrong sign: the error is prediction minus target.": [
        ("x @ w - y", "y - x @ w")
    ],
    "You divide by the number of weights; the mean is over the examples.": [
        ("len(y)", "len(w)")
    ],
    "You divide by the number of entries of x; the mean is over the examples.": [
        ("len(y)", "x.size")
    ],
    "You return the gradient by the predictions; multiply by x.T, the chain rule.": [
        ("x.T @ (x @ w - y)", "(x @ w - y)")
    ],
    "You return the mean error times the mean example; the product comes first, then "
    "the mean.": [("x.T @ (x @ w - y) / len(y)", "x.mean(0) * (x @ w - y).mean()")],
    "Your gradient is of the absolute error: you take the sign of the error.": [
        ("(x @ w - y)", "np.sign(x @ w - y)")
    ],
    "You return the gradient of the first example alone.": [
        ("x.T @ (x @ w - y) / len(y)", "x[0] * (x[0] @ w - y[0])")
    ],
    "You use the gradient at w = 0: the prediction is missing.": [
        ("x @ w - y", "0 - y")
    ],
}


def batch(rng):
    n, d = int(rng.integers(4, 9)), int(rng.integers(2, 4))
    x, y = rng.normal(1, 1, (n, d)), rng.normal(size=n)
    return [call("batch_gradient", rng.normal(size=d), x, y)]


# The heavy ball and Nesterov's method


def momentum_step(p, g, m, lr=1e-2, beta=0.9):
    """One step of the book's heavy ball."""
    return rules.momentum(p, g, m, 1, lr=lr, beta=beta)


def nesterov_step(p, g, m, lr=1e-2, beta=0.9):
    """One step of the book's Nesterov method."""
    return rules.nesterov(p, g, m, 1, lr=lr, beta=beta)


_BALL = """
def momentum_step(p, g, m, lr=1e-2, beta=0.9):
    m = beta * m + g
    p = p - lr * m
    return p, m


def nesterov_step(p, g, m, lr=1e-2, beta=0.9):
    m = beta * m + g
    p = p - lr * (g + beta * m)
    return p, m
"""
_BOTH = {
    "You walk uphill: the step is subtracted from p.": [("p - lr", "p + lr")],
    "Your m is an average: g has the weight 1 - beta. In this form m is a sum, and g "
    "has the weight 1.": [("+ g\n", "+ (1 - beta) * g\n")],
    "Your m is dampened: g counts twice as little as the old m is kept. In this form g "
    "has the weight 1.": [("+ g\n", "+ 0.5 * g\n")],
    "Your m forgets: the old m is not in it.": [("beta * m + g\n", "g\n")],
    "Your m never fades: beta is missing before the old m.": [
        ("beta * m + g\n", "m + g\n")
    ],
    "Your m has the gradient with a minus: m adds up gradients, and p goes against "
    "m.": [("beta * m + g\n", "beta * m - g\n")],
    "Your m is a sum with beta before g instead of the old m.": [
        ("beta * m + g\n", "m + beta * g\n")
    ],
    "Your m has lr inside: it is the same path only while lr does not change.": [
        ("+ g\n", "+ lr * g\n"),
        ("p - lr * m", "p - m"),
        ("p - lr * (g + beta * m)", "p - (lr * g + beta * m)"),
    ],
    "You return the old m: the next step starts from the new one.": [
        ("m = beta * m + g\n", "old, m = m, beta * m + g\n"),
        ("return p, m", "return p, old"),
    ],
    "You return m before p.": [("return p, m", "return m, p")],
    "You return the step, not the new p.": [("p = p - lr", "p = -lr")],
    "You ignore lr and always take 0.01.": [("p - lr", "p - 0.01")],
    "You ignore beta and always take 0.9.": [("    m =", "    beta = 0.9\n    m =")],
    "Your default of beta is 0.99; the one asked for is 0.9.": [
        ("beta=0.9", "beta=0.99")
    ],
    "Your default of lr is 0.001; the one asked for is 0.01.": [("lr=1e-2", "lr=1e-3")],
    "Your numbers are right to seven digits: you keep m as float32.": [
        ("    p = p - lr", "    m = np.asarray(m, np.float32) + 0.0\n    p = p - lr")
    ],
    "Where the gradient is zero you leave p: the ball rolls on by m.": [
        ("    m = beta", "    old = p\n    m = beta"),
        ("return p, m", "return np.where(g == 0, old, p)[()], m"),
    ],
    "Your m is one number, the mean over the array; each coordinate has its own.": [
        ("+ g\n", "+ np.mean(g) * np.ones_like(g)\n")
    ],
    "You clip the gradient to 1; the heavy ball does not.": [
        ("    m = beta", "    g = np.clip(g, -1, 1)\n    m = beta")
    ],
    "It works for single numbers alone: float() takes one number.": [
        ("    m = beta", "    g = float(g)\n    m = beta")
    ],
    "It works for single numbers alone: an `if` cannot look at a whole array; use "
    "np.where.": [
        ("    m = beta", "    if g > 0 or g <= 0:\n        pass\n    m = beta")
    ],
}
MOMENTUM = {
    **_BOTH,
    "Your step uses g where the heavy ball has m.": [("p - lr * m", "p - lr * g")],
    "Your step uses the m of the step before: update m first.": [
        (
            "m = beta * m + g\n    p = p - lr * m\n",
            "p = p - lr * m\n    m = beta*m + g\n",
        )
    ],
    "That is Nesterov's step; the heavy ball goes by lr * m.": [
        ("p - lr * m", "p - lr * (g + beta * m)")
    ],
    "You add the gradient twice: it is in m already.": [
        ("p - lr * m", "p - lr * (m + g)")
    ],
    "You multiply m by beta twice: once in m, once more in the step.": [
        ("p - lr * m", "p - lr * beta * m")
    ],
}
NESTEROV = {
    **_BOTH,
    "That is the heavy ball: Nesterov's step is lr * (g + beta * m) with the new m; "
    "with the old one it is the heavy ball's.": [("(g + beta * m)", "m")],
    "Your step uses g + m: beta is missing before m.": [("(g + beta * m)", "(g + m)")],
    "Your step lacks g: it is lr * (g + beta * m).": [("(g + beta * m)", "beta * m")],
    "Your step has beta before the bracket: only m is multiplied by it.": [
        ("(g + beta * m)", "beta * (g + m)")
    ],
}
IN_PLACE = {
    "You change p in place: make a new array.": [("p = p - lr", "p -= lr")],
    "You change m in place: make a new array.": [
        ("m = beta * m + g\n", "m *= beta\n    m += g\n")
    ],
    "You change the gradient in place: whoever passed g finds another array.": [
        ("m = beta * m + g\n", "g += beta * m\n    m = g.copy()\n")
    ],
    "You change p and m in place: make new arrays.": [
        ("m = beta * m + g\n", "m *= beta\n    m += g\n"),
        ("p = p - lr", "p -= lr"),
    ],
}


def _functions(edits, only):
    """The step of this name from the lines of `_BALL` after those edits that it has."""
    source = _BALL.split("\n\n\n")[only == "nesterov_step"]
    return edited(source, *[pair for pair in edits if pair[0] in source])


def _steps(rng, name):
    """Eight steps whose rate changes; one gradient is zero."""
    shape = [(), (3,), (2, 3)][rng.integers(3)]
    grads = rng.normal(0, 3, (8, *shape))
    grads[rng.integers(2, 6)] = 0.0
    scalar = shape == ()
    p = float(rng.normal()) if scalar else rng.normal(size=shape)
    m = 0.0 if scalar else np.zeros(shape)
    beta = rng.uniform(0.3, 0.95)
    case = [put("p", p), put("m", m)]
    for g in map(float, grads) if scalar else grads:
        hyper = {"lr": 10 ** rng.uniform(-3, 0), "beta": beta}
        case.append(call(name, ref("p"), g, ref("m"), keep="p m", **hyper))
    last = grads[0] if not scalar else float(grads[0])
    return [*case, call(name, ref("p"), last, ref("m"))]  # with the defaults


def arguments(rng):
    hyper = {"lr": rng.uniform(0.01, 1), "beta": rng.uniform(0.3, 0.95)}
    step = call("momentum_step", *map(ref, "pgm"), **hyper)
    given = [put(name, rng.normal(size=3)) for name in "pgm"]
    return [*given, step, *map(look, "pgm"), step]


# An optimiser


class SGD:
    """The book's heavy ball or Nesterov method on several parameters."""

    def __init__(self, params, lr=1e-2, beta=0.9, nesterov=False):
        self.rule = nesterov_step if nesterov else momentum_step
        self.states, self.hyper = [(p, 0 * p) for p in params], (lr, beta)

    def step(self, grads):
        pairs = zip(self.states, grads, strict=True)
        self.states = [self.rule(p, g, m, *self.hyper) for (p, m), g in pairs]
        return [p for p, _ in self.states]


_CLASS = """
class SGD:
    def __init__(self, params, lr=1e-2, beta=0.9, nesterov=False):
        self.params, self.hyper = list(params), {"lr": lr, "beta": beta}
        self.rule = nesterov_step if nesterov else momentum_step
        self.m = [0 * p for p in params]

    def step(self, grads):
        for i, g in enumerate(grads):
            self.params[i], self.m[i] = self.rule(
                self.params[i], g, self.m[i], **self.hyper
            )
        return list(self.params)
"""
CLASS = {
    "Your parameters share one m: each needs its own.": [
        ("[0 * p for p in params]", "0.0"),
        ("self.params[i], self.m[i] = self", "self.params[i], m = self"),
        ("g, self.m[i], **", "g, self.m + 0 * g, **"),
        ("            )\n", "            )\n            self.m = m.ravel()[0]\n"),
    ],
    "Your optimiser does not keep m from one step to the next.": [
        ("self.params[i], self.m[i] =", "self.params[i], _ =")
    ],
    "Your optimiser does not keep the parameters from one step to the next.": [
        ("self.params[i], self.m[i] =", "new[i], self.m[i] ="),
        ("        for", "        new = list(self.params)\n        for"),
        ("return list(self.params)", "return new"),
    ],
    "Two optimisers share their state: keep m on self, not on the class.": [
        ("class SGD:\n", "class SGD:\n    kept = {}\n\n"),
        (
            "[0 * p for p in params]",
            "self.kept.setdefault('m', [0 * p for p in params])",
        ),
    ],
    "Two optimisers share their parameters: keep them on self, not on the class.": [
        ("class SGD:\n", "class SGD:\n    kept = []\n\n"),
        (
            "self.params, self.hyper = list(params),",
            "self.kept[:] = list(params)\n        self.params, self.hyper = self.kept,",
        ),
    ],
    "Your optimiser ignores lr and beta.": [(", **self.hyper", "")],
    "Your optimiser ignores beta.": [('"beta": beta', '"beta": 0.9')],
    "Your optimiser ignores lr.": [('"lr": lr', '"lr": 1e-2')],
    "Your optimiser ignores nesterov: it takes the steps of the heavy ball.": [
        ("nesterov_step if nesterov else momentum_step", "momentum_step")
    ],
    "Your optimiser always takes Nesterov's steps.": [
        ("nesterov_step if nesterov else momentum_step", "nesterov_step")
    ],
    "Your optimiser takes `nesterov` the wrong way round.": [
        (
            "nesterov_step if nesterov else momentum_step",
            "momentum_step if nesterov else nesterov_step",
        )
    ],
    "Your optimiser updates the first parameter alone.": [
        ("enumerate(grads)", "enumerate(grads[:1])")
    ],
    "Your optimiser updates its m twice a step: call the rule once.": [
        (
            "        for",
            "        for i, g in enumerate(grads):\n"
            "            self.m[i] = self.rule(\n"
            "                self.params[i], g, self.m[i], **self.hyper\n"
            "            )[1]\n        for",
        )
    ],
    "Your optimiser writes into the arrays that it was given: start from copies, or "
    "make new ones.": [
        ("        for", "        old = list(self.params)\n        for"),
        (
            "        return list",
            "        for i, p in enumerate(old):\n"
            "            p[...] = self.params[i]\n            self.params[i] = p\n"
            "        return list",
        ),
    ],
}


def optimiser(rng):
    shapes = [(2,), (3, 2)]
    start = [rng.normal(size=s) for s in shapes]
    grads = [[rng.normal(size=s) for s in shapes] for _ in range(4)]

    def hyper():
        return {"lr": 10 ** rng.uniform(-3, 0), "beta": rng.uniform(0.3, 0.95)}

    return [
        *(put(name, p) for name, p in zip("ab", start, strict=True)),
        call("SGD", [ref("a"), ref("b")], keep="one", show=False, **hyper()),
        *(call("one.step", g) for g in grads),
        *map(look, "ab"),
        call("SGD", start, keep="two", show=False, nesterov=True, **hyper()),
        *(call("two.step", g) for g in grads[:2]),
        call("one.step", grads[0]),
        call("SGD", start, keep="three", show=False),
        call("three.step", grads[1]),
    ]


def _roster(source, table):
    return {message: edited(source, *edits) for message, edits in table.items()}


def _balls(name, table):
    return {message: _functions(edits, name) for message, edits in table.items()}


QUESTIONS = [
    Question("path", 2, path, {"descend": descend}, _roster(_DESCEND, DESCEND)),
    Question("rates", 2, curvatures, {"rates": rates}, _roster(_RATES, RATES)),
    Question(
        "batch-gradient",
        2,
        batch,
        {"batch_gradient": batch_gradient},
        _roster(_BATCH, BATCH),
    ),
    Question(
        "momentum",
        3,
        lambda rng: _steps(rng, "momentum_step"),
        {"momentum_step": momentum_step},
        _balls("momentum_step", MOMENTUM),
    ),
    Question(
        "arguments",
        1,
        arguments,
        {"momentum_step": momentum_step},
        _balls("momentum_step", IN_PLACE | MOMENTUM),
    ),
    Question(
        "nesterov",
        2,
        lambda rng: _steps(rng, "nesterov_step"),
        {"nesterov_step": nesterov_step},
        _balls("nesterov_step", NESTEROV),
    ),
    Question(
        "optimiser", 3, optimiser, {"SGD": SGD}, _roster(_BALL + _CLASS, CLASS | _BOTH)
    ),
]
