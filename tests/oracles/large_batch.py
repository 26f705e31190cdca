"""The oracles of `adamtut.rules.large_batch`: pytorch_optimizer and optax."""

from functools import partial

import optax
import pytorch_optimizer

from oracles.row import Row, optax_with_l2, rows, torch_with_l2

# matrices only, for pytorch_optimizer's LARS does otherwise with vectors; the last two
# are one that starts at 0 and one that has no gradient
MATRICES = ((6, 4), (2, 3, 2), (1, 4), (1, 1), (1, 1))


@torch_with_l2
def pytorch_optimizer_lars(lr=1.0, beta=0.9, trust=1e-3, weight_decay=0.0):
    return partial(
        pytorch_optimizer.LARS,
        lr=lr,
        momentum=beta,
        trust_coefficient=trust,
        weight_decay=weight_decay,
    )


@optax_with_l2
def optax_lars(lr=1.0, beta=0.9, trust=1e-3, weight_decay=0.0):
    return optax.lars(
        lr, momentum=beta, trust_coefficient=trust, weight_decay=weight_decay
    )


@optax_with_l2
def optax_lamb(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=1e-2):
    return optax.lamb(lr, b1=beta1, b2=beta2, eps=eps, weight_decay=weight_decay)


@torch_with_l2
def pytorch_optimizer_lamb(
    lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=1e-2
):
    return partial(
        pytorch_optimizer.Lamb,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        weight_decay=weight_decay,
        weight_decouple=False,
    )


_ADAM = [{"beta1": 0.0}, {"beta1": 0.95}, {"beta2": 0.9}, {"eps": 1e-3}]
_LARS = [{"beta": 0.5}, {"trust": 0.1}]
ROWS = [
    *rows(
        "lars", pytorch_optimizer_lars, *_LARS, {"weight_decay": 0.2}, shapes=MATRICES
    ),
    *rows("lars", optax_lars, *_LARS),
    *rows("lamb", optax_lamb, *_ADAM, {"weight_decay": 0.2}, {"weight_decay": 0.0}),
    Row("lamb", {}, optax_lamb, shapes=MATRICES),
]
# what others have: the edits that make ours theirs
ELSEWHERE = {
    "optax.lars: the norm of the sum": (
        [
            (
                "norm(g) + weight_decay * norm(p)",
                "norm(g + weight_decay * p)",
            )
        ],
        Row("lars", {"weight_decay": 0.2}, optax_lars),
    ),
    "pytorch_optimizer.LARS: neither ratio nor decay for vectors": (
        [("trust * norm(p) / size, 1)", "1, 1)"), ("(g + weight_decay * p)", "g")],
        Row("lars", {"weight_decay": 0.2}, pytorch_optimizer_lars, shapes=((42,),)),
    ),
    "pytorch_optimizer.Lamb: m corrected after the ratio, v never, norm of p <= 10": (
        [
            (" / (1 - beta1**t)", ""),
            (" / (1 - beta2**t)", ""),
            ("p - lr *", "p - lr / (1 - beta1**t) *"),
            ("norm(p) / norm(u)", "minimum(norm(p), 10) / (norm(u) + eps)"),
        ],
        Row("lamb", {"eps": 1e-3}, pytorch_optimizer_lamb),
    ),
}
