"""The tournament: every rule, every task, the same number of trials, many seeds.

    python -m adamtut.tournament [--folder DIR] [--trials 20] [--seeds 6]
        [--engine vmap|ray] [--address ...] [--only NAME ...] [--record]

Declared before any run: for each rule and task, `trials` settings are drawn at random
from the rule's space (below), each is trained from seed 0, and the one with the lowest
final training loss is trained again from `seeds` other seeds. Finished sweeps stay in
the folder; the same call goes on where it stopped. --record writes the results, the
digest of the code, the command and its duration into the package, where the chapter
reads them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from adamtut.rules import RULES
from adamtut.sweep import sweep
from adamtut.tasks import TASKS, Task

RECORDS = Path(__file__).with_name("tournament.json")
MEASUREMENTS = 20  # of a run, evenly spaced

# Where lr is searched, log-uniformly: four decades around what is usual for the rule,
# as wide for each; the rules that find their own rate get two decades around 1.
_LR = {
    "sgd": (1e-3, 10),
    "momentum": (1e-3, 10),
    "nesterov": (1e-3, 10),
    "adadelta": (1e-2, 100),
    "signum": (1e-5, 1e-1),
    "lion": (1e-5, 1e-1),
    "lars": (1e-1, 1e3),
    "d_adaptation": (0.1, 10),
    "prodigy": (0.1, 10),
}
_USUAL = (1e-4, 1)
# The memories that are searched, where a rule has them: 1 - value is log-uniform.
_MEMORY = {"beta": (1e-2, 1), "beta1": (1e-2, 1), "beta2": (1e-4, 0.3)}
# Rules of matrices leave vectors to AdamW, with the same lr.
_REST = {name: "adamw" for name in ("muon", "shampoo", "soap")}


@dataclass(frozen=True)
class Entrant:
    """Who takes part: a rule at a constant rate, or with a cosine schedule.

    search   which stream its trials are drawn from
    """

    rule: str
    cosine: bool = False
    search: int = 0

    @property
    def name(self) -> str:
        again = " again" if self.search else ""
        return f"{self.rule} + cosine" if self.cosine else self.rule + again


def entrants() -> list[Entrant]:
    """Every rule at a constant rate, AdamW with a schedule, and a control.

    The control is Adam with other draws: what separates it from Adam is luck.
    """
    extra = [Entrant("adamw", cosine=True), Entrant("adam", search=1)]
    return [*map(Entrant, RULES), *extra]


def draws(rule: str, trials: int, seed: int = 0) -> list[dict[str, float]]:
    """`trials` settings of a rule, at random from its declared space."""
    draw = np.random.default_rng([seed, *rule.encode()])

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(draw.uniform(np.log(low), np.log(high))))

    hyper = RULES[rule].defaults
    memories = [name for name in _MEMORY if name in hyper]
    return [
        {"lr": log_uniform(*_LR.get(rule, _USUAL))}
        | {name: 1 - log_uniform(*_MEMORY[name]) for name in memories}
        for _ in range(trials)
    ]


def play(
    task: Task,
    entrant: Entrant,
    trials: int = 20,
    seeds: int = 6,
    folder: str | Path | None = None,
    **options,
) -> dict:
    """Tune an entrant on a task, then train it from other seeds.

    Seed 0 is for tuning, seeds 1 ... `seeds` for the result. `folder` and `options`
    (engine, address, device) are those of `adamtut.sweep`.

    Returns `setting` (the best trial), `trials` (their final training losses, inf for a
    run that diverged), `steps` (of the measurements), `train` (training losses of the
    setting, shape (seeds, measurements), less the task's floor) and `test` (final test
    losses, shape (seeds,)).
    """
    net, data = task.make()
    common = {
        "steps": task.steps,
        "batch_size": task.batch_size,
        "every": max(1, task.steps // MEASUREMENTS),
        "loss": task.loss,
        "rest": _REST.get(entrant.rule),
        "schedule": _cosine(task.steps) if entrant.cosine else None,
        "progress": False,
    } | options
    settings = draws(entrant.rule, trials, entrant.search)
    if folder is None:
        folders = [None, None]
    else:
        folders = [Path(folder) / part for part in ("tuning", "result")]
    table = sweep(
        net, data, entrant.rule, settings, seeds=1, folder=folders[0], **common
    )
    tried = _losses(table, task)[:, -1]
    best = settings[int(np.argmin(tried))]
    table = sweep(
        net, data, entrant.rule, [best], seeds=seeds + 1, folder=folders[1], **common
    )
    per_run = len(table) // (seeds + 1)
    return {
        "setting": best,
        "trials": tried.tolist(),
        "steps": table.step[:per_run].tolist(),
        "train": _losses(table, task)[1:].tolist(),
        "test": (table.test_loss.reshape(-1, per_run)[1:, -1]).tolist(),
    }


def _losses(table: np.recarray, task: Task) -> np.ndarray:
    """Training losses above the floor, shape (runs, measurements); inf: diverged."""
    runs = int((table.step == table.step.max()).sum())
    loss = np.where(table.diverged, np.inf, table.train_loss - task.floor)
    return np.where(np.isnan(loss), np.inf, loss).reshape(runs, -1)


def _cosine(steps: int):
    return lambda t: 0.5 * (1 + math.cos(math.pi * (t - 1) / steps))


def target(results: dict, task: str) -> float:
    """The loss to reach: what tuned Adam has after three quarters of its steps.

    The median of its seeds, so that the target asks for more than luck.
    """
    train = np.array(results[task]["adam"]["train"])
    return float(np.median(train[:, round(0.75 * train.shape[1]) - 1]))


def times(results: dict) -> tuple[list[str], list[str], np.ndarray]:
    """Share of the steps until the target is reached, inf where it never is.

    Returns the names of entrants and of tasks, and an array (entrants, tasks, seeds).
    """
    tasks = list(results)
    names = [x for x in results[tasks[0]] if all(x in results[t] for t in tasks)]
    rows = []
    for name in names:
        of_name = []
        for task in tasks:
            one, goal = results[task][name], target(results, task)
            reached = np.array(one["train"]) <= goal
            share = np.array(one["steps"]) / one["steps"][-1]
            first = share[reached.argmax(axis=1)]
            of_name.append(np.where(reached.any(axis=1), first, np.inf))
        rows.append(of_name)
    return names, tasks, np.array(rows)


def profile(time: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Performance profile of Dolan and More 2002.

    time     shape (entrants, tasks, seeds)

    Returns the share of (task, seed) pairs on which an entrant takes at most `factors`
    times as long as the fastest median of the task, shape (entrants, factors).
    """
    with np.errstate(invalid="ignore"):
        fastest = np.median(time, axis=2).min(axis=0)[None, :, None]
        ratio = time / fastest
    flat = np.where(np.isnan(ratio), np.inf, ratio).reshape(len(time), -1)
    return (flat[:, :, None] <= factors).mean(axis=1)


