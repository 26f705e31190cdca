"""The tournament: what is declared, how it is played, how its figures are counted."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from adamtut import tasks, tournament
from adamtut.rules import RULES
from adamtut.tasks import TASKS, Bowl
from adamtut.tournament import Entrant, draws, play

SHORT = {
    "quadratic": dataclasses.replace(TASKS["quadratic"], steps=40),
    "MLP": dataclasses.replace(TASKS["MLP"], steps=10),
}
FEW = [Entrant("adam"), Entrant("adam", search=1), Entrant("adamw", cosine=True)]


# What is declared


@pytest.mark.parametrize("rule", RULES)
def test_draws_stay_in_the_declared_space(rule):
    settings = draws(rule, 300)
    low, high = tournament._LR.get(rule, tournament._USUAL)
    lr = np.array([x["lr"] for x in settings])
    assert low <= lr.min() and lr.max() <= high
    # log-uniform: each quarter of the decades has about a quarter of the draws
    share = np.histogram(np.log(lr), np.linspace(np.log(low), np.log(high), 5))[0] / 300
    assert (abs(share - 0.25) < 0.1).all()
    hyper = RULES[rule].defaults
    assert set(settings[0]) == {"lr"} | set(tournament._MEMORY) & set(hyper)
    for name, (least, most) in tournament._MEMORY.items():
        for setting in settings:
            assert 1 - most <= setting.get(name, 1 - most) <= 1 - least


def test_draws_are_repeatable_and_a_smaller_budget_is_a_part_of_a_larger():
    assert draws("adam", 5) == draws("adam", 20)[:5] == draws("adam", 20)[:5]
    assert draws("adam", 5) != draws("yogi", 5)
    assert draws("adam", 5) != draws("adam", 5, seed=1)


def test_every_rule_takes_part():
    assert {x.rule for x in tournament.entrants()} == set(RULES)
    assert len({x.name for x in tournament.entrants()}) == len(tournament.entrants())


# How it is played


def test_play_tunes_on_one_seed_and_trains_from_others(tmp_path):
    """Against torch.optim.Adam, step by step, in double precision."""
    task = SHORT["quadratic"]
    one = play(task, Entrant("adam"), trials=6, seeds=2)
    assert one["setting"] == draws("adam", 6)[int(np.argmin(one["trials"]))]

    def trained(setting, seed):
        net = Bowl(seed, kappa=1e4).double()
        optimizer = torch.optim.Adam(
            net.parameters(),
            lr=setting["lr"],
            betas=(setting["beta1"], setting["beta2"]),
        )
        x = torch.zeros(1, 64, dtype=torch.float64)
        losses = []
        for _ in range(task.steps):
            optimizer.zero_grad()
            loss = tasks.half_squares(net(x), x)
            loss.backward()
            optimizer.step()
            losses.append(tasks.half_squares(net(x), x).item())
        return np.array(losses)[np.array(one["steps"]) - 1]

    for setting, loss in zip(draws("adam", 6), one["trials"], strict=True):
        assert loss == pytest.approx(trained(setting, 0)[-1], rel=1e-3)
    for seed in (1, 2):
        wanted = trained(one["setting"], seed)
        assert one["train"][seed - 1] == pytest.approx(wanted, rel=1e-3)


def test_a_run_that_diverges_is_infinite_and_never_chosen(monkeypatch):
    settings = [{"lr": 1e4}, {"lr": 1e-2}]
    monkeypatch.setattr(tournament, "draws", lambda *_: settings)
    one = play(SHORT["quadratic"], Entrant("sgd"), trials=2, seeds=1)
    assert one["trials"][0] == np.inf and one["setting"] == settings[1]
    monkeypatch.setattr(tournament, "draws", lambda *_: settings[:1])
    one = play(SHORT["quadratic"], Entrant("sgd"), trials=1, seeds=1)
    assert one["train"][0][-1] == np.inf


def test_cosine_begins_at_the_rate_and_ends_near_zero():
    schedule = tournament._cosine(100)
    assert schedule(1) == 1 and schedule(51) == pytest.approx(0.5)
    assert 0 < schedule(100) < 1e-3


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A tournament of six pairs, and where it records."""
    monkeypatch.setattr(tournament, "TASKS", SHORT)
    monkeypatch.setattr(tournament, "entrants", lambda: FEW)
    monkeypatch.setattr(tournament, "RECORDS", tmp_path / "records.json")
    return ["--folder", str(tmp_path / "runs"), "--trials", "2", "--seeds", "2"]


