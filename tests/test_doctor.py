"""The doctor finds what is planted, is silent on healthy set-ups, touches nothing."""

import ast
import copy
import hashlib
import inspect
import random
import re
import subprocess
import sys
import textwrap
import tomllib
import warnings
from functools import partial
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import yaml
from docutils.nodes import make_id
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.optim import lr_scheduler

from adamtut import __main__ as command
from adamtut import doctor
from adamtut.__main__ import NAMES
from adamtut.doctor import BOOK, RATES, SECTIONS, examine, report
from adamtut.optim import Optimizer, matrices_and_rest
from adamtut.rules import RULES

ROOT = Path(__file__).parents[1]
X = torch.from_numpy(np.random.default_rng(0).normal(size=(32, 1, 8, 8))).float()
Y = torch.arange(32) % 10
WORDS = torch.arange(24).reshape(4, 6) % 11


def loss(model):
    p = next(model.parameters())
    if p.ndim == 2 and len(p) == 11:  # of words
        return cross_entropy(model(WORDS).flatten(0, 1).float(), WORDS.flatten() % 11)
    return cross_entropy(model(X.to(p.dtype)), Y)


def mlp():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 10)
    )


def conv():
    torch.manual_seed(1)
    layers = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 36, 10))


class Words(nn.Module):
    """A transformer block between an embedding and an output layer that are one."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.embed = nn.Embedding(11, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1)
        self.out = nn.Linear(16, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x):
        return self.out(self.block(self.embed(x)))


def rows():
    torch.manual_seed(1)
    return nn.Sequential(nn.Embedding(11, 11, sparse=True))


def decay_groups(model, decay=0.1):
    params = list(model.parameters())
    return [
        {"params": [p for p in params if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
    ]


def train(model, optimizer, steps=3, scheduler=None):
    for _ in range(steps):
        model.zero_grad()
        loss(model).backward()
        for one in optimizer if isinstance(optimizer, list) else [optimizer]:
            one.step()
        if scheduler is not None:
            scheduler.step()
    return model, optimizer


def clear(optimizer, **options):
    for one in optimizer if isinstance(optimizer, list) else [optimizer]:
        one.zero_grad(**options)


def one_step(model, optimizer, scheduler=None):
    clear(optimizer)
    train(model, optimizer, 1, scheduler)


def digest(model, *others):
    """All that the doctor looks at and could change, hooks and generators included."""
    found = []

    def walk(x):
        if isinstance(x, torch.Tensor):
            found.append((id(x), x.dtype, x.shape, x._version, x.requires_grad))
            data = x if x.layout == torch.strided else x.to_dense()
            if not x.is_meta:
                raw = data.detach().cpu().contiguous().flatten().view(torch.uint8)
                found.append(raw.numpy().tobytes())
            if x.is_leaf:
                walk(x.grad)
                walk(getattr(x, "_post_accumulate_grad_hooks", None))
        elif isinstance(x, dict):
            for key, value in x.items():
                found.append(id(key) if isinstance(key, torch.Tensor) else repr(key))
                walk(value)
        elif isinstance(x, list | tuple | set):
            found.append(len(x))
            for value in x:
                walk(value)
        elif callable(x):
            found.append(id(getattr(x, "__func__", x)))
        else:
            found.append(repr(x))

    for module in model.modules():
        walk({k: v for k, v in vars(module).items() if k != "_modules"})
    for other in others:
        if other is not None:
            walk({k: v for k, v in vars(other).items() if k != "optimizer"})
    walk([torch.get_rng_state().tolist(), random.getstate()])
    walk([list(np.random.get_state()), np.random.get_state()[1].tolist()])
    walk([torch.is_grad_enabled(), torch.get_default_dtype()])
    return hashlib.sha256(repr(found).encode()).hexdigest()


def untouched(model, optimizer, loss=None, scheduler=None, **asked):
    """What `examine` finds, having checked that it has changed nothing."""
    optimizers = optimizer if isinstance(optimizer, list) else [optimizer]
    before = digest(model, *optimizers, scheduler)
    findings = examine(model, optimizer, loss, scheduler, **asked)
    assert digest(model, *optimizers, scheduler) == before
    return findings


# Healthy: functions that return (model, optimizer) or (model, optimizer, scheduler).


def adamw_groups(**options):
    model = mlp()
    return model, torch.optim.AdamW(decay_groups(model), lr=1e-3, **options)


def ours_on_images(rule="adam", **options):
    model = conv()
    return model, Optimizer(model.parameters(), rule, **options)


def sgd_everywhere():
    model = conv()
    return model, torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4
    )


def transformer():
    model = Words()
    return model, torch.optim.AdamW(decay_groups(model), lr=3e-4, betas=(0.9, 0.95))


def frozen_backbone():
    model = conv()
    model[:-1].requires_grad_(False)
    return model, torch.optim.Adam(model[-1].parameters(), lr=1e-3)


def frozen_in_the_group():
    model = conv()
    model[:-1].requires_grad_(False)
    return model, torch.optim.Adam(model.parameters(), lr=1e-3)


def sparse_rows():
    model = rows()
    return model, torch.optim.SparseAdam(model.parameters())


def our_sparse_rows():
    model = rows()
    return model, Optimizer(model.parameters(), "adam")


def matrices_with_muon():
    model = mlp()
    return model, Optimizer(matrices_and_rest(model.parameters(), "muon", "adam"))


def two_optimizers():
    model = mlp()
    groups = [group["params"] for group in decay_groups(model)]
    return model, [torch.optim.Muon(groups[0]), torch.optim.Adam(groups[1])]


class LowRank(nn.Module):
    """A frozen model and an update of rank two that starts from zero, as in LoRA."""

    def __init__(self):
        super().__init__()
        self.frozen = mlp().requires_grad_(False)
        self.down, self.up = nn.Linear(64, 2, bias=False), nn.Linear(2, 10, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.frozen(x) + self.up(self.down(x.flatten(1)))


def low_rank():
    model = LowRank()
    trained = [p for p in model.parameters() if p.requires_grad]
    return model, torch.optim.AdamW(trained, lr=1e-3)


def half_with_a_large_eps():
    model = mlp().half()
    return model, torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-3)


def half_fused():
    model = mlp().half()
    return model, torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)


def resumed():
    model, optimizer = train(*adamw_groups())
    saved = copy.deepcopy(optimizer.state_dict())
    optimizer = torch.optim.AdamW(decay_groups(model), lr=1e-3)
    optimizer.load_state_dict(saved)
    return model, optimizer


def schedule_free_in_eval():
    model, optimizer = train(*ours_on_images("schedule_free"))
    model.eval()
    optimizer.eval()
    return model, optimizer


def on_meta():
    model = mlp().to("meta")
    return model, torch.optim.Adam(model.parameters())


HEALTHY = [
    adamw_groups,
    ours_on_images,
    sgd_everywhere,
    transformer,
    frozen_backbone,
    frozen_in_the_group,
    sparse_rows,
    our_sparse_rows,
    matrices_with_muon,
    two_optimizers,
    low_rank,
    half_with_a_large_eps,
    half_fused,
    resumed,
]


@pytest.mark.parametrize("setup", HEALTHY)
@pytest.mark.parametrize("steps", [0, 3])
def test_silent_on_a_healthy_set_up(setup, steps):
    model, optimizer = setup()
    train(model, optimizer, steps)
    whole = {"step": one_step, "steps": steps}
    for asked in ({}, {"loss": loss}, whole, {"loss": loss, **whole}):
        findings = untouched(model, optimizer, **asked)
        assert not findings, report(findings)


@pytest.mark.parametrize("setup", [on_meta, schedule_free_in_eval])
def test_silent_where_training_is_not_possible(setup):
    assert not untouched(*setup(), loss, step=one_step)


FLAGS = [{"foreach": True}, {"fused": True}, {"amsgrad": True}, {"maximize": True}]


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_silent_with_the_flags_of_torch(flags):
    model, optimizer = train(*adamw_groups(**flags))
    assert not untouched(model, optimizer, loss)
    assert not untouched(model, optimizer, loss, step=one_step, steps=3)


def test_silent_with_lbfgs():
    # whose one call is many steps, together larger than half of the weights
    def step(model, optimizer):
        def closure():
            optimizer.zero_grad()
            value = loss(model)
            value.backward()
            return value

        optimizer.step(closure)

    model = mlp()
    optimizer = torch.optim.LBFGS(model.parameters())
    assert not untouched(model, optimizer, loss)
    step(model, optimizer)
    assert not untouched(model, optimizer, loss, step=step, steps=1)


def test_silent_with_capturable():
    # torch steps with it on an accelerator only, so nothing but a look is possible
    assert not untouched(*adamw_groups(capturable=True))


@pytest.mark.parametrize("rule", RULES)
def test_silent_with_each_rule_at_its_defaults(rule):
    model = conv()
    decays = {"weight_decay": 0.0} if "weight_decay" in RULES[rule].defaults else {}
    for how in ("loop", "foreach"):
        optimizer = Optimizer(model.parameters(), rule, how, **decays)
        findings = untouched(model, optimizer, loss)
        assert not findings, report(findings)
    train(model, optimizer, 2)
    findings = untouched(model, optimizer, loss, step=one_step, steps=2)
    assert not findings, report(findings)


SCHEDULES = {
    "warm-up from zero": lambda o: lr_scheduler.LambdaLR(o, lambda t: t / 100),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.01, total_steps=100),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 3),
    "plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o),
    "two": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o), lr_scheduler.StepLR(o, 2)], milestones=[2]
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [0, 3])
def test_silent_beside_a_scheduler(name, steps):
    model, optimizer = adamw_groups()
    scheduler = SCHEDULES[name](optimizer)
    for _ in range(steps):
        train(model, optimizer, 1)
        scheduler.step(*([1.0] if name == "plateau" else []))
    assert not untouched(model, optimizer, loss, scheduler=scheduler)

    def step(model, optimizer, scheduler):
        one_step(model, optimizer)
        scheduler.step(*([1.0] if name == "plateau" else []))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asked = {"step": step, "steps": steps}
        assert not untouched(model, optimizer, loss, scheduler, **asked)


# Healthy steps: functions of model and optimizer.


def zeroed_after(model, optimizer):
    loss(model).backward()
    optimizer.step()
    optimizer.zero_grad()


def zeroed_to_zero(model, optimizer):
    optimizer.zero_grad(set_to_none=False)
    loss(model).backward()
    optimizer.step()


def zeroed_by_hand(model, optimizer):
    for p in model.parameters():
        p.grad = None
    loss(model).backward()
    optimizer.step()


def assigned(model, optimizer):
    params = list(model.parameters())
    for p, g in zip(params, torch.autograd.grad(loss(model), params), strict=True):
        p.grad = g
    optimizer.step()


def accumulated(model, optimizer, k=4):
    optimizer.zero_grad()
    for _ in range(k):
        (loss(model) / k).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.01)
    optimizer.step()


def two_tasks(model, optimizer):
    optimizer.zero_grad()
    for share in (0.3, 0.7):
        (share * loss(model)).backward()
    optimizer.step()


def two_steps(model, optimizer):
    for _ in range(2):
        one_step(model, optimizer)


def scaled(model, optimizer, k=1, fused=False):
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimizer.zero_grad()
    for _ in range(k):
        scaler.scale(loss(model) / k).backward()
    if not fused:
        scaler.unscale_(optimizer)
        clip_grad_norm_(model.parameters(), 0.01)
    scaler.step(optimizer)
    scaler.update()


def scaled_and_accumulated(model, optimizer):
    scaled(model, optimizer, k=4)


def scaled_by_hand(model, optimizer):
    optimizer.zero_grad()
    for _ in range(4):
        (loss(model) / 4 * 1024).backward()
    for p in model.parameters():
        p.grad /= 1024
    nn.utils.clip_grad_value_(model.parameters(), 1e-3)
    optimizer.step()


def sharpness_aware(model, optimizer, rho=0.05):
    """Sharpness-aware minimisation: two gradients, of which the second counts."""
    optimizer.zero_grad()
    loss(model).backward()
    moves = [rho * p.grad.sign() for p in model.parameters()]
    for sign in (1, -1):
        with torch.no_grad():
            for p, move in zip(model.parameters(), moves, strict=True):
                p.add_(sign * move)
        if sign == 1:
            optimizer.zero_grad()
            loss(model).backward()
    optimizer.step()


STEPS = [
    sharpness_aware,
    zeroed_after,
    zeroed_to_zero,
    zeroed_by_hand,
    assigned,
    accumulated,
    two_tasks,
    two_steps,
    scaled,
    scaled_and_accumulated,
    scaled_by_hand,
]


@pytest.mark.parametrize("step", STEPS)
def test_silent_on_a_healthy_step(step):
    model, optimizer = adamw_groups()
    for _ in range(2):  # also with what the step has left behind
        findings = untouched(model, optimizer, loss, step=step)
        assert not findings, report(findings)
        step(model, optimizer)


def test_silent_where_the_fused_kernel_unscales():
    asked = {"step": partial(scaled, fused=True), "loss": loss}
    assert not untouched(*adamw_groups(fused=True), **asked)


def test_silent_on_players_that_see_each_others_gradients():
    """As in a GAN: the loss of one gives gradients to the other too."""

    def play(model, optimizers):
        for optimizer in optimizers:
            optimizer.zero_grad()
            loss(model).backward()
            optimizer.step()

    model = mlp()
    players = model[1:3], model[3:]
    optimizers = [torch.optim.Adam(player.parameters()) for player in players]
    assert not untouched(model, optimizers, step=play)


# Planted: each function returns the arguments of `examine`; (trap, what it says).


def replaced_layer():
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters())
    model[-1] = nn.Linear(32, 10)
    return model, optimizer


def left_out():
    model = mlp()
    return model, torch.optim.Adam(model[:-1].parameters())


def listed_twice():
    model = Words()
    both = [*model.parameters(), *model.out.parameters()]
    with pytest.warns(UserWarning, match="duplicate parameters"):
        return model, torch.optim.Adam(both)


def same_memory():
    model = Words()
    model.out.weight = nn.Parameter(model.embed.weight.data)
    return model, torch.optim.Adam(model.parameters())


def in_two_optimizers():
    model = mlp()
    both = [model.parameters(), model[-1].parameters()]
    return model, [torch.optim.Adam(params) for params in both]


def decayed_gains():
    model = mlp()
    return model, torch.optim.AdamW(model.parameters(), weight_decay=0.1)


def l2_on_gains():
    model = mlp()
    return model, Optimizer(model.parameters(), "adam", l2=0.01)


def large_lr():
    model = mlp()
    return model, torch.optim.Adam(model.parameters(), lr=0.1)


def prodigy_with_the_rate_of_adam():
    model = mlp()
    return model, Optimizer(model.parameters(), "prodigy", lr=1e-3)


def half_precision():
    model = mlp().half()
    return model, torch.optim.Adam(model.parameters()), loss


def our_half_precision():
    model = mlp().half()
    return model, Optimizer(model.parameters(), "adam")


def part_of_the_state():
    model, optimizer = train(*adamw_groups())
    saved = optimizer.state_dict()
    del saved["state"][0]
    optimizer = torch.optim.AdamW(decay_groups(model))
    optimizer.load_state_dict(saved)
    return model, optimizer


def averages_without_step():
    model, optimizer = train(*adamw_groups())
    for state in optimizer.state.values():
        state["step"].zero_()
    return model, optimizer


def step_without_averages():
    model, optimizer = train(*adamw_groups())
    for state in optimizer.state.values():
        state["exp_avg"].zero_()
        state["exp_avg_sq"].zero_()
    return model, optimizer


def with_scheduler(steps=3):
    model, optimizer = adamw_groups()
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 10)
    train(model, optimizer, steps, scheduler)
    return model, optimizer, scheduler


def optimizer_not_restored():
    model, _, old = with_scheduler()
    optimizer = torch.optim.AdamW(decay_groups(model), lr=1e-3)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 10)
    scheduler.load_state_dict(old.state_dict())
    for group, lr in zip(optimizer.param_groups, scheduler.get_last_lr(), strict=True):
        group["lr"] = lr
    return model, optimizer, None, scheduler


def scheduler_not_restored():
    model, old, _ = with_scheduler()
    optimizer = torch.optim.AdamW(decay_groups(model), lr=1e-3)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 10)
    optimizer.load_state_dict(old.state_dict())
    return model, optimizer, None, scheduler


def scheduler_too_often():
    model, optimizer, scheduler = with_scheduler()
    for _ in range(5):
        scheduler.step()
    return model, optimizer, None, scheduler


def scheduler_of_another():
    model, _, scheduler = with_scheduler()
    return model, torch.optim.AdamW(decay_groups(model)), None, scheduler


def scheduler_of_another_in_the_loop():
    model, optimizer, _, scheduler = scheduler_of_another()
    return in_the_loop(one_step, lambda: (model, optimizer), scheduler=scheduler)


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.spare = conv(), nn.Linear(3, 3)

    def forward(self, x):
        return self.used(x)


def unused():
    model = Unused()
    return model, torch.optim.Adam(model.parameters()), loss


def unused_seen_without_a_loss():
    model, optimizer, _ = unused()
    return train(model, optimizer)


def zeros_for_none():
    model, optimizer, _ = unused()
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    return model, optimizer, loss


def evaluated_at_the_wrong_point():
    model, optimizer = train(*ours_on_images("schedule_free"))
    return model.eval(), optimizer


def trained_at_the_wrong_point():
    model, optimizer = train(*ours_on_images("schedule_free"))
    optimizer.eval()
    return model, optimizer


def gradient_of_infinity():
    model, optimizer = adamw_groups()
    return model, optimizer, lambda m: (loss(m) - loss(m)).sqrt()


def huge_step():
    model = mlp()
    return model, torch.optim.SGD(model.parameters(), lr=5.0, momentum=0.9), loss


def bfloat16_weights():
    model = mlp().bfloat16()
    return model, torch.optim.Adam(model.parameters(), lr=1e-4), loss


def small_eps():
    model = mlp().half()
    return model, torch.optim.Adam(model.parameters(), eps=1e-5)


def not_restored():
    model, _ = train(*adamw_groups())
    optimizer = torch.optim.AdamW(decay_groups(model))
    return {"model": model, "optimizer": optimizer, "steps": 3}


def not_restored_and_gone_on():
    return not_restored() | dict(
        zip(NAMES, train(*adamw_groups()), strict=False), steps=1003
    )


def not_restored_beside_a_scheduler():
    return dict(zip(NAMES, optimizer_not_restored(), strict=False), steps=3)


def replaced_layer_with_loss():
    return *replaced_layer(), loss


def replaced_layer_while_training():
    model, optimizer = replaced_layer()
    return train(model, optimizer)


def in_the_loop(step, make=adamw_groups, **asked):
    model, optimizer = make()
    return {"model": model, "optimizer": optimizer, "step": step, **asked}


def forgotten_zero_grad():
    return in_the_loop(lambda m, o: (loss(m).backward(), o.step()))


def forgotten_for_one_of_two():
    def step(model, optimizers):
        optimizers[0].zero_grad()
        loss(model).backward()
        for optimizer in optimizers:
            optimizer.step()

    return in_the_loop(step, two_optimizers)


def forgotten_in_a_closure():
    def step(model, optimizer):
        def closure():
            value = loss(model)
            value.backward()
            return value

        optimizer.step(closure)

    return in_the_loop(step)


def forgotten_rows():
    return in_the_loop(forgotten_zero_grad()["step"], sparse_rows)


def zeros_in_the_loop():
    def step(model, optimizer):
        optimizer.zero_grad(set_to_none=False)
        loss(model.used).backward()
        optimizer.step()

    model, optimizer, _ = unused()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    return {"model": model, "optimizer": optimizer, "step": step}


def unused_in_the_loop():
    return in_the_loop(one_step, lambda: unused()[:2])


def bfloat16_in_the_loop():
    return in_the_loop(one_step, lambda: bfloat16_weights()[:2])


def accumulated_without_dividing():
    def step(model, optimizer):
        optimizer.zero_grad()
        for _ in range(8):
            loss(model).backward()
        optimizer.step()

    return in_the_loop(step, loss=loss)


def accumulated_without_dividing_scaled():
    def step(model, optimizer):
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        optimizer.zero_grad()
        for _ in range(2):
            scaler.scale(loss(model)).backward()
        scaler.step(optimizer)

    return in_the_loop(step, loss=loss)


def clipped_before_unscale():
    def step(model, optimizer):
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        optimizer.zero_grad()
        scaler.scale(loss(model)).backward()
        clip_grad_norm_(model.parameters(), 1.0)  # under a name of its own
        scaler.step(optimizer)

    return in_the_loop(step)


def clipped_before_the_fused_kernel_unscales():
    step = clipped_before_unscale()["step"]
    return in_the_loop(step, lambda: adamw_groups(fused=True))


def clipped_by_value_before_dividing():
    def step(model, optimizer):
        optimizer.zero_grad()
        (loss(model) * 1024).backward()
        nn.utils.clip_grad_value_(model.parameters(), 0.1)
        for p in model.parameters():
            p.grad /= 1024
        optimizer.step()

    return in_the_loop(step)


def with_schedule(step):
    model, optimizer, scheduler = with_scheduler(0)
    return in_the_loop(step, lambda: (model, optimizer), scheduler=scheduler)


def scheduler_first():
    def step(model, optimizer, scheduler):
        optimizer.zero_grad()
        loss(model).backward()
        scheduler.step()
        optimizer.step()

    return with_schedule(step)


def scheduler_in_each_part():
    def step(model, optimizer, scheduler):
        optimizer.zero_grad()
        for k in range(4):
            (loss(model) / 4).backward()
            if k == 3:
                optimizer.step()
            scheduler.step()

    return with_schedule(step)


def scheduler_where_a_step_is_skipped():
    def step(model, optimizer, scheduler):
        optimizer.zero_grad()
        loss(model).backward()
        if scheduler.last_epoch:
            optimizer.step()
        scheduler.step()

    return with_schedule(step)


PLANTED = {
    small_eps: [("eps", "eps = 1e-05 in group 0")],
    not_restored: [("state", "The state of AdamW is empty, but 3 steps were made")],
    not_restored_and_gone_on: [("state", "AdamW is at step 3, but 1003 steps were")],
    not_restored_beside_a_scheduler: [("state", "is empty, but 3 steps")],
    replaced_layer_with_loss: [
        ("not-in-optimizer", "4."),
        ("not-of-model", "(10, 32)"),
    ],
    replaced_layer_while_training: [("not-in-optimizer", ""), ("not-of-model", "")],
    forgotten_zero_grad: [("zero-grad", "1.weight, 4.weight, 1.bias and 3 more")],
    forgotten_for_one_of_two: [("zero-grad", "1.bias, 2.weight, 2.bias and 1 more")],
    forgotten_in_a_closure: [("zero-grad", "1.weight")],
    forgotten_rows: [("zero-grad", "0.weight (121 values)")],
    zeros_in_the_loop: [("zero-gradient", "spare.weight and spare.bias")],
    unused_in_the_loop: [("no-gradient", "spare.weight and spare.bias")],
    bfloat16_in_the_loop: [("step-lost", "torch.bfloat16")],
    accumulated_without_dividing: [("factor", "8 times, on losses that add up to")],
    accumulated_without_dividing_scaled: [("factor", "2 times, on losses that add")],
    clipped_before_unscale: [("clipping", "to 0.00098 of its")],
    clipped_before_the_fused_kernel_unscales: [("clipping", "to 0.00098 of its")],
    clipped_by_value_before_dividing: [("clipping", "to 0.00098 of its")],
    scheduler_first: [("scheduler-order", "allowed: after optimizer.step()")],
    scheduler_in_each_part: [("scheduler", "the scheduler 8 times, the optimizer 2")],
    scheduler_where_a_step_is_skipped: [("scheduler", "2 times, the optimizer 1")],
    replaced_layer: [
        ("not-in-optimizer", "4.weight and 4.bias (330 values of model)"),
        ("not-of-model", "a parameter of shape (10, 32)"),
    ],
    left_out: [("not-in-optimizer", "4.weight and 4.bias")],
    listed_twice: [
        ("updated-twice", "embed.weight (176 values) are listed 2 times, in group 0")
    ],
    same_memory: [("updated-twice", "embed.weight and out.weight are different")],
    in_two_optimizers: [
        (
            "updated-twice",
            "4.weight and 4.bias (330 values) are listed 2 times, in group 0 of Adam "
            "(optimizer 0) and in group 0 of Adam (optimizer 1)",
        ),
    ],
    decayed_gains: [("decay", "1.bias, 2.weight, 2.bias and 1 more")],
    l2_on_gains: [("decay", "with l2 = 0.01")],
    large_lr: [("lr", "lr = 0.1 in group 0; usual with adam: 1e-06 to 0.05")],
    prodigy_with_the_rate_of_adam: [("lr", "usual with prodigy: 0.1 to 10")],
    half_precision: [("eps", "where it is zero"), ("not-finite", "after one step")],
    our_half_precision: [("eps", "allowed: 0.00024")],
    part_of_the_state: [
        ("state", "1.weight in group 0 have made fewer steps (from 0)")
    ],
    averages_without_step: [("state", "step = 0")] * 2,
    step_without_averages: [("state", "every exp_avg_sq is zero")] * 2,
    optimizer_not_restored: [("state", "scheduler is at 3, but the optimizer has no")],
    scheduler_not_restored: [
        ("scheduler", "but the scheduler set 0.001 last"),
        ("scheduler", "but the scheduler set 0.001 last"),
        ("scheduler", "step 3, the scheduler at 0"),
    ],
    scheduler_too_often: [("scheduler", "called 8 times, the optimizer 3")],
    scheduler_of_another: [("scheduler", "another optimizer")],
    scheduler_of_another_in_the_loop: [("scheduler", "another optimizer")],
    unused: [("no-gradient", "spare.weight and spare.bias (12 values)")],
    unused_seen_without_a_loss: [("no-gradient", "spare.weight")],
    zeros_for_none: [("zero-gradient", "spare.weight and spare.bias")],
    evaluated_at_the_wrong_point: [("point", "optimizer.eval()")],
    trained_at_the_wrong_point: [("point", "optimizer.train()")],
    gradient_of_infinity: [("not-finite", "The gradient of 1.weight")],
    huge_step: [("step-too-large", "lr = 5")],
    bfloat16_weights: [("step-lost", "torch.bfloat16")],
}


def arguments(plant):
    """What a plant returns, by the names of `examine`."""
    made = plant()
    return made if isinstance(made, dict) else dict(zip(NAMES, made, strict=False))


@pytest.mark.parametrize("plant", PLANTED)
def test_finds_what_is_planted_and_nothing_else(plant):
    findings = untouched(**arguments(plant))
    expected = PLANTED[plant]
    assert [f.trap for f in findings] == [trap for trap, _ in expected], findings
    for _, words in expected:
        assert any(words in f.sentence for f in findings), (words, report(findings))


def test_every_finding_is_planted():
    assert {trap for traps in PLANTED.values() for trap, _ in traps} == set(SECTIONS)


# The traps of the chapter: the section, and what is planted.
TRAPS = {
    "state not restored": ("trap-resume", not_restored),
    "schedule restarts": ("trap-scheduler", scheduler_not_restored),
    "scheduler too often": ("trap-scheduler", scheduler_in_each_part),
    "layer replaced": ("trap-replaced", replaced_layer_with_loss),
    "listed twice": ("trap-twice", listed_twice),
    "zero_grad forgotten": ("trap-zero-grad", forgotten_zero_grad),
    "zero for None": ("trap-none", zeros_for_none),
    "decay on gains": ("trap-decay", decayed_gains),
    "schedule-free, no eval": ("trap-point", evaluated_at_the_wrong_point),
    "float16, small eps": ("trap-eps", small_eps),
    "bfloat16 weights": ("trap-bfloat16", bfloat16_weights),
    "no dividing by 8": ("trap-harmless", accumulated_without_dividing),
    "clip, then unscale": ("trap-harmless", clipped_before_unscale),
    "scheduler first": ("trap-harmless", scheduler_first),
}


@pytest.mark.parametrize("name", TRAPS)
def test_finds_each_trap_of_the_chapter_and_no_other(name):
    section, plant = TRAPS[name]
    links = {finding.link for finding in untouched(**arguments(plant))}
    assert links == {f"{BOOK}chapters/traps.html#{section}"}


def test_these_are_the_traps_of_the_chapter():
    nb = nbformat.read(ROOT / "chapters/traps.ipynb", as_version=4)
    source = {kind: "" for kind in ("code", "markdown")}
    for cell in nb.cells[1:]:  # the first is no Python outside a notebook
        if cell.cell_type in source:
            source[cell.cell_type] += cell.source + "\n"
    named = {}
    for node in ast.walk(ast.parse(source["code"])):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            named[ast.unparse(node.targets[0])] = node.value
    harmful = [key.value for key in named["pairs"].keys]
    harmless = [value.value for value in named["rows"].values]
    assert {*harmful, *harmless} == set(TRAPS) and len(harmful) == 11
    slugs = re.findall(r"^\((trap-[\w-]+)\)=$", source["markdown"], re.MULTILINE)
    assert slugs == list(dict.fromkeys(section for section, _ in TRAPS.values()))


# It touches nothing.


def test_the_digest_sees_each_kind_of_change():
    def setup():
        model, optimizer = ours_on_images()
        train(model, optimizer)
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        return model, optimizer

    changes = [
        lambda m, o: m[0].weight.data.add_(1),
        lambda m, o: m[1].running_mean.add_(1),
        lambda m, o: m[0].weight.grad.add_(1),
        lambda m, o: setattr(m[0].weight, "grad", None),
        lambda m, o: o.state[m[0].weight]["m"].add_(1),
        lambda m, o: o.state[torch.zeros(1)],
        lambda m, o: o.param_groups[0].update(lr=2.0),
        lambda m, o: torch.rand(1),
        lambda m, o: random.random(),
        lambda m, o: np.random.rand(),
        lambda m, o: m.eval(),
        lambda m, o: m[0].register_forward_hook(print),
        lambda m, o: m[0].weight.register_post_accumulate_grad_hook(print),
        lambda m, o: m[0].weight.requires_grad_(False),
        lambda m, o: o.register_step_pre_hook(print),
    ]
    for change in changes:
        model, optimizer = setup()
        before = digest(model, optimizer)
        assert digest(model, optimizer) == before
        change(model, optimizer)
        assert digest(model, optimizer) != before


def test_leaves_hooks_and_generators_alone():
    model, optimizer = train(*ours_on_images())  # with dropout and batch norm
    called = []
    optimizer.register_step_post_hook(lambda *about: called.append("step"))
    for p in model.parameters():
        p.register_post_accumulate_grad_hook(lambda p: called.append("gradient"))

    def draws(m):
        random.random()
        np.random.rand()
        torch.rand(1)
        return loss(m)

    def step(model, optimizer):
        draws(model)
        one_step(model, optimizer)

    assert not untouched(model, optimizer, draws)
    assert not untouched(model, optimizer, draws, step=step)
    assert not called


def test_leaves_a_profiler_alone():
    def profiler(*about):
        pass

    def broken(model, optimizer):
        raise KeyError

    sys.setprofile(profiler)
    try:
        examine(*adamw_groups(), step=one_step)
        with pytest.raises(KeyError):
            examine(*adamw_groups(), step=broken)
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)


def test_counts_no_step_of_a_scheduler():
    model, optimizer = adamw_groups()
    scheduler = lr_scheduler.StepLR(optimizer, 1)
    examine(model, optimizer, loss, scheduler)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()


# What it refuses.


def test_refuses_what_it_cannot_examine():
    model, optimizer = adamw_groups()
    lazy = nn.LazyLinear(3)
    refused = [
        (TypeError, r"model is \[\]; allowed: a torch.nn.Module", ([], optimizer)),
        (TypeError, "optimizer is 'adam'; allowed: a torch.opt", (model, "adam")),
        (TypeError, "optimizer is a Sequential", (model, model)),
        (TypeError, "optimizer is None", (model, [optimizer, None])),
        (ValueError, "optimizer is an empty list", (model, [])),
        (TypeError, "loss is 3; allowed: a function", (model, optimizer, 3)),
        (TypeError, "loss is a Tensor", (model, optimizer, loss(model))),
        (TypeError, "scheduler is 0.1; allowed", (model, optimizer, None, 0.1)),
        (TypeError, "step is 3; allowed: a function", {"step": 3}),
        (TypeError, "step is a Sequential; allowed", {"step": model}),
        (TypeError, "steps is 2.5; allowed: a whole", {"steps": 2.5}),
        (TypeError, "steps is True; allowed: a whole", {"steps": True}),
        (ValueError, "steps is -1; allowed: 0 or more", {"steps": -1}),
        (ValueError, "step did not step the opt", {"step": lambda m, o: None}),
        (ValueError, "model has no parameters", (nn.ReLU(), optimizer)),
        (ValueError, "parameter weight of model is lazy", (lazy, optimizer)),
        (ValueError, "loss returned 0.5", (model, optimizer, lambda m: 0.5)),
        (ValueError, r"shape \(32, 10\)", (model, optimizer, lambda m: m(X))),
        (ValueError, "without a gradient", (model, optimizer, lambda m: X.sum())),
        (
            ValueError,
            "does not depend on the model",
            (model, optimizer, lambda m: loss(model)),
        ),
    ]
    for error, message, arguments in refused:
        with pytest.raises(error, match=message):
            if isinstance(arguments, dict):
                examine(model, optimizer, **arguments)
            else:
                examine(*arguments)


def test_refuses_a_step_that_uses_what_it_is_not_given():
    """And before that has changed anything."""
    model, optimizer, scheduler = with_scheduler()
    steps = {
        "Sequential": lambda m, o, s: loss(model).backward(),
        "AdamW": lambda m, o, s: (loss(m).backward(), optimizer.step()),
        "CosineAnnealingLR": lambda m, o, s: (one_step(m, o), scheduler.step()),
    }
    before = digest(model, optimizer, scheduler)
    for kind, step in steps.items():
        with pytest.raises(ValueError, match=f"step uses a {kind} that it was not"):
            examine(model, optimizer, None, scheduler, step=step)
        assert digest(model, optimizer, scheduler) == before


def test_says_that_the_step_raised():
    model, optimizer, scheduler = with_scheduler()
    with pytest.raises(TypeError) as caught:  # it takes two
        examine(model, optimizer, None, scheduler, step=lambda m, o: None)
    assert caught.value.__notes__ == [
        "raised by step, called with copies of model, optimizer, scheduler"
    ]


def test_says_that_the_loss_raised():
    model, optimizer = adamw_groups()
    with pytest.raises(RuntimeError) as caught:
        examine(model, optimizer, lambda m: m(torch.ones(2, 3)).sum())
    assert "raised by loss" in caught.value.__notes__[0]


def test_says_what_cannot_be_copied():
    model, optimizer = adamw_groups()
    model.kept = model(X)  # a result with its graph
    with pytest.raises(ValueError, match="cannot be copied .* examine it without loss"):
        examine(model, optimizer, loss)
    assert not examine(model, optimizer)


# Its words.


def test_report_is_a_paragraph_a_finding():
    text = report(examine(*large_lr()))
    assert text == (
        "lr\n"
        "  lr = 0.1 in group 0; usual with adam: 1e-06 to 0.05.\n"
        f"  {BOOK}chapters/hyperparameters.html#how-to-choose-each"
    )
    assert report([]) == ""


def test_links_lead_into_the_book():
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert config["html"]["baseurl"] == BOOK
    for link in SECTIONS.values():
        page, anchor = link.split(".html#")
        nb = nbformat.read(ROOT / "chapters" / f"{page}.ipynb", as_version=4)
        prose = "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
        anchors = re.findall(r"^\(([\w-]+)\)=$", prose, re.MULTILINE)
        headings = re.findall(r"^##+ (.*)$", prose, re.MULTILINE)
        assert anchor in [*anchors, *map(make_id, headings)], link


def test_knows_the_rates_of_every_rule():
    torch_names = {
        name.lower()
        for name, x in vars(torch.optim).items()
        if isinstance(x, type) and issubclass(x, torch.optim.Optimizer)
    }
    ours = {name.replace("_", "") for name in RULES}
    assert (torch_names - {"optimizer"}) | ours <= RATES.keys()
    assert doctor._DIVIDES <= RATES.keys() and doctor._DECAYS_ALL <= RATES.keys()


# The command.

SCRIPT = """
import torch
from torch import nn
import beside

