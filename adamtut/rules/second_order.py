"""Rules with an estimate of curvature: the chapter second_order."""

from adamtut.ops import minimum, sign
from adamtut.rules.form import rule


@rule
def sophia(
    p,
    g,
    m,
    h,
    t,
    *,
    lr=1e-4,
    beta1=0.965,
    beta2=0.99,
    rho=0.04,
    eps=1e-15,
    weight_decay=0.1,
):
    """Sophia: Liu et al. 2024, algorithm 3, lines 6 to 13.

    State: 2 floats, a mean of gradients and h, a mean of the Hessian's diagonal. No
    line here changes h: `adamtut.curvature.SophiaG` measures it every few steps (with
    beta2, which stands here for it); while h is zero this is sign descent. As the
    authors' code (github.com/Liuhong99/Sophia), from which the defaults are; it keeps
    the batch size out of h and multiplies it in here. The paper divides by
    max(rho * h, eps).
    """
    m = beta1 * m + (1 - beta1) * g
    step = minimum(abs(m) / (rho * h + eps), 1) * sign(m)
    p = p - lr * (step + weight_decay * p)
    return p, m, h


def _gauss_newton_bartlett(h, g, n, *, beta2):
    """Algorithm 2: n g**2 is on average the diagonal of the Gauss-Newton matrix."""
    return beta2 * h + (1 - beta2) * n * g**2


sophia.curvature = _gauss_newton_bartlett
