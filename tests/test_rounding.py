"""Rounding at random: neighbours by arithmetic, means over all draws, torchao's."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torchao.optim.quant_utils import _fp32_to_bf16_sr

from adamtut import data, nets
from adamtut.optim import Optimizer
from adamtut.rounding import StochasticRounding, round_stochastic
from adamtut.rules import RULES

DRAWS = 1 << 16


def numbers(size=2000, seed=0):
    """Of both signs, sizes from subnormal to nearly the largest, and some edges."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=size) * 10 ** draw.uniform(-42, 37, size)
    edges = [0.0, -0.0, 1.0, -1.0, 1 + 2**-8, 1 + 2**-23, -2 + 2**-23]
    edges += [2.0**-149, -(2.0**-149), 2.0**-133, 2.0**-126 - 2.0**-149, 3.3e38]
    return torch.tensor(np.concatenate([x, edges]), dtype=torch.float32)


def neighbours(x):
    """The numbers of bfloat16 below and above x, from its eight digits; in float64."""
    x = x.double().numpy()
    _, power = np.frexp(x)  # x = share * 2**power, share from 1/2 to 1
    gap = np.ldexp(1.0, np.maximum(power - 8, -133))
    return np.floor(x / gap) * gap, np.ceil(x / gap) * gap


def with_noise(monkeypatch, noise):
    """torch.randint gives these numbers, repeated along the first axis."""

    def fixed(low, high, shape, *, dtype, device=None, generator=None):
        assert (low, high, dtype) == (0, DRAWS, torch.int32)
        return noise.reshape(-1, *[1] * (len(shape) - 1)).expand(shape)

    monkeypatch.setattr(torch, "randint", fixed)


def test_the_mean_of_all_draws_is_the_number(monkeypatch):
    """Every draw once: their mean is x to the last bit, in float64."""
    x = numbers(60)
    with_noise(monkeypatch, torch.arange(DRAWS, dtype=torch.int32))
    results = round_stochastic(x.expand(DRAWS, len(x))).double()
    assert torch.equal(results.mean(0), x.double())
    nearest = x.bfloat16().double()  # so that this could fail
    assert (nearest != x.double()).double().mean() > 0.5


def test_only_neighbours_and_what_fits_stays():
    x = numbers()
    below, above = neighbours(x)
    assert (below != above).mean() > 0.9
    seen = [set() for _ in range(2)]
    for seed in range(40):
        y = round_stochastic(x, torch.Generator().manual_seed(seed))
        assert y.dtype == torch.bfloat16 and y.shape == x.shape
        y = y.double().numpy()
        assert ((y == below) | (y == above)).all()
        assert (np.signbit(y) == np.signbit(x.numpy())).all()
        for side, edge in zip(seen, (below, above), strict=True):
            side.update(np.flatnonzero(y == edge))
    assert min(map(len, seen)) > 0.9 * len(x)  # both are taken
    fits = x.bfloat16().float()
    assert torch.equal(round_stochastic(fits).float(), fits)


def test_how_often_is_the_share_of_the_gap():
    """Binomial: within five standard deviations, for shares from 2**-16 up."""
    share = torch.tensor([2**-16, 0.01, 0.25, 0.5, 0.9], dtype=torch.float64)
    draw, n = torch.Generator().manual_seed(0), 1 << 20
    for sign in (1, -1):
        x = (sign * (1 + share * 2**-7)).float()
        exact = (x.double().abs() - 1) * 2**7
        away = round_stochastic(x.expand(n, 5), draw).abs() > 1
        gap = (away.double().mean(0) - exact).abs()
        assert (gap < 5 * (exact * (1 - exact) / n).sqrt()).all()


def test_what_is_not_finite():
    payloads = torch.tensor([0x7FFFFFFF, -1, 0x7F800001, 0x7FC00000], dtype=torch.int32)
    x = torch.cat([torch.tensor([torch.inf, -torch.inf]), payloads.view(torch.float32)])
    for seed in range(20):
        y = round_stochastic(x, torch.Generator().manual_seed(seed))
        assert y[:2].tolist() == [torch.inf, -torch.inf] and y[2:].isnan().all()
    top = torch.full((1000,), torch.finfo(torch.float32).max)
    y = round_stochastic(top, torch.Generator().manual_seed(0)).float()
    largest = torch.finfo(torch.bfloat16).max
    assert set(y.tolist()) <= {largest, torch.inf} and y.isinf().any()


def test_the_draws_are_torchaos(monkeypatch):
    """It goes away from zero where its draw is below the lower half of the bits."""
    x = numbers(500)
    noise = torch.randint(0, DRAWS, x.shape, dtype=torch.int32)
    with_noise(monkeypatch, noise)
    theirs = _fp32_to_bf16_sr(x)
    with_noise(monkeypatch, DRAWS - 1 - noise)
    assert torch.equal(round_stochastic(x), theirs)
    with_noise(monkeypatch, noise)
    assert not torch.equal(round_stochastic(x), theirs)


