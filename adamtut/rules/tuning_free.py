"""Rules that set their own rate, or need no schedule: the chapter tuning_free."""

from adamtut.ops import maximum, minimum, sqrt, total, where
from adamtut.rules.form import rule


@rule(unit="model", r="number", d="number")
def d_adaptation(
    p, g, m, v, s, r, d, t, *, lr=1.0, beta1=0.9, beta2=0.999, eps=1e-8, d0=1e-6
):
    """D-Adaptation in the form of Adam: Defazio and Mishchenko 2023.

    State: 3 floats and 2 numbers: s is a weighted sum of gradients, d the lower bound
    of the distance from the start to the solution, which is the rate. As DAdaptAdam of
    the authors' package dadaptation 3.2, without its options (decoupled decay, a bound
    on the growth of d, Adam's corrections). lr multiplies d; leave it at 1.
    """
    d_old = maximum(d, d0)
    r = beta2**0.5 * r + (1 - beta2**0.5) * lr * d_old * total(g * s / (sqrt(v) + eps))
    m = beta1 * m + (1 - beta1) * lr * d_old * g
    v = beta2 * v + (1 - beta2) * g**2
    s = beta2**0.5 * s + (1 - beta2**0.5) * lr * d_old * g
    size = (1 - beta2**0.5) * total(abs(s))
    d = maximum(d_old, where(size > 0, r / size, 0))
    p = p - m / (sqrt(v) + eps)
    return p, m, v, s, r, d


@rule(unit="model", p0="p", r="number", d="number")
def prodigy(
    p, g, m, v, s, p0, r, d, t, *, lr=1.0, beta1=0.9, beta2=0.999, eps=1e-8, d0=1e-6
):
    """Prodigy in the form of Adam: Mishchenko and Defazio 2024.

    State: 4 floats and 2 numbers: p0 is the start, s a weighted sum of gradients, d the
    lower bound of the distance to the solution. As the authors' package prodigyopt
    1.1.2 (which keeps s and r divided by d0), without its options (d_coef, a bound on
    the growth of d, decay, Adam's corrections). The paper multiplies eps by the old d.
    With beta1 = 0 the package multiplies g by the new d, here it stays the old one.
    lr multiplies d; leave it at 1.
    """
    d_old = maximum(d, d0)
    r = beta2**0.5 * r + lr * d_old**2 * total(g * (p0 - p))
    m = beta1 * m + (1 - beta1) * d_old * g
    v = beta2 * v + (1 - beta2) * (d_old * g) ** 2
    s = beta2**0.5 * s + lr * d_old**2 * g
    size = total(abs(s))
    d = maximum(d_old, where(size > 0, r / size, 0))
    p = p - lr * d_old * m / (sqrt(v) + d * eps)
    return p, m, v, s, p0, r, d


@rule(z="p", lr_max="number", weight_sum="number")
def schedule_free(
    p,
    g,
    z,
    v,
    lr_max,
    weight_sum,
    t,
    *,
    lr=2.5e-3,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    warmup_steps=0,
):
    """Schedule-free AdamW: Defazio et al. 2024, algorithm 1.

    State: 2 floats and 2 numbers. Three points: y, which p holds, is where gradients
    are taken; z takes the steps; x, the mean of all z with weights lr**2, is where the
    model is evaluated (`point`). lr grows linearly for `warmup_steps`. As
    AdamWScheduleFree of the authors' package schedulefree 1.4.1, which has the same
    defaults, and optax.contrib.schedule_free_adamw; Keras takes the plain mean.
    """
    lr_t = lr * minimum(t / maximum(warmup_steps, 1), 1)
    lr_max = maximum(lr_max, lr_t)
    weight_sum = weight_sum + lr_max**2
    c = where(weight_sum > 0, lr_max**2 / weight_sum, 0)
    v = beta2 * v + (1 - beta2) * g**2
    v_hat = v / (1 - beta2**t)
    x = (p - (1 - beta1) * z) / beta1
    z = z - lr_t * (g / (sqrt(v_hat) + eps) + weight_decay * p)
    x_new = (1 - c) * x + c * z
    p = (1 - beta1) * z + beta1 * x_new
    return p, z, v, lr_max, weight_sum


def _mean_point(p, z, v, lr_max, weight_sum, *, beta1, **hyper):
    """x, of which y = p is a mixture with z."""
    return (p - (1 - beta1) * z) / beta1


schedule_free.point = _mean_point