torch.manual_seed(0)
model = nn.Linear(4, 2)

def healthy():
    return model, torch.optim.Adam(model.parameters())

def ill():
    return model, torch.optim.Adam(model.parameters(), lr=1.0), lambda m: m.weight.sum()

def raises():
    raise KeyError("no such data")

def exits():
    raise SystemExit(0)

def one_thing():
    return model

def wrong_thing():
    return model, "adam"

def wrong_loss():
    return *healthy(), lambda m: m(torch.ones(3, 3)).sum()

def looped():
    def step(model, optimizer):
        model(torch.ones(3, 4)).sum().backward()
        optimizer.step()
    model, optimizer = healthy()
    return {"model": model, "optimizer": optimizer, "step": step, "steps": 0}

def misspelt():
    return {"model": model, "optimiser": None}

def half_a_dict():
    return {"model": model}

number = 3
if __name__ == "__main__":
    raise RuntimeError("the training itself")
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "train.py"
    path.write_text(textwrap.dedent(SCRIPT), encoding="utf-8")
    (tmp_path / "beside.py").touch()
    return path


COMMANDS = {
    "healthy": (0, ""),
    "ill": (1, ""),
    "raises": (2, "raised\nTraceback"),
    "exits": (2, "raised\nTraceback"),
    "one_thing": (2, "returned a Linear; allowed: (model, optimizer)"),
    "wrong_thing": (2, "optimizer is 'adam'; allowed: a torch.optim.Optimizer"),
    "wrong_loss": (2, "raised by loss, called with a copy of model"),
    "looped": (1, ""),
    "misspelt": (2, "a dict with 'optimiser'; allowed: model, optimizer, loss, sched"),
    "half_a_dict": (2, "returned a dict without 'optimizer'"),
    "number": (2, "has no function 'number'; allowed: FILE.py:FUNCTION"),
    "absent": (2, "has no function 'absent'"),
}


