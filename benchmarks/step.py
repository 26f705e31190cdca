"""How long one step of Adam takes: ours and torch's, side by side in one process.

    python -m benchmarks [--rounds 60] [--threads 1] [--only mlp] [--json FILE]

Every contestant has a model of its own with the same numbers; rounds alternate between
them, and the table has medians. Gradients stay where they are, as after
`zero_grad(set_to_none=False)`; "compile, new grads" is given new ones in each round, as
after `zero_grad()`, and copies them. `limit` is a compiled loop over as many numbers
that reads 4 and writes 3 arrays, as Adam must, and computes next to nothing.

    ns          nanoseconds a parameter
    x fused     time as a multiple of torch.optim.Adam(fused=True)
    bytes       read and written, a parameter, as counted from the operators' arguments
    copy        28 bytes a parameter in this time, as a share of what a copy of 200 MB
                moves; over 100 % for what fits into the cache
    temporary   most memory that one step allocated, as bytes a parameter
    kernels     operators that one step ran, or kernels that it launched on a GPU
    first       seconds of the first step; of "compile" in a new process on a machine
                that never compiled anything (its caches are in an empty folder)
    cached      the same in the next process, with the caches that the first has left
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch.utils._python_dispatch import TorchDispatchMode

from adamtut import nets
from adamtut.optim import Optimizer

LEAST = 28  # bytes a parameter: read p, g, m, v, write p, m, v in float32
# Operators that touch no numbers.
IDLE = (
    "empty as_strided view reshape detach alias result_type item resize_ slice".split()
)


def gpt2_shapes(width=768, layers=12) -> list[tuple]:
    """GPT-2 small, 124 million parameters; the output shares the embedding."""
    one = [(width,), (width,), (width, 3 * width), (3 * width,), (width, width)]
    one += [(width,), (width,), (width,), (width, 4 * width), (4 * width,)]
    one += [(4 * width, width), (width,)]
    return [(50257, width), (1024, width), *one * layers, (width,), (width,)]


def workloads(device: str) -> dict[str, list[tuple]]:
    """Shapes of parameters by name; the two largest are for a GPU."""
    mlp = nets.mlp((784, 512, 256, 10))
    shapes = {
        "500 x 1,000": [(1000,)] * 500,
        "mlp 784-512-256-10": [tuple(p.shape) for p in mlp.parameters()],
        "resnet-18": [
            tuple(p.shape)
            for p in torchvision.models.resnet18(weights=None).parameters()
        ],
        "one of 2e7": [(20_000_000,)],
    }
    if device == "cuda":
        shapes |= {"one of 1e8": [(100_000_000,)], "gpt-2 small": gpt2_shapes()}
    return shapes


def model(shapes: list[tuple], device: str) -> list[torch.nn.Parameter]:
    rng = torch.Generator().manual_seed(0)
    params = []
    for shape in shapes:
        p = torch.nn.Parameter(torch.randn(shape, generator=rng).to(device))
        p.grad = torch.randn(shape, generator=rng).to(device)
        params.append(p)
    return params


class Contestant:
    """A step to measure: `prepare` is not in the time."""

    def __init__(self, name: str, step: Callable, prepare: Callable = lambda: None):
        self.name, self.step, self.prepare = name, step, prepare
        self.seconds: list[float] = []
        self.row: dict = {}


def contestants(shapes: list[tuple], device: str) -> list[Contestant]:
    def ours(how):
        return Optimizer(model(shapes, device), "adam", how).step

    def torchs(**how):
        return torch.optim.Adam(model(shapes, device), **how).step

    params = model(shapes, device)

    def new_gradients():
        for p in params:
            p.grad = p.grad.clone()

    found = [
        Contestant("torch fused", torchs(fused=True)),
        Contestant("torch foreach", torchs(foreach=True)),
        Contestant("torch for-loop", torchs(foreach=False)),
        Contestant("ours compile", ours("compile")),
        Contestant(
            "ours compile, new grads",
            Optimizer(params, "adam", "compile").step,
            new_gradients,
        ),
        Contestant("ours foreach", ours("foreach")),
        Contestant("ours loop", ours("loop")),
        Contestant("limit", limit(sum(map(int, map(np.prod, shapes))), device)),
    ]
    if device == "cpu" and (step := optax_step(shapes)):
        found.append(Contestant("optax jit", step))
    return found


def limit(n: int, device: str) -> Callable:
    """As many reads and writes as Adam's, with hardly any arithmetic."""
    p, g, m, v = (torch.zeros(n, device=device) for _ in range(4))

    @torch.compile
    def plain(p, g, m, v):
        m.copy_(m + g)
        v.copy_(v + g)
        p.copy_(p + m + v)

    return lambda: plain(p, g, m, v)


