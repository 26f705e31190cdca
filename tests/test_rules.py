"""Every rule is the rule that its oracle says it is, and is written down once."""

import ast
import inspect
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import optax
import pytest
import torch
from mutants import MUTANTS, mutate, plain
from oracles import ROWS, cousins, large_batch, memory, sign_and_matrix
from oracles.classic import torch_momentum, torch_rmsprop_centered
from replay import (
    TENSORS,
    assert_same_path,
    check,
    gradients,
    mild_gradients,
    path,
    starts,
)

import adamtut
from adamtut import ops, rules
from adamtut.column import Column
from adamtut.optim import Optimizer
from adamtut.rules import RULES, as_rule, check_hyper, rule
from adamtut.rules.form import start_shape
from adamtut.tensor_list import TensorList
from adamtut.walk import walk

CASES = [(row, lr, 40) for row in ROWS for lr in row.lrs]
CASES += [(row, None, 300) for row in ROWS if not row.hyper]


@pytest.mark.parametrize("row, lr, steps", CASES, ids=str)
def test_rule_follows_its_oracle(row, lr, steps):
    row.check(lr=lr, steps=steps)


def test_oracles_do_not_depend_on_what_ran_before():
    # torch wraps the step of each class at its first use, then of its subclass too
    torch.optim.Muon([torch.nn.Parameter(torch.ones(2, 2))])
    for row in sign_and_matrix.ROWS:
        if row.rule == "muon":
            replace(row, _paths={}).check(lr=1e-3)


@pytest.mark.parametrize("name", RULES)
def test_every_option_has_an_oracle(name):
    options = RULES[name].defaults | {"l2": 0.0, "maximize": False}
    settings = [row.hyper for row in ROWS if row.rule == name]
    assert {} in settings, f"rule {name} has no row of its defaults in tests/oracles"
    varied = {k for s in settings for k, v in s.items() if v != options[k]}
    assert options.keys() - varied <= {"lr"}, "an option has no row in tests/oracles"


def test_the_gradients_are_hard():
    g = gradients()
    size = np.abs(g[g != 0])
    assert len(g) >= 20 and size.min() < 1e-12 and size.max() > 1e3
    assert ((size > 1e-6) & (size < 10)).mean() > 0.5
    assert (g == 0).mean() > 0.1 and (g > 0).any() and (g < 0).any()
    assert not g[:, -1].any() and (starts(g.shape[1]) == 0).mean() == 0.5


# Where the docstrings say that others differ


def replay(optimizer, g):
    return path(optimizer, starts(g.shape[1]), g)


def ours(rule, g, **hyper):
    return replay(lambda params: Optimizer(params, rule, **hyper), g)


def dampened(p, g, m, t, *, lr=1e-2, beta=0.9, dampening=0.0):
    m = beta * m + (1 - dampening) * g
    p = p - lr * m
    return p, m


def test_torch_dampens_from_the_second_step_on():
    g = gradients()
    silent = np.concatenate([np.zeros_like(g[:1]), g])
    theirs = torch_momentum(dampening=0.4)
    assert_same_path(ours(dampened, g, dampening=0.4), replay(theirs, silent)[1:])
    with pytest.raises(AssertionError, match="first after step 1"):
        check(dampened, {"dampening": 0.4}, theirs, g)


def test_torch_centred_rmsprop_turns_nan():
    g = np.full((400, 1), 0.1)
    theirs = replay(torch_rmsprop_centered(), g)
    assert np.isnan(theirs).any()
    assert np.isfinite(ours("rmsprop_centered", g)).all()


