"""The oracles of `adamtut.rules.tuning_free`: the packages of the authors.

dadaptation, prodigyopt and schedulefree are by the authors of the papers.
"""

from functools import partial

import dadaptation
import optax
import prodigyopt
import schedulefree

from oracles.row import optax_with_l2, rows, torch_with_l2


@torch_with_l2
def dadaptation_adam(lr=1.0, beta1=0.9, beta2=0.999, eps=1e-8, d0=1e-6):
    return partial(dadaptation.DAdaptAdam, lr=lr, betas=(beta1, beta2), eps=eps, d0=d0)


@torch_with_l2
def prodigyopt_prodigy(lr=1.0, beta1=0.9, beta2=0.999, eps=1e-8, d0=1e-6):
    return partial(prodigyopt.Prodigy, lr=lr, betas=(beta1, beta2), eps=eps, d0=d0)


@torch_with_l2
def schedulefree_adamw(
    lr=2.5e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, warmup_steps=0
):
    def optimizer(params):
        optimizer = schedulefree.AdamWScheduleFree(
            params,
            lr=lr,
            betas=(beta1, beta2),
            eps=eps,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
        )
        optimizer.train()
        return optimizer

    return optimizer


@optax_with_l2
def optax_schedule_free(lr=2.5e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    return optax.contrib.schedule_free_adamw(
        lr, b1=beta1, b2=beta2, eps=eps, weight_decay=weight_decay
    )


_ADAM = [{"beta1": 0.5}, {"beta2": 0.9}, {"eps": 1e-3}]
_DISTANCE = [*_ADAM, {"beta2": 0.0}, {"d0": 1e-3}]
_FREE = [*_ADAM, {"weight_decay": 0.2}, {"warmup_steps": 25}]
_LRS = (10.0, 1e3)  # at less, 40 steps hardly change d
ROWS = [
    *rows("d_adaptation", dadaptation_adam, *_DISTANCE, {"beta1": 0.0}, lrs=_LRS),
    *rows("prodigy", prodigyopt_prodigy, *_DISTANCE, lrs=_LRS),
    *rows("schedule_free", schedulefree_adamw, *_FREE),
    *rows("schedule_free", optax_schedule_free, *_ADAM, {"weight_decay": 0.2}),
]
