"""The optimiser keeps torch.optim's contract, whatever rule it runs and however."""

import copy
import io
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from adamtut import optim
from adamtut.optim import HOW, Optimizer, start
from adamtut.rules import RULES

torch.set_num_threads(1)


@pytest.fixture(params=HOW)
def how(request):
    """Each way to run a rule; "compile" only where there is a compiler."""
    if request.param == "compile":
        request.getfixturevalue("compiler")
    return request.param


def parameters(*shapes, dtype=torch.float64):
    draw = np.random.default_rng(0).normal
    return [torch.nn.Parameter(torch.tensor(draw(size=s), dtype=dtype)) for s in shapes]


def give(params, seed):
    """Gradients of this seed."""
    draw = np.random.default_rng(seed).normal
    for p in params:
        p.grad = torch.tensor(draw(size=tuple(p.shape)), dtype=p.dtype)


def train(optimizer, seeds, skip=()):
    """Steps with the gradients of these seeds; none for the parameters in `skip`."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for seed in seeds:
        give(params, seed)
        for p in skip:
            p.grad = None
        optimizer.step()
    return params


def values(optimizer):
    """Parameters and state, as they are now."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    return copy.deepcopy([(p.data, dict(optimizer.state.get(p, {}))) for p in params])


def assert_same(first, second, equal=torch.equal):
    assert len(first) == len(second) > 0
    for (p, state), (q, other) in zip(first, second, strict=True):
        assert equal(p, q)
        assert state.keys() == other.keys()
        assert state.get("t") == other.get("t")
        assert all(equal(state[k], other[k]) for k in state if k != "t")


def close(x, y):
    return torch.allclose(x, y, rtol=1e-12, atol=1e-14)  # see test_paths on roundings


