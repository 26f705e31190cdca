"""Printed equations are the rule, and printed numbers hold on every machine."""

import inspect
import json
import re

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from adamtut import ops
from adamtut.rules import RULES, as_rule
from adamtut.show import claim, diff, equations, lines, say

# Equations: read the LaTeX back as Python, and compute with it ---------------

LETTERS = {
    r"\theta": "p",
    r"\alpha": "lr",
    r"\beta_1": "beta1",
    r"\beta_2": "beta2",
    r"\beta_3": "beta3",
    r"\beta": "beta",
    r"\epsilon": "eps",
    r"\rho": "rho",
    r"\lambda": "weight_decay",
    r"\Delta": "delta",
    r"\mu": "mu",
    r"\gamma": "gamma",
    r"\epsilon_1": "eps1",
    r"\epsilon_2": "eps2",
    "d_0": "d0",
    r"\theta_0": "p0_old",
    r"\alpha_{\text{slow}}": "alpha",
}
LETTERS = dict(sorted(LETTERS.items(), key=lambda x: -len(x[0])))
FUNCTIONS = {k: v for k, v in vars(ops).items() if inspect.isfunction(v)}
FUNCTIONS["cases"] = lambda x, condition, y: np.where(condition, x, y)
# Notation of functions, (LaTeX, Python); \left( and \right) come after these.
NOTATION = [
    (r" & \text{else} \end{cases}", ")"),
    (r"\begin{cases} ", "cases("),
    (r" \\ ", ", "),
    (" & ", ", "),
    (r"\left|", "abs("),
    (r"\right|", ")"),
    (r"\left\lVert ", "norm("),
    (r" \right\rVert", ")"),
    (r"\operatorname{sum}", "total"),
    (r"\max", "maximum"),
    (r"\min", "minimum"),
    (r"\left(", "("),
    (r"\right)", ")"),
    (r"\,", "*"),
    (r"\cdot", "*"),
]


def python(tex: str) -> str:
    """A LaTeX expression as Python: m_t is m_new, m_{t-1} is m_old."""
    for letter, name in LETTERS.items():
        tex = re.sub(re.escape(letter) + "(?![a-z])", name, tex)
    for old, new in NOTATION:
        tex = tex.replace(old, new)
    tex = re.sub(r"\\(?:text|operatorname)\{([^{}]*)\}", _word, tex)
    tex = re.sub(r"\\hat\{([^{}]*)\}", r"\1HAT", tex)
    tex = tex.replace("HAT", "_hat")
    tex = re.sub(r"(\w+)_(\{t-1\}|t)\^\{([a-zA-Z]+)\}", r"\1_\3_\2", tex)
    tex = re.sub(r"(\w+)_\{t-1\}", r"\1_old", tex)
    tex = re.sub(r"(\w+)_t\b", r"\1_new", tex)
    before = None
    while tex != before:  # from the innermost braces outwards
        before = tex
        tex = re.sub(r"\\sqrt\{([^{}]*)\}", r"sqrt(\1)", tex)
        tex = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", tex)
        tex = re.sub(r"\^\{([^{}]*)\}", r"**(\1)", tex)
        tex = re.sub(r"\^(\w)", r"**\1", tex)
    assert not re.search(r"[\\{}^]", tex), tex
    return tex


def _word(match) -> str:
    return re.sub(r"\W+", "_", match[1])


def computed(rule, values: dict) -> list:
    """What the equations of a rule make of these values."""
    space = FUNCTIONS | {
        f"{k}_old" if k in {"p", *rule.state} else k: v for k, v in values.items()
    }
    space["g_new"] = values["g"]
    for line in lines(rule):
        left, right = map(python, line.split(" &= "))
        space[left] = eval(right, space)
    # a state that no line assigns stays as it is
    states = [(f"{name}_new", f"{name}_old") for name in ("p", *rule.state)]
    return [space[new] if new in space else space[old] for new, old in states]


def tricky(p, g, m, v, t, *, lr=0.3, beta=0.9):
    a = p - (lr - (g - m))
    b = (-m) ** 2 - -g
    c = (m / v) ** 2 + (m * g) ** 2 / (v**2 + 1) ** t
    d = 2 * 3 * m - a * -b / c
    e = sqrt(v) ** 2 - (a + b) * (c - d)  # noqa: F821
    h = -(a + e) * maximum(v, 0.1234567891) ** 2  # noqa: F821
    m = m / (g / v) / lr - beta ** (t - 1) - 2**-t
    v = (v**2) ** 3 + -m - (h - (a + b) - c)
    p = p * (a - b) / (c * d) - h * (lr + beta) * 1e-8
    return p, m, v


