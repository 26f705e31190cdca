"""Adam with less state: the second moment of a matrix in fewer numbers than it has."""

from adamtut.ops import column_mean, maximum, minimum, row_mean, sqrt
from adamtut.rules.form import rule


@rule(unit="matrix", r="rows", c="columns")
def adafactor(p, g, r, c, t, *, lr=1e-2, decay=0.8, eps1=1e-30, eps2=1e-3, clip=1.0):
    """Adafactor: Shazeer and Stern 2018, algorithm 4, with the hyperparameters there.

    State: 0 floats and one a row and column, m + n numbers for m rows and n columns.
    lr is the most that rho_t may be, a step relative to the size of the parameter. For
    a vector, a matrix of one column, r / mean(r) * c is the unfactored mean square. A
    kernel is its matrix; optax factors its two longest axes. optax.adafactor keeps lr
    constant, factors from 128 rows and columns on, and decays weights by a number that
    lr does not multiply. torch.optim.Adafactor does not add eps1: it is a floor of the
    mean of r, and its square one of v.
    """
    beta = 1 - t**-decay
    r = beta * r + (1 - beta) * row_mean(g**2 + eps1)
    c = beta * c + (1 - beta) * column_mean(g**2 + eps1)
    u = g / (sqrt(r / column_mean(r)) * sqrt(c))
    u_hat = u / maximum(sqrt(column_mean(row_mean(u**2))) / clip, 1)
    size = maximum(sqrt(column_mean(row_mean(p**2))), eps2)
    p = p - minimum(lr, t**-0.5) * size * u_hat
    return p, r, c


@rule(unit="matrix", v="rows")
def adam_mini(
    p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0
):
    """Adam-mini: Zhang et al. 2025, algorithm 1, one v for each output neuron.

    State: 1 float and one a row, m*n + m numbers for m rows and n columns. The authors'
    package adam-mini has this block for embeddings, output layers, values, projections
    and the layers of an MLP; for queries and keys a block is a head; biases have Adam,
    as here (a vector is a matrix of one column), but without decay; any other parameter
    is one block, as all are for pytorch_optimizer.AdamMini, in float32, but for
    embeddings, queries and keys.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * row_mean(g**2)
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    p = p - lr * (m_hat / (sqrt(v_hat) + eps) + weight_decay * p)
    return p, m, v
