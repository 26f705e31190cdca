"""What is wrong with a model and its optimiser that raises no error: look, never touch.

    from adamtut.doctor import examine, report

    print(report(examine(model, optimizer, loss=lambda m: cross_entropy(m(x), y))))
    print(report(examine(model, optimizer, step=train_step, steps=1000)))

The command `adamtut doctor train.py:setup` does the same with what `setup()` returns.
"""

from __future__ import annotations

import copy
import math
import random
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adamtut.watch import NotTheCopy, Watch

# Where the book stands (_config.yml, html.baseurl).
BOOK = "https://adamtut.github.io/adam-step-by-step/"
# What can be found, and the section of the book that shows it.
SECTIONS = {
    "not-in-optimizer": "traps.html#trap-replaced",
    "not-of-model": "traps.html#trap-replaced",
    "updated-twice": "traps.html#trap-twice",
    "decay": "traps.html#trap-decay",
    "lr": "hyperparameters.html#how-to-choose-each",
    "eps": "traps.html#trap-eps",
    "state": "traps.html#trap-resume",
    "scheduler": "traps.html#trap-scheduler",
    "zero-grad": "traps.html#trap-zero-grad",
    "no-gradient": "traps.html#trap-none",
    "zero-gradient": "traps.html#trap-none",
    "point": "traps.html#trap-point",
    "not-finite": "stability.html#the-first-nan-names-its-layer",
    "step-too-large": "stability.html#four-numbers-to-print-in-every-run",
    "step-lost": "traps.html#trap-bfloat16",
    "factor": "traps.html#trap-harmless",
    "clipping": "traps.html#trap-harmless",
    "scheduler-order": "traps.html#trap-harmless",
}
# The learning rates that are usual, by family of rules: from what papers and defaults
# use, a decade or more to either side. Other rules are not judged.
_RATES = {
    "sgd momentum nesterov asgd": (1e-5, 5.0),
    "adam adamw amsgrad adamax nadam radam yogi adabelief adabound adan adopt ademamix "
    "cautious grams mars adammini rmsprop rmspropcentered sparseadam soap "
    "adafactor": (1e-6, 0.05),
    "schedulefree adamwschedulefree lamb": (1e-5, 0.1),
    "lion signum sophia": (1e-7, 0.01),
    "adagrad": (1e-4, 1.0),
    "adadelta": (1e-3, 10.0),
    "muon": (1e-5, 0.2),
    "lars": (1e-3, 50.0),
    "shampoo": (1e-5, 5.0),
    "dadaptation prodigy": (0.1, 10.0),
    "lbfgs": (1e-3, 2.0),
    "rprop": (1e-6, 1.0),
}
RATES = {name: band for names, band in _RATES.items() for name in names.split()}
# Rules that divide by sqrt(v) + eps, v being of the parameter's dtype.
_DIVIDES = {
    *"adam adamw amsgrad nadam radam yogi adabelief adabound adan adopt".split(),
    *"ademamix cautious grams mars adammini rmsprop rmspropcentered soap lamb".split(),
    *"adagrad schedulefree dadaptation prodigy sparseadam".split(),
}
# Decay of everything is usual here.
_DECAYS_ALL = {"sgd", "momentum", "nesterov", "asgd", "lars"}
# Above it a step has changed a matrix by more than half of its size.
TOO_LARGE = 0.5
# As many of the weights that have a gradient may a step leave where they are.
LOST = 0.5
# A gradient that after clipping became smaller than this share was divided too late.
DIVIDED = 0.5


@dataclass(frozen=True)
class Finding:
    """`trap` is a key of SECTIONS; `sentence` names the parameters and the values, and
    what is allowed or usual; `link` is the address of the section of the book."""

    trap: str
    sentence: str

    @property
    def link(self) -> str:
        return f"{BOOK}chapters/{SECTIONS[self.trap]}"

    def __str__(self) -> str:
        lines = textwrap.wrap(self.sentence, 84, break_on_hyphens=False)
        return "\n  ".join([self.trap, *lines, self.link])


