"""The oracles of `adamtut.rules.classic`: torch.optim and optax.

Each oracle is a constructor whose signature repeats the defaults that the paper (or,
where the docstring of the rule says so, torch.optim) gives, so that ours are compared
with them.
"""

from functools import partial

import optax
import torch

from oracles.row import Row, optax_with_l2, rows


def torch_sgd(lr=1e-2, beta=0.0, dampening=0.0, nesterov=False, l2=0.0, maximize=False):
    return partial(
        torch.optim.SGD,
        lr=lr,
        momentum=beta,
        dampening=dampening,
        nesterov=nesterov,
        weight_decay=l2,
        maximize=maximize,
    )


def torch_momentum(beta=0.9, **hyper):
    return torch_sgd(beta=beta, **hyper)


def torch_nesterov(beta=0.9, **hyper):
    return torch_sgd(beta=beta, nesterov=True, **hyper)


def torch_adagrad(lr=1e-2, eps=1e-10, l2=0.0, maximize=False):
    return partial(
        torch.optim.Adagrad, lr=lr, eps=eps, weight_decay=l2, maximize=maximize
    )


def torch_rmsprop(lr=1e-3, beta2=0.9, eps=1e-8, l2=0.0, maximize=False, centered=False):
    return partial(
        torch.optim.RMSprop,
        lr=lr,
        alpha=beta2,
        eps=eps,
        weight_decay=l2,
        maximize=maximize,
        centered=centered,
    )


def torch_adadelta(lr=1.0, rho=0.95, eps=1e-6, l2=0.0, maximize=False):
    return partial(
        torch.optim.Adadelta,
        lr=lr,
        rho=rho,
        eps=eps,
        weight_decay=l2,
        maximize=maximize,
    )


def torch_adam(
    lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, l2=0.0, maximize=False, amsgrad=False
):
    return partial(
        torch.optim.Adam,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        weight_decay=l2,
        maximize=maximize,
        amsgrad=amsgrad,
    )


def torch_adamw(
    lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2, maximize=False
):
    return partial(
        torch.optim.AdamW,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        weight_decay=weight_decay,
        maximize=maximize,
    )


@optax_with_l2
def optax_sgd(lr=1e-2, beta=0.0, nesterov=False):
    return optax.sgd(lr, momentum=beta, nesterov=nesterov)


@optax_with_l2
def optax_rmsprop(lr=1e-3, beta2=0.9, eps=1e-8, centered=False):
    return optax.rmsprop(lr, decay=beta2, eps=eps, eps_in_sqrt=False, centered=centered)


@optax_with_l2
def optax_adadelta(lr=1.0, rho=0.95, eps=1e-6):
    return optax.adadelta(lr, rho=rho, eps=eps)


@optax_with_l2
def optax_adam(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    return optax.adam(lr, b1=beta1, b2=beta2, eps=eps)


@optax_with_l2
def optax_adamw(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2):
    return optax.adamw(lr, b1=beta1, b2=beta2, eps=eps, weight_decay=weight_decay)


@optax_with_l2
def optax_adagrad(lr=1e-2, eps=1e-10, start=0.0):
    return optax.adagrad(lr, initial_accumulator_value=start, eps=eps)


@optax_with_l2
def optax_amsgrad(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    return optax.amsgrad(lr, b1=beta1, b2=beta2, eps=eps)


def torch_rmsprop_centered(**hyper):
    return torch_rmsprop(centered=True, **hyper)


def torch_amsgrad(**hyper):
    return torch_adam(amsgrad=True, **hyper)


def optax_momentum(beta=0.9, **hyper):
    return optax_sgd(beta=beta, **hyper)


def optax_nesterov(beta=0.9, **hyper):
    return optax_sgd(beta=beta, nesterov=True, **hyper)


_ADAM = [{"beta1": 0.0}, {"beta1": 0.95}, {"beta2": 0.9}, {"eps": 1e-3}]
_RMSPROP = [{"beta2": 0.99}, {"beta2": 0.0}, {"eps": 1e-3}]
ROWS = [
    *rows("sgd", torch_sgd),
    *rows("momentum", torch_momentum, {"beta": 0.5}),
    *rows("nesterov", torch_nesterov, {"beta": 0.5}),
    *rows("adagrad", torch_adagrad, {"eps": 1e-3}),
    *rows("rmsprop", torch_rmsprop, *_RMSPROP),
    *rows("rmsprop_centered", torch_rmsprop_centered, {"beta2": 0.99}, {"eps": 1e-3}),
    *rows("adadelta", torch_adadelta, {"rho": 0.5}, {"eps": 1e-2}),
    *rows("adam", torch_adam, *_ADAM),
    *rows("amsgrad", torch_amsgrad, *_ADAM),
    *rows("adamw", torch_adamw, *_ADAM, {"weight_decay": 0.2}, options=()),
    *rows("sgd", optax_sgd),
    *rows("momentum", optax_momentum, {"beta": 0.5}),
    *rows("nesterov", optax_nesterov, {"beta": 0.5}),
    *rows("rmsprop", optax_rmsprop, *_RMSPROP),
    *rows("adadelta", optax_adadelta, {"rho": 0.5}, {"eps": 1e-2}),
    *rows("adam", optax_adam, *_ADAM),
    *rows("adamw", optax_adamw, *_ADAM, {"weight_decay": 0.2}),
    Row(
        "adagrad",
        {"eps": 0.0},
        optax_adagrad,
        dense=True,
        note="optax has eps inside the root, so only without eps the two are equal",
    ),
    Row(
        "amsgrad",
        {"beta2": 0.0},
        optax_amsgrad,
        note="optax takes the maximum after the correction; beta2 = 0 needs none",
    ),
]
