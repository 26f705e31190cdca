"""Every update rule of the book, once.

A rule maps one parameter `p`, its gradient `g`, its state and the step number `t`
(1, 2, 3, ...) to the new parameter and the new state. The signature declares it all:

- names between `g` and `t` are the state, zero before the first step;
- keyword-only names are hyperparameters with their defaults;
- the body is a straight line in which each line is one equation of the paper.

The same lines run on floats, NumPy arrays (`adamtut.walk`), torch tensors and lists of
tensors (`adamtut.optim`), and print the equations (`adamtut.show`). All of `p`, `g` and
the state have one shape, any shape; the rules of this file are elementwise.
Every docstring names the source, the state in floats per parameter (besides the
parameter and its gradient), and where other implementations differ.
"""

import inspect
from collections.abc import Callable

import numpy as np

from adamtut.ops import maximum, sqrt


def rule(function: Callable | None = None, **starts: str) -> Callable:
    """Mark a function as an update rule and return the function itself.

    Sets `function.state` (names of the state), `function.defaults` (hyperparameters and
    their defaults) and `function.starts`. `@rule(z="p")` starts the state `z` as a copy
    of the parameter instead of zeros.

    Raises TypeError where the signature is not (p, g, *state, t, *, lr=..., ...).
    """
    if function is None:
        return lambda function: rule(function, **starts)
    name = function.__name__
    parameters = inspect.signature(function).parameters.values()
    positional = [x.name for x in parameters if x.kind is x.POSITIONAL_OR_KEYWORD]
    keyword = [x for x in parameters if x.kind is x.KEYWORD_ONLY]
    if (
        positional[:2] != ["p", "g"]
        or positional[-1] != "t"
        or len(positional) + len(keyword) != len(parameters)
        or any(x.default is x.empty for x in keyword)
    ):
        raise TypeError(
            f"rule {name} has the signature {inspect.signature(function)}; "
            "a rule is written (p, g, <state>, t, *, lr=..., <hyperparameter>=...)"
        )
    function.state = tuple(positional[2:-1])
    function.defaults = {x.name: x.default for x in keyword}
    for key, value in starts.items():
        if key not in function.state or value != "p":
            raise TypeError(
                f"rule {name} cannot start {key!r} as {value!r}; "
                f"a state ({', '.join(function.state)}) may start as 'p'"
            )
    function.starts = starts
    return function


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


RULES = {f.__name__: f for f in list(globals().values()) if hasattr(f, "defaults")}

# What a hyperparameter may be, by its name: (test, words). A name not listed, of a
# rule that a reader writes, may be any finite number.
_RATE = (lambda x: (x >= 0) & (x < np.inf), "0 <= {name} < inf")
_DECAY = (lambda x: (x >= 0) & (x < 1), "0 <= {name} < 1")
_RANGES = {
    "lr": _RATE,
    "eps": _RATE,
    "weight_decay": _RATE,
    "l2": _RATE,
    "beta": _DECAY,
    "beta1": _DECAY,
    "beta2": _DECAY,
    "rho": _DECAY,
}
_FINITE = (np.isfinite, "a finite number")


def as_rule(rule_or_name: str | Callable) -> Callable:
    """The rule of this name, or the function itself, marked as a rule.

    Raises ValueError for an unknown name, TypeError for what is no rule.
    """
    if isinstance(rule_or_name, str):
        if rule_or_name not in RULES:
            raise ValueError(
                f"unknown rule {rule_or_name!r}; the rules are {', '.join(RULES)}"
            )
        return RULES[rule_or_name]
    if not callable(rule_or_name):
        raise TypeError(f"rule is {rule_or_name!r}; allowed: a name or a function")
    return rule_or_name if hasattr(rule_or_name, "defaults") else rule(rule_or_name)


def check_hyper(rule: Callable, hyper: dict) -> None:
    """Refuse a hyperparameter that `rule` does not have or whose value is out of range.

    Values are numbers, arrays of numbers or tensors. Raises TypeError for an unknown
    name or a value that is no number, ValueError for one out of range.
    """
    for name, value in hyper.items():
        if name not in rule.defaults:
            raise TypeError(
                f"rule {rule.__name__} has no hyperparameter {name!r}; "
                f"it has {', '.join(rule.defaults)}"
            )
        check_range(name, value, rule.__name__)


def check_range(name: str, value, owner: str) -> None:
    """Refuse a `value` outside the range of the hyperparameter `name` (see above)."""
    test, words = _RANGES.get(name, _FINITE)
    # a tensor may live on a GPU; a list has no arithmetic
    plain = value.tolist() if hasattr(value, "tolist") else value
    number = np.asarray(None if plain is value and np.iterable(value) else plain)
    if number.dtype.kind not in "iuf":
        raise TypeError(f"{name} of {owner} is {value!r}; allowed: a number")
    if not np.all(test(number)):
        raise ValueError(
            f"{name} of {owner} is {value!r}; allowed: {words.format(name=name)}"
        )
