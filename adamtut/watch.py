"""What a training step of somebody else does with what it is given: seen, not changed.

Hooks see gradients arrive and optimisers step. The interpreter's profiler sees the
calls of torch that leave no other trace, under whatever name a script imported them;
inside a function that torch.compile has compiled they are not seen.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, nn


class NotTheCopy(ValueError):
    """The step uses a model, optimiser or scheduler that it was not given."""


class Watch:
    """What the calls of a training step show, each begun by `begin`.

    before, gradient, after
                 by parameter: its value before the first step of its optimiser, the
                 gradient that this step was given (None where backward reached it in
                 no way), its value after it
    stood        by parameter: its `.grad` at that moment
    leftover     the parameters that were stepped with a gradient to which one that had
                 already been used was added
    after_clip   the size of a gradient at the step over its size after clipping made
                 it smaller: 1 in the right order; None where nothing was clipped
    backwards    before the first step: how often backward was called, and the sum of
                 what it was called on, without the scale of a GradScaler
    calls        by call: "optimizer" and "scheduler" in the order of their steps

    `optimizers` and `scheduler` (or None) are what the step is given. `originals` are
    objects that it must not call: NotTheCopy is raised before they do anything.
    """

    def __init__(
        self,
        optimizers: Sequence[torch.optim.Optimizer],
        scheduler: Any,
        originals: Sequence[Any],
    ):
        self.before: dict[Tensor, Tensor] = {}
        self.gradient: dict[Tensor, Tensor | None] = {}
        self.after: dict[Tensor, Tensor] = {}
        self.stood: dict[Tensor, Tensor | None] = {}
        self.leftover: set[Tensor] = set()
        self.after_clip: float | None = None
        self.backwards: tuple[int, float] | None = None
        self.calls: list[list[str]] = []
        self._optimizers, self._scheduler = optimizers, scheduler
        self._originals = {id(one): one for one in originals if one is not None}
        self._params = {p: None for one in optimizers for p in _params(one)}
        self._stale: dict[Tensor, bool] = {}  # a used gradient is there as one arrives
        self._used: set[Tensor] = set()  # a step was made with their gradient
        self._added: set[Tensor] = set()  # and another one was added to it
        self._reached: set[Tensor] = set()
        self._unclipped: dict[Tensor, float] = {}
        self._clipped: dict[Tensor, float] = {}
        self._count, self._total, self._scale = 0, 0.0, 1.0
        self._seen = self._codes()

    def begin(self) -> None:
        """A call of the step begins."""
        self.calls.append([])

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch, until the block ends."""
        handles = []
        for p in self._params:
            handles.append(p.register_hook(partial(self._arrives, p)))
            handles.append(p.register_post_accumulate_grad_hook(self._lands))
        for optimizer in self._optimizers:
            handles.append(optimizer.register_step_pre_hook(self._at_step))
            handles.append(optimizer.register_step_post_hook(self._after_step))
        previous = sys.getprofile()
        sys.setprofile(self._look)
        try:
            yield
        finally:
            sys.setprofile(previous)
            for handle in handles:
                handle.remove()

    # Gradients and steps.

    def _arrives(self, p: Tensor, gradient: Tensor) -> None:
        self._stale[p] = p in self._used and _any(p.grad)

    def _lands(self, p: Tensor) -> None:
        self._reached.add(p)
        if self._stale[p]:
            self._added.add(p)
        else:
            self._added.discard(p)
            self._used.discard(p)

    def _at_step(self, optimizer: torch.optim.Optimizer, args: tuple, kw: dict) -> None:
        for p in _params(optimizer):
            self.before.setdefault(p, p.detach().clone())
        if not _closure(args, kw):
            self._take(optimizer)

    def _after_step(
        self, optimizer: torch.optim.Optimizer, args: tuple, kw: dict
    ) -> None:
        if _closure(args, kw):
            self._take(optimizer)
        params = _params(optimizer)
        for p in params:
            self.after.setdefault(p, p.detach().clone())
        self.leftover |= self._added.intersection(params)
        self._used |= {p for p in params if p.grad is not None}
        if getattr(self._scheduler, "optimizer", optimizer) is optimizer:
            self.calls[-1].append("optimizer")

    def _take(self, optimizer: torch.optim.Optimizer) -> None:
        """The gradients that the optimiser steps with."""
        if self.backwards is None:
            self.backwards = self._count, self._total / self._scale
        params = _params(optimizer)
        for p in params:
            g = p.grad
            given = g is not None and (p in self._reached or _any(g))
            self.gradient.setdefault(p, g.detach().clone() if given else None)
            self.stood.setdefault(p, g)
        clipped = [p for p in params if p in self._clipped and p.grad is not None]
        then = math.hypot(*(self._clipped[p] for p in clipped))
        # fused kernels unscale by themselves
        scale = getattr(optimizer, "grad_scale", None)
        now = math.hypot(*(_size(p.grad) for p in clipped))
        now /= 1.0 if scale is None else float(scale)
        if then and math.isfinite(now / then):
            self.after_clip = min(self.after_clip or math.inf, now / then)
        self._clipped.clear()

    # Calls.

    def _codes(self) -> dict[CodeType | None, Any]:
        """What to do at the call, and at the return, of which code."""
        guarded = [nn.Module._wrapped_call_impl]
        guarded += [type(one).step for one in self._optimizers]
        clips = nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_
        seen = {_code(function): self._guard for function in guarded}
        seen |= {_code(function): self._clip for function in clips}
        seen[_code(torch.autograd.backward)] = self._backward
        seen[_code(torch.amp.GradScaler.scale)] = self._scaled
        if hasattr(self._scheduler, "step"):
            seen[_code(type(self._scheduler).step)] = self._scheduled
        return seen

    def _look(self, frame: FrameType, event: str, arg: Any) -> None:
        if event in ("call", "return") and frame.f_code in self._seen:
            first = frame.f_locals.get(frame.f_code.co_varnames[0])
            self._seen[frame.f_code](first, event)

    def _guard(self, one: Any, event: str) -> None:
        if id(one) in self._originals:
            raise NotTheCopy(
                f"step uses a {type(one).__name__} that it was not given; allowed: only"
                " its arguments, which are copies of what is examined"
            )

    def _scheduled(self, scheduler: Any, event: str) -> None:
        self._guard(scheduler, event)
        if event == "return" and scheduler is self._scheduler:
            self.calls[-1].append("scheduler")

    def _backward(self, tensors: Any, event: str) -> None:
        if event == "call":
            roots = [tensors] if isinstance(tensors, Tensor) else tensors
            if not any(_any(p.grad) for p in self._params):
                self._count, self._total = 0, 0.0
            self._count += 1
            for root in roots:
                # nothing is said about what is no number
                self._total += root.item() if root.numel() == 1 else math.nan

    def _scaled(self, scaler: torch.amp.GradScaler, event: str) -> None:
        if event == "call":
            self._scale = scaler.get_scale()

    def _clip(self, params: Any, event: str) -> None:
        sizes = {p: _size(p.grad) for p in self._params if p.grad is not None}
        if event == "call":
            self._unclipped = sizes
        else:
            self._clipped |= {
                p: size
                for p, size in sizes.items()
                # a thousandth: more than rounding
                if size < 0.999 * self._unclipped[p]
            }


def _params(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    groups = optimizer.param_groups
    return [p for group in groups for p in group["params"] if p.requires_grad]


def _closure(args: tuple, kw: dict) -> Any:
    # the first is the optimiser itself
    return args[1] if len(args) > 1 else kw.get("closure")


def _code(function: Any) -> CodeType | None:
    """None of what is not written in Python, whose calls are not seen."""
    return getattr(inspect.unwrap(function), "__code__", None)


def _dense(g: Tensor) -> Tensor:
    return g if g.layout == torch.strided else g.to_dense()


def _any(g: Tensor | None) -> bool:
    return g is not None and bool(_dense(g).any())


def _size(g: Tensor) -> float:
    """The norm, which in half precision overflows."""
    return _dense(g.detach()).float().norm().item()