# what theirs is: ours with one edit
INSIDE = [("sqrt(v) + eps", "sqrt(v + eps)")]
ELSEWHERE = {
    "optax.adagrad: eps inside the root": (
        "adagrad",
        INSIDE,
        optax.adagrad(0.1, initial_accumulator_value=0.0, eps=1e-3),
    ),
    "optax.adagrad: v starts at 0.1": (
        "adagrad",
        [("sqrt(v) + eps", "sqrt(v + 0.1 + eps)")],
        optax.adagrad(0.1, eps=1e-3),
    ),
    "optax.rmsprop: eps inside the root": (
        "rmsprop",
        INSIDE,
        optax.rmsprop(0.1, eps=1e-3),
    ),
    "optax.amsgrad: maximum after the correction": (
        "amsgrad",
        MUTANTS["amsgrad", "maximum after the correction"],
        optax.amsgrad(0.1, eps=1e-3),
    ),
    "paper's AMSGrad: no corrections": (
        "amsgrad",
        [(" / (1 - beta1**t)", ""), (" / (1 - beta2**t)", "")],
        optax.amsgrad(
            0.1, eps=1e-3, bias_correction_mu=False, bias_correction_nu=False
        ),
    ),
}
ELSEWHERE |= cousins.ELSEWHERE


@pytest.mark.parametrize("rule, edits, theirs", ELSEWHERE.values(), ids=ELSEWHERE)
def test_others_differ_as_the_docstrings_say(rule, edits, theirs):
    given = {"lr": 0.1, "eps": 1e-3}, theirs, gradients()
    shapes = None if RULES[rule].unit == "number" else TENSORS
    check(mutate(rule, edits), *given, shapes=shapes)
    with pytest.raises(AssertionError, match="parameters differ"):
        check(rule, *given, shapes=shapes)


EDITED = memory.ELSEWHERE | large_batch.ELSEWHERE


@pytest.mark.parametrize("edits, row", EDITED.values(), ids=EDITED)
def test_others_differ_by_an_edit(edits, row):
    row.check(mutate(row.rule, edits))
    with pytest.raises(AssertionError, match="parameters differ"):
        row.check()


def test_torch_muon_rounds_to_bfloat16():
    """Its directions are ours to a few percent, not closer."""
    g, shapes = mild_gradients(), sign_and_matrix.MATRICES
    make = lambda params: Optimizer(params, "muon")  # noqa: E731
    mine = path(make, starts(42), g, shapes=shapes)
    theirs = path(sign_and_matrix.torch_muon(exact=False), starts(42), g, shapes=shapes)
    apart = np.linalg.norm(np.diff(mine - theirs, axis=0), axis=1)
    step = np.linalg.norm(np.diff(theirs, axis=0), axis=1)
    assert 1e-3 < np.median(apart / step) < 0.05, np.median(apart / step)


# The form of a rule


FOLDER = Path(rules.__file__).parent


def test_rules_are_those_of_the_folder():
    found = []
    for file in FOLDER.glob("*.py"):
        found += re.findall(r"@rule(?:\([^)]*\))?\ndef (\w+)", file.read_text())
    assert sorted(RULES) == sorted(found)
    assert all(getattr(rules, name) is f for name, f in RULES.items())


def test_the_signature_declares_state_and_hyperparameters():
    assert RULES["amsgrad"].state == ("m", "v", "v_max")
    assert RULES["sgd"].state == () and RULES["sgd"].defaults == {"lr": 1e-2}
    assert RULES["adam"].defaults == {
        "lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8
    }  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_docstrings_name_source_and_state(name):
    rule, text = RULES[name], inspect.getdoc(RULES[name])
    assert re.search(r"(18|19|20)\d\d", text)
    words = re.search(r"State: (\d+) floats?( and (\d) numbers?)?", text)
    shapes = [rule.starts.get(x, "p") for x in rule.state]
    assert words, "no State: ... floats"
    if {*shapes} <= {"p", "number"}:
        assert int(words[1]) == shapes.count("p")
        assert int(words[3] or 0) == shapes.count("number")
    else:
        terms = r"([mn* \d+]+)\snumbers for m rows and n columns"
        count = eval(re.search(terms, text)[1], {"m": 3, "n": 5})
        assert count == sum(np.prod(start_shape(rule, x, (3, 5))) for x in rule.state)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_a_straight_line_of_twelve_lines_at_most(name):
    *lines, last = ast.parse(plain(name)).body[0].body
    assert len(lines) < 12 and isinstance(last, ast.Return)
    targets = [line.targets[0].id for line in lines]
    assert len(set(targets)) == len(targets)
    expected = ["p", *RULES[name].state]
    returned = last.value.elts if RULES[name].state else [last.value]
    assert [x.id for x in returned] == expected