def test_the_generator_decides():
    x = torch.linspace(0.1, 0.9, 5000).reshape(5, 1000).T  # not contiguous either
    one, same, other = (
        round_stochastic(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert one.shape == x.shape
    torch.manual_seed(3)
    one = round_stochastic(x)
    torch.manual_seed(3)
    assert torch.equal(one, round_stochastic(x))


P = nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))


@pytest.mark.parametrize(
    "do, text",
    [
        (
            lambda: round_stochastic(torch.zeros(3, dtype=torch.float64)),
            "x is torch.float64; allowed: torch.float32",
        ),
        (lambda: StochasticRounding([P], seed=-1), "seed=-1 is not a whole number"),
        (
            lambda: StochasticRounding([nn.Parameter(torch.zeros(3).half())]),
            r"shape \(3,\) is torch.float16; allowed: torch.bfloat16, and",
        ),
        (lambda: StochasticRounding([P], "prodigy"), "rule prodigy is not for stoch"),
        (lambda: StochasticRounding([P], "schedule_free"), "rule schedule_free is not"),
        (lambda: StochasticRounding([P], beta3=1.0), "beta3"),
        (lambda: StochasticRounding([P], how="foreach"), "argument 'how'"),
    ],
)
def test_bad_input_is_named(do, text):
    with pytest.raises((TypeError, ValueError), match=text):
        do()


# The optimiser ---------------------------------------------------------------


def parameters(*shapes, dtype=torch.bfloat16):
    draw = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(s, generator=draw).to(dtype)) for s in shapes]


def train(optimizer, steps):
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for seed in steps:
        draw = torch.Generator().manual_seed(seed)
        for p in params:
            g = torch.randn(p.shape, generator=draw)
            p.grad = g.to(torch.bfloat16).to(p.dtype)
        optimizer.step()
    return params


ALLOWED = [
    name
    for name, rule in RULES.items()
    if rule.unit != "model" and rule.point is None and not rule.curvature
]


@pytest.mark.parametrize("rule", ALLOWED)
def test_a_step_of_every_rule_is_a_neighbour_of_that_in_float32(rule):
    """p and each state after one step, from the same numbers in float32."""
    (p,) = parameters((16, 20))
    (q,) = [nn.Parameter(p.detach().float())]
    ours, full = StochasticRounding([p], rule), Optimizer([q], rule)
    train(ours, [0])
    train(full, [0])
    assert ours.state[p].keys() == full.state[q].keys()
    pairs = [(p, q)] + [(ours.state[p][k], full.state[q][k]) for k in RULES[rule].state]
    for narrow, wide in pairs:
        below, above = neighbours(wide.detach())
        narrow_64 = narrow.detach().double().numpy()
        assert narrow.dtype == torch.bfloat16
        assert ((narrow_64 == below) | (narrow_64 == above)).all()
    assert len(ours.state) == 1  # no float32 copy is left


def test_small_steps_add_up_where_nearest_rounding_loses_them():
    """500 steps of 1e-4 from 1: 0.95, within five standard deviations of 4096 walks.

    A step of u at a gap d moves with probability u / d, so that the variance of a walk
    is 500 u (d - u); v is noisy, too, by some per cent of its root.
    """
    ends = {}
    for make in (StochasticRounding, Optimizer):
        p = nn.Parameter(torch.ones(4096, dtype=torch.bfloat16))
        optimizer = make([p], lr=1e-4)
        for _ in range(500):
            p.grad = torch.ones_like(p)
            optimizer.step()
        ends[make] = p.detach().double()
    assert torch.equal(ends[Optimizer], torch.ones(4096, dtype=torch.float64))
    ours, gap = ends[StochasticRounding], 2**-8
    deviation = (500 * 1e-4 * (gap - 1e-4)) ** 0.5
    assert abs(ours.mean().item() - 0.95) < 5 * deviation / 64
    assert abs(ours.std().item() / deviation - 1) < 0.1


def test_v_forgets_where_nearest_rounding_never_does():
    """A gradient of 1, then 700 zeros: the mean of v falls as it does in float32.

    In bfloat16 a change by 0.001 is less than half a gap, so that v stands still.
    """
    ends = {}
    for make in (StochasticRounding, Optimizer):
        p = nn.Parameter(torch.zeros(4096, dtype=torch.bfloat16))
        optimizer = make([p], lr=0.0)
        for t in range(701):
            p.grad = torch.full_like(p, 1.0 if t == 0 else 0.0)
            optimizer.step()
            if t == 0:
                first = optimizer.state[p]["v"].double().mean().item()
        ends[make] = optimizer.state[p]["v"].double().mean().item() / first
    assert ends[Optimizer] == 1.0
    assert abs(ends[StochasticRounding] / 0.999**700 - 1) < 0.01