def optax_step(shapes: list[tuple]) -> Callable | None:
    """optax.adam under jax.jit with donated buffers, where it is installed."""
    try:
        import jax
        import optax
    except ImportError:
        return None
    jax.config.update("jax_platforms", "cpu")
    params = [jax.numpy.asarray(p.detach().numpy()) for p in model(shapes, "cpu")]
    grads = [jax.numpy.asarray(p.grad.numpy()) for p in model(shapes, "cpu")]
    adam = optax.adam(1e-3)

    def update(params, state, grads):
        change, state = adam.update(grads, state, params)
        return optax.apply_updates(params, change), state

    update = jax.jit(update, donate_argnums=(0, 1))
    kept = [params, adam.init(params)]

    def step():
        kept[:] = update(*kept, grads)
        jax.block_until_ready(kept[0])

    return step


# What one step does


class _Traffic(TorchDispatchMode):
    """Bytes of the tensors that operators read and write."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function._schema.name.removeprefix("aten::")
        if name.startswith(tuple(IDLE)):
            return result
        given = dict(
            zip([x.name for x in function._schema.arguments], args, strict=False)
        )
        given |= kwargs or {}
        for argument in function._schema.arguments:
            size = _size(given.get(argument.name))
            written = argument.alias_info is not None and argument.alias_info.is_write
            only_written = written and name.endswith(("copy_", "zero_", "fill_"))
            self.bytes += size * (written + (not only_written))
        if not any(x.alias_info for x in function._schema.returns):
            self.bytes += _size(result)
        return result


def _size(x) -> int:
    if isinstance(x, torch.Tensor):
        return x.nbytes if x.ndim else 0
    return sum(map(_size, x)) if isinstance(x, list | tuple) else 0


def bytes_moved(one: Contestant) -> int:
    """In one step; of compiled code, which shows no operators, from its buffers."""
    owner = getattr(one.step, "__self__", None)
    if getattr(owner, "how", "") == "compile":
        moved = 0
        for flat in [x for flats in owner._flats.values() for x in flats.values()]:
            sizes = [buffer.nbytes for buffer in flat.buffers]
            moved += 2 * sum(sizes) - sizes[1]  # all are read, all but g are written
            moved += 2 * sizes[1] * ("new grads" in one.name)
        return moved
    one.prepare()
    with _Traffic() as traffic:
        one.step()
    return traffic.bytes


def profiled(one: Contestant, device: str) -> tuple[int, int]:
    """Kernels that a step runs, and the most memory it holds beyond what was there."""
    one.prepare()
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if device == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds, profile_memory=True) as profile:
        one.step()
        if device == "cuda":
            torch.cuda.synchronize()
    events = profile.events()
    if device == "cuda":
        on_device = torch.autograd.DeviceType.CUDA
        kernels = sum(event.device_type == on_device for event in events)
    else:
        work = [e for e in events if not e.cpu_children and "::" in e.name]
        work = [e for e in work if not e.name.split("::")[1].startswith(tuple(IDLE))]
        compiled = [e for e in events if "cpp_fused" in e.name]
        kernels = len(compiled) or len(work)
    held = peak = 0
    memory = [
        e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"
    ]
    for event in sorted(memory, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return kernels, peak


# The measurement


def timed(step: Callable, device: str) -> float:
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def first_step(shapes: list[tuple], device: str) -> float:
    """Seconds of the first compiled step; torch and Dynamo are imported, Inductor is
    not."""
    return timed(Optimizer(model(shapes, device), "adam", "compile").step, device)


def first_steps(shapes: list[tuple], device: str) -> list[float]:
    """In two new processes, one after the other; nothing is cached before them."""
    code = "import sys; from benchmarks.step import *; torch.set_num_threads(%d); "
    code += "print(first_step(json.loads(sys.argv[1]), sys.argv[2]))"
    command = [sys.executable, "-c", code % torch.get_num_threads()]
    command += [json.dumps(shapes), device]
    with tempfile.TemporaryDirectory() as empty:
        places = ("TMPDIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
        env = os.environ | dict.fromkeys(places, empty)
        root = Path(__file__).parents[1]
        runs = [
            subprocess.run(
                command, cwd=root, env=env, stdout=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
    for run in runs:
        run.check_returncode()
    return [float(run.stdout.split()[-1]) for run in runs]


def copier(device: str) -> Callable[[], float]:
    """A function that measures bytes a second, read and written, of one large copy."""
    a = torch.ones(50_000_000, device=device)
    b = torch.ones_like(a)
    return lambda: 2 * a.nbytes / timed(lambda: b.copy_(a), device)


def measure(name: str, shapes: list[tuple], rounds: int, device: str) -> list[dict]:
    n = sum(map(int, map(np.prod, shapes)))
    runs = contestants(shapes, device)
    for one in runs:
        one.prepare()
        one.row["first"] = timed(one.step, device)
        uncounted = ["optax jit", "limit"]  # no operators of torch
        uncounted += ["ours foreach"] * (device == "cpu")  # NumPy
        if one.name not in uncounted:
            one.row["bytes"] = bytes_moved(one) / n
            kernels, peak = profiled(one, device)
            one.row |= {"kernels": kernels, "temporary": peak / n}
        if one.name == "ours compile":
            one.row["first"], one.row["cached"] = first_steps(shapes, device)
    copy, copies = copier(device), []
    for _ in range(rounds):
        copies.append(copy())
        for one in runs:
            one.prepare()
            one.seconds.append(timed(one.step, device))
    bandwidth = statistics.median(copies)
    medians = {one.name: statistics.median(one.seconds) for one in runs}
    rows = []
    for one in runs:
        seconds = medians[one.name]
        row = {"workload": name, "parameters": n, "contestant": one.name}
        row |= {"ns": seconds / n * 1e9, "x fused": seconds / medians["torch fused"]}
        row |= {"x limit": seconds / medians["limit"], "bandwidth": bandwidth}
        rows.append(row | {"copy": LEAST * n / seconds / bandwidth} | one.row)
    return rows


COLUMNS = {
    "ns": "{:.2f}",
    "x fused": "{:.2f}",
    "x limit": "{:.2f}",
    "copy": "{:.0%}",
    "bytes": "{:.0f}",
    "temporary": "{:.1f}",
    "kernels": "{:d}",
    "first": "{:.2f} s",
    "cached": "{:.2f} s",
}


def table(rows: list[dict]) -> str:
    lines = []
    for name in dict.fromkeys(row["workload"] for row in rows):
        lines.append(f"\n{name:24}" + "".join(f"{x:>11}" for x in COLUMNS))
        for row in rows:
            if row["workload"] == name:
                cells = [
                    form.format(row[x]) if x in row else ""
                    for x, form in COLUMNS.items()
                ]
                line = f"{row['contestant']:24}" + "".join(f"{x:>11}" for x in cells)
                lines.append(line)
    return "\n".join(lines)


def targets(rows: list[dict]) -> list[str]:
    """What was promised, with what was found."""
    at = {(row["workload"], row["contestant"]): row for row in rows}
    lines = []

    def target(words: str, value: float, most: float):
        verdict = "met" if value <= most else "MISSED"
        lines.append(f"{verdict:7} {words}: {value:.2f} (at most {most})")

    for name in dict.fromkeys(row["workload"] for row in rows):
        compiled = at[name, "ours compile"]
        most = 0.35 if name.startswith("500") else 1.0
        target(f"{name}: compile / fused", compiled["x fused"], most)
        if compiled["parameters"] > 1e7:
            target(f"{name}: compile / limit", compiled["x limit"], 1.3)
        target(f"{name}: first step in seconds", compiled["first"], 10)
        kept = compiled["cached"] / compiled["first"]
        target(f"{name}: first step in the next process / in the first", kept, 1.0)
        foreach = at[name, "ours foreach"]["ns"] / at[name, "torch foreach"]["ns"]
        target(f"{name}: foreach / torch's foreach", foreach, 1.5)
        if name == "one of 1e8":
            target(f"{name}: 85 % of copy / reached", 0.85 / compiled["copy"], 1.0)
    return lines


def machine(device: str) -> dict:
    cpu = Path("/proc/cpuinfo")
    names = [x for x in cpu.read_text().splitlines() if x.startswith("model name")]
    return {
        "processor": names[0].split(": ")[1] if names else platform.processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": str(date.today()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="workloads whose name contains it")
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch._inductor.config.cpp.enable_kernel_profile = True  # to count kernels
    torch._inductor.config.cpp_cache_precompile_headers = False  # for a few kernels
    device = "cuda" if torch.cuda.is_available() else "cpu"
    about = machine(device)
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    if device == "cpu":
        print("Not measured on a GPU: there is none here.")
    rows = []
    for name, shapes in workloads(device).items():
        if options.only in name:
            found = measure(name, shapes, options.rounds, device)
            print(table(found), flush=True)
            rows += found
    print("\n" + "\n".join(targets(rows)))
    if options.json:
        record = {"machine": about, "rows": rows}
        options.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