def no_p(g, t, *, lr=1.0): ...
def no_t(p, g, m, *, lr=1.0): ...
def positional_hyper(p, g, t, lr=1.0): ...
def no_default(p, g, t, *, lr): ...
def star(p, g, *m, t=1, lr=1.0): ...
def nothing(): ...


@pytest.mark.parametrize(
    "wrong", [no_p, no_t, positional_hyper, no_default, star, nothing]
)
def test_a_rule_of_another_form_is_refused(wrong):
    with pytest.raises(TypeError) as error:
        rule(wrong)
    assert wrong.__name__ in str(error.value)
    assert str(inspect.signature(wrong)) in str(error.value)
    assert "(p, g, <state>, t, *, lr=..." in str(error.value)


@pytest.mark.parametrize("starts", [{"y": "p"}, {"z": "g"}, {"z": 0}])
def test_a_state_starts_at_zero_or_at_the_parameter(starts):
    text = r"cannot start '[yz]' .* may start as p, number$"
    with pytest.raises(TypeError, match=text):

        @rule(**starts)
        def averaged(p, g, z, t, *, lr=1.0):
            return p, z


def test_a_state_that_starts_at_the_parameter():
    @rule(z="p")
    def averaged(p, g, z, t, *, lr=1.0):
        p = p - lr * g
        z = z + (p - z) / (t + 1)
        return p, z

    def mean(p, g, z, t, *, lr=1.0):
        return 0 * p + z, z

    mean = rule(mean, z="p")
    assert averaged.starts == {"z": "p"}
    np.testing.assert_array_equal(walk(mean, np.ones((2, 1)), [3.0]), [[3.0]] * 3)
    np.testing.assert_array_equal(ours(mean, gradients())[-1], starts(42))


def test_unknown_rules_are_named():
    with pytest.raises(ValueError, match="unknown rule 'adamm'; the rules are sgd,"):
        as_rule("adamm")
    with pytest.raises(TypeError, match="rule is 3; allowed: a name or a function"):
        as_rule(3)


# Hyperparameters

BAD = {
    "lr": [-1e-3, np.inf, np.nan, -np.inf, "1e-3", None, 1j, [1e-3], [], {}, True],
    "eps": [-1e-8, np.inf, np.nan, "small"],
    "weight_decay": [-0.1, np.inf, np.nan],
    "beta": [1.0, -0.1, 1.5, np.nan],
    "beta1": [1.0, -0.1, 1.5, np.nan, None],
    "beta2": [1.0, -0.1, 1.5, np.nan, torch.tensor(1.0), torch.tensor([0.5, 2.0])],
    "beta3": [1.0, -0.1, 1.5, np.nan],
    "rho": [1.0, -0.1, 1.5, np.nan],
    "final_lr": [-0.1, np.inf, np.nan],
    "momentum_decay": [-4e-3, np.inf, np.nan],
    "alpha": [-5.0, np.inf, np.nan],
    "gamma": [-0.025, np.inf, np.nan],
    "threshold": [3.9, -5.0, np.inf, np.nan],
    "eps1": [-1e-30, np.inf, np.nan],
    "eps2": [-1e-3, np.inf, np.nan],
    "decay": [-0.8, np.inf, np.nan],
    "clip": [0.0, -1.0, np.inf, np.nan],
    "trust": [-1e-3, np.inf, np.nan],
    "nesterov": [0.5, 2, True, np.nan],
    "floor": [-1.0, np.inf, np.nan],
    "rms": [-0.2, np.inf, np.nan],
    "every": [0, 0.5, np.inf, np.nan],
    "d0": [0.0, -1e-6, np.inf, np.nan],
    "warmup_steps": [-1, np.inf, np.nan],
}


@pytest.mark.parametrize("name", RULES)
def test_every_hyperparameter_has_a_range(name):
    assert RULES[name].defaults.keys() <= BAD.keys()


