"""Assignment 4: AdamW, schedules, a comparison. Expected answers: `adamtut.rules`."""

import numpy as np

from adamtut import rules
from coursework.cases import call, look, put, ref
from coursework.questions import Question, edited

# One step


def adamw_step(
    p, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2
):
    """One step of the book's AdamW."""
    numbers = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps}
    return rules.adamw(p, g, m, v, t, **numbers, weight_decay=weight_decay)


_STEP = """
def adamw_step(
    p, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2
):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    step = m_hat / (np.sqrt(v_hat) + eps)
    p = p - lr * (step + weight_decay * p)
    return p, m, v
"""
_NO_DECAY = ("(step + weight_decay * p)", "step")
_FIRST = "    m = beta1"
STEP = {
    "Your decay is in the gradient, as a penalty: Adam then divides it by the root of "
    "v as well. AdamW keeps it beside the step.": [
        (_FIRST, "    g = g + weight_decay * p\n    m = beta1"),
        _NO_DECAY,
    ],
    "Your decay is added to the corrected m and divided by the root of v: it belongs "
    "beside the fraction.": [
        ("m_hat / (np", "(m_hat + weight_decay * p) / (np"),
        _NO_DECAY,
    ],
    "Your decay is in m alone: it is no part of the gradient, of neither average.": [
        ("(1 - beta1) * g\n", "(1 - beta1) * (g + weight_decay * p)\n"),
        _NO_DECAY,
    ],
    "Your decay is not multiplied by lr; here, as in torch, it is.": [
        ("lr * (step + weight_decay * p)", "lr * step - weight_decay * p")
    ],
    "Your decay is multiplied by lr twice.": [
        ("weight_decay * p", "lr * weight_decay * p")
    ],
    "Your decay pushes away from zero: it is subtracted, as the step is.": [
        ("+ weight_decay", "- weight_decay")
    ],
    "There is no decay in your step.": [_NO_DECAY],
    "Your decay is of the p that has moved already; it is of the old p.": [
        (
            "p - lr * (step + weight_decay * p)",
            "(p - lr * step) * (1 - lr * weight_decay)",
        )
    ],
    "Your decay has the size weight_decay, whatever p is; it is weight_decay * p.": [
        ("weight_decay * p", "weight_decay * np.sign(p)")
    ],
    "Your decay grows with t.": [("+ weight_decay", "+ t * weight_decay")],
    "Your decay is twice as strong: the derivative of p**2 has no place here.": [
        ("+ weight_decay", "+ 2 * weight_decay")
    ],
    "Your decay multiplies the step by 1 - weight_decay, and leaves p.": [
        ("(step + weight_decay * p)", "(1 - weight_decay) * step")
    ],
    "You walk uphill: the step is subtracted from p.": [
        ("p - lr * (step + weight_decay * p)", "p + lr * (step - weight_decay * p)")
    ],
    "Your v is not corrected: divide it by 1 - beta2**t before its root.": [
        ("v / (1 - beta2**t)", "v")
    ],
    "Your m is not corrected: divide it by 1 - beta1**t.": [
        ("m / (1 - beta1**t)", "m")
    ],
    "Neither m nor v is corrected.": [
        ("m / (1 - beta1**t)", "m"),
        ("v / (1 - beta2**t)", "v"),
    ],
    "Your corrections use t + 1: the first step has t = 1.": [("**t", "**(t + 1)")],
    "Your corrections use the same t in every step.": [("**t", "**1")],
    "You correct both with beta1: v_hat is v / (1 - beta2**t).": [
        ("1 - beta2**t", "1 - beta1**t")
    ],
    "Your eps is inside the root; AdamW adds it to the root.": [
        ("np.sqrt(v_hat) + eps", "np.sqrt(v_hat + eps)")
    ],
    "There is no eps in your denominator.": [
        ("np.sqrt(v_hat) + eps", "np.sqrt(v_hat)")
    ],
    "You divide by v_hat, not by its root.": [("np.sqrt(v_hat)", "v_hat")],
    "Your m is a sum, not an average: (1 - beta1) is missing before g.": [
        ("(1 - beta1) * g\n", "g\n")
    ],
    "Your v is a sum, not an average: (1 - beta2) is missing before g**2.": [
        ("(1 - beta2) * g**2", "g**2")
    ],
    "You return the corrected averages: the next step starts from m and v.": [
        ("return p, m, v", "return p, m_hat, v_hat")
    ],
    "You return v before m.": [("return p, m, v", "return p, v, m")],
    "Where the gradient is zero you leave p: it decays there too.": [
        (_FIRST, "    old = p\n    m = beta1"),
        ("return p, m, v", "return np.where(g == 0, old, p)[()], m, v"),
    ],
    "Your numbers are right to seven digits: you keep some of them as float32.": [
        ("    step =", "    m_hat = np.asarray(m_hat, np.float32) + 0.0\n    step =")
    ],
    "You ignore weight_decay and always take 0.01.": [
        (_FIRST, "    weight_decay = 1e-2\n    m = beta1")
    ],
    "You ignore lr and always take 0.001.": [(_FIRST, "    lr = 1e-3\n    m = beta1")],
    "You ignore eps and always take 1e-8.": [(_FIRST, "    eps = 1e-8\n    m = beta1")],
    "Your default of weight_decay is 0; the one asked for is 0.01.": [
        ("weight_decay=1e-2", "weight_decay=0.0")
    ],
    "It works for single numbers alone: p and lr may be arrays, which math.sqrt and "
    "float() do not take.": [("np.sqrt(v_hat)", "math.sqrt(v_hat)")],
    "Your decay is one number, the mean over the array; each coordinate has its own.": [
        ("weight_decay * p)", "weight_decay * np.mean(p))")
    ],
}
IN_PLACE = {
    "You change the gradient in place: whoever passed g finds another array.": [
        (_FIRST, "    grad = g.copy()\n    g += weight_decay * p\n    m = beta1"),
        ("- beta1) * g", "- beta1) * grad"),
        ("* g**2", "* grad**2"),
    ],
    "You change m in place: make a new array.": [
        ("m = beta1 * m + (1 - beta1) * g", "m *= beta1\n    m += (1 - beta1) * g")
    ],
    "You change v in place: make a new array.": [
        (
            "v = beta2 * v + (1 - beta2) * g**2",
            "v *= beta2\n    v += (1 - beta2) * g**2",
        )
    ],
    "You change p in place: make a new array.": [
        (
            "p = p - lr * (step + weight_decay * p)",
            "p -= lr * (step + weight_decay * p)",
        )
    ],
    "You decay p in place before the step: make a new array.": [
        (
            "p = p - lr * (step + weight_decay * p)",
            "p *= 1 - lr * weight_decay\n    p = p - lr * step",
        )
    ],
    "You change m and v in place: make new arrays.": [
        ("m = beta1 * m + (1 - beta1) * g", "m *= beta1\n    m += (1 - beta1) * g"),
        (
            "v = beta2 * v + (1 - beta2) * g**2",
            "v *= beta2\n    v += (1 - beta2) * g**2",
        ),
    ],
}


