"""The functions that a rule may call besides arithmetic, for every kind of number.

A rule's lines run on Python floats, NumPy arrays, torch tensors and lists of tensors
(`adamtut.tensor_list`). The operators + - * / ** do so by themselves; what is a
function and not an operator is here. Nothing imports torch: a tensor brings its own
method.
"""

import numpy as np


def sqrt(x):
    """Elementwise square root."""
    return x.sqrt() if hasattr(x, "sqrt") else np.sqrt(x)


def maximum(x, y):
    """Elementwise maximum; `y` has the shape of `x` or is a number."""
    return x.clamp(min=y) if hasattr(x, "clamp") else np.maximum(x, y)