@pytest.mark.parametrize(
    "name, value", [(k, v) for k, values in BAD.items() for v in values], ids=repr
)
def test_a_bad_value_is_named(name, value):
    having = [r for r in RULES.values() if name in r.defaults]
    for r in having:
        if (r.__name__, name) == ("sophia", "rho"):  # a scale; tested below
            continue
        with pytest.raises((TypeError, ValueError)) as error:
            check_hyper(r, {name: value})
        text = str(error.value)
        assert text.startswith(f"{name} of {r.__name__} is {value!r}; allowed: ")
        assert re.search(r"a number|0 or 1|[014] <=? \w+ < (1|inf)$", text)
        with pytest.raises(type(error.value), match=re.escape(text)):
            walk(r, np.ones(3), 0.0, **{name: value})
        p = torch.nn.Parameter(torch.zeros(2))
        with pytest.raises(type(error.value), match=re.escape(text)):
            Optimizer([p], r, **{name: value})
        with pytest.raises(type(error.value), match=re.escape(text)):
            Optimizer([{"params": [p], name: value}], r)
    assert having


def test_a_range_may_be_that_of_one_rule():
    check_hyper(RULES["adam"], {"beta1": 0.0})
    with pytest.raises(ValueError) as error:
        check_hyper(RULES["schedule_free"], {"beta1": 0.0})
    assert str(error.value) == "beta1 of schedule_free is 0.0; allowed: 0 < beta1 < 1"
    check_hyper(RULES["sophia"], {"rho": 4.0})
    with pytest.raises(ValueError, match="rho of adadelta is 4.0; allowed: 0 <= rho"):
        check_hyper(RULES["adadelta"], {"rho": 4.0})


def test_an_unknown_hyperparameter_is_named():
    with pytest.raises(TypeError) as error:
        check_hyper(RULES["adam"], {"betas": 0.9})
    assert str(error.value) == (
        "rule adam has no hyperparameter 'betas'; it has lr, beta1, beta2, eps"
    )


def test_the_edges_of_the_ranges_are_allowed():
    check_hyper(RULES["adamw"], {"lr": 0, "beta1": 0.0, "eps": 0, "weight_decay": 0})
    check_hyper(RULES["adam"], {"lr": torch.tensor(1.0), "beta1": np.array([0.0, 0.9])})


# One place, and cheap to import

KINDS = {
    "float": float,
    "array": lambda x: np.array([x, x]),
    "tensor": lambda x: torch.tensor([x, x], dtype=torch.float64),
    "list": lambda x: TensorList([torch.tensor([x], dtype=torch.float64)] * 2),
}
OPS = {
    "sqrt": [((2.25,), 1.5), ((0.0,), 0.0)],
    "sign": [((-2.5,), -1.0), ((0.0,), 0.0), ((1e-300,), 1.0)],
    "maximum": [((2.0, 3.0), 3.0), ((3.0, 2.0), 3.0), ((-1.0, 0), 0.0), ((0, 2.0), 2)],
    "minimum": [((2.0, 3.0), 2.0), ((3.0, 2.0), 2.0), ((-1.0, 0), -1.0), ((0, 2.0), 0)],
    "where": [((True, 2.0, 3.0), 2.0), ((False, 2.0, 3.0), 3.0), ((True, 2.0, 0), 2.0)],
}
# (arguments as arrays of one matrix, result)
MATRIX = np.array([[3.0, 0.0], [4.0, -1.0], [0.0, 0.5]])
MATRIX_OPS = {
    "mean": [[1.5], [1.5], [0.25]],
    "total": [[3.0], [3.0], [0.5]],
    "norm": [[3.0], [17**0.5], [0.5]],
    "row_mean": [[1.5], [1.5], [0.25]],
    "column_mean": [[7 / 3, -0.5 / 3]],
    "matrix_norm": [[26.25**0.5]],
    "transpose": [[3.0, 4.0, 0.0], [0.0, -1.0, 0.5]],
    "aspect": 1.5,
    "longer": 3,
}
# linear algebra, with tests of its own below
ALGEBRA = {"newton_schulz", "symmetric_power", "eigenbasis", "reordered"}


