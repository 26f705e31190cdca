"""From gradient descent to AdamW: the rules of Parts I to III."""

from adamtut.ops import maximum, sqrt
from adamtut.rules.form import rule


@rule
def sgd(p, g, t, *, lr=1e-2):
    """Gradient descent (Cauchy 1847); with noisy gradients, Robbins and Monro 1951.

    State: 0 floats. torch.optim.SGD is the same.
    """
    p = p - lr * g
    return p


@rule
def momentum(p, g, m, t, *, lr=1e-2, beta=0.9):
    """Heavy ball: Polyak 1964; this form, with lr outside, is that of torch.optim.SGD.

    State: 1 float. With a constant gradient m grows to g / (1 - beta). Polyak,
    Sutskever 2013 and Keras keep lr inside (m takes lr times g, p takes m): the same
    path while lr is constant, another one under a schedule. torch's `dampening` scales
    g by 1 - dampening, from the second step on.
    """
    m = beta * m + g
    p = p - lr * m
    return p, m


@rule
def nesterov(p, g, m, t, *, lr=1e-2, beta=0.9):
    """Nesterov 1983 in the form of Sutskever et al. 2013 that torch.optim.SGD uses.

    State: 1 float. The parameter stored is the look-ahead point, where g is taken; beta
    is constant, unlike in Nesterov's own sequence.
    """
    m = beta * m + g
    p = p - lr * (g + beta * m)
    return p, m


@rule
def adagrad(p, g, v, t, *, lr=1e-2, eps=1e-10):
    """AdaGrad, diagonal form: Duchi, Hazan and Singer 2011, figure 1.

    State: 1 float. As torch.optim.Adagrad: eps outside the root, v starts at 0. optax
    and Keras put eps inside the root and start v at 0.1.
    """
    v = v + g**2
    p = p - lr * g / (sqrt(v) + eps)
    return p, v


@rule
def rmsprop(p, g, v, t, *, lr=1e-3, beta2=0.9, eps=1e-8):
    """RMSProp: Tieleman and Hinton 2012, lecture 6.5 (which has no eps).

    State: 1 float. torch.optim.RMSprop calls beta2 `alpha`, defaults to 0.99 and lr
    1e-2, eps outside the root as here; optax and Keras put eps inside the root.
    """
    v = beta2 * v + (1 - beta2) * g**2
    p = p - lr * g / (sqrt(v) + eps)
    return p, v


@rule
def rmsprop_centered(p, g, m, v, t, *, lr=1e-3, beta2=0.9, eps=1e-8):
    """Centred RMSProp, which divides by the deviation of g: Graves 2013, eq. 38-45.

    State: 2 floats. torch.optim.RMSprop(centered=True) lacks the maximum: there a
    rounding error below zero under the root makes the parameter NaN. Graves adds
    momentum 0.9 and puts eps (1e-4) inside the root.
    """
    m = beta2 * m + (1 - beta2) * g
    v = beta2 * v + (1 - beta2) * g**2
    p = p - lr * g / (sqrt(maximum(v - m**2, 0)) + eps)
    return p, m, v


@rule
def adadelta(p, g, v, d, t, *, lr=1.0, rho=0.95, eps=1e-6):
    """AdaDelta: Zeiler 2012, algorithm 1 (which has no lr).

    State: 2 floats, the mean squares of the gradient (v) and of the step (d). As
    torch.optim.Adadelta, whose rho defaults to 0.9; Keras defaults to lr 0.001.
    """
    v = rho * v + (1 - rho) * g**2
    delta = sqrt(d + eps) / sqrt(v + eps) * g
    d = rho * d + (1 - rho) * delta**2
    p = p - lr * delta
    return p, v, d


@rule
def adam(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adam: Kingma and Ba 2015, algorithm 1.

    State: 2 floats. torch.optim.Adam and optax.adam are the same. Keras, and the
    paper's own "efficient" form, leave v uncorrected under the root: there a value of
    eps acts as eps / sqrt(1 - beta2**t) does here.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    p = p - lr * m_hat / (sqrt(v_hat) + eps)
    return p, m, v


@rule
def amsgrad(p, g, m, v, v_max, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """AMSGrad: Reddi, Kale and Kumar 2018, algorithm 2, with Adam's corrections.

    State: 3 floats. As torch.optim.Adam(amsgrad=True): the maximum is taken before the
    correction. optax.amsgrad takes it after; the paper corrects nothing.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    v_max = maximum(v_max, v)
    m_hat = m / (1 - beta1**t)
    v_hat = v_max / (1 - beta2**t)
    p = p - lr * m_hat / (sqrt(v_hat) + eps)
    return p, m, v, v_max


@rule
def adamw(
    p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2
):
    """AdamW: Loshchilov and Hutter 2019, algorithm 2, line 12.

    State: 2 floats. As torch.optim.AdamW, the decay is multiplied by lr; in the paper
    only by the schedule. optax defaults to weight_decay 1e-4, Keras to 0.004.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    p = p - lr * (m_hat / (sqrt(v_hat) + eps) + weight_decay * p)
    return p, m, v