def report(findings: Sequence[Finding]) -> str:
    """The findings as text, a paragraph each; empty where there are none."""
    return "\n\n".join(map(str, findings))


def examine(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
    loss: Callable[[nn.Module], Tensor] | None = None,
    scheduler: Any = None,
    *,
    step: Callable[..., Any] | None = None,
    steps: int | None = None,
) -> list[Finding]:
    """What is suspicious about a training's set-up; an empty list where nothing is.

    model      all that is trained; several models as one `nn.ModuleList`
    optimizer  of `torch.optim`, of `adamtut.optim`, or any other that is a
               `torch.optim.Optimizer`; a list of them where several train one model
    loss       a function of the model that returns one number, such as
               `lambda m: cross_entropy(m(x), y)`. With it, one step is done on a deep
               copy: gradients and the size of the step are seen only so
    scheduler  that of the learning rate: whether it and the optimiser have made the
               same way
    step       one whole training step, from the forward pass to `optimizer.step()`
               and `zero_grad()`, as a function of model and optimizer, and of
               scheduler where one is given. It is called twice with deep copies of
               them: what is wrong in the loop is seen only so. Batches that are added
               up without dividing are seen where `loss` is given too, as the mean
               over one of them
    steps      how many steps the optimiser has made so far, in a resumed training
               too (those that a GradScaler skipped do not count): a state that has
               seen fewer was not restored

    Parameters, gradients, buffers, states, modes, hooks and the generators of torch,
    NumPy and Python are left as they were. `loss` and `step` are given copies and must
    use them; what else they change (a data loader that moves on, a GradScaler), they
    change. Needs the memory of a second model and optimiser where `loss` is given, and
    of three more models where `step` is.

    Raises TypeError for an argument of another kind; ValueError for a model without
    parameters or with lazy ones, a loss that is not one number that depends on the
    model it is given, a step that uses model, optimizer or scheduler itself or does
    not step the optimizer, negative steps, and what cannot be copied.
    """
    optimizers = _checked(model, optimizer, loss, scheduler, step, steps)
    case = _Case(model, optimizers, scheduler, steps)
    found = [finding for check in _CHECKS for finding in check(case)]
    if any(p.is_meta for p in model.parameters()):
        found += _gradients(case)
    elif step is not None:
        found += _whole_step(case, step, loss, isinstance(optimizer, list | tuple))
    elif loss is not None:
        found += _one_step(case, loss)
    else:
        found += _gradients(case)
    order = list(SECTIONS)
    return sorted(found, key=lambda finding: order.index(finding.trap))


class _Case:
    """What the checks look at."""

    def __init__(
        self, model: nn.Module, optimizers: list, scheduler: Any, steps: int | None
    ):
        self.model, self.optimizers = model, optimizers
        self.scheduler, self.steps = scheduler, steps
        self.names = {p: name for name, p in model.named_parameters()}
        self.groups = [
            (optimizer, number, group)
            for optimizer in optimizers
            for number, group in enumerate(optimizer.param_groups)
        ]
        # each parameter as often as it stands in a group
        self.held = [p for _, _, group in self.groups for p in group["params"]]

    def name(self, p: Tensor) -> str:
        return self.names.get(p, f"a parameter of shape {tuple(p.shape)}")

    def list(self, params: Sequence[Tensor]) -> str:
        """The first names, and how many more there are."""
        names = [self.name(p) for p in params[:3]]
        if len(params) > 3:
            names.append(f"{len(params) - 3} more")
        if len(names) == 1:
            return names[0]
        return f"{', '.join(names[:-1])} and {names[-1]}"

    def where(self, optimizer: torch.optim.Optimizer, number: int) -> str:
        """Which group, as words."""
        several = len(self.optimizers) > 1
        own = f" of {type(optimizer).__name__}" if several else ""
        if several:
            own += f" (optimizer {self.optimizers.index(optimizer)})"
        return f"group {number}{own}"


