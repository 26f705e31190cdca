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


def longer(x):
    """The number of rows or of columns, whichever is larger (a tensor for a list)."""

    def one(x):
        side = max(x.shape[-2:])
        return x.new_tensor(side) if hasattr(x, "new_tensor") else side

    return _each(one, x)


def newton_schulz(x):
    """About U V^T of x = U S V^T: five steps of Muon's iteration (Jordan et al. 2024).

    Each maps a singular value s to 3.4445 s - 4.7750 s^3 + 2.0315 s^5, from x divided
    by its norm on (at least 1e-7): what is not tiny ends between 0.68 and 1.13.
    """

    def one(x):
        wide = x.shape[-2] <= x.shape[-1]
        x = x if wide else transpose(x)  # so that x x^T is the smaller of two products
        x = x / maximum(matrix_norm(x), 1e-7)
        for _ in range(5):
            square = x @ transpose(x)
            x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
        return x if wide else transpose(x)

    return _each(one, x)


def symmetric_power(x, exponent, eps):
    """(x + eps I)**exponent of a symmetric x without negative eigenvalues.

    nan where x is not finite.
    """

    def one(x):
        values, vectors, blank = _eigen(x)
        scale = (maximum(values[..., None, :], 0) + eps) ** exponent
        return _as_dtype((vectors * scale) @ transpose(vectors) + blank, x)

    return _each(one, x)


def eigenbasis(x, q, t, every):
    """The orthogonal columns of SOAP for a symmetric x (Vyas et al. 2025, algorithm 4).

    At t = 1 the eigenvectors of x, that of the largest eigenvalue first. Once in
    `every` steps after it, one step of orthogonal iteration from q: the Q of x q, whose
    columns are put in order first (see `reordered`). Otherwise q.
    """

    def first(x, q):
        _, vectors, blank = _eigen(x)
        return _as_dtype(_module(x).flip(vectors, (-1,)) + blank, x)

    def turned(x, q):
        columns = x @ q
        order = _order(columns, q)
        return _as_dtype(_module(x).linalg.qr(_wide(_columns(columns, order)))[0], x)

    def later(x, q):
        return _choice(_due(t, every), turned, lambda x, q: q, x, q)

    return _each(lambda x, q: _choice(t == 1, first, later, x, q), x, q)


def reordered(v, l, q_l, r, q_r, t, every):  # noqa: E741
    """v with rows and columns in the order that `eigenbasis` gives those of q_l, q_r.

    That is by the size of the diagonals of q_l^T l q_l and q_r^T r q_r, largest first;
    v itself in the steps in which no basis turns.
    """

    def in_order(v, l, q_l, r, q_r):  # noqa: E741
        v = _columns(v, _order(r @ q_r, q_r))
        return transpose(_columns(transpose(v), _order(l @ q_l, q_l)))

    def one(*operands):
        return _choice(_due(t, every), in_order, lambda v, *_: v, *operands)

    return _each(one, v, l, q_l, r, q_r)


def _due(t, every):
    """Whether a basis turns in step t; `every` may differ from run to run."""
    every = every.values if hasattr(every, "pick") else every  # of a column
    return (t > 1) & ((t - 1) % every == 0)


def _choice(condition, function, other, *operands):
    """`function` of the operands where the condition holds, `other` elsewhere.

    A function that is needed nowhere is not computed, in compiled code neither.
    """
    if hasattr(condition, "dim") and condition.dim() == 0:
        # results of both must look alike, and be new
        one, two = (
            lambda *x, f=f: f(*x).contiguous().clone() for f in (function, other)
        )
        return _module(condition).cond(condition, one, two, operands)
    if not (condition.any() if hasattr(condition, "any") else condition):
        return other(*operands)
    return where(condition, function(*operands), other(*operands))


def _each(function, *operands):
    """The function of these operands, or of each of the tensors in lists of them."""
    if not hasattr(operands[0], "tensors"):
        return function(*operands)
    rows = zip(*(x.tensors for x in operands), strict=True)
    return type(operands[0])([function(*row) for row in rows])


def _module(x):
    """numpy or torch: whose functions are for x."""
    if isinstance(x, np.ndarray):
        return np
    import torch

    return torch


def _wide(x):
    """x in a dtype that linear algebra has: float32 for half precision."""
    return x.float() if hasattr(x, "float") and x.element_size() < 4 else x


def _as_dtype(x, like):
    return x.to(like.dtype) if hasattr(x, "to") else x


def _eigen(x):
    """Eigenvalues (..., n) and -vectors of x, and nan where x is not finite, else 0.

    What is not finite is left out, because the libraries raise an error there, for all
    of the matrices that they are given. In float64, after division by the largest
    number: in float32 they raise one for ill-conditioned matrices, too.
    """
    x = x.double() if hasattr(x, "double") else x
    finite = _module(x).nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
    size = maximum(_module(x).amax(abs(finite), (-2, -1)), 1e-300)[..., None]
    values, vectors = _module(x).linalg.eigh(finite / size[..., None])
    return values * size, vectors, matrix_norm(0 * x)


def _order(xq, q):
    """The columns of q by the diagonal of q^T x q, largest first."""
    return _module(q).argsort(-(q * xq).sum(-2))


def _columns(x, order):
    """The columns of x in this order."""
    if isinstance(x, np.ndarray):
        return np.take_along_axis(x, order[..., None, :], -1)
    return x.take_along_dim(order[..., None, :], -1)
