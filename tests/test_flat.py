"""how="compile" moves parameters into buffers, and nobody notices but the clock.

Whatever is done to a model between two steps, the path is that of how="loop".
"""

import copy
import io
import math

import numpy as np
import pytest
import torch
from torch._inductor import compile_fx

from adamtut import kernel
from adamtut.flat import Flat, can_move
from adamtut.optim import Optimizer

SHAPES = [(3, 5), (7,), (), (2, 3, 4, 4), (1,)]


def parameters(dtype=torch.float64, shapes=SHAPES):
    draw = np.random.default_rng(0).normal
    return [torch.nn.Parameter(torch.tensor(draw(size=s), dtype=dtype)) for s in shapes]


def gradients(params, seed):
    """From 1e-6 to 10, of both signs."""
    rng = np.random.default_rng(seed)
    return [
        torch.tensor(
            10.0 ** rng.uniform(-6, 1, tuple(p.shape)) * rng.choice([-1, 1], p.shape)
        ).to(p.dtype)
        for p in params
    ]


def give(params, seed, skip=()):
    for i, (p, g) in enumerate(zip(params, gradients(params, seed), strict=True)):
        p.grad = None if i in skip else g


def add(params, seed):
    """As autograd does: into the gradient that is there."""
    for p, g in zip(params, gradients(params, seed), strict=True):
        if p.grad is None:
            p.grad = g
        else:
            p.grad += g


@pytest.fixture(scope="module")
def kernels(compiler):
    """One set of compiled kernels for the optimisers of all tests here."""
    return {}


@pytest.fixture
def make(kernels):
    def optimizer(params, rule="adam", how="compile", **hyper):
        result = Optimizer(params, rule, how, **hyper)
        if how == "compile":
            result._compiled = kernels
        return result

    return optimizer


# What may happen between two steps: each is a function of (optimizer, params, step).


def new_gradients(optimizer, params, step):
    give(params, step)


def zeroed(optimizer, params, step):
    optimizer.zero_grad(set_to_none=False)
    add(params, step)


def set_to_none(optimizer, params, step):
    optimizer.zero_grad()
    add(params, step)


def accumulated(optimizer, params, step):
    """Nobody zeroes: each step sees the sum."""
    add(params, step)


def some_without(optimizer, params, step):
    give(params, step, skip={0, 3} if step % 2 else {1})


def late(optimizer, params, step):
    """Own t: the last parameter has its first gradient in the third step."""
    give(params, step, skip={4} if step < 3 else ())


def none_at_all(optimizer, params, step):
    give(params, step, skip=range(len(params)) if step == 2 else ())


def clipped(optimizer, params, step):
    zeroed(optimizer, params, step)
    torch.nn.utils.clip_grad_norm_(params, 1.0)


def data_replaced(optimizer, params, step):
    zeroed(optimizer, params, step)
    if step == 2:
        params[1].data = params[1].data * 2
    if step == 3:
        with torch.no_grad():
            params[0].mul_(0.5)


def state_cleared(optimizer, params, step):
    zeroed(optimizer, params, step)
    if step == 2:
        optimizer.state.clear()
    if step == 4:
        del optimizer.state[params[1]]


def state_changed(optimizer, params, step):
    zeroed(optimizer, params, step)
    if step == 2:
        optimizer.state[params[0]]["m"] = torch.ones_like(params[0])
    if step == 3:
        optimizer.state[params[1]]["v"].fill_(4.0)
    if step == 4:
        optimizer.state[params[2]]["t"] = 7


def reloaded(optimizer, params, step):
    zeroed(optimizer, params, step)
    if step == 3:
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def added(optimizer, params, step):
    if step == 2:
        params += parameters(shapes=[(4,), (2, 2)])
        optimizer.add_param_group({"params": params[-2:], "lr": 0.3, "l2": 0.1})
    zeroed(optimizer, params, step)


def shrunk(optimizer, params, step):
    if step == 3:
        optimizer.param_groups[0]["params"].pop()
    new_gradients(optimizer, params, step)