# State -----------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_state_dict_continues_with_the_same_bits(rule):
    optimizer = Optimizer(parameters((3,), (2, 2)), rule, lr=0.1)
    train(optimizer, range(5))
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    params = [torch.nn.Parameter(p.clone()) for p, _ in values(optimizer)]
    resumed = Optimizer(params, rule, lr=77.0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.param_groups[0]["lr"] == 0.1
    train(optimizer, range(5, 10))
    train(resumed, range(5, 10))
    assert_same(values(resumed), values(optimizer))


def test_state_dict_says_what_it_is():
    optimizer = Optimizer(parameters((3,)), "adamw", l2=0.5)
    train(optimizer, [1])
    saved = optimizer.state_dict()
    assert saved["param_groups"] == [
        RULES["adamw"].defaults
        | {"rule": "adamw", "l2": 0.5, "maximize": False, "params": [0]}
    ]
    assert saved["state"].keys() == {0} and saved["state"][0].keys() == {"t", "m", "v"}
    assert saved["state"][0]["t"] == 1


def test_state_dict_of_one_way_loads_in_another(compiler):
    found = []
    for first in HOW:
        optimizer = Optimizer(parameters((3,)), "adam", first, lr=0.1)
        train(optimizer, range(3))
        saved = optimizer.state_dict()
        for second in HOW:
            params = [torch.nn.Parameter(values(optimizer)[0][0])]
            other = Optimizer(params, "adam", second)
            other.load_state_dict(copy.deepcopy(saved))
            assert other.how == second
            train(other, range(3, 6))
            found.append(values(other))
    for one in found:
        assert_same(one, found[0], close)


def copied(optimizer, way):
    if way == "deepcopy":
        return copy.deepcopy(optimizer)
    return pickle.loads(pickle.dumps(optimizer))


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_copies_continue_with_the_same_bits(how, way):
    optimizer = Optimizer(parameters((3,), (2,)), "adam", how, lr=0.1, l2=0.01)
    for stage in range(2):  # before the first step, and after one
        twin = copied(optimizer, way)
        assert twin.how == how
        train(twin, [stage])
        untouched = values(optimizer)
        assert not torch.equal(values(twin)[0][0], untouched[0][0])
        train(optimizer, [stage])
        assert_same(values(twin), values(optimizer))
        twin.add_param_group({"params": parameters((1,)), "rule": "momentum"})
        assert twin.param_groups[-1]["beta"] == 0.9


def halved(p, g, t, *, lr=1.0):
    p = p - lr * g / 2
    return p


def test_a_rule_of_the_reader_travels_too():
    optimizer = Optimizer(parameters((3,)), halved)
    for way in ("deepcopy", "pickle"):
        twin = copied(optimizer, way)
        assert_same(values(twin), values(optimizer))
        train(twin, [0])
    train(optimizer, [0])
    assert_same(values(twin), values(optimizer))


WRONG = {
    "no dictionary": (lambda s: 3, "state_dict is 3; allowed: a dictionary"),
    "no state": (lambda s: s.pop("state") and None, r"lacks \['state'\]"),
    "another rule": (
        lambda s: s["param_groups"][0].update(rule="sgd"),
        "holds rule 'sgd' in group 0; this optimizer has 'adam'",
    ),
    "two groups": (
        lambda s: s["param_groups"].append({}),
        "has 2 parameter groups; this optimizer 1",
    ),
    "two parameters": (
        lambda s: s["param_groups"][0]["params"].append(1),
        "has 2 parameters in group 0; this optimizer 1",
    ),
    "no beta1": (
        lambda s: s["param_groups"][0].pop("beta1") and None,
        r"lacks \['beta1'\] in group 0",
    ),
    "no l2": (
        lambda s: s["param_groups"][0].pop("l2") and None,
        r"lacks \['l2'\] in group 0",
    ),
    "lr negative": (
        lambda s: s["param_groups"][0].update(lr=-1.0),
        "lr of adam is -1.0; allowed: 0 <= lr < inf",
    ),
    "l2 negative": (
        lambda s: s["param_groups"][0].update(l2=-1.0),
        "l2 of the optimizer is -1.0; allowed: 0 <= l2 < inf",
    ),
    "maximize a word": (
        lambda s: s["param_groups"][0].update(maximize="yes"),
        "maximize is 'yes'; allowed: True or False",
    ),
    "t zero": (
        lambda s: s["state"][0].update(t=0),
        "holds t = 0 for parameter 0; allowed: 1, 2, 3",
    ),
    "t a fraction": (
        lambda s: s["state"][0].update(t=1.5),
        "holds t = 1.5 for parameter 0; allowed: 1, 2, 3",
    ),
    "no v": (
        lambda s: s["state"][0].pop("v") is None,
        "holds t, m for parameter 0; allowed with rule adam: t, m, v",
    ),
    "another state": (
        lambda s: s["state"][0].update(z=torch.zeros(3)),
        "holds t, m, v, z for parameter 0; allowed with rule adam: t, m, v",
    ),
    "another shape": (
        lambda s: s["state"][0].update(v=torch.zeros(4)),
        r"holds v of shape \(4,\) for parameter 0, whose shape .* is \(3,\)",
    ),
    "no tensor": (
        lambda s: s["state"][0].update(v="v"),
        r"holds v of shape None for parameter 0, whose shape .* is \(3,\)",
    ),
    "unknown parameter": (
        lambda s: s["state"].update({7: s["state"][0]}),
        r"has a state of no parameter: \{7\}",
    ),
}


@pytest.mark.parametrize("edit, text", WRONG.values(), ids=WRONG)
def test_a_wrong_state_dict_changes_nothing(edit, text):
    optimizer = Optimizer(parameters((3,)), lr=0.1)
    train(optimizer, [0])
    before, saved = values(optimizer), copy.deepcopy(optimizer.state_dict())
    group = dict(optimizer.param_groups[0])
    saved["param_groups"][0]["lr"] = 0.7
    saved["state"][0]["m"] += 1.0
    edited = edit(saved)
    with pytest.raises((TypeError, ValueError), match=text):
        optimizer.load_state_dict(edited or saved)
    assert_same(values(optimizer), before)
    assert optimizer.param_groups[0] == group


def test_the_state_dict_of_torch_is_refused():
    theirs = torch.optim.Adam(parameters((3,)))
    train(theirs, [0])
    with pytest.raises(ValueError, match="holds rule None in group 0.* has 'adam'"):
        Optimizer(parameters((3,))).load_state_dict(theirs.state_dict())


def test_state_takes_dtype_and_layout_of_its_parameter():
    p = torch.nn.Parameter(torch.zeros(1, 2, 3, 4, dtype=torch.float32))
    p.data = p.data.to(memory_format=torch.channels_last)
    optimizer = Optimizer([p])
    train(optimizer, [0])
    m = optimizer.state[p]["m"]
    assert m.dtype == torch.float32 and m.shape == p.shape
    assert m.is_contiguous(memory_format=torch.channels_last)
    assert p.is_contiguous(memory_format=torch.channels_last)
    double = Optimizer(parameters((1, 2, 3, 4)))
    double.load_state_dict(optimizer.state_dict())
    assert double.state_dict()["state"][0]["m"].dtype == torch.float64


# Groups, gradients, steps ----------------------------------------------------


def test_groups_with_their_own_rules_are_like_two_optimizers(how):
    def both():
        return parameters((3,), (2, 2), (4,))

    a, b, c = both()
    one = Optimizer(
        [
            {"params": [a, b], "rule": "momentum", "beta": 0.5},
            {"params": [c], "lr": 0.3, "l2": 0.1, "maximize": True},
        ],
        "adam",
        how,
        lr=0.1,
        beta1=0.8,
    )
    x, y, z = both()
    first = Optimizer([x, y], "momentum", how, lr=0.1, beta=0.5)
    second = Optimizer([z], "adam", how, lr=0.3, beta1=0.8, l2=0.1, maximize=True)
    for seed in range(4):
        give([a, b, c], seed)
        give([x, y, z], seed)
        for optimizer in (one, first, second):
            optimizer.step()
    assert_same(values(one), values(first) + values(second))


def test_a_group_added_later(how):
    a, b = parameters((3,), (2,))
    optimizer = Optimizer([a], "adam", how, lr=0.1)
    train(optimizer, range(3))
    optimizer.add_param_group({"params": b, "rule": "sgd", "lr": 0.5})
    before = b.data.clone()
    give([a, b], 7)
    optimizer.step()
    assert torch.equal(b.data, before - 0.5 * b.grad)
    assert optimizer.state[a]["t"] == 4 and optimizer.state[b]["t"] == 1


def test_without_gradient_nothing_moves(how):
    a, b = parameters((3,), (2,))
    optimizer = Optimizer([a, b], "adamw", how, lr=0.1, weight_decay=0.5)
    optimizer.step()
    assert not optimizer.state
    train(optimizer, [0])
    frozen = values(optimizer)[1]
    train(optimizer, range(1, 4), skip=[b])
    assert_same(values(optimizer)[1:], [frozen])
    assert (optimizer.state[a]["t"], optimizer.state[b]["t"]) == (4, 1)


def test_a_late_first_gradient_has_its_own_t(how):
    a, b = parameters((3,), (2,))
    optimizer = Optimizer([a, b], "adam", how, lr=0.1)
    train(optimizer, range(5), skip=[b])
    fresh = Optimizer([torch.nn.Parameter(b.data.clone())], "adam", how, lr=0.1)
    for seed in range(5, 8):
        give([a, b], seed)
        fresh.param_groups[0]["params"][0].grad = b.grad.clone()
        optimizer.step()
        fresh.step()
    assert_same(values(optimizer)[1:], values(fresh), close)


SHAPES = [(), (1,), (0,), (3,), (2, 3), (0, 4), (2, 1, 3)]


@pytest.mark.parametrize("rule", ["adam", "rmsprop_centered"])
def test_shapes_and_strides(how, rule):
    flat = parameters(*SHAPES)
    other = parameters(*SHAPES, (4, 6), (3,))
    # a transposed, a strided and an expanded-gradient parameter beside the plain ones
    other[-2].data = other[-2].data.t()
    other[-1].data = torch.arange(6.0, dtype=torch.float64)[::2]
    twins = [torch.nn.Parameter(p.data.clone().contiguous()) for p in other[-2:]]
    flat += twins
    one = Optimizer(flat, rule, "loop", lr=0.1)
    two = Optimizer(other, rule, how, lr=0.1)
    for seed in range(3):
        give(flat, seed)
        give(other, seed)
        for params in (flat, other):
            params[4].grad = torch.full((1, 1), 0.5, dtype=torch.float64).expand(2, 3)
            params[-2].grad = params[-2].grad.t().contiguous().t()
        one.step()
        two.step()
    assert not other[-2].is_contiguous() and not other[-1].is_contiguous()
    assert_same(values(two), values(one), close)


BLOCKS = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 0.0}


