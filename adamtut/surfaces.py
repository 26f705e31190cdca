"""Functions to descend: value, gradient and minima, for any number of points at once.

A point is the last axis of an array, shape (..., dimension); `f` returns shape (...),
`grad` the shape of its argument. `f` runs on torch tensors too, so that autograd can
check `grad`. Points that have diverged give inf or nan, without a warning.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

quiet = np.errstate(over="ignore", invalid="ignore")  # as a decorator; see above


@dataclass(frozen=True)
class Surface:
    """A function with its gradient.

    minima  array (number of minima, dimension); empty where f has no minimum
    lowest  the value of f there, or None
    start   a point from which the book likes to start
    window  (left, right, bottom, top) of its pictures
    """

    name: str
    f: Callable
    grad: Callable
    minima: np.ndarray
    lowest: float | None
    start: np.ndarray
    window: tuple[float, float, float, float] = (-2.0, 2.0, -2.0, 2.0)


def quadratic(
    *curvatures: float, angle: float = 0.0, name: str = "quadratic"
) -> Surface:
    """f(x) = 1/2 sum_i curvature_i x_i**2; in the plane, turned by `angle` (radians).

    The curvatures are the eigenvalues of the Hessian, the largest over the smallest is
    its condition number. Raises ValueError for no curvature, or an angle in other
    dimensions than two.
    """
    if not curvatures:
        raise ValueError("curvatures is empty; allowed: one number a dimension")
    if angle and len(curvatures) != 2:
        raise ValueError(f"angle is {angle} in dimension {len(curvatures)}; allowed: 2")
    hessian = np.diag(np.asarray(curvatures, float))
    if angle:
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, -s], [s, c]])
        hessian = turn @ hessian @ turn.T

    @quiet
    def f(p):
        # written out, for arrays and tensors alike
        n = len(curvatures)
        return sum(
            0.5 * hessian[i, j] * p[..., i] * p[..., j]
            for i in range(n)
            for j in range(n)
        )

    @quiet
    def grad(p):
        return p @ hessian

    n = len(curvatures)
    bowl = min(curvatures) > 0
    return Surface(
        name,
        f,
        grad,
        np.zeros((1, n)) if bowl else np.empty((0, n)),
        0.0 if bowl else None,
        np.full(n, 1.5),
    )


@quiet
def _rosenbrock_f(p):
    x, y = p[..., 0], p[..., 1]
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


@quiet
def _rosenbrock_grad(p):
    x, y = p[..., 0], p[..., 1]
    return np.stack([-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)], axis=-1)


@quiet
def _beale_f(p):
    x, y = p[..., 0], p[..., 1]
    return (
        (1.5 - x + x * y) ** 2
        + (2.25 - x + x * y**2) ** 2
        + (2.625 - x + x * y**3) ** 2
    )


@quiet
def _beale_grad(p):
    x, y = p[..., 0], p[..., 1]
    a, b, c = 1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3
    return np.stack(
        [
            2 * a * (y - 1) + 2 * b * (y**2 - 1) + 2 * c * (y**3 - 1),
            2 * a * x + 4 * b * x * y + 6 * c * x * y**2,
        ],
        axis=-1,
    )


@quiet
def _himmelblau_f(p):
    x, y = p[..., 0], p[..., 1]
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


@quiet
def _himmelblau_grad(p):
    x, y = p[..., 0], p[..., 1]
    a, b = x**2 + y - 11, x + y**2 - 7
    return np.stack([4 * x * a + 2 * b, 2 * a + 4 * y * b], axis=-1)


bowl = quadratic(1, 1, name="bowl")
ravine = quadratic(1, 50, name="ravine")
saddle = quadratic(1, -1, name="saddle")
rosenbrock = Surface(
    "rosenbrock",
    _rosenbrock_f,
    _rosenbrock_grad,
    np.array([[1.0, 1.0]]),
    0.0,
    np.array([-1.2, 1.0]),
    (-2.0, 2.0, -1.0, 3.0),
)
beale = Surface(
    "beale",
    _beale_f,
    _beale_grad,
    np.array([[3.0, 0.5]]),
    0.0,
    np.array([1.0, 1.5]),
    (-1.0, 4.5, -1.5, 2.0),
)
himmelblau = Surface(
    "himmelblau",
    _himmelblau_f,
    _himmelblau_grad,
    # one is exact, the others are the roots of grad to 16 digits
    np.array(
        [
            [3.0, 2.0],
            [-2.805118086952745, 3.131312518250573],
            [-3.779310253377747, -3.283185991286170],
            [3.584428340330492, -1.848126526964404],
        ]
    ),
    0.0,
    np.array([0.0, 0.0]),
    (-5.0, 5.0, -5.0, 5.0),
)
SURFACES = {s.name: s for s in (bowl, ravine, saddle, rosenbrock, beale, himmelblau)}


def noisy(surface: Surface, sigma: float, seed: int) -> Surface:
    """`surface` whose gradient carries Gaussian noise of standard deviation `sigma`.

    Every call of `grad` draws anew, so two walks need two surfaces (of one seed, to see
    the same noise).
    """
    if not sigma >= 0:
        raise ValueError(f"sigma is {sigma!r}; allowed: sigma >= 0")
    draw = np.random.default_rng(seed).normal

    def grad(p):
        g = surface.grad(p)
        return g + draw(0.0, sigma, g.shape)

    return Surface(
        f"noisy {surface.name}",
        surface.f,
        grad,
        surface.minima,
        surface.lowest,
        surface.start,
        surface.window,
    )


def reddi(steps: int, c: float = 3.0) -> np.ndarray:
    """Gradients of Reddi, Kale and Kumar 2018, theorem 1, at t = 1 ... steps.

    f_t(x) = c x where t mod 3 = 1, else -x, on [-1, 1]: their sum is lowest at x = -1,
    and Adam with beta1 = 0, beta2 = 1/(1 + c**2), lr/sqrt(t) walks to +1. To be
    replayed by `walk` with `project=lambda p: np.clip(p, -1, 1)`. Raises ValueError
    unless c > 2.
    """
    if not c > 2:
        raise ValueError(f"c is {c!r}; allowed: c > 2")
    t = np.arange(1, steps + 1)
    return np.where(t % 3 == 1, float(c), -1.0)
