"""Stochastic rounding: weights and state in bfloat16 that small steps still move.

Gupta et al. 2015, section 3; for bfloat16 Zamirai et al. 2020. A number between two
numbers of bfloat16 becomes one of them at random, so that it is kept in the mean.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch

from adamtut.data import whole_number
from adamtut.optim import Optimizer


def round_stochastic(
    x: torch.Tensor, generator: torch.Generator | None = None
) -> torch.Tensor:
    """x, float32 of any shape, in bfloat16: its lower or its upper neighbour there.

    The upper one with a probability of (x - lower) / (upper - lower), so that the mean
    is x. What bfloat16 can hold stays as it is, so do infinities and NaN. Beyond the
    largest finite number, 3.39e38, the upper neighbour is infinite.

    generator   where the bits are drawn, on the device of x; default: torch's own

    Raises TypeError: x of another dtype.
    """
    if x.dtype != torch.float32:
        raise TypeError(f"x is {x.dtype}; allowed: torch.float32")
    # bfloat16 is the upper half of float32, and the lower half is how far x is beyond
    # it: a carry into the upper half comes from that share of all 65,536 summands.
    options = {"dtype": torch.int32, "device": x.device, "generator": generator}
    bits = x.view(torch.int32) + torch.randint(0, 1 << 16, x.shape, **options)
    rounded = (bits & -(1 << 16)).view(torch.float32)
    return torch.where(x.isfinite(), rounded, x).bfloat16()  # a NaN may have carried


class StochasticRounding(Optimizer):
    """An `Optimizer` that keeps weights and state in bfloat16.

    params, rule, options   as with `Optimizer`; not for rules of whole models, and not
            for those with a point of evaluation
    seed    of the random bits, which depend on it, the number of the parameter and its
            t: a run that is saved and resumed is the same run

    A step is computed in float32 and its results, p and the state, are rounded with
    `round_stochastic`. One parameter after the other, so that float32 copies of only
    one of them, of its gradient and its state are there at a time. Parameters in
    float32 are updated as by `Optimizer`; a model may have both.

    Adam so takes 8 bytes a parameter: weights, gradients, m and v, two bytes each.

    Raises what `Optimizer` raises; ValueError where `seed` is no whole number;
    TypeError for parameters of another dtype and for the rules named above.
    """

    def __init__(
        self,
        params: Iterable,
        rule: str | Callable = "adam",
        *,
        seed: int = 0,
        **options,
    ):
        self.seed = whole_number("seed", seed, 0)
        super().__init__(params, rule, "loop", **options)

    def __getstate__(self) -> dict:
        return super().__getstate__() | {"seed": self.seed}

    def add_param_group(self, group: dict) -> None:
        super().add_param_group(group)
        try:
            self._check(self.param_groups[-1])
        except TypeError:
            self.param_groups.pop()
            raise

    def _check(self, group: dict) -> None:
        rule = self._rules[group["rule"]]
        if rule.unit == "model" or rule.point is not None:
            raise TypeError(
                f"rule {rule.__name__} is not for stochastic rounding; allowed: rules "
                "of numbers, vectors or matrices without a point of evaluation"
            )
        for p in group["params"]:
            if p.dtype not in (torch.bfloat16, torch.float32):
                raise TypeError(
                    f"a parameter of shape {tuple(p.shape)} is {p.dtype}; allowed: "
                    "torch.bfloat16, and torch.float32, which is not rounded"
                )

    def _update(self, group: dict, params: list) -> None:
        self._in_float32(super()._update, group, params)

    def _update_rows(self, group: dict, params: list) -> None:
        self._in_float32(super()._update_rows, group, params)

    def _in_float32(self, update: Callable, group: dict, params: list) -> None:
        every = [p for group in self.param_groups for p in group["params"]]
        numbers = {p: i for i, p in enumerate(every)}
        for p in params:
            if p.dtype == torch.float32:
                update(group, [p])
                continue
            state, wide = self.state[p], p.float()
            wide.grad = p.grad.float()
            self.state[wide] = {
                name: x.float() if torch.is_tensor(x) else x
                for name, x in state.items()
            }
            try:
                update(group, [wide])
            finally:
                new = self.state.pop(wide)
            draw = self._generator(p.device, numbers[p], state["t"])
            p.copy_(round_stochastic(wide, draw))
            for name in self._rules[group["rule"]].state:
                state[name].copy_(round_stochastic(new[name], draw))

    def _generator(self, device: torch.device, number: int, t: int) -> torch.Generator:
        key = np.random.SeedSequence([self.seed, number, t])
        (seed,) = key.generate_state(1, np.uint64)
        return torch.Generator(device).manual_seed(int(seed))
