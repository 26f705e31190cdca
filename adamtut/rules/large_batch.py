"""Steps in proportion to the size of each tensor, made for large batches."""

from adamtut.ops import minimum, norm, sqrt, where
from adamtut.rules.form import rule


@rule(unit="tensor")
def lars(p, g, m, t, *, lr=1.0, beta=0.9, trust=1e-3, weight_decay=0.0):
    """LARS: You, Gitman and Ginsburg 2017, algorithm 1.

    State: 1 float. lr is inside the momentum; lr and weight_decay have the defaults of
    timm, for the paper tunes them. The ratio is 1 where a norm is 0, as in timm and
    pytorch_optimizer, which have lr outside the momentum (the same path while it is
    constant); pytorch_optimizer applies neither ratio nor decay to vectors, timm no
    ratio where weight_decay is 0. optax.lars divides by the norm of
    g + weight_decay * p instead of the sum of two norms.
    """
    size = norm(g) + weight_decay * norm(p)
    ratio = where(minimum(norm(p), size) > 0, trust * norm(p) / size, 1)
    m = beta * m + lr * ratio * (g + weight_decay * p)
    p = p - m
    return p, m


@rule(unit="tensor")
def lamb(
    p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=1e-2
):
    """LAMB: You et al. 2020, algorithm 2, with phi(z) = z.

    State: 2 floats. As optax.lamb, whose weight_decay defaults to 0; the ratio is 1
    where a norm is 0. lr defaults to that of timm, which also scales all gradients to a
    norm of at most 1, and has no ratio where weight_decay is 0. pytorch_optimizer.Lamb
    corrects m after the ratio and v never, takes at most 10 for the norm of p, adds eps
    to that of the update, and decays outside of the ratio unless told otherwise.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    u = m_hat / (sqrt(v_hat) + eps) + weight_decay * p
    ratio = where(minimum(norm(p), norm(u)) > 0, norm(p) / norm(u), 1)
    p = p - lr * ratio * u
    return p, m, v