def test_every_op_is_tested():
    functions = {k for k, v in vars(ops).items() if inspect.isfunction(v)}
    tables = OPS.keys() | MATRIX_OPS.keys() | ALGEBRA
    assert {x for x in functions if x[0] != "_"} == tables


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name, given, result", [(k, *case) for k, cases in OPS.items() for case in cases]
)
def test_ops(name, given, result, kind):
    # floats become the kind under test; integers and truth values stay what they are
    given = [KINDS[kind](x) if isinstance(x, float) else x for x in given]
    x = getattr(ops, name)(*given)
    if kind != "float":
        assert type(x) is type(next(y for y in given if not isinstance(y, int)))
    parts = x.tensors if kind == "list" else [x]
    assert len(parts) == (2 if kind == "list" else 1)
    for part in parts:
        np.testing.assert_array_equal(np.asarray(part), result)


@pytest.mark.parametrize("name, result", MATRIX_OPS.items())
def test_ops_of_a_matrix(name, result):
    op, tensor = getattr(ops, name), torch.tensor(MATRIX)
    two = TensorList([tensor, 2 * tensor])
    runs = np.stack([MATRIX, 2 * MATRIX])  # leading axes are independent
    number = name in ("aspect", "longer")
    factor = 1 if number else 2
    np.testing.assert_allclose(op(MATRIX), result)
    np.testing.assert_allclose(op(tensor), result)
    np.testing.assert_allclose(op(two).tensors[1], factor * np.array(result))
    if not number:
        np.testing.assert_allclose(op(runs)[1], 2 * np.array(result))
        np.testing.assert_allclose(op(torch.tensor(runs))[1], 2 * np.array(result))


def each_kind(op, *matrices):
    """The results of an op of two matrices each: of arrays, of tensors and of lists.

    The second one of each is upside down, a run of its own in a leading axis.
    """
    stacks = [np.stack([x, x[::-1, ::-1]]) for x in matrices]
    tensors = [torch.tensor(x) for x in stacks]
    lists = [TensorList(list(x)) for x in tensors]
    yield op(*stacks)
    yield op(*tensors).numpy()
    yield torch.stack(op(*lists).tensors).numpy()
    yield np.stack([op(*(x[i] for x in stacks)) for i in range(2)])


WIDE = np.random.default_rng(3).normal(size=(4, 6))
PSD = WIDE @ WIDE.T


@pytest.mark.parametrize("x", [WIDE, WIDE.T], ids=["wide", "tall"])
def test_newton_schulz_maps_singular_values(x):
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    s = s / np.linalg.norm(x)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    assert 0.6 < s.min() and s.max() < 1.2
    for found in each_kind(ops.newton_schulz, x):
        np.testing.assert_allclose(found[0], (u * s) @ vh, rtol=1e-12)
        np.testing.assert_allclose(found[1], ((u * s) @ vh)[::-1, ::-1], rtol=1e-12)


def test_the_power_of_a_symmetric_matrix():
    shifted = PSD + 0.1 * np.eye(4)
    for found in each_kind(lambda x: ops.symmetric_power(x, -0.25, 0.1), PSD):
        fourth = np.linalg.matrix_power(found[0], 4)
        np.testing.assert_allclose(fourth @ shifted, np.eye(4), atol=1e-12)
        np.testing.assert_allclose(found[1], found[0][::-1, ::-1], atol=1e-12)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_is_not_finite_stays_with_its_matrix():
    bad = PSD.copy()
    bad[1, 2] = np.inf
    for both in (np.stack([PSD, bad]), torch.tensor(np.stack([PSD, bad]))):
        for found in (
            ops.symmetric_power(both, -0.25, 0.1),
            ops.eigenbasis(both, both, 1, 10),
        ):
            good, wrong = np.asarray(found)
            assert np.isfinite(good).all() and np.isnan(wrong).all()


def diagonal(q, x):
    return np.diagonal(np.swapaxes(q, -2, -1) @ x @ q, axis1=-2, axis2=-1)


