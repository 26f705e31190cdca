"""Sophia-G samples the right curvature, in time; Newton's method is Newton's."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import scipy.optimize
import torch
from mutants import mutate
from oracles.second_order import official_sophia, sampled
from replay import assert_same_path, gradients, path, starts
from torch import nn

from adamtut.curvature import SophiaG, newton
from adamtut.optim import matrices_and_rest


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def step(net, optimizer, x, y):
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(5, 3, generator=draw, dtype=torch.float64)
    return x, torch.randint(0, 3, (5,), generator=draw)


def gauss_newton_diagonal(net, x):
    """The diagonal of sum_i J_i' (diag(s_i) - s_i s_i') J_i / n, from the Jacobians."""
    params = list(net.parameters())
    diagonal = [torch.zeros_like(p) for p in params]
    for row in x:
        scores = net(row)
        chances = scores.detach().softmax(0)
        inner = torch.diag(chances) - chances[:, None] * chances
        jacobian = [torch.autograd.grad(s, params, retain_graph=True) for s in scores]
        for i, total in enumerate(diagonal):
            for a, b in itertools.product(range(len(scores)), repeat=2):
                total += inner[a, b] * jacobian[a][i] * jacobian[b][i] / len(x)
    return diagonal


def test_the_expected_estimate_is_the_gauss_newton_diagonal(batch, monkeypatch):
    """All labellings of the batch, each with its chance, instead of a sample."""
    x, y = batch[0][:4], batch[1][:4]
    net = small_net()
    optimizer = SophiaG(net.parameters(), every=1, beta2=0.0)
    step(net, optimizer, x, y)
    mean = [torch.zeros_like(p) for p in net.parameters()]
    log_chances = net(x).detach().log_softmax(-1)
    for labels in itertools.product(range(3), repeat=4):
        labels = torch.tensor(labels)
        monkeypatch.setattr(torch, "multinomial", lambda *_, y=labels, **__: y[:, None])
        optimizer.curvature(net(x))
        chance = log_chances[range(4), labels].sum().exp()
        for total, p in zip(mean, net.parameters(), strict=True):
            total += chance * optimizer.state[p]["h"]
    for found, expected in zip(mean, gauss_newton_diagonal(net, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


def test_labels_are_drawn_from_the_model(batch):
    """The mean of many samples; with the true labels it would be another."""
    x, y = batch
    net = small_net()
    optimizer = SophiaG(net.parameters(), every=1, beta2=0.0)
    step(net, optimizer, x, y)
    draw, total, n = torch.Generator().manual_seed(3), 0.0, 4000
    bias = net[-1].bias
    for _ in range(n):
        optimizer.curvature(net(x), generator=draw)
        total = total + optimizer.state[bias]["h"] / n
    expected = gauss_newton_diagonal(net, x)[-1]
    torch.testing.assert_close(total, expected, rtol=0.1, atol=0)  # 4 standard errors
    g = torch.autograd.grad(nn.functional.cross_entropy(net(x), y), bias)[0]
    assert not torch.allclose(len(x) * g**2, expected, rtol=0.5)


def test_h_is_a_running_mean_and_gradients_are_left_alone(batch):
    x, y = batch
    net = small_net()
    optimizer = SophiaG(net.parameters(), beta2=0.75)
    step(net, optimizer, x, y)
    p = net[0].weight
    grad, last = p.grad.clone(), torch.zeros_like(p)
    draw = torch.Generator()
    for seed in range(3):
        fresh = SophiaG(net.parameters(), beta2=0.0, lr=0.0)
        fresh.step()
        fresh.curvature(net(x), draw.manual_seed(seed))
        last = 0.75 * last + 0.25 * fresh.state[p]["h"]
        optimizer.curvature(net(x), draw.manual_seed(seed))
        torch.testing.assert_close(optimizer.state[p]["h"], last, rtol=1e-12, atol=0)
    assert torch.equal(p.grad, grad) and last.min() >= 0 and last.any()


def test_scores_of_sequences_are_examples_too(batch):
    """(batch, time, classes), as of a language model: every place is an example."""
    x, y = batch
    found = []
    for shape in ((5, 3), (1, 5, 3)):
        net = small_net()
        optimizer = SophiaG(net.parameters())
        step(net, optimizer, x, y)
        scores = net(x).reshape(shape)
        optimizer.curvature(scores, torch.Generator().manual_seed(0))
        found.append(optimizer.state[net[0].weight]["h"])
    torch.testing.assert_close(*found, rtol=1e-14, atol=0)


def test_due_after_every_kth_step(batch):
    net = small_net()
    optimizer = SophiaG(net.parameters(), every=3)
    due = [optimizer.due()]
    for _ in range(7):
        step(net, optimizer, *batch)
        due.append(optimizer.due())
    assert due == [False, False, False, True, False, False, True, False]
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert twin.every == 3 and len(twin._curved()) == 4


def test_only_parameters_of_sophia_take_part(batch):
    net = small_net()
    groups = matrices_and_rest(net.parameters(), "sophia", "adamw")
    optimizer = SophiaG(groups, every=1)
    step(net, optimizer, *batch)
    optimizer.curvature(net(batch[0]))
    assert optimizer.state[net[0].weight]["h"].any()
    assert optimizer.state[net[0].bias].keys() == {"t", "m", "v"}


def test_the_paper_divides_by_a_maximum():
    """max(rho * h, eps) is another path than the authors' rho * h + eps: for tiny h."""
    g, edits = gradients(), [("rho * h + eps", "maximum(rho * h, eps)")]
    make = lambda params: sampled(params, mutate("sophia", edits), eps=1e-3)  # noqa: E731
    paper = path(make, starts(42), g)
    with pytest.raises(AssertionError, match="parameters differ"):
        assert_same_path(paper, path(official_sophia(eps=1e-3), starts(42), g))