def strided_gradient(optimizer, params, step):
    give(params, step)
    params[0].grad = params[0].grad.t().contiguous().t()


def in_one_of_two(optimizer, params, step):
    """An optimiser made anew for the same model, as for a second phase."""
    zeroed(optimizer, params, step)


EVENTS = [
    *(new_gradients, zeroed, set_to_none, accumulated, some_without, late),
    *(none_at_all, clipped, data_replaced, state_cleared, state_changed, reloaded),
    *(added, shrunk, strided_gradient),
]


def run(optimizer, params, event, steps=6):
    for step in range(1, steps + 1):
        event(optimizer, params, step)
        optimizer.step()
    kept = [
        (p.detach().clone(), {k: copy.copy(x) for k, x in optimizer.state[p].items()})
        for p in params
    ]
    return kept


def assert_same(first, second):
    for (p, state), (q, other) in zip(first, second, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)
        assert state.keys() == other.keys()
        for name in state:
            torch.testing.assert_close(state[name], other[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rule", ["adamw", "schedule_free"])
@pytest.mark.parametrize("event", EVENTS)
def test_whatever_happens_the_path_is_that_of_the_loop(make, event, rule, monkeypatch):
    """Of schedule_free with graphs as they were traced: Inductor's kernels of it, for
    each length anew, would take a minute, and are tested in test_paths."""
    if rule == "schedule_free":
        traced = lambda graph, *_, **__: graph.forward  # noqa: E731
        monkeypatch.setattr(compile_fx, "compile_fx", traced)
    found = []
    for how in ("loop", "compile"):
        params = parameters()
        optimizer = make(params[:], rule, how, lr=0.1, weight_decay=0.01)
        found.append(run(optimizer, params, event))
    assert_same(*found)


def test_a_second_optimizer_takes_the_model_over(make):
    found = []
    for how in ("loop", "compile"):
        params = parameters()
        run(make(params, "adamw", how, lr=0.1), params, zeroed, 2)
        optimizer = make(params, "adamw", how, lr=0.01)
        run(optimizer, params, zeroed, 3)
        if how == "compile":
            (flat,) = optimizer._flats[0].values()
            assert len(flat.params) == len(params)
        found.append([(p.detach(), optimizer.state[p]) for p in params])
    assert_same(*found)


# That it is what it says


def storage(x):
    return x.untyped_storage().data_ptr()


def test_all_of_a_kind_is_in_one_buffer_in_order(make):
    params = parameters()
    optimizer = make(params, "adamw")
    run(optimizer, params, zeroed, 2)
    kinds = [params, [p.grad for p in params]]
    kinds += [[optimizer.state[p][name] for p in params] for name in "mv"]
    assert len({storage(x) for kind in kinds for x in kind}) == 4
    for kind in kinds:
        places = [x.data_ptr() for x in kind]
        assert places == sorted(places)
        assert all(place % 64 == places[0] % 64 for place in places)
        for x, place, after in zip(kind, places, places[1:], strict=False):
            assert place + x.nbytes <= after < place + x.nbytes + 64


def test_nothing_moves_twice(make):
    params = parameters()
    optimizer = make(params, "adamw")
    run(optimizer, params, zeroed, 1)
    before = [storage(p) for p in params]
    run(optimizer, params, zeroed, 3)
    run(optimizer, params, set_to_none, 3)
    assert [storage(p) for p in params] == before


def test_one_kernel_for_five_hundred_tensors(make, monkeypatch):
    calls = []
    whole = Optimizer._update_flat
    monkeypatch.setattr(
        Optimizer, "_update_flat", lambda self, *a: (calls.append(a), whole(self, *a))
    )
    params = parameters(shapes=[(10,)] * 500)
    optimizer = make(params, "adamw")
    run(optimizer, params, zeroed, 3)
    assert len(calls) == 3
    with torch.compiler.set_stance("fail_on_recompile"):
        run(optimizer, params, set_to_none, 3)


def test_groups_dtypes_and_times_have_buffers_of_their_own(make):
    double, single = parameters(), parameters(torch.float32)
    optimizer = make([{"params": double[:2], "lr": 0.1}, {"params": double[2:]}])
    optimizer.add_param_group({"params": single})
    params = double + single
    run(optimizer, params, zeroed, 3)
    assert len({storage(p) for p in params}) == 3
    mixed = make(parameters() + parameters(torch.float32))
    run(mixed, mixed.param_groups[0]["params"], zeroed, 3)
    assert len(mixed._flats[0]) == 2


def test_channels_last_stays(make):
    found = []
    for how in ("loop", "compile"):
        p = torch.nn.Parameter(
            parameters(shapes=[(2, 3, 4, 4)])[0].to(memory_format=torch.channels_last)
        )
        strides = p.stride()
        run(make([p], "adamw", how), [p], zeroed, 3)
        assert p.stride() == strides != p.contiguous().stride()
        found.append(p.detach())
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-14)


def test_what_shares_memory_stays_where_it_is(make):
    whole = torch.zeros(10, dtype=torch.float64)
    views = [torch.nn.Parameter(whole[:4]), torch.nn.Parameter(whole[4:])]
    shared = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64).share_memory_())
    spread = torch.nn.Parameter(torch.zeros(6, dtype=torch.float64)[::2])
    rows = torch.nn.Parameter(torch.zeros(3, 1, dtype=torch.float64).expand(3, 2))
    alone = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    bucket = torch.zeros(5, dtype=torch.float64)  # of ZeRO, with a single parameter
    held = torch.nn.Parameter(torch.zeros(5, dtype=torch.float64))
    held.data = bucket.view(5)
    assert not any(map(can_move, [*views, shared, spread, rows, held]))
    assert can_move(alone)
    params = [*views, shared, held, alone]
    places = [p.data_ptr() for p in params]
    optimizer = make(params, "adamw", lr=0.1)
    run(optimizer, params, new_gradients, 3)
    moved = [p.data_ptr() != place for p, place in zip(params, places, strict=True)]
    assert moved == [False] * 4 + [True]
    assert whole.abs().min() > 0  # followed
    assert bucket.abs().min() > 0 and torch.equal(bucket, held)