def test_a_basis_starts_with_the_eigenvectors_and_turns_when_it_is_due():
    q = np.linalg.qr(WIDE[:, :4])[0]
    values = np.linalg.eigvalsh(PSD)[::-1]
    for found in each_kind(lambda x, q: ops.eigenbasis(x, q, 1, 3), PSD, q):
        np.testing.assert_allclose(diagonal(found[0], PSD), values)
        np.testing.assert_allclose(
            np.swapaxes(found, -2, -1) @ found, [np.eye(4)] * 2, atol=1e-12
        )
    order = np.argsort(-diagonal(q, PSD))
    assert list(order) != [0, 1, 2, 3]
    expected = np.linalg.qr(PSD @ q[:, order])[0]
    for t in range(2, 9):
        op = lambda x, q: ops.eigenbasis(x, q, t, 3)  # noqa: B023, E731
        for found in each_kind(op, PSD, q):
            np.testing.assert_allclose(found[0], expected if t in (4, 7) else q)
    for _ in range(200):
        q = ops.eigenbasis(PSD, q, 2, 1)
    np.testing.assert_allclose(diagonal(q, PSD), values)  # where it goes


def test_v_is_reordered_with_the_bases():
    v = np.arange(16.0).reshape(4, 4)
    one, two = np.diag([1.0, 4.0, 3.0, 2.0]), np.diag([2.0, 1.0, 3.0, 4.0])
    given = v, one, np.eye(4), two, np.eye(4)
    op = lambda *x: ops.reordered(*x, 3, 2)  # noqa: E731
    for found in each_kind(op, *given):
        np.testing.assert_array_equal(found[0], v[[1, 2, 3, 0]][:, [3, 2, 0, 1]])
    np.testing.assert_array_equal(ops.reordered(*given, 2, 2), v)
    np.testing.assert_array_equal(ops.reordered(*given, 1, 1), v)


def test_a_basis_may_turn_at_another_rate_in_each_run():
    x, q = np.stack([PSD, PSD]), np.stack([np.linalg.qr(WIDE[:, :4])[0]] * 2)
    rates = np.array([2.0, 3.0])[:, None, None]
    for every, kind in ((rates, np.array), (Column(torch.tensor(rates)), torch.tensor)):
        found = np.asarray(ops.eigenbasis(kind(x), kind(q), 3, every))
        np.testing.assert_array_equal(found[1], q[1])
        np.testing.assert_allclose(found[0], ops.eigenbasis(PSD, q[0], 3, 2))


CHOICES = np.array([True, False]), np.array([2.0, 3.0]), np.array([4.0, 5.0])


def test_where_of_each_kind():
    tensors = [torch.tensor(x) for x in CHOICES]
    lists = [TensorList([x]) for x in tensors]
    for condition, x, y in (CHOICES, tensors):
        np.testing.assert_array_equal(ops.where(condition, x, y), [2.0, 5.0])
        np.testing.assert_array_equal(ops.where(condition, x, 0), [2.0, 0.0])
        np.testing.assert_array_equal(ops.where(condition, 0, y), [0.0, 5.0])
        np.testing.assert_array_equal(ops.where(condition, 1, 0), [1, 0])
    for x, y, result in ((*lists[1:], [2, 5]), (lists[1], 0, [2, 0]), (1, 0, [1, 0])):
        np.testing.assert_array_equal(ops.where(lists[0], x, y).tensors[0], result)


def test_each_line_of_a_rule_stands_in_one_file():
    lines = {
        ast.unparse(node)
        for name in RULES
        for node in ast.walk(ast.parse(plain(name)))
        if isinstance(node, ast.Assign)
    }
    found = {}
    for file in Path(adamtut.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Assign) and ast.unparse(node) in lines:
                found.setdefault(file.parent.name, set()).add(ast.unparse(node))
    assert found == {"rules": lines}


def probe(module: str) -> tuple[float, list[str]]:
    """Seconds that an import takes in a fresh interpreter, heavy modules it loads."""
    code = (
        "import sys, time; start = time.perf_counter(); "
        f"import {module}; print(time.perf_counter() - start, "
        "*{'torch', 'jax', 'matplotlib', 'sklearn', 'IPython'} & sys.modules.keys())"
    )
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seconds, *heavy = out.split()
    return float(seconds), heavy


def test_importing_the_package_is_fast():
    assert min(probe("adamtut")[0] for _ in range(3)) < 0.3


@pytest.mark.parametrize("name", ["rules", "ops", "walk", "surfaces", "show"])
def test_what_needs_no_torch_imports_none(name):
    assert probe(f"adamtut.{name}")[1] == []
