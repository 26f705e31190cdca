"""The oracles of `adamtut.rules.memory`: optax and the authors' package adam-mini."""

from functools import partial

import adam_mini
import jax.numpy as jnp
import optax
import pytorch_optimizer
import torch

from oracles.row import Row, optax_with_l2, rows, torch_with_l2

# no kernels, which optax factors by their two longest axes; the vector is unfactored
MATRICES = ((6, 4), (2, 6), (5,), (1, 1))


@optax_with_l2
def optax_adafactor(lr=1e-2, decay=0.8, eps1=1e-30, eps2=1e-3, clip=1.0):
    """The parts of optax.adafactor, with the paper's step size and with eps2."""
    return optax.chain(
        optax.scale_by_factored_rms(
            decay_rate=decay,
            epsilon=eps1,
            min_dim_size_to_factor=1,
            # as optax's own, which computes it in float32
            decay_rate_fn=lambda t, decay: 1 - (t + 1.0) ** -decay,
        ),
        optax.clip_by_block_rms(clip),
        optax.scale_by_schedule(lambda t: -jnp.minimum(lr, (t + 1.0) ** -0.5)),
        optax.scale_by_param_block_rms(eps2),
    )


@torch_with_l2
def torch_adafactor(lr=1e-2, decay=0.8, eps1=1e-30, eps2=1e-3, clip=1.0):
    """eps1 = 0 is a floor of 1e-150, for torch divides by it."""
    return partial(
        torch.optim.Adafactor,
        lr=lr,
        beta2_decay=-decay,
        eps=(eps1 or 1e-150, eps2),
        d=clip,
        weight_decay=0.0,
    )


@torch_with_l2
def adam_mini_1_1(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    def optimizer(params):
        kind = ["bias", "bias", "mlp"]  # by the number of axes
        named = [(f"{kind[p.ndim]}.{i}", p) for i, p in enumerate(params)]
        return adam_mini.Adam_mini(
            named,
            lr=lr,
            betas=(beta1, beta2),
            eps=eps,
            weight_decay=weight_decay,
            verbose=False,
        )

    return optimizer


@torch_with_l2
def pytorch_optimizer_adam_mini(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    def optimizer(params):
        model = torch.nn.ParameterList(params)
        return pytorch_optimizer.AdamMini(
            model, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=0.0
        )

    return optimizer


_ADAM = [{"beta1": 0.0}, {"beta1": 0.95}, {"beta2": 0.9}, {"eps": 1e-3}]
_ADAFACTOR = [{"decay": 0.5}, {"eps1": 1e-3}, {"eps2": 10.0}, {"clip": 0.3}]
ROWS = [
    *rows("adafactor", optax_adafactor, *_ADAFACTOR, shapes=MATRICES),
    Row(
        "adafactor",
        {"eps1": 0.0},
        torch_adafactor,
        dense=True,
        shapes=MATRICES,
        note="torch has eps1 as a floor, so only without it the two are equal",
    ),
    *rows("adam_mini", adam_mini_1_1, *_ADAM, shapes=MATRICES),
    Row(
        "adam_mini",
        {"weight_decay": 0.2},
        adam_mini_1_1,
        shapes=((6, 4), (3, 6)),
        note="vectors do not decay in adam-mini",
    ),
]
# what others have: the edits that make ours theirs
ELSEWHERE = {
    "torch.optim.Adafactor: floors for eps1": (
        [
            (" + eps1)", ")"),
            ("column_mean(r))", "maximum(column_mean(r), eps1))"),
            (
                "u = g / (sqrt(r / maximum(column_mean(r), eps1)) * sqrt(c))",
                "v = r / maximum(column_mean(r), eps1) * c\n"
                "    u = g / sqrt(maximum(v, eps1**2))",
            ),
        ],
        Row("adafactor", {"eps1": 1e-3}, torch_adafactor, shapes=((6, 4), (3, 6))),
    ),
    "pytorch_optimizer.AdamMini: one block a parameter": (
        [("row_mean(g**2)", "column_mean(row_mean(g**2))")],
        Row(
            "adam_mini",
            {},
            pytorch_optimizer_adam_mini,
            rtol=1e-5,
            note="float32 inside",
        ),
    ),
}
