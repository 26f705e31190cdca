"""The same lines give the same path in NumPy, loop, foreach and compile."""

from functools import partial

import numpy as np
import pytest
import torch
from oracles import ROWS
from replay import assert_same_path, gradients, mild_gradients, path, starts

from adamtut import optim
from adamtut.optim import HOW, Optimizer
from adamtut.rules import RULES, form
from adamtut.walk import walk

LRS = (1e-3, 10.0)
OPTIONS = [{"l2": 0.1}, {"maximize": True}, {"l2": 0.1, "maximize": True}]
# Roundings, some hundred of them in 40 steps, may differ: torch's square root is not
# always the nearest float, and a compiler may fuse a product and a sum. Measured: 2e-16
# and 6e-7.
RTOL = {torch.float64: 1e-12, torch.float32: 1e-5}
# Matrix functions magnify roundings: five steps of Newton-Schulz, small singular values
# 485 times (measured 2e-5 in float32); eigenvectors of what a first gradient leaves
# empty are roundings (2e-4 and 7e-4; in float64 1e-12).
TIMES = {"muon": 10, "shampoo": 1000, "soap": 1000}


@pytest.fixture(params=HOW)
def how(request):
    """Each way to run a rule; "compile" only where there is a compiler."""
    if request.param == "compile":
        request.getfixturevalue("compiler")
    return request.param


MILD = {row.rule for row in ROWS if row.mild}  # see there


def gradients_of(rule, steps=40):
    return mild_gradients(steps) if rule in MILD else gradients(steps)


def shape_of(rule):
    """The 42 parameters are one vector; of a rule of matrices they are one matrix."""
    return (6, 7) if RULES[rule].unit == "matrix" else (42,)


def numpy_path(rule, g, start, **hyper):
    shape = shape_of(rule)
    points = walk(rule, g.reshape(-1, *shape), start.reshape(shape), **hyper)
    return points.reshape(len(points), -1)


def rtol_of(rule, dtype):
    return TIMES.get(rule, 1) * RTOL[dtype]


def lrs_of(rule, how):
    """One is enough for compiled code, where it is a tensor, and each costs a minute.

    With 10, LAMB's p is 11 times as large after each step; float32 cannot square that.
    """
    small, large = LRS[0], 1.0 if rule == "lamb" else LRS[1]
    return [large] if how == "compile" else [small, large]


def rounded(x, dtype):
    return torch.tensor(x, dtype=dtype).double().numpy()


def start_of(rule):
    """Half of the parameters start at 0; all of Prodigy's.

    It subtracts p from its start, of which float32 keeps few digits beside a start near
    1. So 40 steps at lr 10 end 1.2 % off the float64 path, with the authors' package as
    with ours.
    """
    start = starts(gradients().shape[1])
    return 0 * start if rule == "prodigy" else start


def torch_path(rule, how, dtype=torch.float64, steps=40, **hyper):
    g = gradients_of(rule, steps)
    make = lambda params: Optimizer(params, rule, how, **hyper)  # noqa: E731
    return path(make, start_of(rule), g, dtype, shapes=(shape_of(rule),))


