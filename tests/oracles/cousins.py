"""The oracles of `adamtut.rules.cousins`: torch.optim, optax and pytorch_optimizer.

Each oracle is a constructor whose signature repeats the defaults that the paper (or,
where the docstring of the rule says so, the authors' code) gives, so that ours are
compared with them.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax
import pytorch_optimizer
import torch

from oracles.row import Row, optax_with_l2, rows, torch_with_l2


def torch_adamax(lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, l2=0.0, maximize=False):
    return partial(
        torch.optim.Adamax,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        weight_decay=l2,
        maximize=maximize,
    )


class DoubleNAdam(torch.optim.NAdam):
    """torch's NAdam with its product of mu in float64, which else is in float32."""

    def step(self):
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            super().step()
        finally:
            torch.set_default_dtype(before)


def torch_nadam(
    lr=2e-3,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    momentum_decay=4e-3,
    l2=0.0,
    maximize=False,
):
    return partial(
        DoubleNAdam,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        momentum_decay=momentum_decay,
        weight_decay=l2,
        maximize=maximize,
    )


@optax_with_l2
def optax_adamax(lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    return optax.adamax(lr, b1=beta1, b2=beta2, eps=eps)


@optax_with_l2
def optax_nadam(lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, momentum_decay=jnp.inf):
    """Its mu is beta1 from the start: that of a momentum decay without end."""
    assert momentum_decay > 1e6
    return optax.nadam(lr, b1=beta1, b2=beta2, eps=eps)


@optax_with_l2
def optax_radam(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, threshold=5.0):
    return optax.radam(lr, b1=beta1, b2=beta2, eps=eps, threshold=threshold)


@optax_with_l2
def optax_yogi(lr=1e-2, beta1=0.9, beta2=0.999, eps=1e-3, start=0.0):
    scale = optax.scale_by_yogi(beta1, beta2, eps, initial_accumulator_value=start)
    return optax.chain(scale, optax.scale(-lr))


@optax_with_l2
def optax_adabelief(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-16):
    return optax.adabelief(lr, b1=beta1, b2=beta2, eps=eps, eps_root=eps)


@torch_with_l2
def po_adabelief(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-16):
    return partial(
        pytorch_optimizer.AdaBelief, lr=lr, betas=(beta1, beta2), eps=eps, foreach=False
    )


class PlainAdaBound(pytorch_optimizer.AdaBound):
    """pytorch_optimizer's without the 1e-15 that it adds to v."""

    def apply_ams_bound(self, **options):
        return super().apply_ams_bound(**options, exp_avg_sq_eps=0.0)


@torch_with_l2
def po_adabound(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, final_lr=0.1):
    return partial(
        PlainAdaBound,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        final_lr=final_lr,
        gamma=1 - beta2,
        foreach=False,
    )


@torch_with_l2
def po_adan(lr=1e-3, beta1=0.98, beta2=0.92, beta3=0.99, eps=1e-8, weight_decay=0.0):
    return partial(
        pytorch_optimizer.Adan,
        lr=lr,
        betas=(beta1, beta2, beta3),
        eps=eps,
        weight_decay=weight_decay,
        foreach=False,
    )


@optax_with_l2
def optax_adopt(lr=1e-3, beta1=0.9, beta2=0.9999, eps=1e-6):
    return optax.contrib.adopt(lr, b1=beta1, b2=beta2, eps=eps)


@optax_with_l2
def optax_ademamix(
    lr=1e-3,
    beta1=0.9,
    beta2=0.999,
    beta3=0.9999,
    alpha=5.0,
    eps=1e-8,
    weight_decay=0.0,
):
    return optax.contrib.ademamix(
        lr, beta1, beta2, beta3, alpha, eps=eps, weight_decay=weight_decay
    )


class Around:
    """An optimiser made of torch's AdamW, of which `torch_with_l2` needs no more."""

    def __init__(self, params):
        self.params = list(params)
        self.param_groups = [{"params": self.params}]


class Cautious(Around):
    """What AdamW would do from 0, masked and scaled, as in timm 1.0.31, optim/adamw.py.

    scale   of a mask (a tensor of 0 and 1) the number by which it is divided
    """

    def __init__(self, params, weight_decay, scale=None, **hyper):
        super().__init__(params)
        self.decay = 1 - hyper["lr"] * weight_decay
        self.scale = scale or (lambda mask: max(mask.mean().item(), 1e-3))
        self.moves = [torch.zeros_like(p) for p in self.params]
        self.adam = torch.optim.AdamW(self.moves, weight_decay=0.0, **hyper)

    @torch.no_grad()
    def step(self):
        for p, move in zip(self.params, self.moves, strict=True):
            move.zero_()
            move.grad = p.grad
        self.adam.step()
        for p, move in zip(self.params, self.moves, strict=True):
            mask = (move * p.grad < 0).to(p)
            p.mul_(self.decay).add_(move * mask / self.scale(mask))


class Corrected(Around):
    """AdamW on the gradients that MARS makes of those that it is given.

    After AGI-Arena/MARS at 20c60c1, MARS/optimizers/mars.py, with optimize_1d.
    """

    def __init__(self, params, gamma, **hyper):
        super().__init__(params)
        self.factor = gamma * hyper["betas"][0] / (1 - hyper["betas"][0])
        self.old = [torch.zeros_like(p) for p in self.params]
        self.adam = torch.optim.AdamW(self.params, **hyper)

    @torch.no_grad()
    def step(self):
        new = [p.grad for p in self.params]
        for p, g, old in zip(self.params, new, self.old, strict=True):
            c = g + (g - old) * self.factor
            p.grad = c / c.norm() if c.norm() > 1 else c
        self.adam.step()
        self.old = new


@torch_with_l2
def torch_cautious(
    lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, scale=None
):
    return partial(
        Cautious,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        weight_decay=weight_decay,
        scale=scale,
    )


@torch_with_l2
def po_grams(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=0.0):
    return partial(
        pytorch_optimizer.Grams,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        weight_decay=weight_decay,
    )


@torch_with_l2
def torch_mars(
    lr=3e-3, beta1=0.95, beta2=0.99, eps=1e-8, gamma=0.025, weight_decay=0.0
):
    return partial(
        Corrected,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        gamma=gamma,
        weight_decay=weight_decay,
    )


_ADAM = [{"beta1": 0.0}, {"beta1": 0.95}, {"beta2": 0.9}, {"eps": 1e-3}]
_DECAY = {"weight_decay": 0.2}
ROWS = [
    *rows("adamax", torch_adamax, *_ADAM),
    *rows("adamax", optax_adamax, *_ADAM),
    *rows("nadam", torch_nadam, *_ADAM, {"momentum_decay": 0.5}),
    Row("nadam", {"momentum_decay": 10**9}, optax_nadam),
    *rows("radam", optax_radam, *_ADAM, {"threshold": 4.0}, {"threshold": 12.0}),
    *rows("yogi", optax_yogi, *_ADAM[:3], {"eps": 1e-8}),
    *rows("adabelief", optax_adabelief, *_ADAM),
    *rows("adabelief", po_adabelief, *_ADAM),
    *rows("adabound", po_adabound, *_ADAM, {"final_lr": 1.0}),
    *rows("adan", po_adan, *_ADAM, {"beta3": 0.9}, _DECAY),
    *rows("adopt", optax_adopt, *_ADAM, options=()),
    Row(
        "adopt",
        {"l2": 0.1},
        optax_adopt,
        rtol=1e-6,
        note="p fed back through l2 / sqrt(v), v still tiny: what changes lr by 1e-15 "
        "changes the path by 8e-7",
    ),
    *rows("ademamix", optax_ademamix, *_ADAM, {"beta3": 0.99}, {"alpha": 2.0}, _DECAY),
    *rows("cautious", torch_cautious, *_ADAM, _DECAY),
    *rows("grams", po_grams, *_ADAM, _DECAY),
    *rows("mars", torch_mars, *_ADAM, {"gamma": 0.0}, {"gamma": 0.5}, _DECAY),
    Row(
        "mars",
        {},
        torch_mars,
        shapes=((1,),) * 36 + ((6,),),
        note="small tensors, which are not clipped at the first step",
    ),
]


# Where others differ: ours with these edits is theirs, with lr 0.1 and eps 1e-3


def dozat_nadam(lr, eps, beta1=0.9, beta2=0.999):
    """Dozat 2016, algorithm 2, but for the beta2 on v_hat."""

    def mu(t):
        return beta1 * (1 - 0.96 ** (t / 250) / 2)

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return 1, 1.0, zeros, zeros

    def update(g, state, params=None):
        t, product, m, n = state
        product = product * mu(t)
        m = jax.tree.map(lambda m, g: mu(t) * m + (1 - mu(t)) * g, m, g)
        n = jax.tree.map(lambda n, g: beta2 * n + (1 - beta2) * g * g, n, g)

        def move(m, n, g):
            g_hat = g / (1 - product)
            m_hat = m / (1 - product * mu(t + 1))
            bar = (1 - mu(t)) * g_hat + mu(t + 1) * m_hat
            return -lr * bar / (jnp.sqrt(n / (1 - beta2**t)) + eps)

        return jax.tree.map(move, m, n, g), (t + 1, product, m, n)

    return optax.GradientTransformation(init, update)


_BESIDE_EPS = [("sqrt(v_hat) + eps", "sqrt(v_hat) + eps / (1 - beta2**t) ** 0.5")]
_FIRST = "where(t > 1, 0, 1e-6)"
ELSEWHERE = {
    "Dozat's NAdam: m averaged with mu": (
        "nadam",
        [("m = beta1 * m + (1 - beta1)", "m = mu * m + (1 - mu)")],
        dozat_nadam(0.1, 1e-3),
    ),
    "torch.optim.RAdam: v uncorrected beside eps": (
        "radam",
        _BESIDE_EPS,
        partial(torch.optim.RAdam, lr=0.1, eps=1e-3),
    ),
    "author's RAdam: p waits for rho": (
        "radam",
        [*_BESIDE_EPS, ("scaled, m_hat)", "scaled, 0 * m_hat)")],
        partial(pytorch_optimizer.RAdam, lr=0.1, eps=1e-3),
    ),
    "optax.yogi: m and v start at 1e-6": (
        "yogi",
        [
            ("beta1 * m", f"beta1 * (m + {_FIRST})"),
            ("v = v - ", f"old = v + {_FIRST}\n    v = old - "),
            ("sign(v -", "sign(old -"),
        ],
        optax_yogi(lr=0.1, eps=1e-3, start=1e-6),
    ),
    "pytorch_optimizer.AdaBound: 1e-15 under the root": (
        "adabound",
        [("sqrt(v)", "sqrt(v + 1e-15)")],
        partial(pytorch_optimizer.AdaBound, lr=0.1, eps=1e-3),
    ),
    "optax.adan: 1 - beta2 for beta2, 1e-8 under the root, AdamW's decay": (
        "adan",
        [
            ("+ beta2 * ", "+ (1 - beta2) * "),
            ("sqrt(v_hat)", "sqrt(v_hat + 1e-8)"),
            ("p = (p - lr * m_hat", "p = p - lr * 0.02 * p - (lr * m_hat"),
        ],
        optax.adan(0.1, eps=1e-3, weight_decay=0.02),
    ),
    "pytorch_optimizer.ADOPT: clips one step ahead": (
        "adopt",
        [
            ("(t - 1) ** 0.25", "t**0.25"),
            ("beta1 * m + (1 - beta1) * u", "where(t > 1, beta1 * m + 0.1 * u, m)"),
        ],
        partial(pytorch_optimizer.ADOPT, lr=0.1, eps=1e-3),
    ),
    "paper's Cautious: the mean plus 1 / n": (
        "cautious",
        [("maximum(mean(mask), 1e-3)", "((total(mask) + 1) / total(g**0))")],
        torch_cautious(
            lr=0.1, eps=1e-3, scale=lambda mask: (mask.sum() + 1) / mask.numel()
        ),
    ),
    "pytorch_optimizer.MARS: v uncorrected beside eps, 1e-15 added": (
        "mars",
        [("v / (", "(v + 1e-15) / ("), *_BESIDE_EPS],
        partial(pytorch_optimizer.MARS, lr=0.1, lr_1d=0.1, eps=1e-3, optimize_1d=True),
    ),
}
