"""The oracle of `adamtut.rules.second_order`: the authors' code of Sophia-G.

No library has it: optax.contrib and pytorch_optimizer have Sophia-H, the form with
Hutchinson's estimate. `OfficialSophiaG` says again, in few lines, what sophia.py of
github.com/Liuhong99/Sophia does at commit 195a786.
"""

from functools import partial

import torch

from adamtut.curvature import SophiaG
from oracles.row import rows

EVERY, BATCH = 3, 8


class OfficialSophiaG(torch.optim.Optimizer):
    """`update_hessian` and `step` of theirs, and their training loop's turn-taking."""

    def __init__(self, params, lr, betas, rho, weight_decay, eps, l2, maximize):
        super().__init__(params, {})
        self.lr, self.betas, self.rho = lr, betas, rho
        self.weight_decay, self.eps = weight_decay, eps
        self.l2, self.sign, self.steps = l2, -1.0 if maximize else 1.0, 0

    @torch.no_grad()
    def step(self):
        self.steps += 1
        for p in self.param_groups[0]["params"]:
            state = self.state[p]
            if not state:
                state["exp_avg"] = torch.zeros_like(p)
                state["hessian"] = torch.zeros_like(p)
            grad = self.sign * p.grad + self.l2 * p
            p.mul_(1 - self.lr * self.weight_decay)
            exp_avg = state["exp_avg"].lerp_(grad, 1 - self.betas[0])
            scale = self.rho * BATCH * state["hessian"] + self.eps
            ratio = (exp_avg.abs() / scale).clamp(None, 1)
            p.addcmul_(exp_avg.sign(), ratio, value=-self.lr)
        if self.steps % EVERY == 0:
            self.update_hessian()

    def update_hessian(self):
        beta2 = self.betas[1]
        for p in self.param_groups[0]["params"]:
            hessian = self.state[p]["hessian"]
            hessian.mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)


def official_sophia(
    lr=1e-4,
    beta1=0.965,
    beta2=0.99,
    rho=0.04,
    eps=1e-15,
    weight_decay=0.1,
    l2=0.0,
    maximize=False,
):
    return partial(
        OfficialSophiaG,
        lr=lr,
        betas=(beta1, beta2),
        rho=rho,
        weight_decay=weight_decay,
        eps=eps,
        l2=l2,
        maximize=maximize,
    )


def sampled(params, rule="sophia", **hyper):
    """Our optimiser, whose sampled gradient is always the one of the step before."""

    def take_in(optimizer, *_):
        if optimizer.due():
            optimizer.take_in([p.grad for p in params], BATCH)

    optimizer = SophiaG(params, rule, every=EVERY, **hyper)
    optimizer.register_step_post_hook(take_in)
    return optimizer


_SOPHIA = [
    {"beta1": 0.5},
    {"beta2": 0.9},
    {"rho": 0.5},
    {"eps": 1e-3},
    {"weight_decay": 0.5},
]
ROWS = rows("sophia", official_sophia, *_SOPHIA, ours=sampled)
