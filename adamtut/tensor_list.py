"""Arithmetic on a list of tensors, one fused call an operator: torch._foreach_*.

With it the lines of a rule, written for one parameter, update a whole model.
"""

from collections.abc import Callable

import torch


class TensorList:
    """Tensors that are added, multiplied, ... position by position.

    The other operand is a TensorList of the same length, a number or a 0-dimensional
    tensor.
    """

    def __init__(self, tensors: list[torch.Tensor]):
        self.tensors = tensors

    def _with(self, operation: Callable, other) -> "TensorList":
        other = other.tensors if isinstance(other, TensorList) else other
        return TensorList(operation(self.tensors, other))

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

    def __rsub__(self, other):
        return -self + other

    def __pow__(self, exponent):
        return TensorList(torch._foreach_pow(self.tensors, exponent))

    __radd__ = __add__
    __rmul__ = __mul__

    def sqrt(self) -> "TensorList":
        return TensorList(torch._foreach_sqrt(self.tensors))

    def clamp(self, min) -> "TensorList":
        return self._with(torch._foreach_maximum, min)

    def copy_(self, other: "TensorList") -> None:
        torch._foreach_copy_(self.tensors, other.tensors)