def test_training_is_that_of_float32_and_nearest_rounding_is_not():
    """Digits, lr falling to zero, three seeds. Measured ratios: see the chapter."""
    full = data.digits(normalise=True)

    def loss(seed, make, dtype):
        net = nets.mlp((64, 32, 10), seed).to(dtype)
        optimizer, steps = make(net.parameters(), lr=3e-3), 4 * 47
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, steps)
        for epoch in range(4):
            for index in data.batches(1500, 32, seed, epoch):
                scores = net(full.x_train[index].to(dtype)).float()
                optimizer.zero_grad()
                nn.functional.cross_entropy(scores, full.y_train[index]).backward()
                optimizer.step()
                schedule.step()
        scores = net.float()(full.x_train)
        return nn.functional.cross_entropy(scores, full.y_train).item()

    exact = np.array([loss(s, Optimizer, torch.float32) for s in range(3)])
    ours = [loss(s, StochasticRounding, torch.bfloat16) for s in range(3)]
    nearest = [loss(s, Optimizer, torch.bfloat16) for s in range(3)]
    assert (abs(ours / exact - 1) < 0.05).all(), ours / exact
    assert (nearest / exact > 1.15).all(), nearest / exact


def test_bytes_of_state_and_mixed_models():
    """4 bytes a parameter of Adam; float32 parameters are exactly Optimizer's."""
    narrow, wide = parameters((64, 65))[0], parameters((65,), dtype=torch.float32)[0]
    twin = nn.Parameter(wide.detach().clone())
    ours = StochasticRounding([{"params": [narrow]}, {"params": [wide], "lr": 0.1}])
    train(ours, range(3))
    state = ours.state[narrow]
    assert sum(state[k].untyped_storage().nbytes() for k in "mv") == 4 * 64 * 65
    full = Optimizer([twin], lr=0.1)
    for seed in range(3):
        draw = torch.Generator().manual_seed(seed)
        torch.randn((64, 65), generator=draw)
        twin.grad = torch.randn((65,), generator=draw).to(torch.bfloat16).float()
        full.step()
    assert torch.equal(wide, twin) and ours.state[wide]["m"].dtype == torch.float32


def test_parameters_and_steps_have_bits_of_their_own():
    p, q = (nn.Parameter(torch.ones(4096, dtype=torch.bfloat16)) for _ in range(2))
    optimizer = StochasticRounding([p, q], "sgd", lr=2**-9)  # half a gap
    before = [p.detach().clone() for _ in range(2)]
    moves = []
    for _ in range(2):
        p.grad, q.grad = torch.ones_like(p), torch.ones_like(q)
        optimizer.step()
        moves += [x != y for x, y in zip((p, q), before, strict=True)]
        with torch.no_grad():
            p.fill_(1.0)
            q.fill_(1.0)
    for i, one in enumerate(moves):
        assert 0.45 < one.double().mean() < 0.55
        for other in moves[:i]:  # independent: both move in a quarter of all
            assert 0.2 < (one & other).double().mean() < 0.3


def same(one, other):
    for p, q in zip(*(o.param_groups[0]["params"] for o in (one, other)), strict=True):
        assert torch.equal(p, q)
        assert one.state[p].keys() == other.state[q].keys()
        for x, y in zip(one.state[p].values(), other.state[q].values(), strict=True):
            assert torch.equal(x, y) if torch.is_tensor(x) else x == y


def test_saved_and_resumed_is_the_same_run():
    params = parameters((64, 65), (3,))
    optimizer = StochasticRounding(params, lr=1e-3, seed=5)
    train(optimizer, range(4))
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    clones = [nn.Parameter(p.detach().clone()) for p in params]
    twin = StochasticRounding(clones, seed=5)
    twin.load_state_dict(torch.load(file, weights_only=True))
    copies = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    stranger = copy.deepcopy(optimizer)
    stranger.seed = 6
    for one in (optimizer, twin, *copies, stranger):
        train(one, range(4, 8))
    for one in (twin, *copies):
        same(one, optimizer)
    with pytest.raises(AssertionError):  # so that this could fail
        same(stranger, optimizer)


def test_a_refused_group_is_not_added():
    optimizer = StochasticRounding(parameters((3,)))
    with pytest.raises(TypeError, match="torch.float16"):
        optimizer.add_param_group({"params": parameters((4,), dtype=torch.float16)})
    assert len(optimizer.param_groups) == 1
    train(optimizer, [0])


def test_rows_of_an_embedding():
    """Rows that are not in the gradient keep their bits, others are as in float32."""
    (p,), (q,) = parameters((64, 65)), parameters((64, 65))
    q = nn.Parameter(q.detach().float())
    start = p.detach().clone()
    ours, full = StochasticRounding([p], lr=0.1), Optimizer([q], lr=0.1)
    for rows in ([1, 2], [2, 3]):
        for x, optimizer in ((p, ours), (q, full)):
            g = torch.ones(2, 65, dtype=x.dtype)
            x.grad = torch.sparse_coo_tensor([rows], g, (64, 65), check_invariants=True)
            optimizer.step()
    assert torch.equal(p[4:], start[4:]) and torch.equal(p[0], start[0])
    torch.testing.assert_close(p.float(), q, rtol=2**-6, atol=4e-3)  # of steps of 0.1
    assert ours.state[p]["m"].dtype == torch.bfloat16
