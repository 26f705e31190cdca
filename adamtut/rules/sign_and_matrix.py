"""Directions of unit size: signs of numbers, and their counterpart for matrices.

Rules of matrices take a vector as a matrix of one column, and do nothing useful there:
Muon divides it by its norm. Leave vectors to another rule, with
`adamtut.optim.matrices_and_rest` or `rest` of `adamtut.sweep.sweep`.
"""

from adamtut.ops import (
    aspect,
    eigenbasis,
    longer,
    maximum,
    newton_schulz,
    reordered,
    sign,
    sqrt,
    symmetric_power,
    transpose,
    where,
)
from adamtut.rules.form import rule


@rule
def signum(p, g, m, t, *, lr=1e-4, beta=0.9):
    """Signum, signSGD with momentum: Bernstein et al. 2018, algorithm 2.

    State: 1 float. As optax.signum; pytorch_optimizer.SignSGD defaults to lr 1e-3.
    beta = 0 is signSGD.
    """
    m = beta * m + (1 - beta) * g
    p = p - lr * sign(m)
    return p, m


@rule
def lion(p, g, m, t, *, lr=1e-4, beta1=0.9, beta2=0.99, weight_decay=0.0):
    """Lion: Chen et al. 2023, algorithm 2; defaults of the authors' code.

    State: 1 float. As optax.lion, whose weight_decay defaults to 1e-3, and
    pytorch_optimizer.Lion, to 0. The decay is multiplied by lr, as in AdamW.
    """
    c = beta1 * m + (1 - beta1) * g
    p = p - lr * (sign(c) + weight_decay * p)
    m = beta2 * m + (1 - beta2) * g
    return p, m


@rule(unit="matrix", L="rows x rows", R="columns x columns")
def shampoo(p, g, L, R, t, *, lr=1e-3, eps=1e-6):
    """Shampoo: Gupta, Koren and Singer 2018, algorithm 1, which starts L, R as eps I.

    State: 2 floats on a square matrix, m*m + n*n numbers for m rows and n columns. As
    pytorch_optimizer.Shampoo, whose lr and eps these are; it takes a kernel by each of
    its axes, like the paper, where we take its matrix. For matrices: see
    `adamtut.optim.matrices_and_rest`.
    """
    L = L + g @ transpose(g)
    R = R + transpose(g) @ g
    u = symmetric_power(L, -0.25, eps) @ g @ symmetric_power(R, -0.25, eps)
    p = p - lr * u
    return p, L, R


_BASES = {"L": "rows x rows", "R": "columns x columns"}
_BASES |= {"Q_L": "rows x rows", "Q_R": "columns x columns"}


@rule(unit="matrix", **_BASES)
def soap(
    p,
    g,
    m,
    v,
    L,
    R,
    Q_L,
    Q_R,
    t,
    *,
    lr=3e-3,
    beta1=0.95,
    beta2=0.95,
    eps=1e-8,
    weight_decay=1e-2,
    every=10,
):
    """SOAP: Vyas et al. 2025, algorithm 3, as the authors' code has it: Adam in the
    eigenbases Q_L, Q_R of Shampoo's L and R, which turn once in `every` steps.

    State: 6 floats on a square matrix,
    2*m*n + 2*m*m + 2*n*n numbers for m rows and n columns.
    As pytorch_optimizer.SOAP, but for its float32 inside the QR: the first step does no
    more than find the bases, eps stands beside the uncorrected root, p decays after the
    step; kernels are seen as matrices here. For matrices: see
    `adamtut.optim.matrices_and_rest`.
    """
    m = where(t > 1, beta1 * m + (1 - beta1) * g, m)
    w = beta2 * v + (1 - beta2) * (transpose(Q_L) @ g @ Q_R) ** 2
    k = where(t > 1, t - 1, 1)
    m_hat = sqrt(1 - beta2**k) / (1 - beta1**k) * m
    u = Q_L @ (transpose(Q_L) @ m_hat @ Q_R / (sqrt(w) + eps)) @ transpose(Q_R)
    p = where(t > 1, (1 - lr * weight_decay) * (p - lr * u), p)
    L = beta2 * L + (1 - beta2) * g @ transpose(g)
    R = beta2 * R + (1 - beta2) * transpose(g) @ g
    v = reordered(w, L, Q_L, R, Q_R, t, every)
    Q_L = eigenbasis(L, Q_L, t, every)
    Q_R = eigenbasis(R, Q_R, t, every)
    return p, m, v, L, R, Q_L, Q_R


@rule(unit="matrix")
def muon(
    p,
    g,
    m,
    t,
    *,
    lr=2e-2,
    beta=0.95,
    weight_decay=0.0,
    nesterov=1,
    floor=1.0,
    rms=0.0,
):
    """Muon: Jordan et al. 2024; defaults of their code.

    State: 1 float. nesterov 0 leaves the look-ahead out. The size of a step of m rows
    and n columns is lr sqrt(max(m/n, floor)): floor 0 is the "spectral_unclamped" of
    torch.optim.Muon; with rms > 0 it is lr rms sqrt(max(m, n)), where rms 0.2 is its
    "match_rms_adamw" (Liu et al. 2025) and optax's consistent_rms. torch defaults to lr
    1e-3 and weight_decay 0.1, and iterates in bfloat16, where we keep the dtype of p.
    For hidden matrices: see `adamtut.optim.matrices_and_rest`.
    """
    m = beta * m + (1 - beta) * g
    u = where(nesterov > 0, beta * m + (1 - beta) * g, m)
    o = newton_schulz(u)
    size = where(rms > 0, rms * longer(p) ** 0.5, maximum(aspect(p), floor) ** 0.5)
    p = p - lr * (size * o + weight_decay * p)
    return p, m