def test_interrupted_and_resumed_records_the_same(small, monkeypatch, tmp_path):
    assert tournament.main([*small, "--record"]) == 0
    whole = tournament.records()
    assert whole["about"]["digest"] == tournament.code_digest()
    assert whole["about"]["trials"] == whole["about"]["seeds"] == 2
    assert whole["results"]["MLP"]["adam again"]["train"].shape[0] == 2

    small[1] = str(tmp_path / "again")
    kind, calls = tournament.sweep, []

    def dying(*arguments, **options):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return kind(*arguments, **options)

    monkeypatch.setattr(tournament, "sweep", dying)
    with pytest.raises(KeyboardInterrupt):
        tournament.main([*small, "--record"])
    assert tournament.records()["about"] == whole["about"]  # not half-written
    monkeypatch.setattr(tournament, "sweep", kind)
    assert tournament.main([*small, "--record"]) == 0
    again = json.dumps(tournament.records()["results"], default=np.ndarray.tolist)
    assert again == json.dumps(whole["results"], default=np.ndarray.tolist)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "adam", "atom"], "--only atom: no entrant has that name"),
        (["--only", "adam", "--record"], "--record takes all entrants"),
        (["--engine", "cluster"], "'cluster'"),
    ],
)
def test_wrong_calls_are_refused_by_name(small, capsys, arguments, words):
    with pytest.raises(SystemExit):
        tournament.main([*small, *arguments])
    assert words in capsys.readouterr().err
    assert not tournament.RECORDS.exists()


# How its figures are counted


def made(train, steps=(10, 20, 30, 40)):
    return {"steps": list(steps), "train": np.array(train, float)}


RESULTS = {
    "first": {
        "adam": made([[8, 4, 2, 1], [8, 4, 2, 1]]),  # the target: 2, reached at 30
        "quick": made([[2, 1, 1, 1], [3, 2, 1, 1]]),  # at 10 and 20
        "never": made([[9, 9, 9, 9], [9, 9, np.inf, np.inf]]),
    },
    "second": {
        "adam": made([[6, 5, 4, 3], [6, 5, 4, 3]]),  # 4
        "quick": made([[9, 9, 9, 4], [9, 9, 9, 9]]),  # 40, never
        "never": made([[9, 9, 9, 9], [9, 9, 9, 9]]),
    },
}


def test_time_to_target_by_hand():
    assert tournament.target(RESULTS, "first") == 2
    names, of_tasks, time = tournament.times(RESULTS)
    assert (names, of_tasks) == (["adam", "quick", "never"], ["first", "second"])
    assert time[0].tolist() == [[0.75, 0.75], [0.75, 0.75]]
    assert time[1].tolist() == [[0.25, 0.5], [1, np.inf]]
    assert np.isinf(time[2]).all()


def test_performance_profile_by_hand():
    """first: the fastest median is 0.375; second: 0.75."""
    time = tournament.times(RESULTS)[2]
    share = tournament.profile(time, np.array([0.6, 1, 1.34, 2]))
    assert share[0].tolist() == [0, 0.5, 0.5, 1]
    assert share[1].tolist() == [0, 0.25, 0.75, 0.75]
    assert share[2].tolist() == [0, 0, 0, 0]


def test_profile_where_nobody_arrives():
    share = tournament.profile(np.full((2, 1, 3), np.inf), np.array([1.0, 10]))
    assert share.tolist() == [[0, 0], [0, 0]]


# The recorded one


def test_records_are_of_the_code_of_today():
    """Where they are not: python -m adamtut.tournament --record."""
    saved = tournament.records()
    assert saved["about"]["digest"] == tournament.code_digest()
    assert list(saved["results"]) == list(TASKS)
    for of_task in saved["results"].values():
        assert set(of_task) == {x.name for x in tournament.entrants()}
        for name, one in of_task.items():
            entrant = next(x for x in tournament.entrants() if x.name == name)
            tried = draws(entrant.rule, saved["about"]["trials"], entrant.search)
            # more than one where they agree in the four digits that are recorded
            lowest = np.flatnonzero(one["trials"] == one["trials"].min())
            assert any(
                one["setting"] == pytest.approx(tried[i], rel=1e-3) for i in lowest
            )
            assert len(one["train"]) == len(one["test"]) == saved["about"]["seeds"]


