"""Assignment 2: RMSProp and bias correction. Expected answers: `adamtut.rules`."""

import numpy as np

from adamtut import rules
from coursework.cases import call, look, put, ref
from coursework.questions import Question, edited

# Averages


def leaky_average(x, beta):
    """The average as the sum of its weights times the values."""
    t = np.arange(len(x))
    age = t[:, None] - t
    weights = np.where(age >= 0, (1 - beta) * beta ** np.maximum(age, 0), 0.0)
    return np.tensordot(weights, x, 1)


def corrected_average(x, beta):
    """The average over that of a stream of ones."""
    return leaky_average(x, beta) / leaky_average(np.ones_like(x), beta)


_LEAKY = """
def leaky_average(x, beta):
    m, averages = np.zeros_like(x[0]), []
    for t, value in enumerate(x, 1):
        m = beta * m + (1 - beta) * value
        averages.append(m)
    return np.array(averages)
"""
_CORRECTED = _LEAKY.replace("leaky", "corrected").replace(
    "append(m)", "append(m / (1 - beta**t))"
)
_AVERAGES = {
    "Your weights are the wrong way round: the old m has beta, the value 1 - beta.": [
        ("beta * m + (1 - beta) * value", "(1 - beta) * m + beta * value")
    ],
    "Your m is a sum, not an average: (1 - beta) is missing before the value.": [
        ("(1 - beta) * value", "value")
    ],
    "Your m forgets: the old m is not in it.": [("beta * m + ", "")],
    "Your m never fades: beta is missing before the old m.": [("beta * m +", "m +")],
    "Your m starts at the first value; here it starts at zero.": [
        ("np.zeros_like(x[0])", "x[0]")
    ],
    "You return the last average alone; all of them are asked for.": [
        ("return np.array(averages)", "return averages[-1]")
    ],
    "Your averages have a zero in front: the first is m_1, after the first value.": [
        ("[]\n", "[np.zeros_like(x[0])]\n")
    ],
    "You return the mean of all values so far: nothing fades.": [
        ("        averages.", "        m = np.mean(x[:t], axis=0)\n        averages."),
        (" / (1 - beta**t)", ""),
    ],
    "Your numbers are right to seven digits: you keep m as float32.": [
        ("        averages", "        m = np.float32(m) + 0.0\n        averages")
    ],
    "You average over all axes; time is the first axis alone.": [
        ("* value", "* np.mean(value)")
    ],
    "You ignore beta and always take 0.9.": [("    m,", "    beta = 0.9\n    m,")],
}
LEAKY = {
    **_AVERAGES,
    "Your averages are one step late: m_1 has the first value in it already.": [
        ("        m =", "        averages.append(m)\n        m ="),
        ("value\n        averages.append(m)\n", "value\n"),
    ],
    "You return the mean of all values so far: nothing fades.": [
        ("        averages.", "        m = np.mean(x[:t], axis=0)\n        averages.")
    ],
    "You corrected for the start at zero; this question wants the plain average.": [
        ("append(m)", "append(m / (1 - beta**t))")
    ],
}
_OVER = "m / (1 - beta**t)"
CORRECTED = {
    **_AVERAGES,
    "Your average is not corrected: at t = 1 it is 1 - beta times the value, and the "
    "value is asked for.": [(_OVER, "m")],
    "Your correction uses t + 1: the first value has t = 1.": [("**t", "**(t + 1)")],
    "Your correction uses t - 1: with t = 0 it divides by zero.": [
        ("**t", "**(t - 1)")
    ],
    "Your correction uses the same t in every step: t counts 1, 2, 3, ...": [
        ("**t", "**1")
    ],
    "Your correction uses the last t for all steps: each has its own.": [
        ("**t", "**len(x)")
    ],
    "Your correction is 1 - beta * t; it has beta to the power t.": [
        ("beta**t", "beta * t")
    ],
    "You multiply by 1 - beta**t; the correction divides.": [
        (_OVER, "m * (1 - beta**t)")
    ],
    "You divide by beta**t; the correction divides by 1 - beta**t.": [
        (_OVER, "m / beta**t")
    ],
    "You divide by the root of 1 - beta**t; that is for a root, not for m.": [
        (_OVER, "m / np.sqrt(1 - beta**t)")
    ],
    "Your average goes on from the corrected one: keep m, and correct a copy of it.": [
        ("append(m / (1 - beta**t))", "append(m)"),
        ("(1 - beta) * value\n", "(1 - beta) * value\n        m = m / (1 - beta**t)\n"),
    ],
}