def _checked(
    model, optimizer, loss, scheduler, step, steps
) -> list[torch.optim.Optimizer]:
    """The optimizers, as a list; refuse what `examine` cannot look at."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is {_kind(model)}; allowed: a torch.nn.Module")
    several = isinstance(optimizer, list | tuple)
    optimizers = list(optimizer) if several else [optimizer]
    for one in optimizers:
        if not isinstance(one, torch.optim.Optimizer):
            raise TypeError(
                f"optimizer is {_kind(one)}; allowed: a torch.optim.Optimizer, or a "
                "list of them"
            )
    if not optimizers:
        raise ValueError("optimizer is an empty list; allowed: one optimizer or more")
    if loss is not None and (not callable(loss) or isinstance(loss, Tensor)):
        raise TypeError(
            f"loss is {_kind(loss)}; allowed: a function of the model that returns "
            "one number, such as lambda m: cross_entropy(m(x), y)"
        )
    if scheduler is not None and not hasattr(scheduler, "state_dict"):
        raise TypeError(
            f"scheduler is {_kind(scheduler)}; allowed: one of torch.optim.lr_scheduler"
        )
    if step is not None and (not callable(step) or isinstance(step, nn.Module)):
        raise TypeError(
            f"step is {_kind(step)}; allowed: a function of model and optimizer (and "
            "scheduler, where one is given) that does one training step"
        )
    if steps is not None and (type(steps) is bool or not isinstance(steps, int)):
        raise TypeError(f"steps is {_kind(steps)}; allowed: a whole number")
    if steps is not None and steps < 0:
        raise ValueError(f"steps is {steps}; allowed: 0 or more")
    if not any(True for _ in model.parameters()):
        raise ValueError("model has no parameters; allowed: at least one")
    for name, p in model.named_parameters():
        if nn.parameter.is_lazy(p):
            raise ValueError(
                f"parameter {name} of model is lazy and has no shape yet; run the model"
                " once before"
            )
    return optimizers


def _kind(x: Any) -> str:
    """An object in a few words: a model or a tensor would print as a page."""
    return f"a {type(x).__name__}" if isinstance(x, nn.Module | Tensor) else repr(x)


# What the groups, the state and the gradients tell as they are.


def _left_out(case: _Case) -> Iterator[Finding]:
    held = set(case.held)
    out = [p for p in case.names if p.requires_grad and p not in held]
    if out:
        yield Finding(
            "not-in-optimizer",
            f"{case.list(out)} ({_values(out)} of model) stand in no group, so they "
            "keep their values; allowed: each in one group, or requires_grad = False.",
        )
    foreign = list(dict.fromkeys(p for p in case.held if p not in case.names))
    if foreign:
        yield Finding(
            "not-of-model",
            f"The optimizer holds {case.list(foreign)} ({_values(foreign)}), which "
            "model does not: was a layer replaced after the optimizer was made? "
            "Allowed: parameters of model (of several models: nn.ModuleList).",
        )


def _twice(case: _Case) -> Iterator[Finding]:
    places: dict[Tensor, list] = {}
    for optimizer, number, group in case.groups:
        for p in group["params"]:
            places.setdefault(p, []).append(case.where(optimizer, number))
    again: dict[tuple, list] = {}  # parameters, by the places where they stand
    for p, where in places.items():
        if len(where) > 1:
            again.setdefault(tuple(where), []).append(p)
    for where, params in again.items():
        yield Finding(
            "updated-twice",
            f"{case.list(params)} ({_values(params)}) are listed {len(where)} times, "
            f"in {' and in '.join(where)}: each step updates them as often; allowed: "
            "once.",
        )
    at: dict[tuple, list] = {}
    for p in places:
        if not p.is_meta and p.layout == torch.strided and p.numel():
            at.setdefault((p.device, p.data_ptr(), p.shape), []).append(p)
    for same in at.values():
        if len(same) > 1:
            yield Finding(
                "updated-twice",
                f"{case.list(same)} are different parameters in the same memory: each "
                "step updates it once for each of them; allowed: one parameter, tied "
                "by a.weight = b.weight.",
            )


def _decay(case: _Case) -> Iterator[Finding]:
    plain = set()
    for module in case.model.modules():
        norm = "norm" in type(module).__name__.lower()
        for name, p in module.named_parameters(recurse=False):
            if norm or name.endswith("bias"):
                plain.add(p)
    for optimizer, number, group in case.groups:
        if _rule(optimizer, group) in _DECAYS_ALL:
            continue
        decayed = [p for p in group["params"] if p in plain and p.requires_grad]
        for key in ("weight_decay", "l2"):
            if decayed and (value := _number(group.get(key))):
                yield Finding(
                    "decay",
                    f"{case.list(decayed)} are biases or belong to norms, and "
                    f"{case.where(optimizer, number)} decays them with {key} = "
                    f"{value:g}; usual: a group of their own with 0.",
                )


def _lr(case: _Case) -> Iterator[Finding]:
    for optimizer, number, group in case.groups:
        rule = _rule(optimizer, group)
        # a scheduler may have lowered lr, or not yet raised it
        rates = [_number(group.get(k)) for k in ("lr", "initial_lr", "max_lr")]
        rates = [rate for rate in rates if rate is not None]
        if rule in RATES and rates:
            low, high = RATES[rule]
            if not low <= max(rates) <= high:
                yield Finding(
                    "lr",
                    f"lr = {max(rates):g} in {case.where(optimizer, number)}; usual "
                    f"with {rule}: {low:g} to {high:g}.",
                )


def _eps(case: _Case) -> Iterator[Finding]:
    for optimizer, number, group in case.groups:
        eps = _number(group.get("eps"))
        if eps is None or _rule(optimizer, group) not in _DIVIDES or group.get("fused"):
            continue  # fused kernels compute in float32
        for dtype in dict.fromkeys(p.dtype for p in group["params"]):
            if not dtype.is_floating_point:
                continue
            # below it, v is zero while eps is not yet what the step is divided by
            least = math.sqrt(
                torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
            )
            if eps < least:
                gone = torch.tensor(eps, dtype=dtype).item() == 0
                yield Finding(
                    "eps",
                    f"eps = {eps:g} in {case.where(optimizer, number)}, whose "
                    f"parameters are {dtype}"
                    + (", where it is zero" if gone else "")
                    + f"; allowed: {least:.2g}, the root of the smallest v, or more.",
                )


def _state(case: _Case) -> Iterator[Finding]:
    for optimizer, number, group in case.groups:
        where = case.where(optimizer, number)
        trained = [p for p in group["params"] if p.requires_grad]
        if any(p.grad is not None for p in trained):
            trained = [p for p in trained if p.grad is not None]
        # .get: state is a defaultdict, and is only looked at
        steps = {p: _steps(optimizer.state.get(p)) for p in trained}
        if not any(optimizer.state.get(p) for p in steps):
            continue  # as it is before the first step
        counts = {n for n in steps.values() if n is not None}
        if counts and len(set(steps.values())) > 1:
            late = [p for p, n in steps.items() if (n or 0) < max(counts)]
            least = min(n or 0 for n in steps.values())
            yield Finding(
                "state",
                f"{case.list(late)} in {where} have made fewer steps (from {least}) "
                f"than others ({max(counts)}): either their state was not loaded, or "
                "they had no gradient in some steps.",
            )
        if not type(optimizer).__module__.startswith("torch.optim"):
            continue  # ours refuses such a state_dict; others keep what they like
        for p, n in steps.items():
            state = optimizer.state.get(p) or {}
            if (
                "exp_avg" in state
                and not n
                and not p.is_meta
                and state["exp_avg"].any()
            ):
                yield Finding(
                    "state",
                    f"The state of {case.name(p)} in {where} holds averages but "
                    f"{'no step' if n is None else 'step = 0'}: they would be "
                    "corrected for a bias that they do not have; allowed: the step "
                    "that they were saved with.",
                )
                break
        seconds = [(optimizer.state.get(p) or {}).get("exp_avg_sq") for p in steps]
        seconds = [v for v in seconds if v is not None and not v.is_meta]
        if seconds and max(counts, default=0) > 0 and not any(v.any() for v in seconds):
            yield Finding(
                "state",
                f"The state in {where} is at step {max(counts)}, but every exp_avg_sq "
                "is zero: the averages were not loaded.",
            )


def _behind(case: _Case) -> Iterator[Finding]:
    """Whether each optimiser's state has seen as many steps as the user says."""
    for optimizer in case.optimizers if case.steps else []:
        params = [p for group in optimizer.param_groups for p in group["params"]]
        states = [optimizer.state.get(p) for p in params if p.requires_grad]
        counts = [n for n in map(_steps, states) if n is not None]
        if not states or not _keeps_state(optimizer) or (any(states) and not counts):
            continue  # nothing to restore, or nothing in it that counts
        made = max(counts, default=0)
        if made < case.steps:
            has = f"is at step {made}" if any(states) else "is empty"
            yield Finding(
                "state",
                f"The state of {type(optimizer).__name__} {has}, but {case.steps} "
                "steps were made: its state_dict was not loaded.",
            )