@pytest.mark.parametrize("function", COMMANDS)
def test_command(script, function, capsys):
    status, error = COMMANDS[function]
    assert command.main(["doctor", f"{script}:{function}"]) == status
    out, err = capsys.readouterr()
    assert error in err and bool(err) == (status == 2)
    assert bool(out) == (status == 1)
    if function == "ill":
        assert out.startswith("lr\n") and "no-gradient" in out and BOOK in out
    if function == "looped":
        assert out.startswith("zero-grad\n")


def test_command_takes_what_examine_takes():
    assert list(inspect.signature(examine).parameters) == NAMES
    for name in NAMES:
        assert re.search(rf"^  {name} ", command.DESCRIPTION, re.MULTILINE)


def test_command_refuses_what_is_no_target(tmp_path, capsys):
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_of_this_name")
    targets = {
        "train": "target is 'train'; allowed: FILE.py:FUNCTION",
        "train.py": "allowed: FILE.py:FUNCTION",
        f"{tmp_path / 'none.py'}:setup": "there is no file",
        f"{broken}:setup": "its file raised\nTraceback",
    }
    for target, message in targets.items():
        assert command.main(["doctor", target]) == 2
        assert message in capsys.readouterr().err


def test_command_as_a_process(script):
    """Both names of it, from another folder; nothing else is on the output."""
    run = [sys.executable, "-m", "adamtut", "doctor", f"{script}:ill"]
    done = subprocess.run(run, capture_output=True, text=True, cwd=script.parent)
    assert done.returncode == 1 and done.stdout.startswith("lr\n")
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"adamtut": "adamtut.__main__:main"}
