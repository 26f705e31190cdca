"""Many short trainings at once: a grid of hyperparameters times seeds, as a table."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from adamtut import nets
from adamtut.column import Column
from adamtut.curvature import SophiaG
from adamtut.data import Dataset, batches, whole_number
from adamtut.optim import Optimizer, matrices_and_rest, unit_shape
from adamtut.rules import as_rule, check_hyper, check_range
from adamtut.rules.form import has_shape_of_p, start_shape

ENGINES = ("vmap", "loop", "ray")
# Results of a run at one step; a table has the hyperparameters and the seed before.
_MEASURED = (
    ("step", np.int64),
    ("batch_loss", np.float64),
    ("train_loss", np.float64),
    ("test_loss", np.float64),
    ("test_accuracy", np.float64),
    ("diverged", np.bool_),
)
_CURVATURE = 10  # steps between estimates, for a rule that takes them (Sophia's k)
_MEMORY = 256e6  # bytes that the runs of one chunk may take, roughly


def product(**lists: Sequence[float]) -> dict[str, np.ndarray]:
    """The grid of all combinations: arrays that broadcast, one axis a name.

    ``product(lr=[1e-3, 1e-2], beta1=[0, 0.5, 0.9])`` has six settings, in the order of
    two nested loops. Raises ValueError for a list that is empty or not flat.
    """
    for name, values in lists.items():
        if np.ndim(values) != 1 or np.size(values) == 0:
            raise ValueError(f"{name} is {values!r}; allowed: a list of numbers")
    arrays = [np.asarray(values, float) for values in lists.values()]
    return dict(zip(lists, np.ix_(*arrays), strict=True))


def sweep(
    net: Callable[[int], nn.Module],
    data: Dataset,
    rule: str | Callable,
    grid: dict[str, float | np.ndarray] | Sequence[dict[str, float]],
    *,
    steps: int,
    seeds: int = 5,
    batch_size: int = 32,
    every: int | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    schedule: Callable[[int], float] | None = None,
    engine: Literal["vmap", "loop", "ray"] = "vmap",
    folder: str | os.PathLike | None = None,
    at_once: int | None = None,
    rest: str | Callable | None = None,
    address: str | None = None,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> np.recarray:
    """Train a network with every setting of ``grid``, from every seed.

    net       a function of the seed that makes the network, its weights drawn
    rule      a rule, or its name
    grid      hyperparameters of the rule, and ``l2`` if wanted: numbers and arrays that
              broadcast against each other (see ``product``), or a list of dicts
    steps     steps of each run; batches are those of ``data.batches`` for its seed
    seeds     how many: 0, 1, ... seeds - 1
    every     measure after this many steps too, not only at the end
    loss      of scores (n, classes) and targets (n,), their mean
    schedule  factor of lr as a function of t = 1 ... steps
    engine    "vmap" trains ``at_once`` runs together with stacked parameters; "loop"
              one after the other with ``Optimizer``; "ray" spreads the chunks of "vmap"
              over the machines of a Ray cluster (``address``; none: this machine)
    folder    where finished chunks are kept: the same call resumes there
    at_once   runs of a chunk; by default as many as fit in 256 MB
    rest      rule of parameters with fewer than two axes (``rule`` without it), with
              those hyperparameters of the grid that it has

    Returns a record array, so that nothing but NumPy is needed; ``pandas.DataFrame``
    takes it as it is. One row a run and measurement, in the order of the grid, then
    seeds, then steps. Columns: the hyperparameters, ``seed``, ``step``, ``batch_loss``
    (mean over the steps since the row before), ``train_loss``, ``test_loss`` (whole
    sets, in eval mode), ``test_accuracy`` (nan where targets are no classes) and
    ``diverged``: a loss was not finite up to here. Such a run stops no other.

    A rule with an estimate of curvature (sophia) gets one every 10 steps, from targets
    that the network itself draws: classes by its scores, numbers from a normal
    distribution of variance 1 around its output.

    The engines agree to float rounding where a network draws nothing while it trains
    (dropout differs).

    Raises ValueError, TypeError: empty grid, unknown or missing name, shapes that do
    not broadcast, values out of range, a net with running statistics (BatchNorm), a
    folder that holds another sweep; ImportError without Ray.
    """
    rule, rest = as_rule(rule), rest and as_rule(rest)
    names, settings = _settings(grid, rule)
    steps = whole_number("steps", steps, 1)
    seeds = whole_number("seeds", seeds, 1)
    every = steps if every is None else whole_number("every", every, 1, steps)
    batch_size = whole_number("batch_size", batch_size, 1, len(data.y_train))
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; allowed: {', '.join(ENGINES)}")
    first = net(0)
    _check_net(first)
    runs = [(setting, seed) for setting in settings for seed in range(seeds)]
    if engine == "loop":
        at_once = 1
    elif at_once is None:
        at_once = _fitting(first, data, batch_size, len(rule.state))
    at_once = whole_number("at_once", at_once, 1)
    chunks = [runs[i : i + at_once] for i in range(0, len(runs), at_once)]
    job = {
        "net": net,
        "data": data,
        "rule": rule,
        "rest": rest,
        "names": names,
        "steps": steps,
        "every": every,
        "batch_size": batch_size,
        "loss": loss,
        "schedule": schedule,
    }
    store = _Store(folder, lambda: _description(job, first, runs, at_once, engine))
    missing = [i for i in range(len(chunks)) if i not in store.rows]
    train = _train_alone if engine == "loop" else _train_together
    total = steps * sum(len(chunks[i]) for i in missing)
    with tqdm(total=total, unit="step", disable=not progress, leave=False) as bar:
        if engine == "ray":
            for i, rows in _on_ray(job, [(i, chunks[i]) for i in missing], address):
                store.add(i, rows)
                bar.update(steps * len(chunks[i]))
        else:
            where = nets.device(device)
            for i in missing:
                store.add(i, train(job, chunks[i], where, bar.update))
    return _table(names, runs, sum((store.rows[i] for i in range(len(chunks))), []))


def _settings(grid, rule) -> tuple[list[str], list[tuple[float, ...]]]:
    """Names and settings of a grid, after all that can be wrong with it was checked."""
    if isinstance(grid, dict):
        columns = dict(grid)
    else:
        rows = list(grid)
        if not rows or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"grid is {grid!r}; allowed: a dict, or a list of dicts")
        for row in rows:
            if row.keys() != rows[0].keys():
                raise ValueError(
                    f"a setting of the grid has {sorted(row)}, another "
                    f"{sorted(rows[0])}; allowed: the same names in all"
                )
        columns = {name: [row[name] for row in rows] for name in rows[0]}
    if not columns:
        raise ValueError("grid is empty; allowed: at least one hyperparameter")
    for name, values in columns.items():
        try:
            columns[name] = np.asarray(values, float)
        except (TypeError, ValueError):
            raise TypeError(f"{name} is {values!r}; allowed: numbers") from None
        if columns[name].size == 0:
            raise ValueError(f"{name} of the grid is empty; allowed: some numbers")
        if name == "l2":
            check_range(name, columns[name], "the sweep")
        else:
            check_hyper(rule, {name: columns[name]})
    try:
        full = np.broadcast_arrays(*columns.values())
    except ValueError:
        shapes = ", ".join(f"{k} {v.shape}" for k, v in columns.items())
        raise ValueError(
            f"the shapes of the grid do not broadcast: {shapes}; for all combinations "
            "use sweep.product"
        ) from None
    settings = zip(*(values.ravel().tolist() for values in full), strict=True)
    return list(columns), list(settings)


def _check_net(net: nn.Module) -> None:
    for name, module in net.named_modules():
        if getattr(module, "track_running_stats", False):
            raise ValueError(
                f"layer {name!r} of the net keeps running statistics, which runs that "
                "share a network cannot; use track_running_stats=False or GroupNorm"
            )
    if not any(p.requires_grad for p in net.parameters()):
        raise ValueError("the net has no parameter to train")


def _fitting(net: nn.Module, data: Dataset, batch_size: int, states: int) -> int:
    """Runs whose parameters, states, gradients, batches and activations fit."""
    size = nets.count(net) * (4 + states) + 4 * batch_size * data.x_train[0].numel()
    return max(1, int(_MEMORY / (4 * size)))


# One chunk of runs, trained. Both ways return rows of _MEASURED, run by run.


def _train_alone(
    job: dict, chunk: list, device: torch.device, tick: Callable
) -> list[list]:
    """The runs of a chunk one by one, each with an Optimizer of its own."""
    data, rows = _to(device, job["data"]), []
    for setting, seed in chunk:
        net = job["net"](seed).to(device)
        hyper = dict(zip(job["names"], setting, strict=True))
        groups, rule = net.parameters(), job["rule"]
        if job["rest"] is not None:
            groups = matrices_and_rest(groups, rule, job["rest"])
        kind = SophiaG if rule.curvature else Optimizer
        optimizer = kind(groups, rule, **hyper)
        lr = [group["lr"] for group in optimizer.param_groups]
        record = _Record(job, net, data, 1)

        def point(net=net, optimizer=optimizer):
            optimizer.eval()
            vector = nn.utils.parameters_to_vector(net.parameters()).detach().clone()
            optimizer.train()
            return vector[None]

        for t, now in _steps(job, [seed]):
            if job["schedule"] is not None:
                for group, start in zip(optimizer.param_groups, lr, strict=True):
                    group["lr"] = start * job["schedule"](t)
            optimizer.zero_grad()
            value = job["loss"](net(data.x_train[now[0]]), data.y_train[now[0]])
            value.backward()
            optimizer.step()
            if job["rule"].curvature and t % _CURVATURE == 0:
                output = net(data.x_train[now[0]])
                targets = _targets(output.detach()[None], data.y_train, t)[0]
                value2 = job["loss"](output, targets)
                gradients = torch.autograd.grad(value2, list(net.parameters()))
                optimizer.take_in(gradients, len(targets))
            tick(1)
            record.add(t, value.detach()[None], point)
        rows += record.rows()
    return rows


def _train_together(
    job: dict, chunk: list, device: torch.device, tick: Callable
) -> list[list]:
    """The runs of a chunk at once: parameters in one matrix, a run a row."""
    seeds = sorted({seed for _, seed in chunk})
    made = {seed: job["net"](seed).to(device) for seed in seeds}
    start = {s: nn.utils.parameters_to_vector(n.parameters()) for s, n in made.items()}
    p = torch.stack([start[seed].detach() for _, seed in chunk])
    settings = torch.tensor([s for s, _ in chunk], dtype=torch.float64, device=device)
    hyper = {name: Column(settings[:, [i]]) for i, name in enumerate(job["names"])}
    l2 = hyper.pop("l2", None)
    of_run = torch.tensor([seeds.index(seed) for _, seed in chunk], device=device)
    net, data = made[seeds[0]], _to(device, job["data"])
    pieces = [_Piece(*piece, p, hyper) for piece in _pieces(net, job)]
    record = _Record(job, net, data, len(chunk))

    def point():
        return _together([piece.point(p) for piece in pieces])

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)  # for dropout
        for t, now in _steps(job, seeds):
            index = torch.from_numpy(np.stack(now)).to(device)[of_run]
            x, y = data.x_train[index], data.y_train[index]
            p.requires_grad_()
            value = _losses(net, p, x, y, job["loss"])
            (g,) = torch.autograd.grad(value.sum(), p)
            value, p = value.detach(), p.detach()
            g = g if l2 is None else g + l2 * p
            factor = 1.0 if job["schedule"] is None else job["schedule"](t)
            p = _together([piece.step(p, g, t, factor) for piece in pieces])
            if job["rule"].curvature and t % _CURVATURE == 0:
                g = _sampled_gradient(net, p, x, data.y_train, job["loss"], t)
                for piece in pieces:
                    piece.take_in(g, x.shape[1])
            tick(len(chunk))
            record.add(t, value, point)
    return record.rows()


def _pieces(net: nn.Module, job: dict) -> list[tuple]:
    """What is updated together: rule, columns of the matrix of runs, shape."""
    rule, rest = job["rule"], job["rest"]
    if rest is None and rule.unit in ("number", "model"):
        return [(rule, slice(None), (nets.count(net),))]
    pieces, first = [], 0
    for x in net.parameters():
        own = rest if rest is not None and x.ndim < 2 else rule
        last = first + x.numel()
        pieces.append((own, slice(first, last), unit_shape(own, x)))
        first = last
    return pieces


def _together(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


class _Piece:
    """A parameter of every run (or all of them), the rule that moves it, its state."""

    def __init__(self, rule, columns: slice, shape: tuple, p: Tensor, hyper: dict):
        self.rule, self.columns, self.shape = rule, columns, (len(p), *shape)
        one = (len(p), *[1] * len(shape))
        self.hyper = {
            name: Column(column.values.reshape(one))
            for name, column in hyper.items()
            if name in rule.defaults
        }
        self.lr = self.hyper.get("lr", rule.defaults["lr"])
        p = self._own(p)
        self.state = [self._start(name, p, one) for name in rule.state]

    def _own(self, p: Tensor) -> Tensor:
        return p[:, self.columns].reshape(self.shape)

    def _start(self, name: str, p: Tensor, one: tuple) -> Tensor:
        if has_shape_of_p(self.rule, name):
            return p.clone() if name in self.rule.starts else torch.zeros_like(p)
        if self.rule.starts[name] == "number":
            return p.new_zeros(one)
        return p.new_zeros(start_shape(self.rule, name, p.shape))

    def step(self, p: Tensor, g: Tensor, t: int, factor: float) -> Tensor:
        """The new columns of the matrix of runs; `factor` is that of the schedule."""
        hyper = self.hyper if factor == 1 else self.hyper | {"lr": self.lr * factor}
        p, g = self._own(p), self._own(g)
        p, *self.state = _tuple(self.rule(p, g, *self.state, t, **hyper))
        return p.reshape(len(p), -1)

    def take_in(self, g: Tensor, n: int) -> None:
        """Let the curvature of a batch of n examples into the state h."""
        if self.rule.curvature:
            i = self.rule.state.index("h")
            beta2 = self.hyper.get("beta2", self.rule.defaults["beta2"])
            h, g = self.state[i], self._own(g)
            self.state[i] = self.rule.curvature(h, g, n, beta2=beta2)

    def point(self, p: Tensor) -> Tensor:
        """These columns where the rule wants a model to be evaluated."""
        p = self._own(p)
        if self.rule.point is not None:
            p = self.rule.point(p, *self.state, **self.rule.defaults | self.hyper)
        return p.reshape(len(p), -1)


def _tuple(result) -> tuple:
    return result if isinstance(result, tuple) else (result,)


def _steps(job: dict, seeds: list[int]) -> Iterator[tuple[int, list[np.ndarray]]]:
    """t = 1 ... steps, and the indices of its batch for each seed."""
    n, size, t, epoch = len(job["data"].y_train), job["batch_size"], 0, 0
    while True:
        for now in zip(*(batches(n, size, seed, epoch) for seed in seeds), strict=True):
            t += 1
            yield t, list(now)
            if t == job["steps"]:
                return
        epoch += 1


def _stacked(net: nn.Module, p: Tensor) -> dict[str, Tensor]:
    """The parameters of each row of p, by name, with a leading axis of runs."""
    named = dict(net.named_parameters())
    parts = torch.split(p, [x.numel() for x in named.values()], dim=1)
    return {
        name: part.reshape(len(p), *x.shape)
        for (name, x), part in zip(named.items(), parts, strict=True)
    }


def _losses(net, p, x, y, loss) -> Tensor:
    """The loss of each run on a batch of its own."""

    def one(parameters, x, y):
        return loss(functional_call(net, parameters, (x,)), y)

    return vmap(one, randomness="different")(_stacked(net, p), x, y)


def _sampled_gradient(net, p, x, y, loss, t: int) -> Tensor:
    """The gradient of each run with targets that the network draws itself."""

    def output(parameters, x):
        return functional_call(net, parameters, (x,))

    with torch.no_grad():
        outputs = vmap(output, randomness="different")(_stacked(net, p), x)
    p = p.detach().requires_grad_()
    value = _losses(net, p, x, _targets(outputs, y, t), loss)
    return torch.autograd.grad(value.sum(), p)[0]


def _targets(outputs: Tensor, y: Tensor, t: int) -> Tensor:
    """Targets drawn from outputs (runs, n, ...), like y; one noise for all the runs."""
    draw, shape = np.random.default_rng([7, t]), tuple(outputs.shape[1:])
    noise = (
        draw.normal(size=shape) if y.is_floating_point() else draw.gumbel(size=shape)
    )
    drawn = outputs + torch.from_numpy(noise).to(outputs)
    return drawn if y.is_floating_point() else drawn.argmax(dim=-1)


def _measured(net, p, x, y, loss) -> tuple[Tensor, Tensor]:
    """Loss and share of right answers of each run; nan where y are no classes."""

    def one(parameters):
        output = functional_call(net, parameters, (x,))
        if y.is_floating_point():
            return loss(output, y), output.new_full((), torch.nan)
        return loss(output, y), (output.argmax(dim=-1) == y).double().mean()

    return vmap(one, randomness="different")(_stacked(net, p))


class _Record:
    """What the runs of a chunk measure, every job["every"] steps and at the end."""

    def __init__(self, job: dict, net: nn.Module, data: Dataset, runs: int):
        self.job, self.net, self.data = job, net, data
        self.seen, self.kept = [], []
        self.diverged = np.zeros(runs, bool)

    def add(self, t: int, value: Tensor, point: Callable) -> None:
        """`point()` is asked for the parameters only when it is time to measure."""
        self.seen.append(value)
        if t % self.job["every"] and t != self.job["steps"]:
            return
        seen = torch.stack(self.seen).double().cpu().numpy()
        self.seen = []
        with np.errstate(over="ignore", invalid="ignore"):
            mean = seen.mean(axis=0)
        self.diverged |= ~np.isfinite(seen).all(axis=0)
        self.net.eval()
        with torch.no_grad():
            p = point()
            train, _ = self._score(p, self.data.x_train, self.data.y_train)
            test, right = self._score(p, self.data.x_test, self.data.y_test)
        self.net.train()
        columns = [mean, train, test, right, self.diverged]
        self.kept.append(
            [[t, *row] for row in zip(*map(np.copy, columns), strict=True)]
        )

    def rows(self) -> list[list]:
        return [
            [x.item() if hasattr(x, "item") else x for x in row]
            for run in zip(*self.kept, strict=True)
            for row in run
        ]

    def _score(self, p: Tensor, x: Tensor, y: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Loss and share of right answers of each run on all examples."""
        loss = right = 0.0
        for i in torch.arange(len(y), device=y.device).split(500):
            share = len(i) / len(y)
            now = _measured(self.net, p, x[i], y[i], self.job["loss"])
            loss += share * now[0].double()
            right += share * now[1]
        return loss.cpu().numpy(), right.cpu().numpy()