def stream(name):
    def draw(rng):
        n, beta = int(rng.integers(6, 12)), rng.uniform(0.3, 0.89)
        streams = rng.normal(1, 1, n), rng.normal(1, 1, (n, 2))
        return [call(name, x, beta) for x in streams]

    return draw


# RMSProp


def rmsprop_step(p, g, v, lr=1e-3, beta2=0.9, eps=1e-8):
    """One step of the book's RMSProp."""
    return rules.rmsprop(p, g, v, 1, lr=lr, beta2=beta2, eps=eps)


def corrected_step(p, g, v, t, lr=1e-3, beta2=0.999, eps=1e-8):
    """Adam with beta1 = 0, which is RMSProp with a corrected v."""
    p, _, v = rules.adam(p, g, 0 * g, v, t, lr=lr, beta1=0.0, beta2=beta2, eps=eps)
    return p, v


_RMSPROP = """
def rmsprop_step(p, g, v, lr=1e-3, beta2=0.9, eps=1e-8):
    v = beta2 * v + (1 - beta2) * g**2
    p = p - lr * g / (np.sqrt(v) + eps)
    return p, v
"""
_CORRECTED_STEP = """
def corrected_step(p, g, v, t, lr=1e-3, beta2=0.999, eps=1e-8):
    v = beta2 * v + (1 - beta2) * g**2
    v_hat = v / (1 - beta2**t)
    p = p - lr * g / (np.sqrt(v_hat) + eps)
    return p, v
"""


def _both(root, default):
    """The wrong steps with and without the correction; `root` is what it divides by."""
    return {
        "You walk uphill: the step is subtracted from p.": [("p - lr", "p + lr")],
        "Your eps is inside the root; here it is added to the root: sqrt(v) + eps.": [
            (f"np.sqrt({root}) + eps", f"np.sqrt({root} + eps)")
        ],
        "Your eps is outside the fraction: it moves the parameter by eps in each "
        "step.": [(f"/ (np.sqrt({root}) + eps)", f"/ np.sqrt({root}) + eps")],
        "Your eps is a lower bound of the root; here it is added.": [
            (f"np.sqrt({root}) + eps", f"np.maximum(np.sqrt({root}), eps)")
        ],
        "There is no eps in your denominator: where the gradient has always been zero "
        "you divide 0 by 0.": [(f"np.sqrt({root}) + eps", f"np.sqrt({root})")],
        "You divide by v, not by its root.": [(f"np.sqrt({root})", root)],
        "You multiply by the root; RMSProp divides by it.": [
            (f"/ (np.sqrt({root}) + eps)", f"* (np.sqrt({root}) + eps)")
        ],
        "Your v is a sum, as AdaGrad's: RMSProp's forgets the old squares.": [
            ("beta2 * v + (1 - beta2) * g**2", "v + g**2")
        ],
        "Your v is a sum, not an average: (1 - beta2) is missing before g**2.": [
            ("(1 - beta2) * g**2", "g**2")
        ],
        "The weights of v are the wrong way round: the old v has beta2, g**2 has "
        "1 - beta2.": [
            ("beta2 * v + (1 - beta2) * g**2", "(1 - beta2) * v + beta2 * g**2")
        ],
        "Your v forgets: the old v is not in it.": [("beta2 * v + ", "")],
        "Your v averages |g|; here it averages g**2.": [("g**2", "np.abs(g)")],
        "Your v averages g, not its square.": [
            ("g**2", "g"),
            (f"np.sqrt({root})", f"np.sqrt(np.abs({root}))"),
        ],
        "You return the old v: the next step starts from the new one.": [
            ("    v = ", "    old = v\n    v = "),
            ("return p, v", "return p, old"),
        ],
        "You return the root of v; the next step starts from v.": [
            ("return p, v", "return p, np.sqrt(v)")
        ],
        "You return v before p.": [("return p, v", "return v, p")],
        "You return the step, not the new p.": [("p = p - lr", "p = -lr")],
        "Your numbers are right to seven digits: you keep v as float32.": [
            ("    p = p", "    v = np.asarray(v, np.float32) + 0.0\n    p = p"),
            *(
                [
                    (
                        "    v_hat = v ",
                        "    v = np.asarray(v, np.float32) + 0.0\n    v_hat = v ",
                    )
                ]
                if root == "v_hat"
                else []
            ),
        ],
        "You ignore lr and always take 0.001.": [("p - lr", "p - 1e-3")],
        f"You ignore beta2 and always take {default}.": [
            ("    v =", f"    beta2 = {default}\n    v =")
        ],
        "You ignore eps and always take 1e-8.": [
            ("    v =", "    eps = 1e-8\n    v =")
        ],
        "Your default of eps is 1e-7 (Keras); the one asked for is 1e-8.": [
            ("1e-8", "1e-7")
        ],
        "Your default of beta2 is 0.99 (torch); another one is asked for.": [
            (f"beta2={default}", "beta2=0.99")
        ],
        "Where the gradient is zero you leave v: it fades there too.": [
            ("    p = p", "    v = np.where(g == 0, old, v)[()]\n    p = p"),
            ("    v = beta2", "    old = v\n    v = beta2"),
        ],
        "Your v is one number, the mean over the array; each coordinate has its own.": [
            ("g**2", "np.mean(g**2) * np.ones_like(g)")
        ],
        "Your v is the squared length of the gradient; each coordinate has its own.": [
            ("g**2", "np.sum(g**2) * np.ones_like(g)")
        ],
        "It works for single numbers alone: math.sqrt takes one number, np.sqrt takes "
        "arrays too.": [(f"np.sqrt({root})", f"math.sqrt({root})")],
        "It works for single numbers alone: an `if` cannot look at a whole array; use "
        "np.where.": [
            ("    v = beta2", "    if g > 0 or g <= 0:\n        pass\n    v = beta2")
        ],
    }


