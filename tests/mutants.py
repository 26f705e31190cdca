"""Wrong rules that a good test must reject: a table of edits of the right ones.

Each is a bug that somebody has made, most of them in published code, and most of them
train a network nicely.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable

from adamtut import ops, rules

# rule: {what is wrong: edits (old, new) of the rule's body, one after the other}
_STEP = "lr * m_hat / (sqrt(v_hat) + eps)"
_MUTANTS = {
    "adam": {
        "eps outside the fraction": [(_STEP, "lr * m_hat / sqrt(v_hat) + eps")],
        "eps inside the root": [("sqrt(v_hat) + eps", "sqrt(v_hat + eps)")],
        "eps as a floor": [("sqrt(v_hat) + eps", "maximum(sqrt(v_hat), eps)")],
        "hat form: eps next to the uncorrected root": [
            ("+ eps", "+ eps / (1 - beta2**t) ** 0.5")
        ],
        "no root": [("sqrt(v_hat)", "v_hat")],
        "m not corrected": [("m / (1 - beta1**t)", "m")],
        "v not corrected": [("v / (1 - beta2**t)", "v")],
        "both corrected with beta1": [("1 - beta2**t", "1 - beta1**t")],
        "t frozen at 1": [("**t", "**1")],
        "t one ahead": [("**t", "**(t + 1)")],
        "g for m": [("lr * m_hat", "lr * g")],
        "betas swapped": [("beta1", "BETA"), ("beta2", "beta1"), ("BETA", "beta2")],
        "sign descent": [("sqrt(v_hat)", "sqrt(m_hat**2)")],
        "ascent": [("p - lr", "p + lr")],
        "m a sum, not an average": [("(1 - beta1) * g", "g")],
        "weights of m the wrong way round": [
            ("beta1 * m + (1 - beta1) * g", "(1 - beta1) * m + beta1 * g")
        ],
        "no memory of m": [("beta1 * m + ", "")],
        "no memory of v": [("beta2 * v + ", "")],
        "v from |g|": [("g**2", "sqrt(g**2)")],
        "v from m": [("g**2", "m**2")],
        "v of AdaGrad": [("beta2 * v + (1 - beta2) * g**2", "v + g**2")],
        "v of the step before": [
            ("v = beta2", "v_new = beta2"),
            ("return p, m, v", "return p, m, v_new"),
        ],
        "m not stored": [("m = beta1", "m_new = beta1"), ("= m /", "= m_new /")],
        "v not stored": [("v = beta2", "v_new = beta2"), ("= v /", "= v_new /")],
        "corrected m stored": [("return p, m, v", "return p, m_hat, v")],
        "corrected v stored": [("return p, m, v", "return p, m, v_hat")],
        "lr decays": [("p - lr", "p - t**-0.5 * lr")],
    },
    "adamw": {
        "decay sign flipped": [("+ weight_decay", "- weight_decay")],
        "L2 for decoupled": [
            ("m = beta1", "g = g + weight_decay * p\n    m = beta1"),
            (" + weight_decay * p)", ")"),
        ],
        "decay not multiplied by lr": [("weight_decay * p", "weight_decay / lr * p")],
        "decay divided by the root": [
            ("m_hat /", "(m_hat + weight_decay * p) /"),
            (" + weight_decay * p)\n", ")\n"),
        ],
        "no decay": [(" + weight_decay * p)", ")")],
    },
    "amsgrad": {
        "maximum after the correction": [
            ("maximum(v_max, v)", "maximum(v_max, v / (1 - beta2**t))"),
            ("v_max / (1 - beta2**t)", "v_max"),
        ],
        "no maximum": [("maximum(v_max, v)", "v")],
        "maximum stored as v": [("return p, m, v,", "return p, m, v_max,")],
    },
    "momentum": {"m an average": [("+ g", "+ (1 - beta) * g")]},
    "nesterov": {"no look-ahead": [("g + beta * m)", "m)")]},
    "adagrad": {"v forgets": [("v + g", "0.9 * v + g")]},
    "rmsprop": {"eps inside the root": [("sqrt(v) + eps", "sqrt(v + eps)")]},
    "rmsprop_centered": {"m not squared": [("m**2", "m")]},
    "adadelta": {
        "old step not remembered": [("d = rho * d + ", "d = ")],
        "lr inside the step": [("* g\n", "* g * lr\n"), ("lr * delta", "delta")],
    },
    "adamax": {
        "u corrected": [("m_hat / u", "m_hat / (u / (1 - beta2**t))")],
        "Keras: eps beside u": [
            ("abs(g) + eps", "abs(g)"),
            ("m_hat / u", "m_hat / (u + eps)"),
        ],
        "u forgets at once": [("beta2 * u", "0 * u")],
        "u never forgets": [("beta2 * u", "u")],
    },
    "nadam": {
        "Keras: momentum warms up 250 times faster": [
            ("t * momentum_decay", "t"),
            ("(t + 1) * momentum_decay", "(t + 1)"),
        ],
        "next mu from t": [("(t + 1) *", "t *")],
        "g not corrected": [("g / c", "g")],
        "product of the next mu in c": [("c = 1 - mu *", "c = 1 - mu_next *")],
        "paper: v_hat times beta2": [("v / (", "beta2 * v / (")],
    },
    "radam": {
        "no rectification": [("sqrt(now / end) * ", "")],
        "root forgotten": [("sqrt(now / end)", "now / end")],
        "Adam until rho is reached": [("scaled, m_hat)", "scaled, scaled)")],
        "threshold on t": [("where(rho > threshold, scaled", "where(t > 5, scaled")],
        "rho one step late": [("2 * t * beta2**t", "2 * (t - 1) * beta2**t")],
    },
    "yogi": {
        "sign the wrong way round": [("sign(v - g**2)", "sign(g**2 - v)")],
        "sign of v - g": [("sign(v - g**2)", "sign(v - g)")],
        "Adam's v": [("sign(v - g**2) * g**2", "(v - g**2)")],
        "v started at g**2": [("v = v", "v = where(t > 1, v, g**2)")],
    },
    "adabelief": {
        "surprise before m learns": [
            (
                "m = beta1 * m + (1 - beta1) * g\n",
                "m_new = beta1 * m + (1 - beta1) * g\n",
            ),
            ("m_hat = m ", "m_hat = m_new "),
            ("return p, m,", "return p, m_new,"),
        ],
        "eps not in v": [("** 2 + eps", "** 2")],
        "eps not beside the root": [("sqrt(v_hat) + eps", "sqrt(v_hat)")],
        "squares subtracted": [("(g - m) ** 2", "abs(g**2 - m**2)")],
    },
    "adabound": {
        "bounds swapped": [
            ("1 - 1 / (", "1 + 1 / ("),
            ("1 + 1 / ((1 - beta2) * t))", "1)"),
        ],
        "step clipped, not the rate": [
            (
                "minimum(maximum(rate, low), high) * m",
                "minimum(maximum(rate * m, low), high)",
            )
        ],
        "eps after the correction": [("+ eps", "+ eps * sqrt(1 - beta2**t)")],
        "m corrected twice": [("high) * m", "high) * m / (1 - beta1**t)")],
        "lower bound one step late": [("t + 1)", "(t - 1) + 1)")],
    },
    "adan": {
        "first difference is g": [("where(t > 1, g - g_old, 0)", "g - g_old")],
        "optax: 1 - beta2 for beta2": [("+ beta2 * ", "+ (1 - beta2) * ")],
        "v of g alone": [("(g + beta2 * change)", "g")],
        "sign of the difference": [("g - g_old", "g_old - g")],
        "decay as in AdamW": [
            (") / (1 + lr * weight_decay)", ") * (1 - lr * weight_decay)")
        ],
        "old g never replaced": [("g_old = g\n", "g_old = where(t > 1, g_old, g)\n")],
    },
    "adopt": {
        "v before it divides": [
            (
                "u = ",
                "v_new = where(t > 1, beta2 * v + (1 - beta2) * g**2, g**2)\n    u = ",
            ),
            ("sqrt(v)", "sqrt(v_new)"),
        ],
        "v starts at 0": [
            (
                "where(t > 1, beta2 * v + (1 - beta2) * g**2, g**2)",
                "beta2 * v + (1 - beta2) * g**2",
            )
        ],
        "not clipped": [("clip = (t - 1) ** 0.25", "clip = where(t > 1, 1e300, 0.0)")],
        "pytorch_optimizer: clips one step ahead": [
            ("(t - 1) ** 0.25", "where(t > 1, t**0.25, 0.0)")
        ],
        "eps added": [("maximum(sqrt(v), eps)", "(sqrt(v) + eps)")],
        "m corrected": [("lr * m", "lr * m / (1 - beta1**t)")],
    },
    "ademamix": {
        "slow average corrected": [
            ("alpha * m_slow", "alpha * m_slow / (1 - beta3**t)")
        ],
        "fast average not corrected": [("m / (1 - beta1**t)", "m")],
        "a mean, not a sum": [("m_hat = m /", "m_hat = (1 - alpha) * m /")],
        "slow average of the fast one": [("(1 - beta3) * g", "(1 - beta3) * m")],
    },
    "cautious": {
        "author's foreach: nothing masked": [
            ("sign(m) * sign(g)", "sign(m) * sign(m)")
        ],
        "not scaled": [("mask / maximum(mean(mask), 1e-3)", "mask")],
        "mask the wrong way round": [("maximum(sign(m)", "maximum(-sign(m)")],
        "zeros pass": [
            ("maximum(sign(m) * sign(g), 0)", "minimum(sign(m) * sign(g) + 1, 1)")
        ],
        "decay masked": [("u + weight_decay * p", "u + mask * weight_decay * p")],
    },
    "grams": {
        "sign of m": [("sign(g)", "sign(m)")],
        "sign of g, size of g": [("abs(m_hat)", "abs(g)")],
        "m not corrected": [("abs(m_hat)", "abs(m)")],
        "decay in the size": [
            ("abs(m_hat) /", "abs(m_hat + weight_decay * p) /"),
            (" + weight_decay * p)\n    return", ")\n    return"),
        ],
    },
    "mars": {
        "old g never stored": [("g_old = g\n", "g_old = 0 * g\n")],
        "old g is the corrected one": [("g_old = g\n", "g_old = c\n")],
        "clipped always": [("maximum(norm(guess), 1)", "norm(guess)")],
        "not clipped": [("guess / maximum(norm(guess), 1)", "guess")],
        "gamma alone": [("gamma * beta1 / (1 - beta1)", "gamma")],
        "timm: no first difference": [("(g - g_old)", "where(t > 1, g - g_old, 0)")],
        "v of g": [("c**2", "g**2")],
    },
    "d_adaptation": {
        "s after the step in the product": [
            ("g * s / ", "g * (s + (1 - beta2**0.5) * lr * d_old * g) / ")
        ],
        "d may shrink": [("maximum(d_old, where", "maximum(d0, where")],
        "r forgets like v": [("r = beta2**0.5 * r", "r = beta2 * r")],
        "m divided by d": [
            ("lr * d_old * g\n    v", "g\n    v"),
            ("- m", "- lr * d * m"),
        ],
        "norm 2 for norm 1": [("total(abs(s))", "total(s**2) ** 0.5")],
    },
    "prodigy": {
        "paper: eps times the old d": [("+ d * eps", "+ d_old * eps")],
        "new d in the step": [("lr * d_old * m", "lr * d * m")],
        "v without d": [("(d_old * g) ** 2", "g**2")],
        "distance of the wrong sign": [("p0 - p", "p - p0")],
        "start forgotten": [("return p, m, v, s, p0", "return p, m, v, s, p")],
        "r not stored": [("r = beta2**0.5 * r + ", "r = ")],
    },
    "schedule_free": {
        "g at x": [("weight_decay * p)", "weight_decay * x)")],
        "plain mean of z": [("lr_max**2 / weight_sum", "1 / t")],
        "weights lr, not its square": [
            ("+ lr_max**2", "+ lr_max"),
            ("lr_max**2 /", "lr_max /"),
        ],
        "y returned at x": [("p = (1 - beta1) * z + beta1 * x_new", "p = x_new")],
        "v not corrected": [("v / (1 - beta2**t)", "v")],
        "z after the mean": [("c * z\n", "c * p\n")],
    },
    "sophia": {
        "rho forgotten": [("rho * h", "h")],
        "not clipped": [
            ("minimum(abs(m) / (rho * h + eps), 1)", "abs(m) / (rho * h + eps)")
        ],
        "g for m": [("abs(m) /", "abs(g) /")],
        "decay without lr": [("weight_decay * p)", "weight_decay / lr * p)")],
        "m corrected": [("abs(m) /", "abs(m / (1 - beta1**t)) /")],
    },
    "adafactor": {
        "no mean of r": [("sqrt(r / column_mean(r))", "sqrt(r)")],
        "no clipping": [("u / maximum(", "u + 0 * maximum(")],
        "beta one step late": [("t**-decay", "(t + 1) ** -decay")],
        "step not relative": [("* size *", "*")],
        "clipped by the norm": [
            ("column_mean(row_mean(u**2))", "total(total(u**2).mT)")
        ],
    },
    "adam_mini": {
        "square of the mean": [("row_mean(g**2)", "row_mean(g) ** 2")],
        "one v a parameter": [("row_mean(g**2)", "column_mean(row_mean(g**2))")],
        "v not corrected": [("v / (1 - beta2**t)", "v")],
        "v from m": [("row_mean(g**2)", "row_mean(m**2)")],
    },
    "lars": {
        "ratio upside down": [("norm(p) / size", "size / norm(p)")],
        "ratio outside the momentum": [
            ("lr * ratio", "lr"),
            ("p - m", "p - ratio * m"),
        ],
        "no ratio of 1": [("where(minimum(norm(p), size) > 0, ", "("), (", 1)", ")")],
        "no momentum": [("beta * m + ", "")],
    },
    "lamb": {
        "decay outside the ratio": [
            (" + weight_decay * p\n", "\n"),
            ("lr * ratio * u", "lr * (ratio * u + weight_decay * p)"),
        ],
        "ratio without the decay": [("norm(u), 1", "norm(u - weight_decay * p), 1")],
        "m not corrected": [("m / (1 - beta1**t)", "m")],
        "no ratio of 1": [("minimum(norm(p), norm(u)) > 0", "abs(t) > 0")],
        "ratio of all to the step of each": [("norm(p) / norm(u)", "norm(p) / abs(u)")],
    },
    "signum": {
        "sign of g": [("sign(m)", "sign(g)")],
        "majority of signs": [("(1 - beta) * g", "(1 - beta) * sign(g)")],
        "weights the wrong way round": [
            ("beta * m + (1 - beta) * g", "(1 - beta) * m + beta * g")
        ],
    },
    "lion": {
        "one beta": [("beta2", "beta1")],
        "betas swapped": [("beta1", "BETA"), ("beta2", "beta1"), ("BETA", "beta2")],
        "m of this step": [
            ("c = beta1", "m = beta2 * m + (1 - beta2) * g\n    c = beta1"),
            ("    m = beta2 * m + (1 - beta2) * g\n    return", "    return"),
        ],
        "c stored": [("return p, m", "return p, c")],
    },
    "shampoo": {
        "square roots": [("-0.25", "-0.5")],
        "averages": [("L = L", "L = 0.95 * L"), ("R = R", "R = 0.95 * R")],
        "eps added in each step": [("eps)", "t * eps)")],
        "without this gradient": [
            ("L = L", "M = L"),
            ("R = R", "S = R"),
            ("return p, L, R", "return p, M, S"),
        ],
        "one side": [("symmetric_power(L, -0.25, eps) @ g", "g")],
    },
    "soap": {
        "v not reordered": [("reordered(w, L, Q_L, R, Q_R, t, every)", "w")],
        "bases never turn": [("t, every)", "t, 10**9)")],
        "t counts the skipped step": [("t - 1, 1", "t, 1")],
        "decay before the step": [("* (p - lr * u)", "* p - lr * u")],
        "bases before this gradient": [
            ("basis(L,", "basis((L - (1 - beta2) * g @ transpose(g)) / beta2,")
        ],
        "v from m": [("transpose(Q_L) @ g @", "transpose(Q_L) @ m @")],
    },
    "muon": {
        "no look-ahead": [("beta * m + (1 - beta) * g, m", "m, m")],
        "g not weighted in the look-ahead": [("(1 - beta) * g, m", "g, m")],
        "rows for columns": [("aspect(p)", "1 / aspect(p)")],
        "no size": [("size * o", "o")],
        "average of directions": [
            ("(1 - beta) * g\n", "(1 - beta) * newton_schulz(g)\n")
        ],
        "ten iterations": [("newton_schulz(u)", "newton_schulz(newton_schulz(u))")],
    },
}
MUTANTS = {
    (rule, what): edits
    for rule, table in _MUTANTS.items()
    for what, edits in table.items()
}


def plain(rule: str) -> str:
    """The source of a rule without decorator and docstring."""
    source = textwrap.dedent(inspect.getsource(rules.RULES[rule]))
    tree = ast.parse(source).body[0]
    lines = source.splitlines(keepends=True)
    docstring = tree.body[0]
    del lines[docstring.lineno - 1 : docstring.end_lineno]
    return "".join(lines[tree.lineno - 1 :])


def function(source: str) -> Callable:
    """The rule of this source, with the ops at hand and the decorator of the right one.

    A rule of the package of that name lends its unit and starts.
    """
    tree = ast.parse(source)
    name = tree.body[0].name
    space = dict(vars(ops))
    exec(compile(tree, "<mutant>", "exec"), space)
    right = rules.RULES.get(name)
    if right is None:
        return space[name]
    wrong = rules.rule(space[name], right.unit, **right.starts)
    wrong.point, wrong.curvature = right.point, right.curvature
    return wrong


def mutate(rule: str, edits: list[tuple[str, str]]) -> Callable:
    """The rule with its body edited; raises ValueError where an edit finds nothing."""
    source = plain(rule)
    for old, new in edits:
        cut = source.index("):\n") + 3  # the signature stays
        head, body = source[:cut], source[cut:]
        if old not in body:
            raise ValueError(f"{old!r} is not in the body of {rule}:\n{body}")
        source = head + body.replace(old, new)
    return function(source)