def _scheduler(case: _Case) -> Iterator[Finding]:
    scheduler = case.scheduler
    moved = getattr(scheduler, "optimizer", None)
    if moved is None:
        return
    if all(moved is not optimizer for optimizer in case.optimizers):
        yield Finding(
            "scheduler",
            "The scheduler belongs to another optimizer, so this one's lr stands "
            "still; allowed: a scheduler made with this optimizer.",
        )
        return
    for number, (group, last) in enumerate(
        zip(moved.param_groups, getattr(scheduler, "_last_lr", []), strict=False)
    ):
        lr, last = _number(group["lr"]), _number(last)
        if not math.isclose(lr, last, rel_tol=1e-6, abs_tol=1e-30):
            yield Finding(
                "scheduler",
                f"lr = {lr:g} in {case.where(moved, number)}, but the scheduler set "
                f"{last:g} last: one of the two was not loaded, or lr was set by hand.",
            )
    made = getattr(scheduler, "last_epoch", None)
    states = [moved.state.get(p) for g in moved.param_groups for p in g["params"]]
    steps = max((_steps(state) or 0 for state in states), default=0)
    if not made and steps:
        yield Finding(
            "scheduler",
            f"The optimizer is at step {steps}, the scheduler at 0: it was not loaded, "
            "or is never called (as is right in the first epoch, if called by epoch).",
        )
    elif made and not any(states) and _keeps_state(moved) and not case.steps:
        yield Finding(
            "state",
            f"The scheduler is at {made}, but the optimizer has no state: its "
            "state_dict was not loaded.",
        )
    elif made and steps and made > steps:
        yield Finding(
            "scheduler",
            f"The scheduler was called {made} times, the optimizer {steps}: it is "
            "called where no step is made (accumulation, or GradScaler skips one).",
        )


