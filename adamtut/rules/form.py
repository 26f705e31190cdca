"""What a rule is: its form, the ranges of its hyperparameters, how its state starts."""

import inspect
from collections.abc import Callable

import numpy as np

# What the lines of a rule are written for: how many axes, at the end, are one thing.
UNITS = {"number": 0, "tensor": 1, "matrix": 2, "model": 1}
# The shape of a state, of a unit with these axes; any other state has that of p.
SHAPES = {
    "number": lambda *own: (1,) * len(own),
    "rows": lambda m, n: (m, 1),
    "columns": lambda m, n: (1, n),
    "rows x rows": lambda m, n: (m, m),
    "columns x columns": lambda m, n: (n, n),
}

RULES: dict[str, Callable] = {}  # the rules of the package, by name


def rule(function: Callable | None = None, unit: str = "number", **starts: str):
    """Mark a function as an update rule and return the function itself.

    unit     what p, g and the state are in its lines.
             "number": anything, the rule is elementwise;
             "tensor": a parameter as one vector, its last axis (norms, means);
             "matrix": a parameter as a matrix, its last two axes; a vector is a matrix
             of one column, a kernel has a row for each of its outputs;
             "model": all parameters as one vector.
             Axes before these are independent runs.
    starts   states that are not zeros of the shape of p: `z="p"` starts as a copy of
             p; "number", "rows", "columns", "rows x rows" and "columns x columns" are
             zeros of that shape (one number for the whole unit; one a row; ...)

    Sets `function.state` (names of the state), `function.defaults` (hyperparameters and
    their defaults), `function.unit`, `function.starts`, and two that are None unless
    set afterwards: `function.point`, of (p, *state, **hyper) to the point at which a
    model is evaluated, and `function.curvature`, of (h, g, n, *, beta2) to the state h
    after a batch of n examples had the mean gradient g with sampled labels.

    Raises TypeError where the signature is not (p, g, *state, t, *, lr=..., ...) or
    unit and starts are not as above.
    """
    if function is None:
        return lambda function: rule(function, unit, **starts)
    name = function.__name__
    parameters = inspect.signature(function).parameters.values()
    positional = [x.name for x in parameters if x.kind is x.POSITIONAL_OR_KEYWORD]
    keyword = [x for x in parameters if x.kind is x.KEYWORD_ONLY]
    if (
        positional[:2] != ["p", "g"]
        or positional[-1] != "t"
        or len(positional) + len(keyword) != len(parameters)
        or any(x.default is x.empty for x in keyword)
    ):
        raise TypeError(
            f"rule {name} has the signature {inspect.signature(function)}; "
            "a rule is written (p, g, <state>, t, *, lr=..., <hyperparameter>=...)"
        )
    if unit not in UNITS:
        raise TypeError(f"rule {name} has unit {unit!r}; allowed: {', '.join(UNITS)}")
    function.state = tuple(positional[2:-1])
    function.defaults = {x.name: x.default for x in keyword}
    allowed = ["p", *(SHAPES if unit == "matrix" else ["number"])]
    for key, value in starts.items():
        if key not in function.state or value not in allowed:
            raise TypeError(
                f"rule {name} cannot start {key!r} as {value!r}; a state "
                f"({', '.join(function.state)}) may start as {', '.join(allowed)}"
            )
    function.unit = unit
    function.starts = starts
    function.point = function.curvature = None
    return function


def has_shape_of_p(rule: Callable, name: str) -> bool:
    """Whether the state `name` of a rule has the shape of the parameter."""
    return rule.starts.get(name, "p") == "p"


def is_elementwise(rule: Callable) -> bool:
    """Whether an element of p meets no other in the lines of `rule` and its state."""
    return rule.unit == "number" and all(has_shape_of_p(rule, x) for x in rule.state)


