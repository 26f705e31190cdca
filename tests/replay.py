"""The check that every update rule must pass: replay prescribed gradients.

Training runs are no good as tests: a wrong Adam converges too, and a right one drifts
away from another right one by chaos. So both get the same gradients, whatever
their parameters are, and must be at the same place after every step.
"""

import inspect
from functools import cache

import jax
import numpy as np
import optax
import torch

from adamtut.optim import Optimizer

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_disable_most_optimizations", True)  # to compile takes longer

RTOL = 1e-9
# How the 42 numbers of a gradient are cut up for rules of whole tensors.
TENSORS = ((6, 4), (2, 3, 2), (6,))


def gradients(steps: int = 40, seed: int = 0) -> np.ndarray:
    """Gradients of 42 independent parameters, shape (steps, 42), sizes 1e-12 to 1e3."""
    draw = np.random.default_rng(seed)
    level = np.logspace(-12, 3, 16) * draw.lognormal(0.0, 1.0, (steps, 16))
    common = 10 ** draw.uniform(-6, 1, (steps, 16))
    wild = 10 ** draw.uniform(-12, 3, (steps, 8))
    late = np.abs(draw.normal(size=(steps, 2)))
    g = np.concatenate([level, common, wild, late], axis=1)
    g *= draw.choice([-1.0, 1.0, 1.0], g.shape)
    g[draw.random(g.shape) < 0.1] = 0.0
    g[:7, -2] = 0.0  # a parameter whose gradient is zero at first
    g[:, -1] = 0.0  # and one that never has a gradient
    return g


def mild_gradients(steps: int = 40, seed: int = 0) -> np.ndarray:
    """Standard normal gradients of 42 parameters, for rules that must not see others.

    A matrix of numbers from 1e-12 to 1e3 has eigenvalues that are rounding errors.
    """
    return np.random.default_rng(seed).normal(size=(steps, 42))


def starts(parameters: int, seed: int = 1) -> np.ndarray:
    """Half the parameters start at 0, where every digit is an update; half do not."""
    start = np.random.default_rng(seed).normal(size=parameters)
    start[::2] = 0.0
    return start


def cut(numbers, shapes) -> list:
    """A vector, or one a step, as parameters of these shapes."""
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])
    assert ends[-1] == numbers.shape[-1]
    lead = numbers.shape[:-1]
    parts = np.split(numbers, ends[:-1], axis=-1)
    return [x.reshape(*lead, *shape) for x, shape in zip(parts, shapes, strict=True)]


def path(optimizer, start, g, dtype=torch.float64, shapes=None) -> np.ndarray:
    """All points of an optimiser that is fed the gradients g, the start included.

    optimizer is an optax transformation, or a function from parameters to a torch one,
    whose parameters then have this dtype and are of these `shapes` (one vector without
    them).
    """
    shapes = shapes or (start.shape,)
    if isinstance(optimizer, optax.GradientTransformation):
        start, g = cut(start, shapes), cut(g, shapes)
        return _whole(start, _scan(optimizer, start, g))
    params = [
        torch.nn.Parameter(torch.tensor(x, dtype=dtype)) for x in cut(start, shapes)
    ]
    optimizer = optimizer(params)
    points = [_joined(params)]
    for now in zip(*cut(g, shapes), strict=True):
        for p, x in zip(params, now, strict=True):
            p.grad = torch.tensor(x, dtype=dtype)
        optimizer.step()
        points.append(_joined(params))
    return torch.stack(points).double().numpy()


def _joined(params):
    return torch.cat([p.detach().reshape(-1) for p in params])


def optax_path(make, hyper: dict, start, g, shapes) -> np.ndarray:
    """The path of the optax optimiser `make(**hyper)`.

    jax traces the floats in hyper, so that one compilation serves all their values.
    """
    parameters = inspect.signature(make).parameters.items()
    hyper = {k: x.default for k, x in parameters if x.default is not x.empty} | hyper
    values = {k: x for k, x in hyper.items() if isinstance(x, float)}
    others = tuple((k, x) for k, x in hyper.items() if k not in values)
    start, g = cut(start, shapes), cut(g, shapes)
    return _whole(start, _compiled(make, others)(values, start, g))


@cache
def _compiled(make, others):
    return jax.jit(lambda values, *given: _scan(make(**values, **dict(others)), *given))


def _scan(transformation, start, g):
    def step(carry, now):
        p, state = carry
        updates, state = transformation.update(now, state, p)
        p = optax.apply_updates(p, updates)
        return (p, state), p

    p = [jax.numpy.asarray(x) for x in start]
    return jax.lax.scan(step, (p, transformation.init(p)), g)[1]


def _whole(start, points):
    paths = [
        np.concatenate([first[None], np.asarray(x)]).reshape(len(x) + 1, -1)
        for first, x in zip(start, points, strict=True)
    ]
    return np.concatenate(paths, axis=1)


def assert_same_path(ours, theirs, rtol=RTOL, unit=2.0**-52) -> None:
    """Equal after every step, in units of how far a parameter has got.

    The allowed difference is rtol of the largest distance from the start so far, plus
    one unit in the last place of p a step: the rounding of p itself, which matters
    where updates are tiny beside it. A parameter that starts at 0 is not allowed that.
    """
    assert np.isfinite(ours).all() and np.isfinite(theirs).all(), "not finite"
    moved = np.maximum.accumulate(np.abs(theirs - theirs[0]))
    size = np.maximum.accumulate(np.abs(theirs))
    size[:, theirs[0] == 0] = 0.0
    rounding = unit * size * np.arange(len(size))[:, None]
    wrong = np.abs(ours - theirs) > rtol * moved + rounding
    assert not wrong.any(), (
        f"{wrong.any(axis=0).sum()} of {wrong.shape[1]} parameters differ, "
        f"first after step {wrong.any(axis=1).argmax()}"
    )


def check(rule, hyper: dict, oracle, g, rtol=RTOL, shapes=None, ours=Optimizer) -> None:
    """`rule` with `hyper` follows `oracle`; raises AssertionError where it does not.

    hyper may hold l2 and maximize. The oracle is what `path` takes, or its path.
    """
    start = starts(g.shape[1])
    if not isinstance(oracle, np.ndarray):
        oracle = path(oracle, start, g, shapes=shapes)
    make = lambda params: ours(params, rule, **hyper)  # noqa: E731
    assert_same_path(path(make, start, g, shapes=shapes), oracle, rtol)