RMSPROP = {
    **_both("v", 0.9),
    "Your step uses the v of the step before: update v first.": [
        ("v = beta2", "v_new = beta2"),
        ("return p, v", "return p, v_new"),
    ],
    "You correct v with t = 1 in every step; this RMSProp corrects nothing.": [
        ("np.sqrt(v)", "np.sqrt(v / (1 - beta2))")
    ],
}
STEP = {
    **_both("v_hat", 0.999),
    "Your v is not corrected: at t = 1 your step is 31.6 lr with the default beta2, "
    "and lr is asked for.": [("v / (1 - beta2**t)", "v")],
    "Your correction uses t + 1: the first step has t = 1.": [("**t", "**(t + 1)")],
    "Your correction uses the same t in every step: t counts 1, 2, 3, ...": [
        ("**t", "**1")
    ],
    "Right at t = 1 and 2, wrong from t = 3 on: t must go on counting in the "
    "correction.": [("**t", "**min(t, 2)")],
    "Your correction is 1 - beta2 * t; it has beta2 to the power t.": [
        ("beta2**t", "beta2 * t")
    ],
    "You multiply v by 1 - beta2**t; the correction divides.": [("v / (1", "v * (1")],
    "You divide the root by 1 - beta2**t: correct v first, then take its root.": [
        ("v / (1 - beta2**t)", "v / (1 - beta2**t) ** 2")
    ],
    "You correct g as well: it is no average, so it has no bias.": [
        ("lr * g /", "lr * g / (1 - beta2**t) /")
    ],
    "Your eps stands beside the root of v before its correction; here it is added to "
    "the root of v_hat.": [("+ eps", "+ eps / np.sqrt(1 - beta2**t)")],
    "You return the corrected v: only the step uses v_hat, the next v starts from v.": [
        ("return p, v", "return p, v_hat")
    ],
    "You update v after its correction: the step uses the v of the step before.": [
        ("    v = beta2", "    v_new = beta2"),
        ("return p, v", "return p, v_new"),
    ],
}
IN_PLACE = {
    "You change the gradient in place: whoever passed g finds another array.": [
        ("    v =", "    g2 = g\n    g2 **= 2\n    v ="),
        ("* g**2", "* g2"),
    ],
    "You change v in place: make a new array.": [
        (
            "v = beta2 * v + (1 - beta2) * g**2",
            "v *= beta2\n    v += (1 - beta2) * g**2",
        )
    ],
    "You change p in place: make a new array.": [("p = p - ", "p -= ")],
    "You change p and v in place: make new arrays.": [
        (
            "v = beta2 * v + (1 - beta2) * g**2",
            "v *= beta2\n    v += (1 - beta2) * g**2",
        ),
        ("p = p - ", "p -= "),
    ],
}


