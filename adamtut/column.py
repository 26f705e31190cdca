"""A hyperparameter that differs from run to run, for parameters stacked run by run.

The lines of a rule are written for numbers. A column stands in for one: among columns
and numbers it computes in float64, as Python does, and it is rounded to the dtype of
the parameters only where it meets them, as torch rounds a Python number. So `1 - beta2`
is as exact as in a run of its own.
"""

from collections.abc import Callable
from operator import add, gt, lt, mul, pow, sub, truediv

import torch
from torch import Tensor


class Column:
    """One number a run: `values` is a float64 tensor of shape (runs, 1).

    For parameters that are matrices, (runs, 1, 1).
    """

    __array_ufunc__ = None  # a NumPy number leaves arithmetic with a column to it

    def __init__(self, values: Tensor):
        self.values = values

    def _with(self, operation: Callable, other, swap: bool = False):
        meets = isinstance(other, Tensor)
        pair = [self.values.to(other.dtype) if meets else self.values]
        pair.append(other.values if isinstance(other, Column) else other)
        result = operation(*reversed(pair)) if swap else operation(*pair)
        return result if meets else Column(result)

    def __add__(self, other):
        return self._with(add, other)

    def __sub__(self, other):
        return self._with(sub, other)

    def __mul__(self, other):
        return self._with(mul, other)

    def __truediv__(self, other):
        return self._with(truediv, other)

    def __pow__(self, other):
        return self._with(pow, other)

    def __rsub__(self, other):
        return self._with(sub, other, swap=True)

    def __rtruediv__(self, other):
        return self._with(truediv, other, swap=True)

    def __rpow__(self, other):
        return self._with(pow, other, swap=True)

    def __gt__(self, other):
        return self._with(gt, other)

    def __lt__(self, other):
        return self._with(lt, other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self):
        return Column(-self.values)

    def __getitem__(self, runs) -> "Column":
        return Column(self.values[runs])

    def sqrt(self) -> "Column":
        return Column(self.values.sqrt())

    def clamp(self, min=None, max=None) -> "Column":
        for limit, extreme in ((min, torch.maximum), (max, torch.minimum)):
            if isinstance(limit, Tensor):
                return extreme(limit, self.values.to(limit.dtype))
        low, high = (x.values if isinstance(x, Column) else x for x in (min, max))
        return Column(self.values.clamp(min=low, max=high))

    def pick(self, condition, x, y):
        """`x` where the condition holds, else `y`: see `adamtut.ops.where`."""
        three = [a.values if isinstance(a, Column) else a for a in (condition, x, y)]
        for meets in (x, y):
            if isinstance(meets, Tensor):
                return torch.where(*three).to(meets.dtype)
        return Column(torch.where(*three))