def check_path(rule, how, dtype):
    g = rounded(gradients_of(rule), dtype)
    start = rounded(start_of(rule), dtype)
    for lr in lrs_of(rule, how):
        expected = numpy_path(rule, g, start, lr=lr)
        found = torch_path(rule, how, dtype, lr=lr)
        assert_same_path(found, expected, rtol_of(rule, dtype), torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", RTOL, ids=str)
@pytest.mark.parametrize("how", ["loop", "foreach"])
@pytest.mark.parametrize("rule", RULES)
def test_every_path_is_that_of_numpy(rule, how, dtype):
    check_path(rule, how, dtype)


# In float32 a compiled rule differs only by its numbers, which are rounded before the
# kernel: these have numbers that meet a truth value, a maximum, a norm, of each unit.
SINGLE = ["adamw", "radam", "adafactor", "lamb", "prodigy", "muon"]
COMPILED = [(rule, torch.float64) for rule in RULES]
COMPILED += [(rule, torch.float32) for rule in SINGLE]


@pytest.mark.parametrize("rule, dtype", COMPILED, ids=str)
def test_every_compiled_path_is_that_of_numpy(compiler, rule, dtype):
    check_path(rule, "compile", dtype)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_l2_and_maximize_in_foreach(rule, options):
    loop = torch_path(rule, "loop", **options)
    assert_same_path(torch_path(rule, "foreach", **options), loop, 1e-12)
    with pytest.raises(AssertionError):
        assert_same_path(torch_path(rule, "loop"), loop)


@pytest.mark.parametrize("rule", RULES)
def test_lists_of_tensors(rule, monkeypatch):
    """As "foreach" runs on a GPU, where no rule is in blocks."""
    loop = torch_path(rule, "loop")
    monkeypatch.setattr(optim, "apply_in_blocks", optim.apply_to_list)
    assert_same_path(torch_path(rule, "foreach"), loop, 1e-12)


def test_lists_of_tensors_are_used(monkeypatch):
    """So that the test before this one is none of blocks."""
    monkeypatch.setattr(optim, "apply_in_blocks", optim.apply_to_list)
    monkeypatch.delattr(optim.TensorList, "__add__")
    with pytest.raises(TypeError, match="TensorList"):
        torch_path("adam", "foreach", steps=1)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_l2_and_maximize_compiled(compiler, options):
    loop = torch_path("adam", "loop", **options)
    assert_same_path(torch_path("adam", "compile", **options), loop, 1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_lr_as_a_tensor(how, dtype):
    for rule in ["adam", "sgd"] if how == "compile" else RULES:
        number = lrs_of(rule, how)[-1]
        lr = torch.tensor(number, dtype=torch.float32)
        expected = torch_path(rule, how, dtype, lr=number)
        found = torch_path(rule, how, dtype, lr=lr)
        # what a rule makes of lr alone, it makes in the dtype of lr
        rtol = max(RTOL[dtype], 1e-6)
        assert_same_path(found, expected, rtol, torch.finfo(dtype).eps)
        assert lr == number


def test_three_hundred_steps(how):
    g = gradients(300)
    start = starts(g.shape[1])
    make = lambda params: Optimizer(params, "adam", how)  # noqa: E731
    assert_same_path(path(make, start, g), walk("adam", g, start), 1e-12)


# Half precision: each operation of loop and foreach rounds to 8 (bfloat16) or 11 bits,
# compile only the results. So a path is not comparable, but the first step is.


def test_bfloat16_first_step(how):
    """Not of Shampoo and SOAP: an L in bfloat16 has no small eigenvalues."""
    g = rounded(gradients()[7:8], torch.bfloat16)
    start = np.zeros(g.shape[1])
    for rule in ["adam", "momentum"] if how == "compile" else RULES.keys() - MILD:
        make = lambda params: Optimizer(params, rule, how)  # noqa: B023, E731
        found = path(make, start, g, torch.bfloat16, shapes=(shape_of(rule),))
        expected = numpy_path(rule, g, start)
        apart, size = np.abs(found - expected), np.abs(expected)
        if rule == "muon":  # small entries of a product are differences of large ones
            size = size.max()
        # ten operations, each half a unit of 2**-7
        assert np.all(apart <= 10 * 2**-8 * size), rule


def test_float16_loses_eps_in_all_eager_optimizers():
    """1e-8 is zero in float16, so a gradient of zero gives 0/0: here as in torch."""
    for make in (Optimizer, torch.optim.Adam):
        p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float16))
        p.grad = torch.zeros_like(p)
        make([p]).step()
        assert p.isnan().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_loop_is_foreach(dtype):
    for rule in RULES:
        loop, foreach = (torch_path(rule, how, dtype) for how in ("loop", "foreach"))
        np.testing.assert_array_equal(loop, foreach)


@pytest.mark.parametrize("unit", ["number", "tensor", "matrix"])
def test_a_rule_may_keep_what_its_state_was(how, unit):
    @partial(form.rule, unit=unit)
    def lagged(p, g, m, m_old, p_old, t, *, lr=0.1):
        return p - lr * (0.9 * m + g) + 0.1 * (p - p_old), 0.9 * m + g, m, p

    @partial(form.rule, unit=unit)
    def swapped(p, g, m, n, t, *, lr=0.1):
        return p - lr * (m - 2 * n + g), n, m + g

    for rule in (lagged, swapped):
        g = np.random.default_rng(0).standard_normal((6, 12))
        optimizer = partial(Optimizer, rule=rule, how=how)
        ours = path(optimizer, np.zeros(12), g, shapes=((3, 4),))
        shape = (12,) if unit == "tensor" else (3, 4)
        points = walk(rule, g.reshape(6, *shape), np.zeros(shape))
        assert_same_path(ours, points.reshape(7, 12), 1e-12)
