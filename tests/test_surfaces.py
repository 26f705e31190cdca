"""Each surface's gradient is that of its value, and its minima are minima."""

import numpy as np
import pytest
import torch

from adamtut.surfaces import SURFACES, noisy, quadratic, reddi
from adamtut.walk import walk

MADE = {
    "quadratic(3)": quadratic(3.0),
    "quadratic(1, 20, angle=0.5)": quadratic(1.0, 20.0, angle=0.5),
    "quadratic(1, 2, 3)": quadratic(1.0, 2.0, 3.0),
    "noisy": noisy(SURFACES["ravine"], 0.0, seed=0),
}
ALL = SURFACES | MADE


def points(surface, *shape, seed=0):
    left, right, bottom, top = surface.window
    draw = np.random.default_rng(seed).uniform
    n = len(surface.start)
    return draw(min(left, bottom), max(right, top), (*shape, n))


@pytest.mark.parametrize("surface", ALL.values(), ids=ALL)
def test_the_gradient_is_that_of_autograd(surface):
    for p in (surface.start, points(surface, 50), points(surface, 4, 3)):
        x = torch.tensor(p, requires_grad=True)
        value = surface.f(x)
        value.sum().backward()
        assert value.shape == p.shape[:-1]
        # rounding of a sum of a few terms that cancel, of the size of the largest
        atol = 1e-13 * np.abs(surface.grad(p)).max()
        np.testing.assert_allclose(surface.grad(p), x.grad, rtol=1e-12, atol=atol)
        np.testing.assert_allclose(surface.f(p), value.detach(), rtol=1e-12)


@pytest.mark.parametrize("surface", ALL.values(), ids=ALL)
def test_minima_are_minima(surface):
    n = len(surface.start)
    assert surface.minima.shape[1:] == (n,)
    if surface.lowest is None:
        assert len(surface.minima) == 0
        return
    assert len(surface.minima) >= 1
    for p in surface.minima:
        assert surface.f(p) == pytest.approx(surface.lowest, abs=1e-25)
        # a minimum is known to 1e-16, times a curvature of at most 1e3
        np.testing.assert_allclose(surface.grad(p), 0, atol=1e-12)
        around = p + 1e-3 * np.random.default_rng(0).normal(size=(200, n))
        assert (surface.f(around) > surface.lowest).all()
    assert (surface.f(points(surface, 10_000)) > surface.lowest).all()


@pytest.mark.parametrize("name", SURFACES)
def test_minima_and_start_are_in_the_window(name):
    surface = SURFACES[name]
    left, right, bottom, top = surface.window
    for x, y in [*surface.minima, surface.start]:
        assert left <= x <= right and bottom <= y <= top
    assert surface.name == name
    assert surface.f(surface.start) != surface.lowest


def test_himmelblau_has_all_its_minima():
    """From many starts, small steps end in one of the four and reach each."""
    surface = SURFACES["himmelblau"]
    start = points(surface, 500)
    end = walk("adam", surface.grad, start, 3000, lr=0.01)[-1]
    near = np.linalg.norm(end[:, None] - surface.minima, axis=-1) < 1e-3
    assert (near.sum(axis=1) == 1).all() and near.any(axis=0).all()


def test_curvatures_are_the_eigenvalues_and_the_angle_turns_the_first_axis():
    surface = quadratic(2.0, 7.0, angle=0.3)
    hessian = surface.grad(np.eye(2))
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian), [2.0, 7.0])
    axis = np.array([np.cos(0.3), np.sin(0.3)])
    np.testing.assert_allclose(surface.grad(axis), 2.0 * axis)


def test_the_saddle_has_no_minimum():
    surface = SURFACES["saddle"]
    np.testing.assert_array_equal(surface.grad(np.zeros(2)), 0)
    assert surface.lowest is None
    assert surface.f(np.array([0.0, 1.0])) < 0 < surface.f(np.array([1.0, 0.0]))


def test_noise_has_its_size_and_seed():
    calm = SURFACES["bowl"]
    p = np.ones((100_000, 2))
    first, second, other = (noisy(calm, 0.5, seed).grad(p) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)
    noise = first - calm.grad(p)
    # five standard errors of a mean and a deviation of 200 000 draws
    assert abs(noise.mean()) < 5 * 0.5 / 200_000**0.5
    assert abs(noise.std() - 0.5) < 5 * 0.5 / 400_000**0.5
    again = noisy(calm, 0.5, 1)
    assert not np.array_equal(again.grad(p), again.grad(p))


def test_reddi_defeats_adam_but_not_amsgrad():
    g = reddi(3000)
    np.testing.assert_array_equal(g[:4], [3.0, -1.0, -1.0, 3.0])
    assert g[:3].sum() > 0  # so that the best point is -1
    options = {
        "project": lambda p: np.clip(p, -1, 1),
        "lr": lambda t: t**-0.5,
        "beta1": 0.0,
        "beta2": 0.1,
    }
    assert walk("adam", g, 0.0, **options)[-1] == pytest.approx(1.0, abs=0.05)
    assert walk("amsgrad", g, 0.0, **options)[-1] == pytest.approx(-1.0, abs=0.05)


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: quadratic(), "curvatures is empty; allowed: one number a dimension"),
        (lambda: quadratic(1, 2, 3, angle=1.0), "angle is 1.0 in dimension 3; allo.*2"),
        (lambda: noisy(SURFACES["bowl"], -1.0, 0), "sigma is -1.0; allowed: sigma >="),
        (lambda: noisy(SURFACES["bowl"], np.nan, 0), "sigma is nan; allowed: sigma >="),
        (lambda: reddi(3, c=2.0), "c is 2.0; allowed: c > 2"),
    ],
)
def test_bad_input_is_named(make, text):
    with pytest.raises(ValueError, match=text):
        make()