@pytest.mark.parametrize("dtype", BLOCKS, ids=str)
@pytest.mark.parametrize("block", [1, 7, 10**9])
def test_foreach_joins_and_cuts(block, dtype, monkeypatch):
    """Blocks of one number, of some with an incomplete one at the end, and of all."""
    monkeypatch.setattr(optim, "_BLOCK", block)
    found = []
    for how in ("loop", "foreach"):
        params = parameters((2, 3), (), (30,), (1,), (4, 6), (3,), dtype=dtype)
        params[4].data = params[4].data.t()
        optimizer = Optimizer(params, "adamw", how, lr=0.1)
        train(optimizer, range(3))
        optimizer.state[params[2]]["v"] = torch.ones(60, dtype=dtype)[::2]
        train(optimizer, range(3, 6))
        found.append(values(optimizer))
    rtol = BLOCKS[dtype]
    equal = partial(torch.allclose, rtol=rtol, atol=rtol)
    assert_same(*found, lambda x, y: equal(x, y) if torch.is_tensor(x) else x == y)


@pytest.mark.filterwarnings("error")
def test_foreach_is_as_silent_as_the_loop():
    """inf and nan come without a warning."""
    ends = []
    for how in ("loop", "foreach"):
        params = parameters((3,), (2, 2), dtype=torch.float32)
        optimizer = Optimizer(params, "adam", how, eps=0.0)
        for p in params:
            p.grad = torch.zeros_like(p)
        params[0].grad[0] = 1e38
        optimizer.step()
        ends.append(torch.cat([p.detach().flatten() for p in params]))
    torch.testing.assert_close(*ends, equal_nan=True)
    assert ends[0].isnan().sum() == 6