def hyper(rng):
    """Hyperparameters that nobody types, with a decay that shows."""
    return {
        "lr": 10 ** rng.uniform(-2, -0.5),
        "beta1": rng.uniform(0.5, 0.95),
        "beta2": rng.uniform(0.9, 0.999),
        "eps": 10 ** rng.uniform(-7, -3),
        "weight_decay": rng.uniform(0.1, 1),
    }


def gradients(rng, steps, shape=()):
    """Gradients of both signs, of sizes from 1e-4 to 10."""
    grads = 10 ** rng.uniform(-4, 1, (steps, *shape))
    return grads * rng.choice([-1.0, 1.0], (steps, *shape))


def walk(rng):
    """Six steps of a matrix with a rate for each row, and one with the defaults."""
    numbers, shape = hyper(rng), (2, 3)
    numbers["lr"] = numbers["lr"] * rng.uniform(0.5, 2, (2, 1))
    grads = gradients(rng, 6, shape)
    grads[3, 0, :2] = 0.0
    case = [put("p", rng.normal(size=shape))]
    case += [put("m", np.zeros(shape)), put("v", np.zeros(shape))]
    for t, g in enumerate(grads, 1):
        args = [ref("p"), g, ref("m"), ref("v"), t]
        case.append(call("adamw_step", *args, keep="p m v", **numbers))
    p, g, m = rng.normal(size=3).tolist()
    return [*case, call("adamw_step", p, g * 1e-6, m * 1e-6, g**2 * 1e-12, 2)]