def _gradients(case: _Case) -> Iterator[Finding]:
    # those that are not the model's have a finding of their own
    held = [p for p in dict.fromkeys(case.held) if p in case.names]
    trained = [p for p in held if p.requires_grad]
    none = [p for p in trained if p.grad is None]
    if none and len(none) < len(trained):
        yield _no_gradient(case, none)


def _point(case: _Case) -> Iterator[Finding]:
    """Schedule-free: whether the model and the optimiser are in the same mode."""
    for optimizer in case.optimizers:
        modes = set()  # whether the optimiser is in train mode, by parameter
        for group in optimizer.param_groups:
            if "train_mode" in group:  # the package schedulefree
                modes.add(bool(group["train_mode"]))
            elif _has_point(optimizer, group):
                states = map(optimizer.state.get, group["params"])
                modes |= {"trained" not in state for state in states if state}
        if modes and modes != {case.model.training}:
            model, own = ("train", "eval") if case.model.training else ("eval", "train")
            yield Finding(
                "point",
                f"The model is in {model} mode, {type(optimizer).__name__} in {own} "
                "mode, so the weights are those of the wrong point; allowed: "
                f"optimizer.{model}() beside model.{model}().",
            )


# Those that need neither gradients nor a step.
_CHECKS = [
    _left_out,
    _twice,
    _decay,
    _lr,
    _eps,
    _state,
    _behind,
    _scheduler,
    _point,
]


# What one step tells, done on a copy.


