"""A rule on a gradient function: NumPy, many starts and hyperparameters at once."""

from collections.abc import Callable

import numpy as np

from adamtut.rules import as_rule, check_hyper
from adamtut.rules.form import UNITS, has_shape_of_p, start_shape


def walk(
    rule: str | Callable,
    grad: Callable | np.ndarray,
    p,
    steps: int | None = None,
    *,
    project: Callable | None = None,
    **hyper,
) -> np.ndarray:
    """All points that `rule` visits from `p`, the start included.

    rule    a name, a rule, or any function written like one
    grad    a function of p; or an array of prescribed gradients, shape (steps, ...),
            which is replayed whatever p is
    p       the start: a number or an array; leading axes are independent walks. For a
            rule of vectors (or whole models) the last axis is the vector, for a rule of
            matrices the last two are the matrix
    steps   how many; may be left out when `grad` is an array
    project applied to the point after each step, such as a clip to a feasible set
    hyper   the rule's hyperparameters: numbers, arrays that broadcast against p, or
            functions of the step number t = 1, 2, ... (a schedule)

    Returns float64, shape (steps + 1, *s), where s is what p, the gradients of one step
    and the hyperparameters broadcast to. A walk that diverges holds inf or nan.
    Ten thousand pairs at once: lr of shape (100, 1), beta of shape (100,), p a number.

    Raises ValueError, TypeError: unknown rule or hyperparameter, value out of range,
    steps missing or negative, shapes that do not broadcast, a p with too few axes.
    """
    rule = as_rule(rule)
    first = {k: v(1) if callable(v) else v for k, v in hyper.items()}
    check_hyper(rule, first)
    p = np.asarray(p, float)
    replay = not callable(grad)
    gradients = np.asarray(grad, float) if replay else None
    if replay and gradients.ndim == 0:
        raise ValueError(
            "grad is a number; allowed: a function of p, or an array of steps"
        )
    if steps is None and replay:
        steps = len(gradients)
    most = len(gradients) if replay else np.inf
    if not isinstance(steps, int | np.integer) or not 0 <= steps <= most:
        raise ValueError(f"steps is {steps!r}; allowed: an integer from 0 to {most}")

    shapes = [
        p.shape,
        gradients.shape[1:] if replay else (),
        *map(np.shape, first.values()),
    ]
    p = np.broadcast_to(p, np.broadcast_shapes(*shapes))
    if p.ndim < UNITS[rule.unit]:
        raise ValueError(
            f"p has shape {p.shape}; allowed with {rule.__name__}, a rule of one "
            f"{rule.unit}: {UNITS[rule.unit]} axes or more"
        )
    state = [start(rule, name, p) for name in rule.state]
    path = np.empty((steps + 1, *p.shape))
    path[0] = p
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for t in range(1, steps + 1):
            g = gradients[t - 1] if replay else grad(p)
            now = {k: v(t) if callable(v) else v for k, v in hyper.items()}
            result = rule(p, g, *state, t, **now)
            p, *state = result if rule.state else (result,)
            path[t] = p = p if project is None else project(p)
    return path


def start(rule: Callable, name: str, p: np.ndarray) -> np.ndarray:
    """The state `name` before the first step from `p`."""
    if name in rule.starts and has_shape_of_p(rule, name):
        return p
    if rule.unit == "number":  # of independent walks
        return np.zeros(p.shape)
    return np.zeros(start_shape(rule, name, p.shape))


def settled(values: np.ndarray, tolerance: float) -> np.ndarray:
    """How many steps until `values` stay below `tolerance` for the rest of the walk.

    values  shape (steps + 1, *s), such as f of a walk; nan counts as above

    Returns float64 of shape s: 0 for a start below, inf where the last value is above.
    """
    above = ~(np.asarray(values) < tolerance)
    last = len(above) - above[::-1].argmax(axis=0)  # one past the last value above
    steps = np.where(above.any(axis=0), last, 0).astype(float)
    return np.where(steps < len(above), steps, np.inf)