def gradients(rng, steps, shape=()):
    """Gradients of both signs, of sizes from 1e-7 to 100; the first has a zero."""
    grads = 10 ** rng.uniform(-7, 2, (steps, *shape))
    grads *= rng.choice([-1.0, 1.0], (steps, *shape))
    grads[rng.random((steps, *shape)) < 0.2] = 0.0
    grads.flat[0] = 0.0
    return grads


def hyper(rng):
    """Hyperparameters that nobody types."""
    return {
        "lr": 10 ** rng.uniform(-4, -1),
        "beta2": rng.uniform(0.7, 0.97),
        "eps": 10 ** rng.uniform(-7, -3),
    }


def steps(name, counted):
    """Steps of an array, of a number, and one with the default numbers."""

    def draw(rng):
        case, numbers = [], hyper(rng)
        for shape, n in (((2, 3), 5), ((), 3)):
            scalar = shape == ()
            grads = gradients(rng, n, shape)
            grads = [float(g) for g in grads] if scalar else grads
            p = float(rng.normal()) if scalar else rng.normal(size=shape)
            case += [put("p", p), put("v", 0.0 if scalar else np.zeros(shape))]
            for t, g in enumerate(grads, 1):
                args = [ref("p"), g, ref("v"), *([t] if counted else [])]
                case.append(call(name, *args, keep="p v", **numbers))
        args = [ref("p"), 1e-6, 1e-14, *([3] if counted else [])]
        return [*case, call(name, *args)]

    return draw


def arguments(rng):
    given = [put("p", rng.normal(size=3)), put("g", rng.normal(size=3))]
    given.append(put("v", rng.uniform(0.1, 1, 3)))
    step = call("rmsprop_step", *map(ref, "pgv"), **hyper(rng))
    return [*given, step, *map(look, "pgv"), step]


# The first steps


def step_lengths(n, beta1=0.9, beta2=0.999):
    """The walk itself, of averages that are not corrected, on a slope of one."""
    ones = np.ones(n)
    return leaky_average(ones, beta1) / np.sqrt(leaky_average(ones, beta2))


_LENGTHS = """
def step_lengths(n, beta1=0.9, beta2=0.999):
    t = np.arange(1, n + 1)
    return (1 - beta1**t) / np.sqrt(1 - beta2**t)
"""
LENGTHS = {
    "The root is missing: the step divides by the root of v.": [
        ("np.sqrt(1 - beta2**t)", "(1 - beta2**t)")
    ],
    "Your lengths are the corrections that would mend the steps, one over what is "
    "asked for.": [
        (
            "(1 - beta1**t) / np.sqrt(1 - beta2**t)",
            "np.sqrt(1 - beta2**t) / (1 - beta1**t)",
        )
    ],
    "Your lengths have m alone: v starts at zero too.": [
        (" / np.sqrt(1 - beta2**t)", "")
    ],
    "Your lengths have v alone: m starts at zero too.": [("(1 - beta1**t)", "1")],
    "beta1 and beta2 are swapped.": [
        ("beta1**t", "BETA**t"),
        ("beta2**t", "beta1**t"),
        ("BETA", "beta2"),
    ],
    "Your first length is that of step 2: t begins at 1.": [
        ("np.arange(1, n + 1)", "np.arange(2, n + 2)")
    ],
    "Your t begins at 0, where both averages are zero; the first step has t = 1.": [
        ("np.arange(1, n + 1)", "np.arange(n)"),
    ],
    "Your array has one length too few: t goes from 1 to n, n included.": [
        ("np.arange(1, n + 1)", "np.arange(1, n)")
    ],
    "You return the length of step n alone; all n are asked for.": [
        ("np.arange(1, n + 1)", "n")
    ],
    "All your lengths are those of corrected averages: 1.": [
        ("(1 - beta1**t) / np.sqrt(1 - beta2**t)", "t / t")
    ],
    "You return where the walk is, the sum of the steps so far.": [
        (
            "(1 - beta1**t) / np.sqrt(1 - beta2**t)",
            "np.cumsum((1 - beta1**t) / np.sqrt(1 - beta2**t))",
        )
    ],
    "You take 1 - beta * t; it is beta to the power t.": [
        ("beta1**t", "beta1 * t"),
        ("np.sqrt(1 - beta2**t)", "np.sqrt(np.abs(1 - beta2 * t))"),
    ],
    "You ignore the betas and always take 0.9 and 0.999.": [
        ("    t =", "    beta1, beta2 = 0.9, 0.999\n    t =")
    ],
}


