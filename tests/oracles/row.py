"""A row: a setting of a rule, and the optimiser that it must follow."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from types import SimpleNamespace

import optax
from replay import (
    RTOL,
    TENSORS,
    check,
    gradients,
    mild_gradients,
    optax_path,
    path,
    starts,
)

from adamtut.optim import Optimizer
from adamtut.rules import as_rule

# Small, and so large that updates outgrow every starting value.
LRS = (1e-3, 10.0)


def optax_with_l2(make: Callable) -> Callable:
    """An optax oracle that knows l2 and maximize, which change the gradient first."""

    @wraps(make)
    def oracle(l2=0.0, maximize=False, **hyper):
        return optax.chain(
            optax.scale(-1.0 if maximize else 1.0),
            optax.add_decayed_weights(l2),
            make(**hyper),
        )

    return oracle


def torch_with_l2(make: Callable) -> Callable:
    """A torch oracle that knows l2 and maximize, which change the gradient first.

    For classes that write into the gradient, or do otherwise with decay.
    """

    @wraps(make)
    def oracle(l2=0.0, maximize=False, **hyper):
        def optimizer(params):
            optimizer = make(**hyper)(params)

            # not a step hook: torch runs it twice where a class and its parent have one
            def step():
                for group in optimizer.param_groups:
                    for p in group["params"]:
                        p.grad = (-p.grad if maximize else p.grad) + l2 * p.detach()
                optimizer.step()

            return SimpleNamespace(step=step)

        return optimizer

    return oracle


@dataclass(frozen=True)
class Row:
    """A setting of a rule and its oracle.

    dense   the gradients of this row hold no zeros
    mild    the gradients of this row are of one size
    note    why the row is not plain
    rtol    agreed tolerance, relative to how far a parameter got
    shapes  of the parameters that the 42 numbers of a gradient are cut into
    lrs     learning rates that it is replayed with
    ours    our optimiser, where a rule needs another than Optimizer
    """

    rule: str
    hyper: dict
    oracle: Callable
    dense: bool = False
    mild: bool = False
    note: str = ""
    rtol: float = RTOL
    shapes: tuple | None = None
    lrs: tuple = LRS
    ours: Callable = Optimizer
    _paths: dict = field(default_factory=dict, compare=False, repr=False)

    def check(self, rule=None, lr: float | None = None, steps: int = 40) -> None:
        """Replay; raises AssertionError where the rule (or `rule`) differs."""
        hyper = self.hyper if lr is None else self.hyper | {"lr": lr}
        g = mild_gradients(steps) if self.mild else gradients(steps)
        if self.dense:
            g[g == 0] = 1e-7
        whole = as_rule(self.rule).unit == "number"
        shapes = self.shapes or (((g.shape[1],),) if whole else TENSORS)
        if (lr, steps) not in self._paths:  # many wrong rules meet the same oracle
            self._paths[lr, steps] = self._path(hyper, g, shapes)
        oracle = self._paths[lr, steps]
        check(rule or self.rule, hyper, oracle, g, self.rtol, shapes, self.ours)

    def _path(self, hyper, g, shapes):
        start, optimizer = starts(g.shape[1]), self.oracle(**hyper)
        if isinstance(optimizer, optax.GradientTransformation):
            return optax_path(self.oracle, hyper, start, g, shapes)
        return path(optimizer, start, g, shapes=shapes)

    def __str__(self):
        setting = ",".join(f"{k}={v}" for k, v in self.hyper.items()) or "defaults"
        return f"{self.rule}-{self.oracle.__name__}-{setting}-rtol={self.rtol:g}"


def rows(
    rule: str, oracle: Callable, *settings: dict, options=({"l2": 0.1},), **fields
):
    """The defaults, `maximize`, other options of the optimiser, and `settings`."""
    climb = {"maximize": True}
    return [Row(rule, s, oracle, **fields) for s in ({}, climb, *options, *settings)]
