"""The doctor finds what is planted, is silent on healthy set-ups, touches nothing."""

import copy
import hashlib
import random
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import yaml
from docutils.nodes import make_id
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import lr_scheduler

from adamtut import __main__ as command
from adamtut import doctor
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


def untouched(model, optimizer, *rest, scheduler=None):
    """What `examine` finds, having checked that it has changed nothing."""
    optimizers = optimizer if isinstance(optimizer, list) else [optimizer]
    before = digest(model, *optimizers, scheduler)
    findings = examine(model, optimizer, *rest, scheduler=scheduler)
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
    for rest in ((), (loss,)):
        findings = untouched(model, optimizer, *rest)
        assert not findings, report(findings)


@pytest.mark.parametrize("setup", [on_meta, schedule_free_in_eval])
def test_silent_where_training_is_not_possible(setup):
    assert not untouched(*setup(), loss)


FLAGS = [{"foreach": True}, {"fused": True}, {"amsgrad": True}, {"maximize": True}]


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_silent_with_the_flags_of_torch(flags):
    model, optimizer = train(*adamw_groups(**flags))
    assert not untouched(model, optimizer, loss)


def test_silent_with_lbfgs():
    # whose one call is many steps, together larger than half of the weights
    model = mlp()
    assert not untouched(model, torch.optim.LBFGS(model.parameters()), loss)


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


PLANTED = {
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
    unused: [("no-gradient", "spare.weight and spare.bias (12 values)")],
    unused_seen_without_a_loss: [("no-gradient", "spare.weight")],
    zeros_for_none: [("zero-gradient", "spare.weight and spare.bias")],
    evaluated_at_the_wrong_point: [("point", "optimizer.eval()")],
    trained_at_the_wrong_point: [("point", "optimizer.train()")],
    gradient_of_infinity: [("not-finite", "The gradient of 1.weight")],
    huge_step: [("step-too-large", "lr = 5")],
    bfloat16_weights: [("step-lost", "torch.bfloat16")],
}


@pytest.mark.parametrize("plant", PLANTED)
def test_finds_what_is_planted_and_nothing_else(plant):
    model, optimizer, rest, scheduler = (*plant(), None, None)[:4]
    findings = untouched(model, optimizer, rest, scheduler=scheduler)
    expected = PLANTED[plant]
    assert [f.trap for f in findings] == [trap for trap, _ in expected], findings
    for _, words in expected:
        assert any(words in f.sentence for f in findings), (words, report(findings))


def test_every_finding_is_planted():
    assert {trap for traps in PLANTED.values() for trap, _ in traps} == set(SECTIONS)


# What it cannot see, because it is in the loop and not in what the loop works on.


def forgotten_zero_grad(model, optimizer):
    loss(model).backward()
    loss(model).backward()
    optimizer.step()


def clipped_before_unscale(model, optimizer):
    (loss(model) * 1024).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for p in model.parameters():
        p.grad /= 1024
    optimizer.step()


def accumulated_without_dividing(model, optimizer):
    model.zero_grad()
    for _ in range(8):
        loss(model).backward()
    optimizer.step()


@pytest.mark.parametrize(
    "loop", [forgotten_zero_grad, clipped_before_unscale, accumulated_without_dividing]
)
def test_does_not_see_what_is_in_the_loop(loop):
    model, optimizer = adamw_groups()
    for _ in range(3):
        loop(model, optimizer)
    assert not untouched(model, optimizer, loss)


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

    assert not untouched(model, optimizer, draws)
    assert not called


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
            examine(*arguments)


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
    if out:
        assert out.startswith("lr\n") and "no-gradient" in out and BOOK in out


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