def _to(device: torch.device, data: Dataset) -> Dataset:
    return data._replace(
        **{
            k: getattr(data, k).to(device)
            for k in ("x_train", "y_train", "x_test", "y_test")
        }
    )


# Ray, and what is kept on disk.


def _on_ray(job: dict, chunks: list, address: str | None) -> Iterator[tuple[int, list]]:
    """Each chunk as a task of a Ray cluster; yields (number of the chunk, its rows)."""
    try:
        import ray
    except ModuleNotFoundError:
        raise ImportError(
            "engine='ray' needs Ray: pip install 'adamtut[ray]'"
        ) from None
    ours = not ray.is_initialized()
    if ours:
        ray.init(address=address, log_to_driver=False, include_dashboard=False)

    def train(job, chunk):
        torch.set_num_threads(1)
        return _train_together(job, chunk, nets.device(), lambda n: None)

    try:
        common, task = ray.put(job), ray.remote(num_cpus=1, max_retries=3)(train)
        waiting = {task.remote(common, chunk): i for i, chunk in chunks}
        while waiting:
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(done), ray.get(done)
    finally:
        if ours:
            ray.shutdown()


class _Store:
    """The rows of finished chunks: in memory, and in `folder` where there is one.

    sweep.json says which sweep it is, chunks.jsonl has a line a chunk, written at once
    and flushed to the disk; a line that a killed process left unfinished is cut off.
    """

    def __init__(self, folder: str | os.PathLike | None, description: Callable):
        self.rows: dict[int, list] = {}
        self.file = None
        if folder is None:
            return
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        about, self.file = folder / "sweep.json", folder / "chunks.jsonl"
        new = description()
        if about.exists():
            old = json.loads(about.read_text(encoding="utf-8"))
            changed = [name for name in new if new[name] != old.get(name)]
            if changed:
                raise ValueError(
                    f"folder {folder} holds a sweep with other {', '.join(changed)};"
                    " allowed: the same call again, or an empty folder"
                )
        else:
            part = about.with_suffix(".part")
            part.write_text(json.dumps(new, indent=1), encoding="utf-8")
            part.replace(about)
        whole = 0
        if self.file.exists():
            for line in self.file.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                number, rows = json.loads(line)
                self.rows[number] = rows
                whole += len(line)
            os.truncate(self.file, whole)

    def add(self, number: int, rows: list) -> None:
        self.rows[number] = rows
        if self.file is not None:
            with open(self.file, "a", encoding="utf-8") as file:
                file.write(json.dumps([number, rows]) + "\n")
                file.flush()
                os.fsync(file.fileno())


