"""How much faster a sweep is than training its runs one by one with torch.optim.Adam.

    python -m benchmarks.sweep [--rounds 5] [--runs 720] [--steps 200] [--share 10]

720 runs (12 learning rates, 12 beta1, 5 seeds) of 200 steps of a 64-16-10 network on
the digits, batches of 32. Rounds alternate between the two, each in a process of its
own, and the table has medians. The one-by-one loop trains every `share`-th run and its
time is multiplied; --share 1 trains them all.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from functools import partial

import numpy as np
import torch

from adamtut import data, nets
from adamtut.sweep import product, sweep

NET = partial(nets.mlp, (64, 16, 10))


def grid(runs: int) -> dict:
    """Learning rates and beta1, 12 of each for 720 runs of 5 seeds."""
    side = max(1, round((runs / 5) ** 0.5))
    return product(lr=np.logspace(-4, -1, side), beta1=np.linspace(0, 0.95, side))


def together(runs: int, steps: int) -> int:
    return len(sweep(NET, DATA, "adam", grid(runs), steps=steps, progress=False))


def one_by_one(runs: int, steps: int, share: int) -> int:
    """A plain torch loop: no more than a reader would write."""
    lr, beta1 = np.broadcast_arrays(*grid(runs).values())
    pairs = zip(lr.flat, beta1.flat, strict=True)
    chosen = [(*pair, seed) for pair in pairs for seed in range(5)][::share]
    for lr, beta1, seed in chosen:
        net = NET(seed)
        optimizer = torch.optim.Adam(net.parameters(), lr=lr, betas=(beta1, 0.999))
        t = epoch = 0
        while t < steps:
            for index in data.batches(len(DATA.y_train), 32, seed, epoch)[: steps - t]:
                x, y = DATA.x_train[index], DATA.y_train[index]
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(net(x), y).backward()
                optimizer.step()
                t += 1
            epoch += 1
        with torch.no_grad():
            for x, y in ((DATA.x_train, DATA.y_train), (DATA.x_test, DATA.y_test)):
                torch.nn.functional.cross_entropy(net(x), y).item()
    return len(chosen)


def child(which: str, runs: int, steps: int, share: int) -> None:
    """One measurement, printed as JSON: seconds for all runs, peak memory in MB."""
    global DATA
    DATA = data.digits(normalise=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if which == "together":
        together(60, 3)  # first calls are slow
        start = time.perf_counter()
        done = together(runs, steps)
    else:
        one_by_one(runs, 3, max(1, runs // 2))
        start = time.perf_counter()
        done = one_by_one(runs, steps, share)
    seconds = (time.perf_counter() - start) * len(grid(runs)["lr"]) ** 2 * 5 / done
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "megabytes": (after - before) / 1024}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=720)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--share", type=int, default=10)
    parser.add_argument("--child", choices=["together", "one_by_one"])
    options = parser.parse_args()
    if options.child:
        child(options.child, options.runs, options.steps, options.share)
        return
    found = {"one_by_one": [], "together": []}
    for _ in range(options.rounds):
        for which, results in found.items():
            command = [sys.executable, "-m", "benchmarks.sweep", "--child", which]
            for name in ("runs", "steps", "share"):
                command += [f"--{name}", str(getattr(options, name))]
            out = subprocess.run(command, check=True, capture_output=True, text=True)
            results.append(json.loads(out.stdout))
    medians = {
        which: {k: statistics.median(r[k] for r in results) for k in results[0]}
        for which, results in found.items()
    }
    print(f"{options.runs} runs of {options.steps} steps, median of {options.rounds}")
    threads = torch.get_num_threads()
    print(f"{platform.machine()}, torch {torch.__version__}, {threads} threads")
    print(f"{'':26}{'seconds':>9}{'extra memory, MB':>18}")
    labels = {"one_by_one": "torch.optim, one by one", "together": "adamtut.sweep"}
    for which, row in medians.items():
        print(f"{labels[which]:26}{row['seconds']:9.1f}{row['megabytes']:18.0f}")
    ratio = medians["one_by_one"]["seconds"] / medians["together"]["seconds"]
    print(f"{'times faster':26}{ratio:9.1f}")


if __name__ == "__main__":
    main()