def test_parameters_of_several_dtypes(how):
    (a,), (b,) = parameters((3,)), parameters((3,), dtype=torch.float32)
    optimizer = Optimizer([a, b], "adam", how, lr=0.1)
    for seed in range(3):
        give([a], seed)
        b.grad = a.grad.float()
        optimizer.step()
    assert (a.dtype, b.dtype) == (torch.float64, torch.float32)
    assert torch.allclose(a.float(), b, rtol=1e-5)


def test_a_closure(how):
    (p,) = parameters((3,))
    optimizer = Optimizer([p], "sgd", how, lr=0.25)
    calls = []

    def closure():
        optimizer.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        calls.append(loss)
        return loss

    start = p.data.clone()
    with torch.no_grad():
        assert optimizer.step(closure) is calls[0]
    assert len(calls) == 1 and torch.equal(p.data, start - 0.25 * 2 * start)


def test_gradients_add_up_until_they_are_zeroed():
    (p,), (q,) = parameters((3,)), parameters((3,))
    one, two = Optimizer([p], lr=0.1), Optimizer([q], lr=0.1)
    for batch in range(4):
        ((batch + 1) * p**2).sum().backward()
    (10 * q**2).sum().backward()
    assert torch.allclose(p.grad, q.grad, rtol=1e-15)
    q.grad = p.grad.clone()
    one.step()
    two.step()
    assert_same(values(one), values(two))
    one.zero_grad()
    assert p.grad is None
    two.zero_grad(set_to_none=False)
    assert not q.grad.any()


def test_the_step_leaves_the_gradient_alone(how):
    (p,) = parameters((3,))
    optimizer = Optimizer([p], "adam", how, l2=0.5, maximize=True)
    give([p], 0)
    grad = p.grad.clone()
    optimizer.step()
    assert torch.equal(p.grad, grad) and p.requires_grad and p.is_leaf