def start_shape(rule: Callable, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the state `name` for p of this `shape`, whose last axes are a unit.

    A "number" of an elementwise rule keeps every axis, with length 1.
    """
    if has_shape_of_p(rule, name):
        return tuple(shape)
    axes = UNITS[rule.unit] or len(shape)
    runs = len(shape) - axes
    return (*shape[:runs], *SHAPES[rule.starts[name]](*shape[runs:]))


# What a hyperparameter may be, by its name or by rule.name: (test, words). A name not
# listed, of a rule that a reader writes, may be any finite number.
_RATE = (lambda x: (x >= 0) & (x < np.inf), "0 <= {name} < inf")
_DECAY = (lambda x: (x >= 0) & (x < 1), "0 <= {name} < 1")
_RANGES = {
    "lr": _RATE,
    "eps": _RATE,
    "weight_decay": _RATE,
    "l2": _RATE,
    "beta": _DECAY,
    "beta1": _DECAY,
    "beta2": _DECAY,
    "beta3": _DECAY,
    "rho": _DECAY,
    "final_lr": _RATE,
    "momentum_decay": _RATE,
    "alpha": _RATE,
    "gamma": _RATE,
    "threshold": (lambda x: (x >= 4) & (x < np.inf), "4 <= {name} < inf"),
    "d0": (lambda x: (x > 0) & (x < np.inf), "0 < {name} < inf"),
    "warmup_steps": _RATE,
    "eps1": _RATE,
    "eps2": _RATE,
    "decay": _RATE,
    "clip": (lambda x: (x > 0) & (x < np.inf), "0 < {name} < inf"),
    "trust": _RATE,
    "nesterov": (lambda x: (x == 0) | (x == 1), "0 or 1"),
    "floor": _RATE,
    "rms": _RATE,
    "every": (lambda x: (x >= 1) & (x < np.inf), "1 <= {name} < inf"),
    # of one rule only
    "schedule_free.beta1": (lambda x: (x > 0) & (x < 1), "0 < {name} < 1"),
    "sophia.rho": _RATE,  # a scale of the curvature, no decay
    # a direction without gradients has the eigenvalue 0
    "shampoo.eps": (lambda x: (x > 0) & (x < np.inf), "0 < {name} < inf"),
}
_FINITE = (np.isfinite, "a finite number")


def as_rule(rule_or_name: str | Callable) -> Callable:
    """The rule of this name, or the function itself, marked as a rule.

    Raises ValueError for an unknown name, TypeError for what is no rule.
    """
    if isinstance(rule_or_name, str):
        if rule_or_name not in RULES:
            raise ValueError(
                f"unknown rule {rule_or_name!r}; the rules are {', '.join(RULES)}"
            )
        return RULES[rule_or_name]
    if not callable(rule_or_name):
        raise TypeError(f"rule is {rule_or_name!r}; allowed: a name or a function")
    return rule_or_name if hasattr(rule_or_name, "defaults") else rule(rule_or_name)


def check_hyper(rule: Callable, hyper: dict) -> None:
    """Refuse a hyperparameter that `rule` does not have or whose value is out of range.

    Values are numbers, arrays of numbers or tensors. Raises TypeError for an unknown
    name or a value that is no number, ValueError for one out of range.
    """
    for name, value in hyper.items():
        if name not in rule.defaults:
            raise TypeError(
                f"rule {rule.__name__} has no hyperparameter {name!r}; "
                f"it has {', '.join(rule.defaults)}"
            )
        check_range(name, value, rule.__name__)


def check_range(name: str, value, owner: str) -> None:
    """Refuse a `value` outside the range of the hyperparameter `name` (see above)."""
    test, words = _RANGES.get(f"{owner}.{name}") or _RANGES.get(name, _FINITE)
    # a tensor may live on a GPU; a list has no arithmetic
    plain = value.tolist() if hasattr(value, "tolist") else value
    number = np.asarray(None if plain is value and np.iterable(value) else plain)
    if number.dtype.kind not in "iuf":
        raise TypeError(f"{name} of {owner} is {value!r}; allowed: a number")
    if not np.all(test(number)):
        raise ValueError(
            f"{name} of {owner} is {value!r}; allowed: {words.format(name=name)}"
        )