def test_a_state_dict_follows(make):
    """Held before the first step, or taken after it: it shows the model of now."""
    net = torch.nn.Linear(3, 2).double()
    before = net.state_dict()
    optimizer = make(net.parameters(), "adamw", lr=0.1)
    params = [*net.parameters()]
    run(optimizer, params, zeroed, 2)
    assert torch.equal(before["weight"], net.weight)
    del before
    run(optimizer, params, set_to_none, 2)  # now they move
    assert all(hasattr(p, "_moved_to") for p in params)
    after = net.state_dict()
    run(optimizer, params, zeroed, 2)
    assert torch.equal(after["weight"], net.weight)


def test_gradients_of_others_are_copied_and_left(make):
    """DDP keeps the gradients as views of its buckets and wants them back."""
    params = parameters(shapes=[(3,), (4,)])
    bucket = torch.zeros(7, dtype=torch.float64)
    params[0].grad, params[1].grad = bucket[:3], bucket[3:]
    optimizer = make(params, "adamw", lr=0.1)
    twins = parameters(shapes=[(3,), (4,)])
    loop = make(twins, "adamw", "loop", lr=0.1)
    for step in range(3):
        for p, twin, g in zip(params, twins, gradients(params, step), strict=True):
            p.grad.copy_(g)
            twin.grad = g.clone()
        optimizer.step()
        loop.step()
    assert all(storage(p.grad) == storage(bucket) for p in params)
    for p, twin in zip(params, twins, strict=True):
        torch.testing.assert_close(p, twin, rtol=1e-12, atol=1e-14)


def test_a_file_holds_each_number_once(make):
    params = parameters(torch.float32, [(100, 100)] * 20)
    optimizer = make(params)
    run(optimizer, params, zeroed, 2)
    file = io.BytesIO()
    torch.save({"net": params, "optimizer": optimizer.state_dict()}, file)
    assert file.tell() < 1.1 * 3 * 4 * sum(p.numel() for p in params)


