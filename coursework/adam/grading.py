"""Assignment 3: Adam from the paper's text. Expected answers: `adamtut.rules.adam`."""

import numpy as np

from adamtut import rules
from coursework.cases import call, look, put, ref
from coursework.questions import Question, edited


def adam_step(p, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """One step of the book's Adam."""
    return rules.adam(p, g, m, v, t, lr=lr, beta1=beta1, beta2=beta2, eps=eps)


class Adam:
    """The book's Adam on several parameters."""

    def __init__(self, params, **hyper):
        self.hyper, self.t = hyper, 0
        self.states = [(p, 0 * p, 0 * p) for p in params]

    def step(self, grads):
        self.t += 1
        self.states = [
            adam_step(p, g, m, v, self.t, **self.hyper)
            for (p, m, v), g in zip(self.states, grads, strict=True)
        ]
        return [p for p, _, _ in self.states]


# What goes wrong, as edits of these lines: {what the student reads: edits}.
_STEP = """
def adam_step(p, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    p = p - lr * m_hat / (np.sqrt(v_hat) + eps)
    return p, m, v
"""
_CLASS = """
class Adam:
    def __init__(self, params, **hyper):
        self.params, self.hyper, self.t = list(params), hyper, 0
        self.m = [0 * p for p in params]
        self.v = [0 * p for p in params]

    def step(self, grads):
        self.t += 1
        for i, g in enumerate(grads):
            self.params[i], self.m[i], self.v[i] = adam_step(
                self.params[i], g, self.m[i], self.v[i], self.t, **self.hyper
            )
        return list(self.params)
"""
_FRACTION = "lr * m_hat / (np.sqrt(v_hat) + eps)"
WRONG = {
    "Your v is not corrected: at t = 1 your step is 31.62 lr with the default "
    "betas, the paper's is lr.": [("v / (1 - beta2**t)", "v")],
    "Your m is not corrected: at t = 1 your step is a tenth of the paper's with the "
    "default beta1.": [("m / (1 - beta1**t)", "m")],
    "Neither m nor v is corrected: at t = 1 your step is 3.162 lr with the default "
    "betas, the paper's is lr.": [
        ("m / (1 - beta1**t)", "m"),
        ("v / (1 - beta2**t)", "v"),
    ],
    "Your eps is inside the root; the paper adds it to the root: sqrt(v_hat) + eps.": [
        ("np.sqrt(v_hat) + eps", "np.sqrt(v_hat + eps)")
    ],
    "Your eps is outside the fraction: it moves the parameter by eps in each step.": [
        (_FRACTION, "lr * m_hat / np.sqrt(v_hat) + eps")
    ],
    "Your eps is a lower bound of the root; the paper adds it.": [
        ("np.sqrt(v_hat) + eps", "np.maximum(np.sqrt(v_hat), eps)")
    ],
    "Your eps stands beside the root of v before its correction (the paper's "
    "'efficient' form, end of section 2); algorithm 1 adds it to the root of v_hat.": [
        ("+ eps", "+ eps / np.sqrt(1 - beta2**t)")
    ],
    "There is no eps in your denominator.": [
        ("np.sqrt(v_hat) + eps", "np.sqrt(v_hat)")
    ],
    "Your eps is squared inside the root; the paper adds it to the root.": [
        ("np.sqrt(v_hat) + eps", "np.sqrt(v_hat + eps**2)")
    ],
    "You divide by v_hat, not by its root.": [("np.sqrt(v_hat)", "v_hat")],
    "You correct both with beta1: v_hat is v / (1 - beta2**t).": [
        ("1 - beta2**t", "1 - beta1**t")
    ],
    "You correct both with beta2: m_hat is m / (1 - beta1**t).": [
        ("1 - beta1**t", "1 - beta2**t")
    ],
    "Your corrections use the same t in every step: t counts 1, 2, 3, ...": [
        ("**t", "**1")
    ],
    "Your corrections use t + 1: the first step has t = 1.": [("**t", "**(t + 1)")],
    "Your corrections are 1 - beta * t; the paper has beta to the power t.": [
        ("beta1**t", "beta1 * t"),
        ("beta2**t", "beta2 * t"),
    ],
    "Right at t = 1 and 2, wrong from t = 3 on: t must go on counting in the "
    "corrections.": [("**t", "**min(t, 2)")],
    "Your step uses g where the paper has m_hat.": [("lr * m_hat", "lr * g")],
    "beta1 and beta2 are swapped.": [
        ("m = beta1 * m + (1 - beta1)", "m = beta2 * m + (1 - beta2)"),
        ("v = beta2 * v + (1 - beta2)", "v = beta1 * v + (1 - beta1)"),
        ("1 - beta1**t", "1 - BETA**t"),
        ("1 - beta2**t", "1 - beta1**t"),
        ("BETA", "beta2"),
    ],
    "Your denominator is the size of m_hat: each step is lr, whatever v is.": [
        ("np.sqrt(v_hat)", "np.sqrt(m_hat**2)")
    ],
    "You walk uphill: the step is subtracted from p.": [("p - lr", "p + lr")],
    "Your m is a sum, not an average: (1 - beta1) is missing before g.": [
        ("(1 - beta1) * g\n", "g\n")
    ],
    "Your v is a sum, not an average: (1 - beta2) is missing before g**2.": [
        ("(1 - beta2) * g**2", "g**2")
    ],
    "The weights of m are the wrong way round: the old m has beta1, g has 1 - beta1.": [
        ("beta1 * m + (1 - beta1) * g", "(1 - beta1) * m + beta1 * g")
    ],
    "The weights of v are the wrong way round: the old v has beta2, g**2 has "
    "1 - beta2.": [
        ("beta2 * v + (1 - beta2) * g**2", "(1 - beta2) * v + beta2 * g**2")
    ],
    "Your m forgets: the old m is not in it.": [("beta1 * m + ", "")],
    "Your v forgets: the old v is not in it.": [("beta2 * v + ", "")],
    "Your v averages |g|; the paper averages g**2.": [("g**2", "np.abs(g)")],
    "Your v averages m**2; the paper averages g**2.": [("g**2", "m**2")],
    "Your v adds up all squares, as AdaGrad's; Adam's forgets the old ones.": [
        ("beta2 * v + (1 - beta2) * g**2", "v + g**2")
    ],
    "Your step uses the v of the step before: update v first.": [
        ("v = beta2", "v_new = beta2"),
        ("return p, m, v", "return p, m, v_new"),
    ],
    "Your step uses the m of the step before: update m first.": [
        ("m = beta1", "m_new = beta1"),
        ("return p, m, v", "return p, m_new, v"),
    ],
    "You return the old m.": [("m = beta1", "m_new = beta1"), ("= m /", "= m_new /")],
    "You return the old v.": [("v = beta2", "v_new = beta2"), ("= v /", "= v_new /")],
    "You return the corrected m: only the step uses m_hat, the next m starts from m.": [
        ("return p, m, v", "return p, m_hat, v")
    ],
    "You return the corrected v: only the step uses v_hat, the next v starts from v.": [
        ("return p, m, v", "return p, m, v_hat")
    ],
    "You return m_hat and v_hat; return m and v, which the next step starts from.": [
        ("return p, m, v", "return p, m_hat, v_hat")
    ],
    "You return v before m.": [("return p, m, v", "return p, v, m")],
    "You return the step, not the new p.": [("p = p - lr", "p = -lr")],
    "Your learning rate decays with t; algorithm 1 keeps it.": [
        ("p - lr", "p - t**-0.5 * lr")
    ],
    "Your numbers are right to seven digits: you keep some of them as float32.": [
        ("= beta1", "= np.float32(1) * beta1"),
        ("beta1 * m + (1 - beta1) * g", "(beta1 * m + (1 - beta1) * g)"),
        ("m_hat = m", "m = np.asarray(m, np.float32) + 0.0\n    m_hat = m"),
        ("v_hat = v", "v = np.asarray(v, np.float32) + 0.0\n    v_hat = v"),
        ("= np.float32(1) * ", "= "),
    ],
    "You ignore lr and always take 0.001.": [("p - lr", "p - 1e-3")],
    "You ignore beta1 and always take 0.9.": [("    m =", "    beta1 = 0.9\n    m =")],
    "You ignore beta2 and always take 0.999.": [
        ("    m =", "    beta2 = 0.999\n    m =")
    ],
    "You ignore eps and always take 1e-8.": [("    m =", "    eps = 1e-8\n    m =")],
    "Your default of eps is 1e-7 (Keras); the paper's is 1e-8.": [("1e-8", "1e-7")],
    "Your default of beta2 is 0.99; the paper's is 0.999.": [
        ("beta2=0.999", "beta2=0.99")
    ],
    "Where the gradient is zero you change nothing: m and v decay there too, and p "
    "moves on by m_hat.": [
        ("    m = beta1", "    old = p, m, v\n    m = beta1"),
        (
            "return p, m, v",
            "return tuple(np.where(g == 0, a, b)[()] for a, b in zip(old, (p, m, v)))",
        ),
    ],
    "Where the gradient is zero in all coordinates you change nothing: m and v decay "
    "there too, and p moves on by m_hat.": [
        (
            "    m = beta1",
            "    if not np.any(np.asarray(g)):\n        return p, m, v\n    m = beta1",
        )
    ],
    "Where the gradient is zero you set m to zero: it decays, it does not stop.": [
        ("    m_hat =", "    m = np.where(g == 0, 0.0, m)[()]\n    m_hat =")
    ],
    "Where the gradient is zero you leave p: the paper moves it by m_hat.": [
        ("    m = beta1", "    old = p\n    m = beta1"),
        ("return p, m, v", "return np.where(g == 0, old, p)[()], m, v"),
    ],
    "You clip the gradient to 1; algorithm 1 does not.": [
        ("    m = beta1", "    g = np.clip(g, -1, 1)\n    m = beta1")
    ],
    "Your v is one number, the mean over the array; each coordinate has its own.": [
        ("g**2", "np.mean(g**2) * np.ones_like(g)")
    ],
    "Your v is the squared length of the gradient; each coordinate has its own.": [
        ("g**2", "np.sum(g**2) * np.ones_like(g)")
    ],
    "It works for single numbers alone: math.sqrt and float() take one number, "
    "np.sqrt takes arrays too.": [("np.sqrt(v_hat)", "math.sqrt(v_hat)")],
    "It works for single numbers alone: an `if` cannot look at a whole array; use "
    "np.where.": [
        ("    m = beta1", "    if g > 0 or g <= 0:\n        pass\n    m = beta1")
    ],
    "You change the gradient in place: whoever passed g finds another array.": [
        ("    v = beta2", "    g2 = g\n    g2 **= 2\n    v = beta2"),
        ("* g**2", "* g2"),
    ],
    "You change m in place: make a new array.": [
        (
            "    m = beta1 * m + (1 - beta1) * g",
            "    m *= beta1\n    m += (1 - beta1) * g",
        )
    ],
    "You change v in place: make a new array.": [
        (
            "    v = beta2 * v + (1 - beta2) * g**2",
            "    v *= beta2\n    v += (1 - beta2) * g**2",
        )
    ],
    "You change p in place: make a new array.": [("    p = p - ", "    p -= ")],
    "You change m and v in place: make new arrays.": [
        (
            "    m = beta1 * m + (1 - beta1) * g",
            "    m *= beta1\n    m += (1 - beta1) * g",
        ),
        (
            "    v = beta2 * v + (1 - beta2) * g**2",
            "    v *= beta2\n    v += (1 - beta2) * g**2",
        ),
    ],
}
WRONG_CLASS = {
    "Your parameters share one m and one v: each needs its own.": [
        ("[0 * p for p in params]", "0.0"),
        ("self.m[i], self.v[i]", "self.m, self.v"),
    ],
    "You count t once for each parameter: one step of all of them is one t.": [
        ("self.t += 1\n        for", "for"),
        ("(grads):\n", "(grads):\n            self.t += 1\n"),
    ],
    "Your first step has t = 0 or you count after it: count before the step.": [
        ("self.t, **", "max(self.t - 1, 1), **"),
    ],
    "Your optimiser does not keep t: each step is its first.": [
        ("self.t, **", "1, **")
    ],
    "Your optimiser does not keep m and v from one step to the next.": [
        ("self.params[i], self.m[i], self.v[i] =", "self.params[i], _, _ =")
    ],
    "Your optimiser does not keep the parameters from one step to the next.": [
        ("self.params[i], self.m[i]", "new[i], self.m[i]"),
        ("self.t += 1\n", "self.t += 1\n        new = list(self.params)\n"),
        ("return list(self.params)", "return new"),
    ],
    "Two optimisers share t: keep it on self, not on the class.": [
        ("class Adam:\n", "class Adam:\n    t = 0\n\n"),
        ("hyper, 0\n", "hyper, Adam.t\n"),
        ("self.t += 1\n", "self.t = Adam.t = Adam.t + 1\n"),
    ],
    "Two optimisers share m and v: keep them on self, not on the class.": [
        ("class Adam:\n", "class Adam:\n    m, v = {}, {}\n\n"),
        (
            "self.m = [0 * p for p in params]",
            "[self.m.setdefault(i, 0 * p) for i, p in enumerate(params)]",
        ),
        (
            "self.v = [0 * p for p in params]",
            "[self.v.setdefault(i, 0 * p) for i, p in enumerate(params)]",
        ),
    ],
    "Your optimiser ignores the hyperparameters that it is given.": [
        (", **self.hyper", "")
    ],
    "Your optimiser updates the first parameter alone.": [
        ("enumerate(grads)", "enumerate(grads[:1])")
    ],
}

STEPS = {message: edited(_STEP, *edits) for message, edits in WRONG.items()}
CLASSES = {
    message: edited(_STEP + _CLASS, *edits)
    for message, edits in {**WRONG_CLASS, **WRONG}.items()
}


def hyper(rng):
    """Hyperparameters that nobody types."""
    return {
        "lr": 10 ** rng.uniform(-4, -1),
        "beta1": rng.uniform(0.5, 0.95),
        "beta2": rng.uniform(0.9, 0.9999),
        "eps": 10 ** rng.uniform(-6, -2),
    }


def gradients(rng, steps, shape=()):
    """Gradients of both signs and sizes from 1e-4 to 100, but the first is tiny.

    There eps is larger than the root, which tells `+ eps` from a lower bound.
    """
    size = 10 ** rng.uniform(-4, 2, (steps, *shape))
    size[0] *= 1e-7
    return size * rng.choice([-1.0, 1.0], (steps, *shape))


def walk(p, grads, **hyper):
    """The case of a walk: each step goes on from what the one before returned."""
    scalar = np.ndim(p) == 0
    p, grads = (float(p), map(float, grads)) if scalar else (p, grads)
    zero = 0.0 if scalar else np.zeros_like(p)
    return [
        put("p", p),
        put("m", zero),
        put("v", zero),
        *(
            call(
                "adam_step",
                *map(ref, "p"),
                g,
                *map(ref, "mv"),
                t,
                keep="p m v",
                **hyper,
            )
            for t, g in enumerate(grads, 1)
        ),
    ]


def first_step(rng):
    tiny, usual = gradients(rng, 2)
    return walk(rng.normal(), [usual]) + walk(rng.normal(), [tiny])


def ten_steps(rng):
    return walk(rng.normal(), gradients(rng, 10), **hyper(rng))


def arrays(rng):
    shape = [(3,), (2, 3)][rng.integers(2)]
    return walk(rng.normal(size=shape), gradients(rng, 4, shape), **hyper(rng))


def zeros_and_extremes(rng):
    grads = 10.0 ** rng.uniform(-12, 6, (8, 4)) * rng.choice([-1.0, 1.0], (8, 4))
    grads[1 + rng.permutation(6)[:3]] = 0.0
    grads[0, 1] = grads[7, 0] = 0.0
    return walk(rng.normal(size=4), grads, **hyper(rng))


def arguments(rng):
    names = [("p", rng.normal(size=3)), ("g", gradients(rng, 1, (3,))[0])]
    names += [("m", rng.normal(size=3)), ("v", rng.uniform(0.1, 1, size=3))]
    step = call("adam_step", *map(ref, "pgmv"), 3, **hyper(rng))
    return [*(put(*pair) for pair in names), step, *map(look, "pgmv"), step]


def optimiser(rng):
    shapes = [(2,), (3, 2)]
    start = [rng.normal(size=s) for s in shapes]
    grads = [[gradients(rng, 1, s)[0] for s in shapes] for _ in range(4)]
    first, second = hyper(rng), hyper(rng)
    return [
        call("Adam", start, keep="one", show=False, **first),
        *(call("one.step", g) for g in grads),
        call("Adam", start, keep="two", show=False, **second),
        call("two.step", grads[0]),
        call("one.step", grads[0]),
    ]


_RIGHT = {"adam_step": adam_step}
QUESTIONS = [
    Question("first-step", 2, first_step, _RIGHT, STEPS),
    Question("ten-steps", 3, ten_steps, _RIGHT, STEPS),
    Question("arrays", 2, arrays, _RIGHT, STEPS),
    Question("zeros-and-extremes", 3, zeros_and_extremes, _RIGHT, STEPS),
    Question("arguments", 1, arguments, _RIGHT, STEPS),
    Question("optimiser", 4, optimiser, {"Adam": Adam}, CLASSES),
]
