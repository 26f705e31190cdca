"""Schedule-free: two points, one to train at and one to evaluate at. D: one a model."""

import copy

import numpy as np
import pytest
import schedulefree
import torch
from mutants import mutate
from oracles.tuning_free import prodigyopt_prodigy
from replay import TENSORS, check, cut, gradients, starts
from torch import nn

from adamtut import data, nets
from adamtut.optim import HOW, Optimizer
from adamtut.sweep import sweep
from adamtut.walk import walk

HYPER = {"lr": 0.1, "beta1": 0.8, "weight_decay": 0.1, "warmup_steps": 3}


@pytest.fixture(params=HOW)
def how(request):
    """Each way to run a rule; "compile" only where there is a compiler."""
    if request.param == "compile":
        request.getfixturevalue("compiler")
    return request.param


def parameters():
    return [nn.Parameter(torch.tensor(x)) for x in cut(starts(42), TENSORS)]


def train(optimizer, steps):
    params = optimizer.param_groups[0]["params"]
    for row in gradients(max(steps) + 1)[steps]:
        for p, g in zip(params, cut(row, TENSORS), strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
    return params


def theirs(params):
    optimizer = schedulefree.AdamWScheduleFree(
        params, lr=0.1, betas=(0.8, 0.999), weight_decay=0.1, warmup_steps=3
    )
    optimizer.train()
    return optimizer


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_point_of_evaluation_is_that_of_the_authors(how):
    ours = Optimizer(parameters(), "schedule_free", how, **HYPER)
    other = theirs(parameters())
    for steps in (range(1), range(1, 12), range(12, 40)):
        p, q = train(ours, list(steps)), train(other, list(steps))
        trained = [x.detach().clone() for x in p]
        ours.eval()
        other.eval()
        for a, b in zip(p, q, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-15)
        moved = [not torch.allclose(a, b) for a, b in zip(p, trained, strict=True)]
        assert all(moved) or steps == range(1)  # after one step, y is x
        ours.train()
        other.train()


def test_the_way_there_and_back_keeps_every_bit(how):
    optimizer = Optimizer(parameters(), "schedule_free", how, **HYPER)
    params = train(optimizer, list(range(5)))
    before = [p.detach().clone() for p in params]
    optimizer.train()  # without eval before: nothing
    assert same(params, before)
    for _ in range(2):  # a second eval changes nothing either
        optimizer.eval()
    assert not same(params, before)
    optimizer.train()
    assert same(params, before)
    assert all("trained" not in optimizer.state[p] for p in params)


def test_a_checkpoint_of_the_evaluated_model_trains_on(how):
    straight = Optimizer(parameters(), "schedule_free", how, **HYPER)
    train(straight, list(range(5)))
    stopped = Optimizer(parameters(), "schedule_free", how, **HYPER)
    params = train(stopped, list(range(5)))
    stopped.eval()
    model, saved = copy.deepcopy([params, stopped.state_dict()])
    resumed = Optimizer(model, "schedule_free", how)
    resumed.load_state_dict(saved)
    with pytest.raises(RuntimeError, match="step after eval"):
        train(resumed, [5])
    assert same(model, params)  # nothing moved
    resumed.train()
    assert same(train(resumed, [5, 6]), train(straight, [5, 6]))


def test_without_a_point_of_its_own_p_is_evaluated():
    optimizer = Optimizer(parameters(), "adam", lr=0.1)
    params = train(optimizer, [0, 1])
    before = [p.detach().clone() for p in params]
    optimizer.eval()
    assert same(params, before)
    train(optimizer, [2])


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_a_sweep_evaluates_at_the_point(engine):
    """Against the authors' package in a plain loop; at p the loss is another."""
    full = data.digits(normalise=True)
    few = full._replace(x_train=full.x_train[:200], y_train=full.y_train[:200])
    table = sweep(
        lambda seed: nets.mlp((64, 8, 10), seed),
        few,
        "schedule_free",
        {"lr": 0.05, "beta1": 0.8},
        steps=30,
        seeds=1,
        engine=engine,
        progress=False,
    )
    net = nets.mlp((64, 8, 10), 0)
    optimizer = schedulefree.AdamWScheduleFree(
        net.parameters(), lr=0.05, betas=(0.8, 0.999)
    )
    optimizer.train()
    for index in [i for epoch in range(5) for i in data.batches(200, 32, 0, epoch)][
        :30
    ]:
        loss = nn.functional.cross_entropy(net(few.x_train[index]), few.y_train[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def test_loss():
        with torch.no_grad():
            return nn.functional.cross_entropy(net(few.x_test), few.y_test).item()

    at_y = test_loss()
    optimizer.eval()
    np.testing.assert_allclose(table.test_loss[-1], test_loss(), rtol=1e-4)
    assert abs(at_y / test_loss() - 1) > 1e-2


@pytest.mark.parametrize("rule", ["d_adaptation", "prodigy"])
def test_the_rate_is_one_for_the_whole_model(rule, how):
    optimizer = Optimizer(parameters(), rule, how, lr=1e3)
    params = train(optimizer, list(range(40)))
    d = {optimizer.state[p]["d"].item() for p in params}
    assert len(d) == 1 and d.pop() > 1.0
    whole = walk(rule, gradients(40), starts(42), lr=1e3)[-1]
    found = torch.cat([p.detach().reshape(-1) for p in params])
    np.testing.assert_allclose(found, whole, rtol=1e-9)
    alone = walk(rule, gradients(40)[:, :24], starts(42)[:24], lr=1e3)[-1]
    assert not np.allclose(found[:24], alone)  # the other parameters have a say


@pytest.mark.parametrize("rule", ["d_adaptation", "prodigy"])
def test_d_finds_the_order_of_the_distance(rule):
    """|x| from distance D in ten dimensions: facts of the chapter, far from d0 = 1e-6.

    Measured in advance: 0.4 to 0.8 of D with Prodigy, 4 to 5 with D-Adaptation.
    """
    for distance in (1.0, 100.0):
        p = nn.Parameter(torch.full((10,), distance, dtype=torch.float64))
        optimizer = Optimizer([p], rule)
        for _ in range(300):
            optimizer.zero_grad()
            p.abs().mean().backward()
            optimizer.step()
        assert 0.2 < optimizer.state[p]["d"].item() / distance < 10


def test_without_momentum_the_authors_take_the_new_d():
    theirs = prodigyopt_prodigy(lr=1e3, beta1=0.0)
    hyper, g = {"lr": 1e3, "beta1": 0.0}, gradients()
    check(mutate("prodigy", [("d_old * m", "d_old * d * g")]), hyper, theirs, g)
    with pytest.raises(AssertionError, match="parameters differ"):
        check("prodigy", hyper, theirs, g)