def _description(
    job: dict, net: nn.Module, runs: list, at_once: int, engine: str
) -> dict:
    """What makes two sweeps the same, as text and digests."""

    def digest(*parts) -> str:
        sha = hashlib.sha256()
        for part in parts:
            sha.update(part if isinstance(part, bytes) else repr(part).encode())
        return sha.hexdigest()[:16]

    def content(*tensors: Tensor) -> str:
        return digest(*(x.detach().cpu().numpy().tobytes() for x in tensors))

    def lines(rule) -> str:
        try:
            source = inspect.getsource(rule)
        except OSError:  # made by exec
            source = rule.__code__.co_code
        return f"{rule.__name__} {digest(source, rule.defaults)}"

    factor, rest = job["schedule"], job["rest"]
    return {
        "rule": lines(job["rule"]),
        "rest": rest and lines(rest),
        "grid": digest(job["names"], runs),
        "net": content(*net.parameters()) + digest(repr(net)),
        "data": content(*job["data"][:4]),
        "loss": getattr(job["loss"], "__qualname__", repr(job["loss"])),
        "schedule": factor and digest([factor(t + 1) for t in range(job["steps"])]),
        **{name: job[name] for name in ("steps", "every", "batch_size")},
        "at_once": at_once,
        "engine": "loop" if engine == "loop" else "vmap",
    }


def _table(names: list[str], runs: list, rows: list[list]) -> np.recarray:
    each = len(rows) // len(runs)
    fields = [*((name, np.float64) for name in names), ("seed", np.int64), *_MEASURED]
    records = [
        (*setting, seed, *row)
        for (setting, seed), i in zip(runs, range(0, len(rows), each), strict=True)
        for row in rows[i : i + each]
    ]
    return np.array(records, dtype=fields).view(np.recarray)