def test_hooks_run_around_the_step(how):
    (p,) = parameters((3,))
    optimizer = Optimizer([p], "adam", how)
    seen = []
    optimizer.register_step_pre_hook(lambda o, *_: seen.append(o.state[p].get("t", 0)))
    optimizer.register_step_post_hook(lambda o, *_: seen.append(o.state[p]["t"]))
    train(optimizer, range(2))
    assert seen == [0, 1, 1, 2]
    optimizer.register_state_dict_post_hook(lambda o, s: s | {"note": "hook"})
    assert optimizer.state_dict()["note"] == "hook"


def test_named_parameters():
    optimizer = Optimizer(torch.nn.Linear(2, 1).named_parameters())
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.state_dict()["param_groups"][0]["param_names"][1] == "bias"


def test_grad_scaler_skips_an_overflow(how):
    (p,) = parameters((3,), dtype=torch.float32)
    optimizer = Optimizer([p], "adam", how, lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale((p**2).sum()).backward()
    assert torch.allclose(p.grad, 8 * p.data)
    scaler.step(optimizer)
    scaler.update()
    assert optimizer.state[p]["t"] == 1
    assert torch.allclose(optimizer.state[p]["m"], 0.1 * p.grad)  # without the scale
    before = values(optimizer)
    optimizer.zero_grad()
    scaler.scale((p * float("inf")).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert_same(values(optimizer), before)
    assert scaler.get_scale() == 2.0


# Schedules -------------------------------------------------------------------

STEPS = 12
SCHEDULERS = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (t + 1)),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda t: 0.9),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 3),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 5]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.5, 4),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, total_iters=4),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.8),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o), lr_scheduler.StepLR(o, 2)], [3]
    ),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 3, cycle_momentum=False),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(
        o, 4
    ),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(
        o, 0.5, total_steps=STEPS + 1, cycle_momentum=False
    ),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, STEPS),
}


def scheduled(optimizer, scheduler, steps=STEPS):
    """Steps of both; returns the values of lr."""
    metric = [1.0] if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else []
    rates = []
    for seed in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        train(optimizer, [seed])
        scheduler.step(*metric)
    return rates


def test_every_scheduler_of_torch_is_tested():
    assert SCHEDULERS.keys() == {*lr_scheduler.__all__} - {"LRScheduler"}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_scheduler(name):
    ours, theirs = Optimizer(parameters((3,))), torch.optim.Adam(parameters((3,)))
    rates = [scheduled(o, SCHEDULERS[name](o)) for o in (ours, theirs)]
    assert rates[0] == rates[1] and len(set(rates[0])) > 1
    assert close(values(ours)[0][0], values(theirs)[0][0])
    resumed = Optimizer(parameters((3,)))
    resumed.load_state_dict(ours.state_dict())  # with what schedulers write in groups


@pytest.mark.parametrize("rule", ["adam", "muon"])
def test_no_backward_pass_through_parameters_that_a_step_has_changed(how, rule):
    """It would give wrong gradients; torch's fused Adam lets it pass."""
    first, second = params = parameters((3, 2), (2, 3))
    optimizer = Optimizer(params, rule, how)
    for seed in range(3):
        give(params, seed)
        loss = (first @ second).sum()
        optimizer.step()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


@pytest.fixture(scope="module")
def compiled(compiler):
    """Makes fresh optimisers that share one compiled step."""
    optimizer = Optimizer(parameters((3,)), "adam", "compile")
    train(optimizer, [0])
    graph = optimizer._compiled

    def fresh(**hyper):
        again = Optimizer(parameters((3,)), "adam", "compile", **hyper)
        again._compiled = graph
        return again

    return fresh


@pytest.mark.parametrize("name", SCHEDULERS)
def test_no_schedule_recompiles(compiled, name):
    ours, loop = compiled(), Optimizer(parameters((3,)))
    with torch.compiler.set_stance("fail_on_recompile"):
        rates = scheduled(ours, SCHEDULERS[name](ours))
    assert rates == scheduled(loop, SCHEDULERS[name](loop))
    assert_same(values(ours), values(loop), close)


