"""The functions that a rule may call besides arithmetic, for every kind of number.

A rule's lines run on Python floats, NumPy arrays, torch tensors and lists of tensors
(`adamtut.tensor_list`). The operators + - * / ** @ and abs do so by themselves; what is
a function and not an operator is here. Only functions of matrices import torch, and
only where they are given a tensor.

Functions of a vector act on the last axis, functions of a matrix on the last two, and
keep these axes with length 1; axes before them are independent.
"""

import numpy as np

# Elementwise


def sqrt(x):
    """Elementwise square root."""
    return x.sqrt() if hasattr(x, "sqrt") else np.sqrt(x)


def sign(x):
    """Elementwise sign: -1, 0 or 1."""
    return x.sign() if hasattr(x, "sign") else np.sign(x)


def maximum(x, y):
    """Elementwise maximum of two that broadcast, or of one and a number."""
    x, y = _able_first(x, y)
    return x.clamp(min=y) if hasattr(x, "clamp") else np.maximum(x, y)


def minimum(x, y):
    """Elementwise minimum of two that broadcast, or of one and a number."""
    x, y = _able_first(x, y)
    return x.clamp(max=y) if hasattr(x, "clamp") else np.minimum(x, y)


def _able_first(x, y):
    """Of two operands in any order, the one that knows how to meet the other first."""
    able = [2 * hasattr(a, "pick") + hasattr(a, "clamp") for a in (x, y)]
    return (x, y) if able[0] >= able[1] else (y, x)


def where(condition, x, y):
    """`x` where the condition holds, else `y`: elementwise, or as a whole.

    Of one truth value the result is `x` or `y` itself, which may be numbers.
    """
    if isinstance(condition, bool | np.bool_):
        return x if condition else y
    for one in (x, y, condition):
        if hasattr(one, "pick"):
            return one.pick(condition, x, y)
    if hasattr(condition, "logical_not"):  # a tensor
        if hasattr(x, "where"):
            return x.where(condition, y)
        if hasattr(y, "where"):
            return y.where(condition.logical_not(), x)
        return condition * x + condition.logical_not() * y
    return np.where(condition, x, y)


# Of a vector


def mean(x):
    """Mean of the last axis."""
    return x.mean(-1, True) if hasattr(x, "clamp") else np.mean(x, -1, keepdims=True)


def total(x):
    """Sum of the last axis."""
    return x.sum(-1, True) if hasattr(x, "clamp") else np.sum(x, -1, keepdims=True)


def norm(x):
    """Euclidean norm of the last axis."""
    return sqrt(total(x**2))


# Of a matrix


def row_mean(x):
    """The mean of each row, shape (..., m, 1)."""
    return mean(x)


def column_mean(x):
    """The mean of each column, shape (..., 1, n)."""
    return x.mean(-2, True) if hasattr(x, "clamp") else np.mean(x, -2, keepdims=True)


def matrix_norm(x):
    """Frobenius norm: the root of the sum of all squares, shape (..., 1, 1)."""
    squares = x**2
    rows = total(squares)
    if hasattr(rows, "clamp"):
        return rows.sum(-2, True).sqrt()
    return np.sqrt(np.sum(rows, -2, keepdims=True))


def transpose(x):
    """Rows for columns."""
    return x.mT if hasattr(x, "mT") else np.swapaxes(x, -2, -1)


def aspect(x):
    """Rows divided by columns, a number (one a tensor for a list)."""
    return x.aspect() if hasattr(x, "aspect") else x.shape[-2] / x.shape[-1]
