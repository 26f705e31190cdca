"""The oracles of `adamtut.rules.sign_and_matrix`: torch, optax, pytorch_optimizer.

Two of them round on the way: torch.optim.Muon iterates in bfloat16 and
pytorch_optimizer.SOAP decomposes in float32. While they step, these two types stand for
float64 here.
"""

from functools import partial
from types import SimpleNamespace
from unittest.mock import patch

import optax
import pytorch_optimizer
import pytorch_optimizer.optimizer.soap
import torch

from oracles.row import optax_with_l2, rows, torch_with_l2

MATRICES = ((6, 4), (3, 6))
# one row more or less than columns: a basis of rank 1 is all that a first gradient
# leaves open, and that is one up to its sign
NEARLY_SQUARE = ((6, 5), (3, 4))


@optax_with_l2
def optax_signum(lr=1e-4, beta=0.9):
    return optax.signum(lr, beta=beta)


@torch_with_l2
def pytorch_optimizer_signsgd(lr=1e-4, beta=0.9):
    return partial(pytorch_optimizer.SignSGD, lr=lr, momentum=beta)


@optax_with_l2
def optax_lion(lr=1e-4, beta1=0.9, beta2=0.99, weight_decay=0.0):
    return optax.lion(lr, b1=beta1, b2=beta2, weight_decay=weight_decay)


@torch_with_l2
def pytorch_optimizer_lion(lr=1e-4, beta1=0.9, beta2=0.99, weight_decay=0.0):
    return partial(
        pytorch_optimizer.Lion, lr=lr, betas=(beta1, beta2), weight_decay=weight_decay
    )


@torch_with_l2
def pytorch_optimizer_shampoo(lr=1e-3, eps=1e-6):
    return partial(pytorch_optimizer.Shampoo, lr=lr, matrix_eps=eps)


@torch_with_l2
def pytorch_optimizer_soap(
    lr=3e-3, beta1=0.95, beta2=0.95, eps=1e-8, weight_decay=1e-2, every=10
):
    class Exact(pytorch_optimizer.SOAP):
        def get_orthogonal_matrix_qr(self, *given):
            exact = SimpleNamespace(**vars(torch) | {"float32": torch.float64})
            with patch.object(pytorch_optimizer.optimizer.soap, "torch", exact):
                return super().get_orthogonal_matrix_qr(*given)

    return partial(
        Exact,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        weight_decay=weight_decay,
        precondition_frequency=every,
    )


@torch_with_l2
def torch_muon(
    lr=2e-2, beta=0.95, weight_decay=0.0, nesterov=1, floor=1.0, rms=0.0, exact=True
):
    names = {(1.0, 0.0): "original", (0.0, 0.0): "spectral_unclamped"}
    names |= {(1.0, 0.2): "match_rms_adamw"}

    class Exact(torch.optim.Muon):
        def step(self):
            with patch.object(torch.Tensor, "bfloat16", torch.Tensor.clone):
                return super().step()

    return partial(
        Exact if exact else torch.optim.Muon,
        lr=lr,
        momentum=beta,
        weight_decay=weight_decay,
        nesterov=bool(nesterov),
        adjust_lr_fn=names[floor, rms],
    )


_LION = [{"beta1": 0.5}, {"beta2": 0.9}, {"weight_decay": 0.2}]
_SOAP = [{"beta1": 0.0}, {"beta2": 0.9}, {"eps": 1e-3}, {"weight_decay": 0.2}]
_SOAP += [{"every": 1}, {"every": 3}]
_MUON = [{"beta": 0.5}, {"weight_decay": 0.2}, {"nesterov": 0}]
_MUON += [{"floor": 0.0}, {"rms": 0.2}]
_MILD = {"mild": True, "note": "eigenvalues below 1e-16 of the largest are noise"}
# after one step L has rank 4 of 6: what rounding leaves of the rest counts 31 times
_LOOSE = _MILD | {"rtol": 1e-7}
ROWS = [
    *rows("signum", optax_signum, {"beta": 0.5}, {"beta": 0.0}),
    *rows("signum", pytorch_optimizer_signsgd, {"beta": 0.5}, {"beta": 0.0}),
    *rows("lion", optax_lion, *_LION),
    *rows("lion", pytorch_optimizer_lion, *_LION),
    *rows(
        "shampoo", pytorch_optimizer_shampoo, {"eps": 1e-2}, shapes=MATRICES, **_LOOSE
    ),
    *rows("soap", pytorch_optimizer_soap, *_SOAP, shapes=NEARLY_SQUARE, **_MILD),
    *rows("muon", torch_muon, *_MUON, shapes=MATRICES),
]