def arguments(rng):
    given = [put(name, rng.normal(size=3)) for name in "pgm"]
    given.append(put("v", rng.uniform(0.1, 1, 3)))
    step = call("adamw_step", *map(ref, "pgmv"), 3, **hyper(rng))
    return [*given, step, *map(look, "pgmv"), step]


# The schedule


def factor(t, steps, warmup=0, floor=0.0):
    """The line and the wave as the smaller of two, each from its own definition."""
    if 0 < t <= warmup:
        return t / warmup
    left = (steps - t) / (steps - warmup)
    return floor + (1 - floor) * np.sin(np.pi * left / 2) ** 2


_FACTOR = """
def factor(t, steps, warmup=0, floor=0.0):
    if t < warmup:
        return t / warmup
    u = (t - warmup) / (steps - warmup)
    return floor + (1 - floor) * (1 + np.cos(np.pi * u)) / 2
"""
_WAVE = "floor + (1 - floor) * (1 + np.cos(np.pi * u)) / 2"
_U = "(t - warmup) / (steps - warmup)"
SCHEDULE = {
    "Your schedule starts at 0, so that the first step moves nothing: at step t it is "
    "t / warmup.": [("return t / warmup", "return (t - 1) / warmup")],
    "Your schedule never reaches the end: in the last step, t = steps, it is above its "
    "floor. You count from t - 1, as torch does.": [
        (_U, "(t - 1 - warmup) / (steps - warmup)"),
        ("t < warmup", "t <= warmup"),
    ],
    "Your schedule falls as if it had one step more, and never reaches its floor.": [
        (_U, "(t - warmup) / (steps - warmup + 1)")
    ],
    "Your schedule is at its floor one step early.": [
        (_U, "np.minimum((t - warmup) / (steps - warmup - 1), 1)")
    ],
    "Your warm-up is one step too long: step number `warmup` has the factor 1.": [
        ("return t / warmup", "return t / (warmup + 1)"),
        ("t < warmup", "t <= warmup"),
    ],
    "Your warm-up is one step too short: it is at 1 before step number `warmup`.": [
        ("return t / warmup", "return min(1, t / (warmup - 1)) if warmup > 1 else 1.0")
    ],
    "Your cosine begins at step 0, not at the end of the warm-up: the rate jumps "
    "down.": [(_U, "t / steps")],
    "Your warm-up is added in front: the fall ends `warmup` steps too late.": [
        (_U, "(t - warmup) / steps")
    ],
    "Your schedule comes up again: half a wave is cos(pi u), not cos(2 pi u).": [
        ("np.pi * u", "2 * np.pi * u")
    ],
    "Your schedule has a quarter of a wave: (1 + cos(pi u)) / 2 falls slowly at both "
    "ends.": [("(1 + np.cos(np.pi * u)) / 2", "np.cos(np.pi * u / 2)")],
    "Your schedule is twice too high: (1 + cos(pi u)) / 2 has its half.": [
        (" / 2", "")
    ],
    "Your schedule goes below zero: it is (1 + cos) / 2, not cos.": [
        ("(1 + np.cos(np.pi * u)) / 2", "np.cos(np.pi * u)")
    ],
    "Your schedule rises from its floor: there is a minus before the cosine.": [
        ("1 + np.cos", "1 - np.cos")
    ],
    "Your cosine takes degrees; np.cos takes radians.": [("np.pi * u", "180 * u")],
    "Your schedule falls in a straight line.": [
        ("(1 + np.cos(np.pi * u)) / 2", "(1 - u)")
    ],
    "Your floor is added: the schedule then starts above 1. It scales the wave by "
    "1 - floor.": [("(1 - floor) * ", "")],
    "Your floor cuts the wave off; here the whole wave is above it.": [
        (_WAVE, "max(floor, (1 + np.cos(np.pi * u)) / 2)")
    ],
    "You ignore floor: your schedule ends at 0.": [
        ("    if", "    floor = 0.0\n    if")
    ],
    "You ignore warmup.": [("    if", "    warmup = 0\n    if")],
    "Your warm-up starts at the floor; here it is t / warmup.": [
        ("return t / warmup", "return floor + (1 - floor) * t / warmup")
    ],
    "Your warm-up rises along a wave; here it is a straight line.": [
        ("return t / warmup", "return (1 - np.cos(np.pi * t / warmup)) / 2")
    ],
    "You divide by warmup where it is 0.": [("if t < warmup:", "if t / warmup < 1:")],
}


