"""A walk is the rule, applied again and again, to many starts and settings at once."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from replay import gradients, mild_gradients

from adamtut.rules import RULES
from adamtut.rules.form import UNITS
from adamtut.surfaces import SURFACES
from adamtut.walk import settled, walk


def test_the_worked_example_of_the_book():
    """x**2 from 5 with the paper's defaults, after Kingma and Ba, by hand."""
    x, m, v = 5.0, 0.0, 0.0
    path = [x]
    for t in (1, 2, 3):
        g = 2 * x
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        x -= 0.001 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
        path.append(x)
    found = walk("adam", lambda x: 2 * x, 5.0, 3)
    np.testing.assert_allclose(found, path, rtol=1e-15)
    assert f"{found[1]:.9f}" == "4.999000000"


@pytest.mark.parametrize("rule", RULES)
def test_a_path_is_replayed_gradients(rule):
    """What a function of p gives along the way, given as an array, is the same path."""
    surface = SURFACES["ravine"]
    matrix = RULES[rule].unit == "matrix"
    start = surface.start[None] if matrix else surface.start
    path = walk(rule, surface.grad, start, 20, lr=0.01)
    assert path.shape == (21, *start.shape) and path.dtype == np.float64
    np.testing.assert_array_equal(path[0], start)
    again = walk(rule, surface.grad(path[:-1]), start, lr=0.01)
    np.testing.assert_array_equal(again, path)


@pytest.mark.parametrize("rule", RULES)
def test_many_walks_are_as_many_single_ones(rule):
    """Starts and every hyperparameter at once, against one walk each."""
    axes = UNITS[RULES[rule].unit]
    own = (2, 3) if axes == 2 else (3,)
    size = np.prod(own)
    draw = mild_gradients if rule in ("shampoo", "soap") else gradients
    g = draw(10)[:, :size].reshape(10, *own)
    starts = np.array([0.0, 1.0, -2.0, 3.0, 0.0, 0.5])[:size].reshape(own)
    # each hyperparameter varies along an axis of its own, before those of p
    others = {"threshold": 2, "nesterov": 0}
    grid = {
        name: np.array([value, others.get(name, 0.5) * value]).reshape(
            2, *[1] * (i + len(own))
        )
        for i, (name, value) in enumerate(RULES[rule].defaults.items())
    }
    many = walk(rule, g, starts, **grid)
    shape = np.broadcast_shapes(*(v.shape for v in grid.values()), own)
    assert many.shape == (11, *shape)
    for index in np.ndindex(shape[: len(shape) - axes]):
        first = index + (0,) * axes
        hyper = {k: np.broadcast_to(v, shape)[first] for k, v in grid.items()}
        here = () if axes else index[-1:]  # a single walk is of a number or of a unit
        one = walk(rule, g[(slice(None), *here)], starts[here], **hyper)
        # NumPy's power of an array may round otherwise than Python's of a number, and
        # radam's rho is a difference of numbers near 2000
        np.testing.assert_allclose(
            many[(slice(None), *index)],
            one,
            rtol=1e-10 if rule == "radam" else 1e-12,
            atol=1e-300,
        )


def test_a_schedule_is_a_function_of_t():
    seen = []

    def lr(t):
        seen.append(t)
        return 1 / t

    path = walk("sgd", np.ones(4), 0.0, lr=lr)
    np.testing.assert_allclose(path, -np.cumsum([0, 1, 1 / 2, 1 / 3, 1 / 4]))
    assert seen[-4:] == [1, 2, 3, 4]
    both = walk("sgd", np.ones((4, 2)), 0.0, lr=lambda t: np.array([1.0, 2.0]) / t)
    np.testing.assert_allclose(both[:, 1], 2 * path)


def test_a_projection_is_applied_after_each_step():
    path = walk(
        "sgd", np.ones((5, 2)), [0.5, -1.0], lr=1.0, project=lambda p: np.clip(p, -1, 1)
    )
    np.testing.assert_array_equal(path[1:], [[-0.5, -1.0]] + [[-1.0, -1.0]] * 4)


