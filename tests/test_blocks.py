"""Noted operations leave in the arrays what the function itself would, bit for bit."""

import random
from operator import add, gt, mul, sub

import numpy as np
import pytest
import torch
from replay import gradients, starts

from adamtut import blocks
from adamtut.blocks import Noted
from adamtut.ops import maximum, sign, sqrt, where
from adamtut.optim import Optimizer, updated
from adamtut.rules import RULES
from adamtut.rules.form import is_elementwise, rule

ELEMENTWISE = [name for name, rule in RULES.items() if is_elementwise(rule)]
OPTIONS = [(0, False), (0.1, False), (0, True), (0.1, True)]


def same(function, arrays, changed, size=7):
    """The arrays that Noted and plain NumPy leave behind."""
    ours, theirs = [x.copy() for x in arrays], [x.copy() for x in arrays]
    with np.errstate(all="ignore"):
        results = [np.array(x) for x in function(*theirs)]
        for i, result in zip(changed, results, strict=True):
            theirs[i][...] = result
        Noted(function, [x.dtype for x in ours], changed)(ours, size)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("l2, maximize", OPTIONS)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_step_of_every_rule(name, l2, maximize, dtype):
    step, g = RULES[name], gradients().astype(dtype)
    count = g.shape[1]
    tensors = [starts(count).astype(dtype), *np.zeros((1 + len(step.state), count))]
    tensors = [x.astype(dtype) for x in tensors]
    changed = [0, *range(2, len(tensors))]
    for t in range(1, 9):
        tensors[1][:] = g[t - 1]

        def function(*names, t=t):
            return updated(step, names, t, l2, maximize, step.defaults)

        same(function, tensors, changed)
        with np.errstate(all="ignore"):
            Noted(function, [x.dtype for x in tensors], changed)(tensors, count)


def program(seed):
    """A function of four arrays, which reads and returns whatever chance has it."""

    def function(*arrays):
        chance, known = random.Random(seed), list(arrays)
        for _ in range(chance.randrange(1, 25)):
            x, y = chance.choice(known), chance.choice([*known, 0.5, 3])
            kind = chance.choice([add, sub, mul, "where", "sign", "square"])
            if kind == "where":
                known.append(where(gt(x, y), y, x - 1))
            elif kind == "sign":
                known.append(sign(x))
            else:
                known.append(x**2 if kind == "square" else kind(x, y))
        # not one of the arrays that the results overwrite: their order is not defined
        return chance.choices([*known[len(arrays) :], known[1], 0.25], k=3)

    return function


@pytest.mark.parametrize("seed", range(200))
def test_functions_made_by_chance(seed):
    draw = np.random.default_rng(seed)
    arrays = [draw.integers(-3, 4, 20) / np.float32(4) for _ in range(4)]
    same(program(seed), arrays, [0, 2, 3])


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda p, g, m: (p - m, g), id="a given array"),
        pytest.param(lambda p, g, m: (m + g, m * 2), id="the old one is read later"),
        pytest.param(lambda p, g, m: [m - g] * 2, id="one result twice"),
        pytest.param(lambda p, g, m: (p * 0 + 1, 0), id="a number"),
        pytest.param(lambda p, g, m: (where(g > m, p, 0), -abs(m)), id="where"),
        pytest.param(lambda p, g, m: (g**2 + g**0.5 + 2**g, g**3), id="powers"),
        pytest.param(lambda p, g, m: (maximum(m, 0), maximum(2, m)), id="maximum"),
        pytest.param(lambda p, g, m: (q := np.float64(0.1) * p, m - q), id="wider"),
        pytest.param(lambda p, g, m: (sqrt(g) / (1 - 0.9**3), 1 / m), id="division"),
    ],
)
def test_what_a_result_may_be(function):
    draw = np.random.default_rng(0)
    for dtypes in ((np.float32,) * 3, (np.float64, np.float32, np.float32)):
        arrays = [draw.standard_normal(16).astype(dtype) for dtype in dtypes]
        for size in (1, 5, 16, 99):
            same(function, arrays, [0, 2], size)


# what is no arithmetic on each element ----------------------------------------------

OTHERWISE = {
    "truth": lambda g: g if g > 0 else -g,
    "method": lambda g: g.clip(-1, 1),
    "in place": lambda g: (g := g * 1).__imul__(0.5),
    "other function": lambda g: g * 0.5 + np.stack([g, g])[0],
    "two results": lambda g: np.modf(g)[0],
    "reduction": lambda g: g - np.add.reduce(g),
    "table": lambda g: g - np.add.outer(g, g),
    "matrix": lambda g: g * (g @ g),
}


@pytest.mark.parametrize("change", OTHERWISE.values(), ids=OTHERWISE)
def test_anything_else_is_refused(change):
    with pytest.raises((TypeError, AttributeError)):
        Noted(lambda p, g: [p - change(g)], [np.dtype(float)] * 2, [0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_rule_that_calls_methods_is_run_as_it_is(dtype):
    @rule
    def clipped(p, g, m, t, *, lr=0.1):
        m = 0.9 * m + g.clip(-1, 1)
        return p - lr * m, m

    def path(how):
        p = torch.nn.Parameter(torch.linspace(-1, 1, 42).to(dtype))
        optimizer = Optimizer([p], clipped, how)
        for g in gradients()[:10]:
            p.grad = torch.tensor(g).to(dtype)
            optimizer.step()
        return p.detach().double()

    tolerance = {torch.bfloat16: 0}.get(dtype, 4 * torch.finfo(dtype).eps)
    torch.testing.assert_close(path("foreach"), path("loop"), atol=tolerance, rtol=0)


def test_a_square_is_no_power():
    noted = Noted(lambda p, g: [g**2], [np.dtype(float)] * 2, [0])
    assert [function for function, _ in noted._steps] == [np.square]


def test_a_plan_is_made_once():
    p = torch.nn.Parameter(torch.ones(10))
    p.grad = torch.ones(10)
    optimizer = Optimizer([p], "adam", "foreach")
    optimizer.step()
    before = blocks._plan.cache_info()
    for lr in (0.1, 0.2, 0.3):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
    after = blocks._plan.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits + 3)
