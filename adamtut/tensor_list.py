"""Arithmetic on a list of tensors, one fused call an operator: torch._foreach_*.

With it the lines of a rule, written for one parameter, update a whole model. What torch
has no fused call for is a loop over the list.
"""

from collections.abc import Callable

import torch


class TensorList:
    """Tensors that are added, multiplied, ... position by position.

    The other operand is a TensorList of the same length whose tensors broadcast, a
    number or a 0-dimensional tensor.
    """

    __array_ufunc__ = None  # a NumPy number leaves arithmetic with a list to the list

    def __init__(self, tensors: list[torch.Tensor]):
        self.tensors = tensors

    def _with(self, operation: Callable, other) -> "TensorList":
        other = other.tensors if isinstance(other, TensorList) else other
        return TensorList(operation(self.tensors, other))

    def _each(self, operation: Callable, *others) -> "TensorList":
        """The operation on each tensor; numbers among `others` are the same for all."""
        rows = [
            x.tensors if isinstance(x, TensorList) else [x] * len(self.tensors)
            for x in others
        ]
        return TensorList(
            [operation(*x) for x in zip(self.tensors, *rows, strict=True)]
        )

    def __add__(self, other):
        return self._with(torch._foreach_add, other)

    def __mul__(self, other):
        return self._with(torch._foreach_mul, other)

    def __truediv__(self, other):
        return self._with(torch._foreach_div, other)

    def __sub__(self, other):
        if isinstance(other, torch.Tensor):  # 0-dimensional: _foreach_sub takes none
            return self + -other
        return self._with(torch._foreach_sub, other)

    def __neg__(self):
        return TensorList(torch._foreach_neg(self.tensors))

    def __abs__(self):
        return TensorList(torch._foreach_abs(self.tensors))

    def __rsub__(self, other):
        return -self + other

    def __rtruediv__(self, other):
        return TensorList(torch._foreach_reciprocal(self.tensors)) * other

    def __pow__(self, exponent):
        return TensorList(torch._foreach_pow(self.tensors, exponent))

    def __matmul__(self, other):
        return self._each(torch.matmul, other)

    def __gt__(self, other):
        return self._each(torch.gt, other)

    def __lt__(self, other):
        return self._each(torch.lt, other)

    __radd__ = __add__
    __rmul__ = __mul__

    def sqrt(self) -> "TensorList":
        return TensorList(torch._foreach_sqrt(self.tensors))

    def sign(self) -> "TensorList":
        return TensorList(torch._foreach_sign(self.tensors))

    def clamp(self, min=None, max=None) -> "TensorList":
        if isinstance(min, TensorList) or isinstance(max, TensorList):  # may broadcast
            return self._each(
                lambda x, low, high: torch.clamp(x, min=low, max=high), min, max
            )
        if min is not None:
            return self._with(torch._foreach_maximum, min)
        return self._with(torch._foreach_minimum, max)

    def pick(self, condition, x, y) -> "TensorList":
        """`x` where the condition holds, else `y`: see `adamtut.ops.where`."""
        return self._each(lambda _, *three: torch.where(*three), condition, x, y)

    def mean(self, axis: int, keepdim: bool) -> "TensorList":
        return self._each(lambda x: x.mean(axis, keepdim))

    def sum(self, axis: int, keepdim: bool) -> "TensorList":
        return self._each(lambda x: x.sum(axis, keepdim))

    @property
    def mT(self) -> "TensorList":
        return self._each(lambda x: x.mT)

    def aspect(self) -> "TensorList":
        return self._each(lambda x: x.new_tensor(x.shape[-2] / x.shape[-1]))

    def copy_(self, other: "TensorList") -> None:
        torch._foreach_copy_(self.tensors, other.tensors)