@pytest.mark.parametrize(
    "do, error, text",
    [
        (lambda: SophiaG([P], every=0), ValueError, "every=0 is not a whole number"),
        (lambda: SophiaG([P], every=2.5), ValueError, "every=2.5 is not a whole"),
        (lambda: SophiaG([P], rho=-1), ValueError, "rho of sophia is -1; allowed: 0"),
        (
            lambda: SophiaG([P]).curvature(torch.zeros(4, 3)),
            RuntimeError,
            "curvature before the first step; call step first",
        ),
        (
            lambda: SophiaG([P]).curvature(torch.zeros(3)),
            ValueError,
            r"scores has shape \(3,\); allowed: \(..., classes\)",
        ),
        (lambda: newton(cube, P[None], 1), ValueError, r"p has shape \(1, 2\)"),
        (lambda: newton(cube, torch.arange(2), 1), ValueError, "torch.int64; allowed"),
        (lambda: newton(cube, P, -1), ValueError, "steps=-1 is not"),
        (lambda: newton(cube, P, 1, -0.1), ValueError, "damping is -0.1; allowed: 0"),
        (
            lambda: newton(cube, 0 * P, 3),
            ValueError,
            "singular in step 1, with damping",
        ),
    ],
)
def test_bad_input_is_named(do, error, text):
    with pytest.raises(error, match=text):
        do()


P = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))


def cube(p):
    return (p**3).sum()


def rosenbrock(p):
    return (100 * (p[1:] - p[:-1] ** 2) ** 2 + (1 - p[:-1]) ** 2).sum()


def test_newton_solves_a_quadratic_in_one_step():
    draw = np.random.default_rng(0)
    root = draw.normal(size=(6, 6))
    hessian, b, start = (
        root @ root.T + np.eye(6),
        draw.normal(size=6),
        draw.normal(size=6),
    )
    a, c = torch.tensor(hessian), torch.tensor(b)
    points = newton(lambda p: p @ a @ p / 2 - c @ p, torch.tensor(start), 2)
    assert points.shape == (3, 6) and points[0].tolist() == start.tolist()
    for point in points[1:]:
        np.testing.assert_allclose(point, np.linalg.solve(hessian, b), rtol=1e-9)
    damped = newton(
        lambda p: p @ a @ p / 2 - c @ p, torch.tensor(start), 1, damping=3.0
    )
    move = np.linalg.solve(hessian + 3.0 * np.eye(6), hessian @ start - b)
    np.testing.assert_allclose(damped[1], start - move, rtol=1e-9)


def test_newton_takes_the_steps_of_scipys_derivatives():
    """On Rosenbrock's function, whose Hessian SciPy has in closed form."""
    p = np.array([-1.2, 1.0, 0.5])
    points = newton(rosenbrock, torch.tensor(p), 8)
    for found in points[1:]:
        p = p - np.linalg.solve(
            scipy.optimize.rosen_hess(p), scipy.optimize.rosen_der(p)
        )
        np.testing.assert_allclose(found, p, rtol=1e-7)


def test_newton_doubles_the_digits():
    """Root of log: x -> x - (1 - 1/x) x**2, by hand, has errors e, e**2, e**4, ..."""
    points = newton(lambda p: (p - p.log()).sum(), torch.tensor([1.5]).double(), 5)
    errors = [abs(x - 1) for x in points[:, 0].tolist()]
    assert errors[:4] == pytest.approx([0.5, 0.25, 0.0625, 0.0625**2], rel=1e-9)
    assert errors[-1] < 1e-4**2 and math.isfinite(errors[-1])


def test_newton_leaves_the_start_alone():
    start = torch.tensor([1.0, 2.0], requires_grad=True)
    path = newton(cube, start, 3)
    path[0] = 7.0
    assert start.tolist() == [1.0, 2.0] and not path.requires_grad
    assert path.dtype == torch.float32