def test_buffers_go_with_the_model(make):
    """They hold what the tensors held, and gaps of at most 64 bytes a tensor."""
    params = parameters(torch.float32, [(1000,), (3,)])
    optimizer = make(params)
    run(optimizer, params, zeroed, 1)
    (flat,) = optimizer._flats[0].values()
    assert isinstance(flat, Flat) and len(flat.buffers) == 4
    for buffer in flat.buffers:
        assert len(buffer) == math.ceil(1000 / 16) * 16 + 16
        assert buffer.dtype == torch.float32


# The kernel


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_parameter_of_one_number_is_no_number_of_the_rule(compiler, dtype, others):
    """It cannot be moved, for it shares its memory; numbers are on the CPU, too."""
    ends = []
    for how in ("loop", "compile"):
        params = [torch.ones(2, dtype=dtype)[0].detach().requires_grad_()]
        params += [torch.ones(3, dtype=dtype, requires_grad=True)] * others
        held = [p.detach() for p in params]
        optimizer = Optimizer(params, "adam", how, lr=0.1)
        for scale in (1e-6, 0.3, 10.0, -2.0):
            for p in params:
                p.grad = torch.full_like(p, scale)
            optimizer.step()
        states = [optimizer.state[p][name] for p in params for name in "mv"]
        ends.append([x.double() for x in [*held, *states]])
    exact = 1e-12 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(*ends, rtol=exact, atol=0)
    assert all((x != 1).all() for x in ends[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_are_computed_before_the_kernel(compiler, monkeypatch, dtype):
    """Powers of t are not in what Inductor is given: four vectors, one of numbers."""
    from torch._inductor import compile_fx

    given = []
    whole = compile_fx.compile_fx
    monkeypatch.setattr(
        compile_fx,
        "compile_fx",
        lambda g, *x, **options: (given.append(g), whole(g, *x, **options))[1],
    )
    before = kernel.Compiled.kernels
    params = parameters(dtype)
    optimizer = Optimizer(params, "adam", "compile")
    run(optimizer, params, zeroed, 2)
    assert kernel.Compiled.kernels == before + 1
    for graph in (module.graph for module in given):  # some are traced twice
        inputs = graph.find_nodes(op="placeholder")
        inputs = [node.meta["example_value"] for node in inputs]
        tensors = [x for x in inputs if isinstance(x, torch.Tensor)]  # or lengths
        assert [x.dtype for x in tensors] == [dtype] * 5
        squares = [node for node in graph.nodes if "pow" in str(node.target)]
        assert len(squares) == 1 and squares[0].args[1] == 2  # g**2
        assert kernel._numbers(graph) == set()
    assert given


def test_equal_numbers_may_part(compiler):
    """lr, beta1 and t are arguments of their own, whatever their values."""
    params = parameters()
    optimizer = Optimizer(params, "adam", "compile", lr=0.5, beta1=0.5, beta2=0.5)
    run(optimizer, params, zeroed, 1)
    with torch.compiler.set_stance("fail_on_recompile"):
        for lr in (0.25, 1.0, 0.5, 3.0):  # t is 2, 3, 4, 5
            optimizer.param_groups[0]["lr"] = lr
            run(optimizer, params, zeroed, 1)


def test_from_the_second_step_on_the_kernel_is_entered_directly(make, monkeypatch):
    entered = []
    monkeypatch.setattr(
        kernel.Compiled, "__call__", lambda self, *a: entered.append("whole")
    )
    direct = kernel.Compiled.direct
    monkeypatch.setattr(
        kernel.Compiled, "direct", lambda *a: (entered.append("first"), direct(*a))[1]
    )
    params = parameters()
    optimizer = make(params)
    run(optimizer, params, set_to_none, 3)
    run(optimizer, params, zeroed, 3)
    assert entered == ["first"]
    optimizer.param_groups[0]["maximize"] = True
    run(optimizer, params, zeroed, 3)
    assert entered == ["first"] * 2


@pytest.mark.parametrize("rule", ["sgd", "adamw"])
def test_what_a_kernel_was_made_for_may_change(compiler, rule):
    """Between any two steps, there and back."""
    changes = [
        *({}, {}, {"l2": 0.5}, {"lr": 0.3}, {"maximize": True}, {"l2": 0.0}, {}),
        *({"maximize": False}, {"l2": 0.5}, {"l2": 0.1}, {"lr": 0.1}, {"l2": 0.0}),
    ]
    found = []
    for how in ("loop", "compile"):
        params = parameters()
        optimizer = Optimizer(params, rule, how, lr=0.1)
        for step, change in enumerate(changes):
            optimizer.param_groups[0].update(change)
            new_gradients(optimizer, params, step)
            optimizer.step()
        found.append(run(optimizer, params, zeroed, 2))
    assert_same(*found)


def test_a_function_of_two_graphs_is_not_entered_directly(compiler):
    """Nor one of which a part is computed outside of its graph."""

    def two(x):
        x.copy_(x + 1)
        torch._dynamo.graph_break()
        x.copy_(x * 2)

    def half(x):
        y = x + 1
        torch._dynamo.graph_break()
        x.copy_(y.detach())

    for function, result in ((two, 2.0), (half, 1.0)):
        x = torch.zeros(3)
        assert kernel.Compiled(function).direct([x], x) is None
        torch.testing.assert_close(x, torch.full((3,), result))


def test_a_kernel_that_is_given_another_tensor_is_not_entered_directly(compiler):
    def add(x, y):
        x.copy_(x + y)

    x, y = torch.zeros(3), torch.ones(3)
    assert kernel.Compiled(add).direct([x], x, y) is None
    enter = kernel.Compiled(add).direct([x, y], x, y)
    enter([y, x])
    assert x.tolist() == [2, 2, 2] and y.tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    "scale",
    [
        lambda t: 3 / (1 - 0.5**t),
        lambda t: torch.where(t > 1, 2 * t, -t),  # does not run on floats
        lambda t: t,
        lambda t: 2.0,
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_number_may_be_a_float(compiler, scale, dtype):
    def multiply(x, t, s, scale):
        x.copy_(x / scale(t) + x * s)

    def number(x):
        return torch.tensor(x, dtype=torch.float64)

    given = [torch.ones(3, dtype=dtype), number(1.0), number(2.0)]
    enter = kernel.Compiled(multiply).direct(given, *given, scale)
    one, other = number(3.0), number(4.0)
    for t, s in ((2.0, 5.0), (one, 5.0), (2.0, one), (one, other)):
        y = torch.arange(3, dtype=dtype)
        enter([y, t, s])
        expected = torch.arange(3, dtype=dtype) * (1 / scale(number(float(t))) + s)
        torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("rule", ["adam", "radam", "sgd"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_are_given_one_by_one(compiler, monkeypatch, rule, dtype):
    """As on a GPU."""
    monkeypatch.setattr(kernel, "_pack", kernel._narrow)
    found = []
    for how in ("loop", "compile"):
        params = parameters(dtype)
        found.append(run(Optimizer(params, rule, how), params, zeroed, 9))
    for (p, _), (q, _) in zip(*found, strict=True):
        rtol = 1e-12 if dtype == torch.float64 else 1e-5
        torch.testing.assert_close(p, q, rtol=rtol, atol=rtol / 100)


# On a GPU


@pytest.mark.gpu
def test_on_a_gpu_it_is_torchs_fused_adam():
    found = []
    for make in (
        lambda params: Optimizer(params, "adam", "compile"),
        lambda params: torch.optim.Adam(params, fused=True),
    ):
        params = [torch.nn.Parameter(p.detach().float().cuda()) for p in parameters()]
        optimizer = make(params)
        for step in range(50):
            for p, g in zip(params, gradients(params, step), strict=True):
                p.grad = g.cuda()
            optimizer.step()
        found.append(torch.cat([p.detach().reshape(-1) for p in params]).cpu())
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-7)