def test_steps_may_be_fewer_than_gradients():
    assert walk("sgd", np.ones(9), 0.0, 4).shape == (5,)
    np.testing.assert_array_equal(walk("sgd", np.ones(9), 2.0, 0), [2.0])


def test_the_start_and_the_gradients_are_left_alone():
    p, g = np.ones(3), np.ones((4, 3))
    path = walk("adamw", g, p)
    path[0] = 7.0
    np.testing.assert_array_equal(p, 1)
    np.testing.assert_array_equal(g, 1)


def test_divergence_is_silent_and_visible():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = walk("sgd", lambda p: p**3, 10.0, 20, lr=1.0)
    assert np.isfinite(path[0]) and not np.isfinite(path[-1])


def halved(p, g, t, *, lr=1.0):
    p = p - lr * g / 2
    return p


def test_a_rule_of_the_reader():
    np.testing.assert_array_equal(walk(halved, np.ones(2), 1.0), [1.0, 0.5, 0.0])


BAD = {
    "rule": ({"rule": "adma"}, "unknown rule 'adma'; the rules are sgd,"),
    "no rule": ({"rule": 3}, "rule is 3; allowed: a name or a function"),
    "hyperparameter": (
        {"beta": 0.9},
        "rule sgd has no hyperparameter 'beta'; it ",
    ),
    "value": ({"lr": -0.1}, "lr of sgd is -0.1; allowed: 0 <= lr < inf"),
    "one of many": (
        {"lr": np.array([0.1, -0.1])},
        r"lr of sgd is array.*allowed: 0",
    ),
    "schedule": ({"lr": lambda t: -t}, "lr of sgd is -1; allowed: 0 <= lr < inf"),
    "no steps": (
        {"grad": lambda p: p},
        "steps is None; allowed: an integer from 0",
    ),
    "negative": ({"steps": -1}, "steps is -1; allowed: an integer from 0 to 5"),
    "too many": ({"steps": 6}, "steps is 6; allowed: an integer from 0 to 5"),
    "a fraction": ({"steps": 2.5}, "steps is 2.5; allowed: an integer from 0 to 5"),
    "gradient": (
        {"grad": 1.0},
        "grad is a number; allowed: a function of p",
    ),
    "shapes": ({"grad": np.ones((5, 2)), "p": np.ones(3)}, "mismatch"),
}


@pytest.mark.parametrize("change, text", BAD.values(), ids=BAD)
def test_bad_input_is_named(change, text):
    given = {"rule": "sgd", "grad": np.ones(5), "p": 0.0} | change
    with pytest.raises((TypeError, ValueError), match=text):
        walk(**given)


ELEMENTWISE = sorted(name for name, rule in RULES.items() if rule.unit == "number")


@settings(deadline=None)
@given(
    st.sampled_from(ELEMENTWISE),
    hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, min_side=0, max_side=3),
)
def test_any_shapes_that_broadcast(rule, shapes):
    p, g, lr = shapes.input_shapes
    path = walk(rule, np.ones((2, *g)), np.ones(p), lr=np.full(lr, 0.1))
    assert path.shape == (3, *shapes.result_shape)
    assert np.isfinite(path).all()


def test_settled():
    values = np.array(
        [
            [0.0, 9.0, 9.0, 9.0, 0.0],
            [0.0, 0.0, 9.0, 0.0, np.nan],
            [0.0, 0.0, 0.0, 9.0, 0.0],
        ]
    )
    np.testing.assert_array_equal(settled(values, 1.0), [0, 1, 2, np.inf, 2])
    assert settled(np.array([5.0, 3.0, 0.5, 0.2]), 1.0) == 2
    assert settled(np.array([0.5, 1.0]), 1.0) == np.inf  # below, not at


@settings(deadline=None)
@given(hnp.arrays(float, st.integers(1, 8), elements=st.floats(0, 2)))
def test_settled_is_the_first_step_from_which_all_are_below(values):
    first = [i for i in range(len(values)) if (values[i:] < 1).all()]
    assert settled(values, 1.0) == min(first, default=np.inf)