def code_digest() -> str:
    """What results depend on: tasks, declared spaces, the lines of the rules."""
    from adamtut import tasks
    from adamtut.show import lines

    parts = [
        Path(tasks.__file__).read_text(encoding="utf-8"),
        repr((_LR, _USUAL, _MEMORY, _REST, MEASUREMENTS)),
        repr({x.rule: (lines(x.rule), RULES[x.rule].defaults) for x in entrants()}),
    ]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def records() -> dict:
    """The recorded tournament: `about` and `results` by task and entrant.

    Raises FileNotFoundError where none was recorded.
    """
    saved = json.loads(RECORDS.read_text(encoding="utf-8"))
    for of_task in saved["results"].values():
        for one in of_task.values():
            for key in ("trials", "train", "test"):
                one[key] = np.array(one[key], float)  # "inf" too
    return saved


def _rounded(x):
    """Four significant digits; what is not finite as text, which JSON cannot hold."""
    if isinstance(x, dict):
        return {k: _rounded(v) for k, v in x.items()}
    if isinstance(x, list):
        return [_rounded(v) for v in x]
    if isinstance(x, int):
        return x
    return float(f"{x:.4g}") if math.isfinite(x) else str(x)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m adamtut.tournament",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, default=Path("_build/tournament"))
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--engine", choices=("vmap", "ray"), default="vmap")
    parser.add_argument("--address", help="of a Ray cluster")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these entrants")
    parser.add_argument("--record", action="store_true", help="into the package")
    options = parser.parse_args(arguments)
    all_of_them = {x.name: x for x in entrants()}
    unknown = set(options.only or ()) - set(all_of_them)
    if unknown:
        parser.error(
            f"--only {', '.join(sorted(unknown))}: no entrant has that name; "
            f"allowed: {', '.join(all_of_them)}"
        )
    if options.record and options.only:
        parser.error("--record takes all entrants; allowed: one of --only and --record")
    chosen = [all_of_them[name] for name in options.only or all_of_them]
    engine = {"engine": options.engine}
    if options.address:
        engine["address"] = options.address
    results, seconds = {name: {} for name in TASKS}, 0.0
    pairs = [(task, entrant) for task in TASKS for entrant in chosen]
    with tqdm(pairs, unit="pair") as bar:
        for task, entrant in bar:
            bar.set_postfix_str(f"{task}: {entrant.name}")
            folder = options.folder / f"{task}, {entrant.name}".replace(" ", "_")
            start = time.process_time()
            results[task][entrant.name] = play(
                TASKS[task], entrant, options.trials, options.seeds, folder, **engine
            )
            spent = folder / "cpu_seconds"
            if not spent.exists():
                spent.write_text(f"{time.process_time() - start:.2f}")
            seconds += float(spent.read_text())
    print(f"{len(pairs)} pairs, {seconds:.0f} s of CPU in all sessions")
    if options.record:
        about = {
            "digest": code_digest(),
            "command": " ".join(["python -m adamtut.tournament", *sys.argv[1:]]),
            "cpu_seconds": round(seconds),
            "date": time.strftime("%Y-%m-%d"),
            "machine": f"{platform.machine()}, {torch.get_num_threads()} thread(s)",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "trials": options.trials,
            "seeds": options.seeds,
        }
        part = RECORDS.with_suffix(".part")
        text = json.dumps({"about": about, "results": _rounded(results)})
        part.write_text(text.replace('}, "', '},\n"') + "\n", encoding="utf-8")
        part.replace(RECORDS)
        print(f"recorded in {RECORDS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