def schedule(rng):
    """The factors of a whole run, with a warm-up and without."""
    warmup, steps = int(rng.integers(2, 5)), int(rng.integers(8, 13))
    floor = rng.uniform(0.05, 0.3)
    run = [call("factor", t, steps, warmup, floor) for t in range(1, steps + 1)]
    return [*run, *(call("factor", t, steps) for t in (1, steps // 2, steps))]


# An optimiser that takes a schedule


class AdamW:
    """The book's AdamW, without decay where an array has one axis."""

    def __init__(self, params, **hyper):
        self.hyper, self.t = {"lr": 1e-3, "weight_decay": 1e-2, **hyper}, 0
        self.states = [(p, 0 * p, 0 * p) for p in params]

    def step(self, grads, factor=1.0):
        self.t += 1
        numbers, new = {**self.hyper, "lr": self.hyper["lr"] * factor}, []
        for (p, m, v), g in zip(self.states, grads, strict=True):
            rule = numbers if p.ndim > 1 else {**numbers, "weight_decay": 0.0}
            new.append(adamw_step(p, g, m, v, self.t, **rule))
        self.states = new
        return [p for p, _, _ in new]


_CLASS = """
class AdamW:
    def __init__(self, params, lr=1e-3, weight_decay=1e-2, **hyper):
        self.lr, self.hyper, self.t = lr, hyper, 0
        self.params = list(params)
        self.decay = [weight_decay if p.ndim >= 2 else 0.0 for p in params]
        self.m = [np.zeros_like(p) for p in params]
        self.v = [np.zeros_like(p) for p in params]

    def step(self, grads, factor=1.0):
        self.t += 1
        for i, g in enumerate(grads):
            state = self.params[i], g, self.m[i], self.v[i], self.t
            numbers = {"lr": self.lr * factor, "weight_decay": self.decay[i]}
            new = adamw_step(*state, **numbers, **self.hyper)
            self.params[i], self.m[i], self.v[i] = new
        return list(self.params)
"""
_DECAY = "weight_decay if p.ndim >= 2 else 0.0"
CLASS = {
    "Your vectors decay: only arrays with two axes or more do.": [
        (_DECAY, "weight_decay")
    ],
    "Your matrices do not decay.": [(_DECAY, "0.0")],
    "Your vectors decay and your matrices do not: it is the other way round.": [
        ("p.ndim >= 2", "p.ndim < 2")
    ],
    "Your square matrices decay alone: any array with two axes or more does.": [
        ("p.ndim >= 2", "p.ndim == 2 and len(set(p.shape)) == 1")
    ],
    "Your arrays with three axes do not decay; every one with two or more does.": [
        ("p.ndim >= 2", "p.ndim == 2")
    ],
    "Your factor sticks: you multiply self.lr by it, and the next step multiplies it "
    "again. It counts for one step.": [
        ("        self.t += 1\n", "        self.t += 1\n        self.lr *= factor\n"),
        ("self.lr * factor", "self.lr"),
    ],
    "Your factor stays: a step without one has the factor 1.": [
        ("factor=1.0", "factor=None"),
        (
            "        self.t += 1\n",
            "        self.t += 1\n        self.kept = getattr(self, 'kept', 1.0)\n"
            "        self.kept = factor = self.kept if factor is None else factor\n",
        ),
    ],
    "You ignore the factor.": [("self.lr * factor", "self.lr")],
    "Your factor scales the step but not the decay: the decay is multiplied by the "
    "same rate.": [("self.decay[i]}", "self.decay[i] / factor}")],
    "Your factor scales the decay but not the step.": [
        ("self.lr * factor", "self.lr"),
        ("self.decay[i]}", "self.decay[i] * factor}"),
    ],
    "Your factor scales the gradient; Adam's step hardly feels that. It scales lr.": [
        ("self.params[i], g,", "self.params[i], factor * g,"),
        ("self.lr * factor", "self.lr"),
    ],
    "Your parameters share one m and one v: each needs its own.": [
        ("[np.zeros_like(p) for p in params]", "0.0"),
        ("self.m[i], self.v[i], self.t", "self.m, self.v, self.t"),
        (
            "self.params[i], self.m[i], self.v[i] = new",
            "self.params[i], self.m, self.v = new[0], new[1].flat[0], new[2].flat[0]",
        ),
    ],
    "You count t once for each parameter: one step of all of them is one t.": [
        ("        self.t += 1\n", ""),
        ("(grads):\n", "(grads):\n            self.t += 1\n"),
    ],
    "Your optimiser does not keep t: each step is its first.": [
        ("self.v[i], self.t\n", "self.v[i], 1\n")
    ],
    "Your first step has t = 2: you count too early or twice.": [
        ("self.v[i], self.t\n", "self.v[i], self.t + 1\n")
    ],
    "Your optimiser does not keep m and v from one step to the next.": [
        ("self.params[i], self.m[i], self.v[i] = new", "self.params[i] = new[0]")
    ],
    "Your optimiser does not keep the parameters from one step to the next.": [
        (
            "self.params[i], self.m[i], self.v[i] = new",
            "found[i], self.m[i], self.v[i] = new",
        ),
        ("        for", "        found = list(self.params)\n        for"),
        ("return list(self.params)", "return found"),
    ],
    "Two optimisers share their state: keep m, v and t on self, not on the class.": [
        ("class AdamW:\n", "class AdamW:\n    kept = {}\n\n"),
        ("self.t += 1\n", "self.t = self.kept['t'] = self.kept.get('t', 0) + 1\n"),
    ],
    "Your optimiser ignores lr.": [("self.lr * factor", "1e-3 * factor")],
    "Your optimiser ignores weight_decay.": [(_DECAY, "1e-2 if p.ndim >= 2 else 0.0")],
    "Your optimiser ignores beta1, beta2 and eps.": [(", **self.hyper", "")],
    "Your optimiser updates the first parameter alone.": [
        ("enumerate(grads)", "enumerate(grads[:1])")
    ],
}


def optimiser(rng):
    shapes = [(2,), (3, 2), (2, 2), (2, 1, 3)]
    start = [rng.normal(size=s) for s in shapes]
    grads = [[gradients(rng, 1, s)[0] for s in shapes] for _ in range(4)]
    factors = rng.uniform(0.2, 0.9, 3).tolist()
    return [
        call("AdamW", start, keep="one", show=False, **hyper(rng)),
        *(call("one.step", g, f) for g, f in zip(grads, factors, strict=False)),
        call("one.step", grads[3]),
        call("AdamW", start, keep="two", show=False),
        call("two.step", grads[0], factors[0]),
        call("one.step", grads[0], factors[1]),
    ]


# The comparison


def choose(losses):
    """The best row one by one, each row sorted and its middle taken."""
    rows = [sorted(x if np.isfinite(x) else np.inf for x in row) for row in losses]
    middle = [(r[(len(r) - 1) // 2] + r[len(r) // 2]) / 2 for r in rows]
    row = middle.index(min(middle))
    return row, 0 < row < len(rows) - 1


_CHOOSE = """
def choose(losses):
    finite = np.where(np.isfinite(losses), losses, np.inf)
    row = int(np.argmin(np.median(finite, axis=1)))
    return row, 0 < row < len(losses) - 1
"""
_ROW = "int(np.argmin(np.median(finite, axis=1)))"
CHOOSE = {
    "You take the mean of the seeds: one bad run decides. The median is asked for.": [
        ("np.median(finite", "np.mean(finite")
    ],
    "You take the best seed of each rate: that is luck. The median is asked for.": [
        ("np.median(finite", "np.min(finite")
    ],
    "You take the worst seed of each rate; the median is asked for.": [
        ("np.median(finite", "np.max(finite")
    ],
    "You look at the first seed alone.": [
        ("np.median(finite, axis=1)", "finite[:, 0]")
    ],
    "A run that diverged is left out: a rate at which most runs are lost looks good. "
    "It counts as worse than every number.": [
        ("np.where(np.isfinite(losses), losses, np.inf)", "losses"),
        (
            "np.median(finite, axis=1)",
            "[np.median(r[np.isfinite(r)]) if np.isfinite(r).any() else np.inf "
            "for r in finite]",
        ),
    ],
    "A nan wins: np.argmin takes the first nan for the smallest. It counts as "
    "infinite.": [("np.where(np.isfinite(losses), losses, np.inf)", "losses")],
    "A run that diverged counts as 0 with you, the best of all; it is the worst.": [
        ("losses, np.inf)", "losses, 0.0)")
    ],
    "You take the highest loss.": [("np.argmin", "np.argmax")],
    "You take the median over the rates; the rows are rates, the columns seeds.": [
        ("axis=1", "axis=0")
    ],
    "Your row counts from 1; rows count from 0.": [("return row,", "return row + 1,")],
    "You return the median itself, not the number of its row.": [
        ("return row,", "return np.median(finite[row]),")
    ],
    "You call the first row inside: a smaller rate may be better still.": [
        ("0 < row <", "0 <= row <")
    ],
    "You call the last row inside: a larger rate may be better still.": [
        ("len(losses) - 1", "len(losses)")
    ],
    "You call every row inside.": [("0 < row < len(losses) - 1", "True")],
    "You return whether the row is at an edge; asked is whether it is inside.": [
        ("0 < row < len(losses) - 1", "not 0 < row < len(losses) - 1")
    ],
    "You return the row alone; the second value says whether it is inside.": [
        ("return row, 0 < row < len(losses) - 1", "return row")
    ],
}


def tables(rng):
    """Wild seeds around a best row inside and at each edge, then runs that are lost."""
    rows = int(rng.integers(6, 9))
    far = np.abs(np.arange(rows) - np.array([2, 3, rows - 3, 0, rows - 1])[:, None])
    noise = rng.normal(size=(5, rows, 5)) * np.array([1, 1, 1, 0.2, 0.2])[:, None, None]
    wild = np.exp(noise) * (1 + far)[:, :, None]
    lost = 1 + np.abs(np.arange(rows) - 2)[:, None] + rng.uniform(0, 0.1, (rows, 5))
    lost[0, :2] = lost[1] = np.nan
    lost[-1] = [np.nan, np.inf, np.nan, 0.01, 0.01]
    return [call("choose", losses) for losses in [*wild, lost]]


def compared(case, answers):
    """What is wrong with the form of `results`; None where it can say something."""
    results = answers[0]
    if not isinstance(results, dict) or set(results) != {"constant", "schedule"}:
        return 'results has other keys than "constant" and "schedule".'
    grids, tables = [], []
    for name in ("constant", "schedule"):
        pair = results[name]
        if pair is None:
            return f"results[{name!r}] is still None."
        if not isinstance(pair, list) or len(pair) != 2:
            return f"results[{name!r}] is not a pair: the rates and their losses."
        try:
            rates, losses = (np.asarray(x, float) for x in pair)
        except (TypeError, ValueError):
            return f"results[{name!r}] has something in it that is no number."
        if rates.ndim != 1 or losses.ndim != 2 or len(losses) != len(rates):
            return (
                f"results[{name!r}]: the losses have the shape {losses.shape}, "
                f"the rates {rates.shape}; a row a rate, a column a seed."
            )
        if len(rates) < 5:
            return f"{len(rates)} rates are too few to see where the best is; try five."
        if losses.shape[1] < 5:
            return f"{losses.shape[1]} seeds say little about luck; five are asked for."
        if not np.all(np.isfinite(rates)) or np.any(rates <= 0):
            return "A rate is a positive number."
        ratio = rates[1:] / rates[:-1]
        if np.any(ratio <= 1):
            return "Your rates do not go from small to large."
        if np.any(ratio > 4 + 1e-9):
            return (
                f"Two of your rates are a factor of {ratio.max():.3g} apart: the best "
                "may lie between them. At most 4 is asked for."
            )
        losses = np.where(np.isfinite(losses), losses, np.inf)
        if np.any(losses < 0):
            return "A loss is below zero; this one cannot be."
        median = np.median(losses, axis=1)
        best = int(np.argmin(median))
        if best in (0, len(rates) - 1):
            edge = "smallest" if best == 0 else "largest"
            return (
                f"The best rate of {name!r} is the {edge} that you tried: the sweep "
                "is too narrow on that side."
            )
        if not 0.005 < median[best] < 0.5:
            return (
                f"The best median loss of {name!r} is {median[best]:.3g}; with the "
                "network and the data above it is between 0.005 and 0.5. Did you use "
                "`loss(train(...), parts[1])`?"
            )
        if np.any(np.ptp(losses[1 : best + 1], axis=1) == 0):
            return f"All seeds of {name!r} have the same loss: are they other seeds?"
        grids.append(rates)
        tables.append(losses)
    if grids[0].shape != grids[1].shape or not np.allclose(grids[0], grids[1]):
        return "The two have other rates: with equal effort both get the same."
    if tables[0].shape != tables[1].shape:
        return (
            "The two have other numbers of seeds: with equal effort both get the same."
        )
    if np.array_equal(tables[0], tables[1]):
        return "Both have the same losses: was the schedule used?"
    return None


def _roster(source, table):
    return {message: edited(source, *edits) for message, edits in table.items()}


_RIGHT = {"adamw_step": adamw_step}
QUESTIONS = [
    Question("adamw", 3, walk, _RIGHT, _roster(_STEP, STEP), cases=2),
    Question("arguments", 1, arguments, _RIGHT, _roster(_STEP, IN_PLACE | STEP)),
    Question(
        "schedule",
        3,
        schedule,
        {"factor": factor},
        _roster(_FACTOR, SCHEDULE),
        atol=1e-12,  # the cosine at the end of a run is zero but for rounding
    ),
    Question(
        "optimiser",
        3,
        optimiser,
        {"AdamW": AdamW},
        _roster(_STEP + _CLASS, CLASS | STEP),
        cases=2,
    ),
    Question("choose", 2, tables, {"choose": choose}, _roster(_CHOOSE, CHOOSE)),
    Question("comparison", 2, lambda rng: [look("results")], judge=compared, cases=1),
]