def _one_step(case: _Case, loss: Callable) -> list[Finding]:
    model, optimizers, _, pairs = _copies(case)
    trained = dict.fromkeys([*model.parameters(), *pairs.values()])
    trained = [p for p in trained if p.requires_grad]
    seen: list[tuple] = []  # the gradients of each call

    def closure() -> Tensor:
        # not backward(): it would reach into a model that is no copy
        value = _value(loss, model)
        seen.append(torch.autograd.grad(value, trained, allow_unused=True))
        if all(g is None for g in seen[-1]):
            raise ValueError(
                "loss does not depend on the model that it is given; allowed: a "
                "function that uses its argument, such as "
                "lambda m: cross_entropy(m(x), y)"
            )
        for p, g in zip(trained, seen[-1], strict=True):
            p.grad = g
        return value.detach()

    with _same_draws({p.device for p in trained}), torch.enable_grad():
        for optimizer in optimizers:
            # schedule-free steps from where it trains
            getattr(optimizer, "train", lambda: None)()
        before = {p: new.detach().clone() for p, new in pairs.items()}
        for optimizer in optimizers:
            optimizer.step(closure)
    gradients = dict(zip(trained, seen[0], strict=True))
    fresh = {p: gradients[new] for p, new in pairs.items()}
    stood = {p: p.grad for p in pairs}
    return [*_reached(case, fresh, stood), *_moved(case, before, pairs, fresh)]


# What two calls of a user's own training step tell, done on a copy.


def _whole_step(
    case: _Case, step: Callable, loss: Callable | None, several: bool
) -> list[Finding]:
    model, optimizers, scheduler, pairs = _copies(case, case.scheduler)
    for p, new in pairs.items():
        # as it stands between two steps: zero, None or used
        new.grad = None if p.grad is None else p.grad.detach().clone()
    given = [model, optimizers if several else optimizers[0]]
    given += [scheduler] if scheduler is not None else []
    originals = [*case.model.modules(), *case.optimizers, case.scheduler]
    watch = Watch(optimizers, scheduler, originals)
    mean = math.nan
    with (
        _same_draws({p.device for p in pairs.values()}),
        torch.enable_grad(),
        warnings.catch_warnings(),
    ):
        # of torch: about the copy, whose optimizer does not know its scheduler
        warnings.filterwarnings("ignore", "Seems like `optimizer.step|Detected call of")
        for optimizer in optimizers:
            getattr(optimizer, "train", lambda: None)()
        if loss is not None:
            mean = _value(loss, model).item()
        with watch.on():
            for _ in range(2):
                watch.begin()
                _call(step, given)
    if not watch.after:
        raise ValueError(
            "step did not step the optimizer that it was given in two calls; allowed: "
            "a function of model and optimizer that does one whole training step (with "
            "a GradScaler: of an init_scale so small that no step is skipped)"
        )
    seen = [(p, new) for p, new in pairs.items() if new in watch.after]
    before, after, fresh, stood = (
        {p: values[new] for p, new in seen}
        for values in (watch.before, watch.after, watch.gradient, watch.stood)
    )
    return [
        *_reached(case, fresh, stood),
        *_moved(case, before, after, fresh),
        *_left_over(case, [p for p, new in pairs.items() if new in watch.leftover]),
        *_clipped(watch),
        *_added_up(watch, mean),
        *_in_order(watch),
    ]


def _call(step: Callable, given: list) -> None:
    try:
        step(*given)
    except NotTheCopy:
        raise
    except Exception as error:
        names = ["model", "optimizer", "scheduler"][: len(given)]
        error.add_note(f"raised by step, called with copies of {', '.join(names)}")
        raise


def _left_over(case: _Case, params: list) -> Iterator[Finding]:
    if params:
        yield Finding(
            "zero-grad",
            f"The second step moves {case.list(params)} ({_values(params)}) by the sum "
            "of two gradients, its own and that of the first step; allowed: "
            "optimizer.zero_grad() in each step.",
        )


def _clipped(watch: Watch) -> Iterator[Finding]:
    share = watch.after_clip
    if share is not None and share < DIVIDED:
        yield Finding(
            "clipping",
            f"Between clipping and the step the gradient shrinks to {share:.2g} of its "
            "size, so it was clipped at another scale; allowed: "
            "scaler.unscale_(optimizer), or dividing, before clipping.",
        )