def lengths(rng):
    n, betas = int(rng.integers(4, 9)), rng.uniform([0.5, 0.9], [0.95, 0.9999])
    return [call("step_lengths", n, *betas.tolist()), call("step_lengths", n)]


# An optimiser


class RMSProp:
    """The book's RMSProp on several parameters."""

    def __init__(self, params, lr=1e-3, beta2=0.99, eps=1e-8, corrected=False):
        self.states, self.t, self.corrected = [(p, 0 * p) for p in params], 0, corrected
        self.hyper = {"lr": lr, "beta2": beta2, "eps": eps}

    def step(self, grads):
        self.t += 1
        self.states = [
            corrected_step(p, g, v, self.t, **self.hyper)
            if self.corrected
            else rmsprop_step(p, g, v, **self.hyper)
            for (p, v), g in zip(self.states, grads, strict=True)
        ]
        return [p for p, _ in self.states]


# Mistakes that are in both steps: an edit changes every line that it fits.
BOTH = {
    message: list(dict.fromkeys([*edits, *STEP[message]]))
    for message, edits in RMSPROP.items()
    if message in STEP and "default" not in message
}
_CLASS = """
class RMSProp:
    def __init__(self, params, lr=1e-3, beta2=0.99, eps=1e-8, corrected=False):
        self.hyper = {"lr": lr, "beta2": beta2, "eps": eps}
        self.params, self.corrected, self.t = list(params), corrected, 0
        self.v = [np.zeros_like(p) for p in params]

    def step(self, grads):
        self.t += 1
        for i, g in enumerate(grads):
            p, v = self.params[i], self.v[i]
            if self.corrected:
                p, v = corrected_step(p, g, v, self.t, **self.hyper)
            else:
                p, v = rmsprop_step(p, g, v, **self.hyper)
            self.params[i], self.v[i] = p, v
        return list(self.params)
"""
CLASS = {
    "Your parameters share one v: each needs its own.": [
        ("self.v[i]\n", "self.v[i] * 0 + self.v[0].ravel()[0]\n"),
        ("self.v[i] = p, v", "self.v[0] = p, v"),
    ],
    "You count t once for each parameter: one step of all of them is one t.": [
        ("        self.t += 1\n", ""),
        ("(grads):\n", "(grads):\n            self.t += 1\n"),
    ],
    "Your first step has t = 0 or you count after it: count before the step.": [
        ("self.t, **", "max(self.t - 1, 1), **")
    ],
    "Your first step has t = 2: you count too early or twice.": [
        ("self.t, **", "self.t + 1, **")
    ],
    "Your optimiser does not keep t: each step is its first.": [
        ("self.t, **", "1, **")
    ],
    "Your optimiser does not keep v from one step to the next.": [
        ("self.params[i], self.v[i] = p, v", "self.params[i] = p")
    ],
    "Your optimiser does not keep the parameters from one step to the next.": [
        ("self.params[i], self.v[i] = p, v", "new[i], self.v[i] = p, v"),
        ("        for", "        new = list(self.params)\n        for"),
        ("return list(self.params)", "return new"),
    ],
    "Two optimisers share their state: keep v and t on self, not on the class.": [
        ("class RMSProp:\n", "class RMSProp:\n    kept = {}\n\n"),
        (
            "self.v = [np.zeros_like(p) for p in params]",
            "self.v = self.kept.setdefault('v', [np.zeros_like(p) for p in params])",
        ),
        ("self.t += 1\n", "self.t = self.kept['t'] = self.kept.get('t', 0) + 1\n"),
    ],
    "Your optimiser ignores the hyperparameters that it is given.": [
        (", **self.hyper", "")
    ],
    "Your optimiser passes its beta2 on only where it is given: with the default it "
    "is 0.99.": [
        ("beta2=0.99,", "beta2=None,"),
        (
            '"eps": eps}\n',
            '"eps": eps}\n'
            '        if beta2 is None:\n            del self.hyper["beta2"]\n',
        ),
    ],
    "Your optimiser ignores eps.": [(', "eps": eps', "")],
    "Your optimiser never corrects, whatever `corrected` is.": [
        ("if self.corrected", "if False")
    ],
    "Your optimiser always corrects, whatever `corrected` is.": [
        ("if self.corrected", "if True")
    ],
    "Your optimiser takes `corrected` the wrong way round.": [
        ("if self.corrected", "if not self.corrected")
    ],
    "Your optimiser updates the first parameter alone.": [
        ("enumerate(grads)", "enumerate(grads[:1])")
    ],
    "Your optimiser writes into the arrays that it was given: start from copies, or "
    "make new ones.": [
        (
            "            self.params[i], self.v[i] = p, v",
            "            self.params[i][...] = p\n            self.v[i] = v",
        ),
        ("return list(self.params)", "return [p.copy() for p in self.params]"),
    ],
}


