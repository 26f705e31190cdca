"""A sweep is the loop of single runs, also after it was killed (Ray: test_scale)."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from adamtut import data, nets
from adamtut.column import Column
from adamtut.rules import RULES
from adamtut.rules.form import start_shape
from adamtut.sweep import product, sweep

MEASURED = ("batch_loss", "train_loss", "test_loss", "test_accuracy")
NET = partial(nets.mlp, (64, 8, 10))


@pytest.fixture(scope="module")
def few():
    full = data.digits(normalise=True)
    return full._replace(
        x_train=full.x_train[:200],
        y_train=full.y_train[:200],
        x_test=full.x_test[:100],
        y_test=full.y_test[:100],
    )


@pytest.fixture(scope="module")
def narrow(few):
    """Three pixels that are lit, four classes; and a network of layers that fit.

    SOAP's L and R then have no eigenvalue twice. Where they have, as for pixels that
    are never lit, rounding chooses their basis, on each processor another.
    """

    def three(x):
        return x.flatten(1)[:, [20, 36, 42]]

    few = few._replace(x_train=three(few.x_train), x_test=three(few.x_test))
    few = few._replace(y_train=few.y_train % 4, y_test=few.y_test % 4)
    return few, partial(nets.mlp, (3, 3, 4))


def run(few, rule="adam", grid=None, net=NET, **options):
    options = {"steps": 20, "seeds": 2, "progress": False} | options
    grid = product(lr=[1e-3, 1e-2]) if grid is None else grid
    return sweep(net, few, rule, grid, **options)


def close(one, other, rtol=1e-4):
    for name in MEASURED:
        np.testing.assert_allclose(one[name], other[name], rtol=rtol, err_msg=name)


@pytest.mark.parametrize("rule", RULES)
def test_together_is_one_by_one(few, narrow, rule):
    lr = RULES[rule].defaults["lr"]
    second = "beta2" if "beta2" in RULES[rule].defaults else "l2"
    if rule == "sophia":  # whose lines do not use beta2
        second = "beta1"
    grid = product(lr=[lr / 3, lr], **{second: [0.3, 0.9]})
    examples, net = narrow if rule == "soap" else (few, NET)
    options = {"net": net, "steps": 25, "every": 10}
    together = run(examples, rule, grid, **options)
    alone = run(examples, rule, grid, engine="loop", **options)
    assert together.step.tolist() == [10, 20, 25] * 8
    close(together, alone)
    assert len(set(together.train_loss)) == 24  # no two runs are one run


def test_the_loop_is_torch(few):
    """The rows are what a plain torch loop measures."""
    table = run(few, grid={"lr": 1e-2, "beta1": 0.5}, engine="loop", seeds=1)
    net = NET(0)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2, betas=(0.5, 0.999))
    losses, epoch = [], 0
    while len(losses) < 20:
        for index in data.batches(200, 32, 0, epoch)[: 20 - len(losses)]:
            loss = nn.functional.cross_entropy(
                net(few.x_train[index]), few.y_train[index]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        epoch += 1
    scores = net(few.x_test)
    right = (scores.argmax(1) == few.y_test).double().mean().item()
    assert table.batch_loss[0] == pytest.approx(np.mean(losses), rel=1e-5)
    assert table.test_accuracy[0] == pytest.approx(right)
    test_loss = nn.functional.cross_entropy(scores, few.y_test).item()
    assert table.test_loss[0] == pytest.approx(test_loss, rel=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_a_column_is_exact(rule):
    """float32 runs with columns equal, bit for bit, runs with Python numbers."""
    rule = RULES[rule]
    draw = np.random.default_rng(0)
    runs, size, steps = 5, 42, 50
    products = rule.__name__ in ("muon", "shampoo", "soap")
    scale = 1 if products else 10 ** draw.uniform(-6, 1, size)
    gradients = torch.tensor(draw.normal(size=(steps, runs, size)) * scale).float()
    hyper = {
        k: v * draw.uniform(0.8, 1, runs) if v else draw.uniform(0, 1, runs)
        for k, v in rule.defaults.items()
    }
    own = (6, 7) if rule.unit == "matrix" else (size,)
    gradients = gradients.reshape(steps, runs, *own)
    one = (runs, *[1] * len(own))
    columns = {k: Column(torch.tensor(v).reshape(one)) for k, v in hyper.items()}
    p = torch.ones(runs, *own)
    shapes = [
        start_shape(rule, name, p.shape) if rule.unit == "matrix" else p.shape
        for name in rule.state
    ]
    state = [torch.zeros(shape) for shape in shapes]
    single = [(p[i], *(s[i] for s in state)) for i in range(runs)]
    for t, g in enumerate(gradients, start=1):
        result = rule(p, g, *state, t, **columns)
        p, *state = result if rule.state else (result,)
        for i, (q, *s) in enumerate(single):
            result = rule(q, g[i], *s, t, **{k: float(v[i]) for k, v in hyper.items()})
            single[i] = result if rule.state else (result,)
    alone = torch.stack([q for q, *_ in single])
    if products:  # which torch computes otherwise for many matrices at once
        torch.testing.assert_close(p, alone, rtol=0, atol=1e-5)
    else:
        assert torch.equal(p, alone)
    assert not torch.equal(p, torch.ones_like(p))


def test_chunks_change_nothing(few):
    whole = run(few, seeds=3)
    close(whole, run(few, seeds=3, at_once=2), rtol=1e-5)


def test_a_run_that_diverges_stops_no_other(few):
    table = run(few, "sgd", {"lr": np.array([1e-2, 1e30])}, every=5, seeds=2)
    assert table.diverged.tolist() == [False] * 8 + [True] * 8
    close(table[:8], run(few, "sgd", {"lr": 1e-2}, every=5, seeds=2))
    alone = run(few, "sgd", {"lr": 1e30}, every=5, engine="loop")
    assert alone.diverged.all()


def test_schedule_and_l2(few):
    options = {"schedule": lambda t: 1 / t, "steps": 15}
    grid = {"lr": [0.1, 0.05], "l2": [0.3, 0.0]}
    grid = {name: np.array(values) for name, values in grid.items()}
    together = run(few, "momentum", grid, **options)
    close(together, run(few, "momentum", grid, engine="loop", **options))
    constant = run(few, "momentum", grid, steps=15)
    assert np.all(abs(together.train_loss / constant.train_loss - 1) > 1e-3)
    plain = run(few, "momentum", {"lr": 0.1}, **options)
    assert np.all(abs(together.train_loss[:2] / plain.train_loss - 1) > 1e-3)


def test_dropout_draws_anew_for_each_run_and_repeats(few):
    def net(seed):
        return nets.initialise(
            nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10)), seed
        )

    grid = {"lr": np.array([0.01, 0.01])}
    options = {"steps": 5, "seeds": 1, "progress": False}
    one, other = (sweep(net, few, "sgd", grid, **options) for _ in range(2))
    assert one.train_loss[0] != one.train_loss[1]
    assert one.tolist() == other.tolist()


def test_a_net_that_predicts_numbers(few):
    images = few._replace(y_train=few.x_train.flatten(1), y_test=few.x_test.flatten(1))
    options = {"loss": nn.functional.mse_loss, "steps": 20, "progress": False}
    table = sweep(
        partial(nets.mlp, (64, 8, 64)), images, "adam", {"lr": 0.01}, **options
    )
    assert np.isnan(table.test_accuracy).all() and not table.diverged.any()
    alone = sweep(
        partial(nets.mlp, (64, 8, 64)),
        images,
        "adam",
        {"lr": 0.01},
        engine="loop",
        **options,
    )
    np.testing.assert_allclose(table.test_loss, alone.test_loss, rtol=1e-4)


def test_order_and_columns(few):
    table = run(few, grid=product(lr=[1e-3, 1e-2], beta1=[0.0, 0.5, 0.9]), steps=2)
    assert table.lr.reshape(2, 3, 2)[:, 0, 0].tolist() == [1e-3, 1e-2]
    assert table.beta1.reshape(2, 3, 2)[0, :, 0].tolist() == [0.0, 0.5, 0.9]
    assert table.seed.reshape(2, 3, 2)[0, 0].tolist() == [0, 1]
    listed = run(few, grid=[{"lr": 1e-3, "beta1": 0.5}], steps=2)
    assert listed.train_loss == pytest.approx(table.train_loss[2:4], rel=1e-5)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({}, "grid is empty"),
        ([], "list of dicts"),
        ([{"lr": 1e-3}, {"beta1": 0.5}], "same names"),
        ({"lr": np.array([])}, "lr of the grid is empty"),
        ({"lrr": 1e-3}, "no hyperparameter 'lrr'"),
        ({"lr": -1.0}, "lr of adam is"),
        ({"lr": "fast"}, "lr is 'fast'"),
        ({"l2": -1.0}, "l2 of the sweep is"),
        ({"lr": np.ones(3), "beta1": np.full(2, 0.5)}, r"lr \(3,\), beta1 \(2,\)"),
    ],
)
def test_bad_grids(few, grid, words):
    with pytest.raises((ValueError, TypeError), match=words):
        run(few, grid=grid)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps=0"),
        ({"seeds": 0}, "seeds=0"),
        ({"every": 21}, "every=21"),
        ({"batch_size": 201}, "batch_size=201"),
        ({"at_once": 0}, "at_once=0"),
        ({"engine": "gpu"}, "engine is 'gpu'; allowed: vmap, loop, ray"),
        ({"rule": "adamm"}, "unknown rule 'adamm'"),
    ],
)
def test_bad_options(few, options, words):
    with pytest.raises(ValueError, match=words):
        run(few, **options)


@pytest.mark.parametrize("values", [[], 1.0, [[1.0]]])
def test_product_wants_lists(values):
    with pytest.raises(ValueError, match="lr is"):
        product(lr=values)


def test_running_statistics_are_refused(few):
    def net(seed):
        return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))

    with pytest.raises(ValueError, match="layer '1' .* running statistics"):
        sweep(net, few, "adam", {"lr": 1e-3}, steps=1)


def test_a_finished_sweep_is_read_from_its_folder(few, tmp_path, monkeypatch):
    first = run(few, folder=tmp_path, at_once=1)
    monkeypatch.setattr("adamtut.sweep._train_together", None)  # not to be called
    assert run(few, folder=tmp_path, at_once=1).tolist() == first.tolist()


def test_a_torn_line_costs_one_chunk(few, tmp_path):
    first = run(few, folder=tmp_path, at_once=1)
    file = tmp_path / "chunks.jsonl"
    content = file.read_bytes()
    file.write_bytes(content[:-40])
    assert run(few, folder=tmp_path, at_once=1).tolist() == first.tolist()
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 21}, "steps"),
        ({"rule": "rmsprop"}, "rule"),
        ({"grid": {"lr": 2e-3}}, "grid"),
        ({"schedule": lambda t: 0.5}, "schedule"),
        ({"batch_size": 16}, "batch_size"),
    ],
)
def test_a_folder_holds_one_sweep(few, tmp_path, options, words):
    run(few, folder=tmp_path)
    kept = (tmp_path / "chunks.jsonl").read_bytes()
    with pytest.raises(ValueError, match=f"other .*{words}"):
        run(few, folder=tmp_path, **options)
    assert (tmp_path / "chunks.jsonl").read_bytes() == kept


def test_each_evaluation_is_one_pass():
    passes = []

    class Watched(nn.Linear):
        def forward(self, x):
            passes.append((self.training, len(x)))
            return super().forward(x)

    def net(seed):
        return nets.initialise(nn.Sequential(nn.Flatten(), Watched(64, 10)), seed)

    some = data.digits(normalise=True)
    some = some._replace(
        x_train=some.x_train[:90], y_train=some.y_train[:90],
        x_test=some.x_test[:40], y_test=some.y_test[:40],
    )  # fmt: skip
    options = {"steps": 2, "seeds": 3, "batch_size": 8, "progress": False}
    sweep(net, some, "sgd", {"lr": 0.1}, **options)
    assert passes == [(True, 8), (True, 8), (False, 90), (False, 40)]


def test_killed_and_resumed(tmp_path):
    """kill -9 in the middle; the resumed table is that of a sweep left alone."""
    script = textwrap.dedent(
        """
        import sys
        from functools import partial
        import numpy as np, torch
        from adamtut import data, nets
        from adamtut.sweep import product, sweep
        torch.set_num_threads(1)
        table = sweep(partial(nets.mlp, (64, 8, 10)), data.digits(), "adam",
                      product(lr=np.logspace(-4, -1, 8)), steps=50, seeds=3,
                      at_once=2, folder=sys.argv[1], progress=False)
        np.save(sys.argv[2], table)
        """
    )

    def start(folder):
        command = [sys.executable, "-c", script, tmp_path / folder, tmp_path / folder]
        return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})

    def finished():
        file = tmp_path / "killed" / "chunks.jsonl"
        return len(file.read_bytes().splitlines()) if file.exists() else 0

    assert start("whole").wait(120) == 0
    process = start("killed")
    deadline = time.monotonic() + 120
    while finished() < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = finished()
    assert 3 <= before < 12, "not killed in the middle"
    lines = (tmp_path / "killed" / "chunks.jsonl").read_bytes()
    lines = lines[: lines.rindex(b"\n")]  # the last one may be torn
    assert start("killed").wait(120) == 0
    assert (tmp_path / "killed" / "chunks.jsonl").read_bytes().startswith(lines)
    whole, resumed = (np.load(tmp_path / f"{name}.npy") for name in ("whole", "killed"))
    assert whole.tolist() == resumed.tolist() and len(whole) == 24
    assert json.loads((tmp_path / "killed" / "sweep.json").read_text())["steps"] == 50


def test_without_ray(few, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"adamtut\[ray\]"):
        run(few, engine="ray")