def _added_up(watch: Watch, mean: float) -> Iterator[Finding]:
    calls, total = watch.backwards or (0, math.nan)
    ratio = total / mean if mean else math.nan
    # nearer to so many losses than to their mean; a scale of one's own is not known
    if calls > 1 and (1 + calls) / 2 < ratio < 2 * calls:
        yield Finding(
            "factor",
            f"One step calls backward {calls} times, on losses that add up to "
            f"{total:.3g}, where loss is {mean:.3g}: its gradient is {ratio:.2g} times "
            f"that of the mean; allowed: each loss divided by {calls}.",
        )


def _in_order(watch: Watch) -> Iterator[Finding]:
    called = sum(watch.calls, [])
    ours, theirs = called.count("scheduler"), called.count("optimizer")
    if not theirs:
        return  # a scheduler of another optimizer: a finding of its own
    if ours > theirs:
        yield Finding(
            "scheduler",
            f"Two steps call the scheduler {ours} times, the optimizer {theirs}: it is "
            "called where no step is made (accumulation, or GradScaler skips one).",
        )
    elif called[:1] == ["scheduler"]:
        yield Finding(
            "scheduler-order",
            "The scheduler is called before the optimizer, so the first of its rates "
            "is never used; allowed: after optimizer.step().",
        )


# The copies.


def _copies(
    case: _Case, scheduler: Any = None
) -> tuple[nn.Module, list, Any, dict[Tensor, Tensor]]:
    """Model, optimizers and scheduler, and by parameter that is trained its copy."""
    memo: dict[int, Any] = {}
    try:
        model = copy.deepcopy(case.model, memo)
        optimizers = [_copied(one, memo) for one in case.optimizers]
        scheduler = copy.deepcopy(scheduler, memo)
    except Exception as error:  # what a module holds can raise anything
        raise ValueError(
            f"model, optimizer or scheduler cannot be copied ({error}); examine it "
            "without loss and step, or before its first forward pass"
        ) from error
    pairs = {p: memo[id(p)] for p in case.held if p.requires_grad}
    return model, optimizers, scheduler, pairs


def _copied(
    optimizer: torch.optim.Optimizer, memo: dict[int, Any]
) -> torch.optim.Optimizer:
    """A deep copy. torch leaves out what a subclass keeps beside groups and state."""
    new = copy.deepcopy(optimizer, memo)
    # step is there where a scheduler put one that counts the steps of the original
    for name in vars(optimizer).keys() - vars(new).keys() - {"step"}:
        setattr(new, name, copy.deepcopy(getattr(optimizer, name), memo))
    return new


def _value(loss: Callable, model: nn.Module) -> Tensor:
    try:
        value = loss(model)
    except Exception as error:
        error.add_note("raised by loss, called with a copy of model")
        raise
    if not isinstance(value, Tensor) or value.numel() != 1:
        what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else value
        raise ValueError(f"loss returned {what}; allowed: a tensor of one number")
    if not value.requires_grad:
        raise ValueError(
            "loss returned a number without a gradient; allowed: one that depends on "
            "the parameters (no torch.no_grad, no .item())"
        )
    return value.reshape(())