def optimiser(rng):
    shapes = [(2,), (3, 2)]
    start = [rng.normal(size=s) for s in shapes]
    grads = [[rng.normal(size=s) for s in shapes] for _ in range(4)]
    return [
        *(put(name, p) for name, p in zip("ab", start, strict=True)),
        call(
            "RMSProp",
            [ref("a"), ref("b")],
            keep="one",
            show=False,
            corrected=True,
            **hyper(rng),
        ),
        *(call("one.step", g) for g in grads),
        *map(look, "ab"),
        call("RMSProp", start, keep="two", show=False, **hyper(rng)),
        *(call("two.step", g) for g in grads[:2]),
        call("one.step", grads[0]),
        call("RMSProp", start, keep="three", show=False, corrected=True),
        *(call("three.step", g) for g in grads[1:3]),
        call("RMSProp", start, keep="four", show=False),
        *(call("four.step", g) for g in grads[1:3]),
    ]


def _roster(source, table):
    return {message: edited(source, *edits) for message, edits in table.items()}


QUESTIONS = [
    Question(
        "leaky-average",
        1,
        stream("leaky_average"),
        {"leaky_average": leaky_average},
        _roster(_LEAKY, LEAKY),
    ),
    Question(
        "corrected-average",
        2,
        stream("corrected_average"),
        {"corrected_average": corrected_average},
        _roster(_CORRECTED, CORRECTED),
    ),
    Question(
        "rmsprop",
        3,
        steps("rmsprop_step", counted=False),
        {"rmsprop_step": rmsprop_step},
        _roster(_RMSPROP, RMSPROP),
        cases=2,
    ),
    Question(
        "arguments",
        1,
        arguments,
        {"rmsprop_step": rmsprop_step},
        _roster(_RMSPROP, IN_PLACE | RMSPROP),
    ),
    Question(
        "step-lengths",
        2,
        lengths,
        {"step_lengths": step_lengths},
        _roster(_LENGTHS, LENGTHS),
    ),
    Question(
        "corrected-step",
        3,
        steps("corrected_step", counted=True),
        {"corrected_step": corrected_step},
        _roster(_CORRECTED_STEP, STEP),
        cases=2,
    ),
    Question(
        "optimiser",
        3,
        optimiser,
        {"RMSProp": RMSProp},
        _roster(_RMSPROP + _CORRECTED_STEP + _CLASS, CLASS | BOTH),
    ),
]
