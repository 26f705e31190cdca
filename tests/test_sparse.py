"""Sparse gradients: the rule on the rows that are there, everything else waits."""

import copy

import numpy as np
import pytest
import torch
from mutants import MUTANTS, mutate
from torch import nn

from adamtut.optim import HOW, Optimizer
from adamtut.rules import RULES
from adamtut.rules.form import has_shape_of_p

ROWS, WIDTH, STEPS = 30, 4, 60
LAZY = [
    name
    for name, rule in RULES.items()
    if rule.unit == "number" and all(has_shape_of_p(rule, x) for x in rule.state)
]
HAT = MUTANTS["adam", "hat form: eps next to the uncorrected root"]


def table():
    draw = np.random.default_rng(0)
    return nn.Parameter(torch.tensor(draw.normal(size=(ROWS, WIDTH))))


def batches(steps=STEPS):
    """Rows of each step, some of them twice, and gradients of size 1e-12 to 1e2."""
    draw = np.random.default_rng(1)
    for t in range(steps):
        rows = draw.choice(ROWS - 1, size=5) * (t > 2)  # the last row is never there
        g = draw.normal(size=(5, WIDTH)) * 10 ** draw.uniform(-12, 2, (5, 1))
        yield torch.tensor(rows), torch.tensor(g)


def sparse(rows, g):
    return torch.sparse_coo_tensor(rows[None], g, (ROWS, WIDTH), check_invariants=True)


def train(optimizer, p, to=lambda g: g):
    for rows, g in batches():
        p.grad = to(sparse(rows, g))
        optimizer.step()
    return p.detach()


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("how", HOW)
def test_adam_is_torchs_sparse_adam_but_for_eps(how, maximize):
    """torch puts eps beside the root of the uncorrected v; so does the edit."""
    hyper = {"lr": 0.1, "eps": 1e-3, "maximize": maximize}
    p, q, r = table(), table(), table()
    theirs = train(torch.optim.SparseAdam([p], **hyper), p)
    edited = train(Optimizer([q], mutate("adam", HAT), how, **hyper), q)
    torch.testing.assert_close(edited, theirs, rtol=1e-12, atol=1e-12)
    ours = train(Optimizer([r], "adam", how, **hyper), r)
    assert (ours - theirs).abs().max() > 1e-2


@pytest.mark.parametrize("name", LAZY)
def test_rows_that_are_there_take_a_step_and_others_wait(name):
    """Against the rule's lines on rows of NumPy arrays."""
    rule, p = RULES[name], table()
    optimizer = Optimizer([p], name, l2=0.1, maximize=True)
    whole = p.detach().numpy().copy()
    state = [whole.copy() if x in rule.starts else 0 * whole for x in rule.state]
    for t, (rows, g) in enumerate(batches(20), start=1):
        p.grad = sparse(rows, g)
        optimizer.step()
        total = np.zeros_like(whole)
        np.add.at(total, rows.numpy(), g.numpy())  # a row may come twice
        here = np.unique(rows)
        g = -total[here] + 0.1 * whole[here]
        new = rule(whole[here], g, *(x[here] for x in state), t, **rule.defaults)
        for x, rows in zip([whole, *state], new if rule.state else [new], strict=True):
            x[here] = rows
    np.testing.assert_allclose(p.detach().numpy(), whole, rtol=1e-12, atol=1e-15)
    start = table().detach()
    assert torch.equal(p[-1], start[-1]) and not torch.equal(p[0], start[0])


@pytest.mark.parametrize("how", HOW)
def test_dense_adam_moves_rows_that_are_not_there(how):
    """The lesson, and proof that the test above can fail."""
    p, q = table(), table()
    lazy = train(Optimizer([p], "adam", how), p)
    dense = train(Optimizer([q], "adam"), q, to=lambda g: g.to_dense())
    seen = {r for rows, _ in batches() for r in rows.tolist()}
    assert len(seen) > 20 and not torch.allclose(lazy, dense)
    for row in {*range(ROWS)} - seen:
        assert torch.equal(lazy[row], table().detach()[row])


def test_all_rows_is_the_dense_step():
    p, q = table(), table()
    for g in np.random.default_rng(2).normal(size=(5, ROWS, WIDTH)):
        q.grad = torch.tensor(g)
        p.grad = sparse(torch.arange(ROWS), q.grad)
        for x in (p, q):
            x.optimizer = getattr(x, "optimizer", None) or Optimizer([x], "adamw")
            x.optimizer.step()
    assert torch.equal(p, q)


@pytest.mark.parametrize("how", HOW)
def test_an_embedding_trains_beside_dense_layers(how):
    """Both kinds of gradients in one optimiser, and a batch without any row."""
    torch.manual_seed(0)
    words = nn.Embedding(ROWS, WIDTH, sparse=True)
    net = nn.Sequential(words, nn.Flatten(), nn.Linear(3 * WIDTH, 2))
    optimizer = Optimizer(net.parameters(), "adam", how, lr=0.05)
    x = torch.randint(0, ROWS - 1, (64, 3))
    y = (x.sum(dim=1) % 2).long()
    losses = []
    for _ in range(60):
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        assert words.weight.grad.is_sparse
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4
    before = copy.deepcopy(words.weight.data)
    words.weight.grad = sparse(torch.zeros(0, dtype=int), torch.zeros(0, WIDTH))
    optimizer.step()
    assert torch.equal(words.weight.data, before)
    assert optimizer.state[words.weight]["t"] == 61
    resumed = Optimizer(net.parameters(), "adam", how)
    resumed.load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize("name", sorted({*RULES} - {*LAZY}))
def test_other_rules_refuse_rows(name):
    p = table()
    optimizer = Optimizer([p], name)
    p.grad = sparse(*next(batches(1)))
    text = rf"sparse_coo of 1 dimensions; allowed with rule {name}: dense \S+$"
    with pytest.raises(TypeError, match=text):
        optimizer.step()
    assert not optimizer.state and torch.equal(p, table())