@contextmanager
def _same_draws(devices: set[torch.device]) -> Iterator[None]:
    """Leave the generators of torch, NumPy and Python as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    cuda = [device for device in devices if device.type == "cuda"]
    try:
        with torch.random.fork_rng(devices=cuda):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _reached(case: _Case, fresh: dict, stood: dict) -> Iterator[Finding]:
    """Parameters that the loss did not give a gradient; what stands there instead."""
    # those that are not the model's have a finding of their own
    none = [p for p, g in fresh.items() if g is None and p in case.names]
    zero = [p for p in none if stood[p] is not None and not stood[p].count_nonzero()]
    if zero:
        yield Finding(
            "zero-gradient",
            f"The loss does not reach {case.list(zero)}, whose gradient is zero and "
            "not None: averages and decay move it on; allowed: None, as "
            "zero_grad(set_to_none=True) makes it.",
        )
    if rest := [p for p in none if p not in set(zero)]:
        yield _no_gradient(case, rest)


def _no_gradient(case: _Case, params: list) -> Finding:
    return Finding(
        "no-gradient",
        f"{case.list(params)} ({_values(params)}) stand in a group but have no "
        "gradient, so they keep their values: does the loss use them?",
    )


def _moved(case: _Case, before: dict, after: dict, fresh: dict) -> Iterator[Finding]:
    """What one step has done to each parameter that has a gradient."""
    lr = {
        p: _number(group.get("lr"))
        for _, _, group in case.groups
        for p in group["params"]
    }
    rule = {p: _rule(o, group) for o, _, group in case.groups for p in group["params"]}
    bad_gradient, bad_step, lost, large = [], [], [], {}
    for p, g in fresh.items():
        if g is None or not p.is_floating_point():
            continue
        old, new = before[p].float(), after[p].detach().float()
        g = g if g.layout == torch.strided else g.to_dense()
        if not g.isfinite().all():
            bad_gradient.append(p)
            continue
        if not new.isfinite().all():
            bad_step.append(p)
            continue
        size, step = old.norm().item(), (new - old).norm().item()
        # vectors may start from zero, or be one number; LBFGS makes many steps a call
        if p.ndim >= 2 and size and rule[p] != "lbfgs" and step / size > TOO_LARGE:
            large[p] = step / size
        # in 32 bits what is lost is a millionth of the weight
        if torch.finfo(p.dtype).bits <= 16 and lr[p] and g.any():
            if (new == old)[g != 0].float().mean() > LOST:
                lost.append(p)
    for what, params in (
        ("gradient", bad_gradient),
        ("value after one step", bad_step),
    ):
        if params:
            yield Finding(
                "not-finite",
                f"The {what} of {case.list(params)} is not finite.",
            )
    if large:
        p = max(large, key=large.get)
        yield Finding(
            "step-too-large",
            f"One step with lr = {lr[p]:g} changes {case.name(p)} by {large[p]:.2g} of "
            f"its size, and {len(large)} of {len(fresh)} parameters by more than "
            f"{TOO_LARGE:g}; usual: 0.0001 to 0.01.",
        )
    if lost:
        yield Finding(
            "step-lost",
            f"One step is rounded away: in {case.list(lost)} ({lost[0].dtype}) most "
            "weights that have a gradient stay where they are; usual: weights of "
            "float32, and autocast around the forward pass.",
        )


# What a group or a state is.


def _rule(optimizer: torch.optim.Optimizer, group: dict) -> str:
    """The name of the rule: of ours the group's, of others the class's."""
    name = group.get("rule")
    name = name if isinstance(name, str) else type(optimizer).__name__
    return name.replace("_", "").lower()


def _has_point(optimizer: torch.optim.Optimizer, group: dict) -> bool:
    """Whether a rule of ours has a point of evaluation of its own."""
    rule = getattr(optimizer, "_rules", {}).get(group.get("rule"))
    return getattr(rule, "point", None) is not None


def _keeps_state(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a step leaves a state: all but plain gradient descent of torch."""
    plain = isinstance(optimizer, torch.optim.SGD)
    return not plain or any(group["momentum"] for group in optimizer.param_groups)


def _steps(state: dict | None) -> int | None:
    """How many updates a parameter has had; None where its state does not count."""
    if "n_iter" in (state or {}):
        return None  # of LBFGS, whose t is the size of a step
    for key in ("t", "step"):
        if (n := _number((state or {}).get(key))) is not None:
            return int(n)
    return None


def _number(x: Any) -> float | None:
    """A number, or a tensor of one, as a float; None for anything else."""
    if isinstance(x, Tensor):
        return x.item() if x.numel() == 1 and not x.is_meta else None
    return float(x) if isinstance(x, int | float | np.number) else None


def _values(params: Sequence[Tensor]) -> str:
    n = sum(p.numel() for p in params)
    return f"{n:,} value{'s' * (n != 1)}"