tricky.__globals__.update(FUNCTIONS)


# of a matrix rule, a product of matrices looks like one of numbers
COMPUTABLE = [name for name in RULES if RULES[name].unit != "matrix"]


@pytest.mark.parametrize("rule", [*COMPUTABLE, tricky], ids=[*COMPUTABLE, "tricky"])
def test_the_equations_compute_what_the_rule_computes(rule):
    rule = as_rule(rule)
    draw = np.random.default_rng(0)
    names = ["p", "g", *rule.state]
    values = {name: draw.uniform(0.5, 2.0, 50) for name in names} | {"t": 3}
    values["g"] = values["g"] - 1.2
    hyper = {name: draw.uniform(0.1, 0.9) for name in rule.defaults}
    expected = rule(**values, **hyper)
    expected = expected if rule.state else [expected]
    found = computed(rule, values | hyper)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_equations_of_adam():
    assert lines("adam") == [
        r"m_t &= \beta_1\, m_{t-1} + \left(1 - \beta_1\right)\, g_t",
        r"v_t &= \beta_2\, v_{t-1} + \left(1 - \beta_2\right)\, g_t^2",
        r"\hat{m}_t &= \frac{m_t}{1 - \beta_1^t}",
        r"\hat{v}_t &= \frac{v_t}{1 - \beta_2^t}",
        r"\theta_t &= \theta_{t-1}"
        r" - \frac{\alpha\, \hat{m}_t}{\sqrt{\hat{v}_t} + \epsilon}",
    ]
    box = equations("adam")
    assert all(line in box for line in lines("adam"))
    assert box.startswith(r"\begin{aligned}") and box.endswith(r"\end{aligned}")
    assert box._repr_latex_() == f"$${box}$$" and repr(box) == str(box)


@pytest.mark.parametrize("rule", RULES)
def test_the_braces_of_every_box_match(rule):
    box = equations(rule)
    assert box.count("{") == box.count("}")
    assert box.count(r"\left(") == box.count(r"\right)")
    cases = box.count(r"\begin{cases}")
    assert len(lines(rule)) == box.count("&=") == box.count("[8pt]") + 1
    assert cases == box.count(r"\end{cases}") == box.count(r"\text{else}")
    assert not re.search(r"\^(\{[^{}]*(\{[^{}]*\})?[^{}]*\}|\w)\^", box), "x^a^b"


def test_the_difference_of_two_rules():
    text = diff("adam", "adamw")
    adam, adamw = lines("adam")[-1], lines("adamw")[-1]
    rows = [row.split("&")[0].strip() for row in text.splitlines()[1:-1]]
    assert rows == ["-", "+", "-", "+"]
    assert adam.replace("&", "") in text and adamw.replace("&", "") in text
    assert r"\beta_1" not in text  # what they share is left out
    assert r"& \rho_t > \text{threshold} \\ 0 & \text{else}" in diff("adam", "radam")
    assert "no difference" in diff("adam", "adam")
    assert r"rmsprop\_centered" in diff("rmsprop", "rmsprop_centered")


def twice(p, g, t, *, lr=1.0):
    p = p - lr * g
    p = p - lr * g
    return p


def branching(p, g, t, *, lr=1.0):
    if t > 1:
        p = p - lr * g
    return p


def in_place(p, g, t, *, lr=1.0):
    p -= lr * g
    return p


def chained(p, g, t, *, lr=1.0):
    p = q = p - lr * g  # noqa: F841
    return p


def returning(p, g, t, *, lr=1.0):
    return p - lr * g


def calling(p, g, t, *, lr=1.0):
    p = p - lr * round(g)
    return p