@pytest.mark.parametrize("change", ["rule", "space", "default"])
def test_digest_sees_changes(monkeypatch, change):
    before = tournament.code_digest()
    if change == "space":
        monkeypatch.setattr(tournament, "_USUAL", (1e-4, 2))
    elif change == "rule":
        monkeypatch.setitem(RULES, "adam", RULES["amsgrad"])
    else:
        monkeypatch.setitem(RULES["yogi"].defaults, "eps", 1e-4)
    assert tournament.code_digest() != before


# The tasks


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_the_same_each_time_and_its_net_depends_on_the_seed(name):
    task = TASKS[name]
    (net, data), (_, again) = task.make(), task.make()
    assert torch.equal(data.x_train, again.x_train)
    assert torch.equal(data.y_train, again.y_train)
    first, same, other = net(0), net(0), net(1)
    loss = task.loss(first(data.x_train), data.y_train)
    assert torch.equal(loss, task.loss(same(data.x_train), data.y_train))
    assert task.floor <= float(loss) < np.inf
    pairs = zip(first.parameters(), other.parameters(), strict=True)
    if not name.startswith("logistic"):  # these begin at zero, whatever the seed
        assert any(not torch.equal(a, b) for a, b in pairs)
    assert task.batch_size <= len(data.x_train) and len(data.x_test) > 0


@pytest.mark.parametrize(
    ("name", "kappa"), [("quadratic", 1e4), ("noisy quadratic", 100)]
)
def test_bowls_have_the_condition_and_the_floor_that_are_said(name, kappa):
    task = TASKS[name]
    net, data = task.make()
    bowl = net(0).double()
    x = data.x_train.double()

    def loss(flat):
        output = (flat - bowl.minimum - x) @ bowl.root
        return tasks.half_squares(output, torch.zeros_like(output))

    hessian = torch.autograd.functional.hessian(loss, torch.zeros(64).double())
    values = torch.linalg.eigvalsh(hessian)
    assert float(values[-1] / values[0]) == pytest.approx(kappa, rel=1e-2)
    assert float(loss(bowl.minimum)) == pytest.approx(task.floor, rel=1e-5, abs=1e-12)
    slope = torch.autograd.functional.jacobian(loss, bowl.minimum)
    assert float(slope.abs().max()) < 1e-6
    for seed in range(20):  # no run begins near the end
        start = net(seed).double().weight.flatten()
        assert float((start - bowl.minimum).norm()) > 5


def test_words_are_sparse_and_entries_have_rank_four():
    _, bags = TASKS["logistic, sparse"].make()
    share = bags.x_train.mean(dim=0)
    assert share.max() > 0.3 and share.min() < 0.02
    _, entries = TASKS["factorisation"].make()
    matrix = np.full((60, 40), np.nan)
    for x, y in ((entries.x_train, entries.y_train), (entries.x_test, entries.y_test)):
        matrix[tuple(x.numpy().T)] = y.numpy()
    known = ~np.isnan(matrix)
    u, v = np.random.default_rng(0).standard_normal((2, 60, 4))
    for _ in range(
        200
    ):  # alternating least squares of rank four explains all but noise
        for rows, cols, of, seen in ((u, v, matrix, known), (v, u, matrix.T, known.T)):
            for i in range(of.shape[0]):
                a, b = cols[: of.shape[1]][seen[i]], of[i][seen[i]]
                rows[i] = np.linalg.lstsq(a, b, rcond=None)[0]
    rest = (matrix - u @ v[:40].T)[known]
    assert 0.02 < rest.std() < 0.08


def test_text_is_python_s_own_and_the_next_character_follows_the_last_eight():
    _, text = TASKS["characters"].make()
    assert torch.equal(text.x_train[1:, -1], text.y_train[:-1])
    letters = "".join(text.classes[int(i)] for i in text.y_train[:400] if i)
    assert "assert" in letters