def test_no_hyperparameter_recompiles(compiled):
    ours, loop = compiled(), Optimizer(parameters((3,)))
    for optimizer in (ours, loop):
        with torch.compiler.set_stance("fail_on_recompile"):
            for seed in range(30):
                group = optimizer.param_groups[0]
                group["beta1"], group["beta2"] = 0.9 - seed / 100, 1 - 0.1 / (seed + 1)
                group["eps"] = 10.0 ** -(seed % 5)
                group["lr"] = torch.tensor(0.1 / (seed + 1), dtype=torch.float64)
                train(optimizer, [seed])
    assert_same(values(ours), values(loop), close)


def test_another_option_does_recompile(compiled):
    """So that the tests above could fail."""
    ours = compiled(l2=0.1)
    with torch.compiler.set_stance("fail_on_recompile"), pytest.raises(Exception):  # noqa: B017
        train(ours, [0])


# Bad input -------------------------------------------------------------------

P = parameters((2,))[0]
REFUSED = {
    "how": (
        lambda: Optimizer([P], how="fast"),
        "how is 'fast'; allowed: loop, ",
    ),
    "no params": (lambda: Optimizer([]), "params is empty; allowed: at least one"),
    "rule": (lambda: Optimizer([P], "adma"), "unknown rule 'adma'; the rules are sgd,"),
    "rule of a group": (
        lambda: Optimizer([{"params": [P], "rule": "adma"}]),
        "unknown rule 'adma'; the rules are sgd,",
    ),
    "hyperparameter": (
        lambda: Optimizer([P], "sgd", beta1=0.9),
        "rule sgd has no hyperparameter 'beta1'; it has lr",
    ),
    "hyperparameter of a group": (
        lambda: Optimizer([{"params": [P], "betas": (0.9, 0.99)}]),
        "rule adam has no hyperparameter 'betas'; it has lr, beta1, beta2, eps",
    ),
    "a list": (
        lambda: Optimizer([P], lr=[0.1]),
        r"lr of adam is \[0.1\]; allowed: ",
    ),
    "an array": (
        lambda: Optimizer([P], lr=torch.tensor([0.1, 0.2])),
        r"lr of adam has shape \(2,\); allowed: one number",
    ),
    "l2": (lambda: Optimizer([P], l2=-1), "l2 of .* is -1; allowed: 0 <= l2 < inf"),
    "l2 of a group": (
        lambda: Optimizer([{"params": [P], "l2": "x"}]),
        "l2 of .* is 'x'; allowed: a number",
    ),
    "maximize": (lambda: Optimizer([P], maximize=1), "maximize is 1; allowed: True or"),
    "complex": (
        lambda: Optimizer([torch.zeros(2, dtype=torch.complex64)]),
        r"a parameter of shape \(2,\) is torch.complex64; allowed: real",
    ),
    "integers": (
        lambda: Optimizer([torch.zeros(2, dtype=torch.int64)]),
        r"a parameter of shape \(2,\) is torch.int64; allowed: real",
    ),
    "twice in two groups": (
        lambda: Optimizer([{"params": [P]}, {"params": [P]}]),
        "some parameters appear in more than one parameter group",
    ),
    "two rules of one name": (
        lambda: Optimizer([{"params": [P], "rule": another_sgd()}], "sgd"),
        "two different rules of one optimizer are called 'sgd'",
    ),
}


def another_sgd():
    def sgd(p, g, t, *, lr=1.0):
        return p - lr * g

    return sgd


@pytest.mark.parametrize("make, text", REFUSED.values(), ids=REFUSED)
def test_refused(make, text):
    with pytest.raises((TypeError, ValueError), match=text):
        make()


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with dup")
def test_a_parameter_given_twice_is_refused():
    with pytest.raises(ValueError, match="stands twice in a group; allowed: once"):
        Optimizer([P, P])


@pytest.mark.parametrize(
    "group",
    [
        {"params": torch.zeros(2, dtype=torch.complex64)},
        {"params": parameters((2,)), "lr": -1.0},
        {"params": parameters((2,)), "rule": "nothing"},
        {"params": parameters((2,)), "colour": 1},
    ],
    ids=["complex", "lr", "rule", "colour"],
)
def test_a_refused_group_is_not_added(group):
    optimizer = Optimizer(parameters((3,)))
    before = optimizer.state_dict()
    with pytest.raises((TypeError, ValueError)):
        optimizer.add_param_group(group)
    assert optimizer.state_dict() == before
    train(optimizer, [0])