@pytest.mark.parametrize(
    "rule, text",
    [
        (twice, "rule twice assigns 'p' twice; allowed: once"),
        (branching, "rule branching has the line 'if t > 1.*allowed in a rule: name ="),
        (in_place, "rule in_place has the line 'p -= lr .*allowed in a rule: name ="),
        (chained, "rule chained has the line 'p = q = p.*allowed in a rule: name ="),
        (returning, "rule returning has the line 'return p - lr.*; allowed in a rule"),
        (
            calling,
            r"rule calling contains .round\(g\).; allowed: .* abs and functions of",
        ),
    ],
)
def test_what_is_no_straight_line_has_no_equations(rule, text):
    with pytest.raises(ValueError, match=f"(?s){text}"):
        lines(rule)


# Numbers and claims ----------------------------------------------------------


@pytest.mark.parametrize(
    "x, options, printed",
    [
        (np.pi, {}, "3.142"),
        (np.pi, {"digits": 8}, "3.1415927"),
        (4.999, {"digits": 10, "wobble": 1e-12}, "4.999000000"),
        (-1e-9, {"digits": 2}, "-1.0e-09"),
        (12345.678, {"digits": 5}, "12346"),
        (0.0, {}, "0.000"),
        (7, {}, "7"),
        ([1, 20], {}, "1, 20"),
        ([0.5, 2.0], {"digits": 2}, "0.50, 2.0"),
        (np.float32(0.25), {"digits": 3}, "0.250"),
        (np.inf, {}, "inf"),
        (0.9712, {"digits": 1, "wobble": 1e-2}, "1"),
    ],
)
def test_say(x, options, printed, capsys):
    say("value", x, **options)
    assert capsys.readouterr().out == f"value: {printed}\n"


@pytest.mark.parametrize(
    "x, options, text",
    [
        (0.25, {"digits": 1}, "value: 0.25 may print as 0.2 or 0.3; ask for fewer"),
        (1 / 3, {"digits": 12}, "ask for fewer digits"),
        (
            [1.2, 0.12345],
            {"digits": 4, "wobble": 1e-4},
            "0.12345 may print as 0.1234 or",
        ),
        (0.97, {"digits": 2, "wobble": 5e-2}, "may print as 0.92 or 1.0"),
        ([1.0] * 7, {}, r"x has shape \(7,\); allowed: a number, or up to six"),
        ([], {}, r"x has shape \(0,\); allowed: a number, or up to six"),
        ([[1.0]], {}, r"x has shape \(1, 1\); allowed: a number, or up to six"),
        (1.0, {"digits": 0}, "digits is 0; allowed: 1 or more"),
    ],
)
def test_say_refuses(x, options, text, capsys):
    with pytest.raises(ValueError, match=text):
        say("value", x, **options)
    assert capsys.readouterr().out == ""


def test_a_claim_prints_one_stable_line(capsys):
    claim("two is more than one", 2 > 1, measured=0.123456789)
    claim("NumPy agrees", np.float64(2) > 1)
    assert capsys.readouterr().out == "✓ two is more than one\n✓ NumPy agrees\n"


def test_a_false_claim_raises_with_what_was_measured(capsys):
    with pytest.raises(
        AssertionError, match=r"^false: one .* two \(measured: 0.123457\)"
    ):
        claim("one is more than two", 1 > 2, measured=0.1234567)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("holds", [1, "yes", None, np.array([True]), 0.0])
def test_a_claim_is_true_or_false(holds):
    with pytest.raises(TypeError, match="^holds is .*; allowed: True or False"):
        claim("something", holds)


def test_in_a_notebook_the_measured_value_is_metadata():
    shell = InteractiveShell.instance()
    try:
        with capture_output() as captured:
            claim("it holds", True, {"loss": np.float32(0.5), "steps": np.arange(2)})
    finally:
        shell.clear_instance()
    (output,) = captured.outputs
    assert output.data == {"text/plain": "✓ it holds"}
    assert output.metadata == {
        "adamtut": {"claim": "it holds", "measured": {"loss": 0.5, "steps": [0, 1]}}
    }


def test_what_was_measured_is_json_even_where_it_is_not_finite():
    # a kernel writes a warning to stderr for inf, which nbval compares
    shell = InteractiveShell.instance()
    try:
        with capture_output() as captured:
            claim("it diverges", True, [np.inf, np.float32("nan"), 1.5])
    finally:
        shell.clear_instance()
    measured = captured.outputs[0].metadata["adamtut"]["measured"]
    assert measured == ["inf", "nan", 1.5]
    json.dumps(measured, allow_nan=False)