@pytest.mark.parametrize("name", RULES)
def test_a_sparse_gradient_is_refused_before_anything_moves(name, how):
    a, b = parameters((3,), (4, 2))
    optimizer = Optimizer([{"params": [a]}, {"params": [b]}], name, how)
    give([a, b], 0)
    b.grad = b.grad.to_sparse()  # of numbers; rows are in test_sparse
    before = values(optimizer)
    text = (
        r"shape \(4, 2\) has layout torch.sparse_coo of 2 dimensions; "
        f"allowed with rule {name}: dense"
    )
    with pytest.raises(TypeError, match=text):
        optimizer.step()
    assert_same(values(optimizer), before)
    assert not optimizer.state


SHAPE = st.lists(st.integers(0, 3), max_size=3).map(tuple)
NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-3, 3),
    st.sampled_from([None, "0.1", "", 1j, True, [0.1], {}, b"1"]),
)


@settings(deadline=None)
@given(st.sampled_from(sorted(RULES)), st.data(), NUMBERS)
def test_any_value_is_taken_or_named(rule, data, value):
    """A hyperparameter is either in range and the step is finite, or the error says."""
    name = data.draw(st.sampled_from([*RULES[rule].defaults, "l2"]))
    (p,) = parameters((3,))
    try:
        optimizer = Optimizer([p], rule, **{name: value})
    except (TypeError, ValueError) as error:
        assert f"{name} of " in str(error) and f"{value!r}" in str(error)
        assert "; allowed: " in str(error)
        return
    assert 0 <= value < np.inf
    optimizer.step()
    if value < 1e100:  # beyond that lr * g may overflow
        train(optimizer, [0])
        assert p.isfinite().all()


@settings(deadline=None)
@given(
    st.sampled_from(sorted(RULES)),
    st.sampled_from(["loop", "foreach"]),
    st.lists(SHAPE, min_size=1, max_size=4),
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
)
def test_any_shape_and_dtype(rule, how, shapes, dtype):
    params = parameters(*shapes, dtype=dtype)
    optimizer = Optimizer(params, rule, how, l2=0.01)
    train(optimizer, range(2))
    for p, shape in zip(params, shapes, strict=True):
        assert p.shape == shape and p.dtype == dtype and p.isfinite().all()
        for name in RULES[rule].state:
            state = optimizer.state[p][name]
            assert state.shape == start(RULES[rule], name, p).shape
            assert state.dtype == dtype


EMPTY = [(rule, how) for rule in RULES for how in ("loop", "foreach")]
EMPTY += [("adam", "compile"), ("muon", "compile")]  # others take a minute each


@pytest.mark.parametrize(("rule", "how"), EMPTY)
def test_a_parameter_without_elements_is_counted_and_left_out(rule, how, request):
    if how == "compile":
        request.getfixturevalue("compiler")
    with_it, without = parameters((0,), (3, 2), (2, 0)), parameters((3, 2))
    optimizer, other = Optimizer(with_it, rule, how), Optimizer(without, rule, how)
    for seed in range(3):
        give(with_it, seed)
        without[0].grad = with_it[1].grad.clone()
        optimizer.step()
        other.step()
    assert torch.equal(with_it[1], without[0])
    assert [optimizer.state[p]["t"] for p in with_it] == [3, 3, 3]


# Against torch ---------------------------------------------------------------


def test_a_network_trains_as_with_torch(how):
    """The whole contract once more: same losses as torch.optim.Adam on a small net."""

    def losses(make):
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)
        ).double()
        x = torch.tensor(np.random.default_rng(0).normal(size=(32, 4)))
        y = x.prod(dim=1, keepdim=True)
        optimizer, found = make(net.parameters()), []
        for _ in range(20):
            optimizer.zero_grad()
            loss = ((net(x) - y) ** 2).mean()
            loss.backward()
            optimizer.step()
            found.append(float(loss.detach()))
        return found

    ours = losses(lambda p: Optimizer(p, "adam", how, lr=1e-2))
    theirs = losses(lambda p: torch.optim.Adam(p, lr=1e-2))
    assert ours[-1] < ours[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
