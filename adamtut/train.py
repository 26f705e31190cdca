"""One loop that trains a classifier: seeds, history, checkpoint and resume."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from adamtut import nets
from adamtut.checkpoint import Checkpoint
from adamtut.data import Dataset, batches, whole_number


@dataclass
class History:
    """What a run has measured, as lists of floats.

    ``step_loss``, one value per step: loss of the batch before the step.
    ``train_loss``, one value per epoch: mean of these losses over the epoch's examples.
    ``test_loss`` and ``test_accuracy`` (from 0 to 1), one value per epoch: after it.
    """

    step_loss: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)


def train(
    net: nn.Module,
    data: Dataset,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    *,
    batch_size: int = 128,
    seed: int = 0,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    scheduler: Any = None,
    scheduler_per: Literal["epoch", "step"] = "epoch",
    device: str | torch.device | None = None,
    checkpoint: str | os.PathLike | None = None,
    every: int = 1,
    progress: bool | None = None,
) -> History:
    """Train ``net`` on ``data`` until it has seen it ``epochs`` times.

    ``optimizer`` is any torch.optim.Optimizer of the net's parameters. ``loss`` takes
    scores (n, classes) and labels (n,) and returns their mean. ``scheduler`` is a torch
    scheduler of the optimizer, stepped after each epoch or after each step
    (``scheduler_per``); ReduceLROnPlateau is given the training loss of the epoch or
    step. ``device``: see ``nets.device``. ``seed`` settles the batches and all that the
    net draws (dropout), for each epoch afresh. ``progress``: True shows a bar, False
    none, None one where stderr is a terminal.

    ``checkpoint`` is a file, written before the first epoch, after each ``every``
    epochs and at the end; each time it is replaced as a whole, so that it is valid
    whenever the run is killed. Where it exists, the run continues from it, whatever
    ``net`` holds, and ends with the bits of a run that never stopped.

    Raises ValueError for an argument that cannot work and for a checkpoint that is
    damaged or was made with other settings, OSError for one that cannot be written:
    all before the first step. Raises FloatingPointError when a loss or a gradient is
    not finite: before the step that would spoil the weights.
    """
    _check(net, data, optimizer, scheduler, scheduler_per)
    epochs = whole_number("epochs", epochs, 0)
    every = whole_number("every", every, 1)
    n = len(data.x_train)
    steps = len(batches(n, batch_size, seed))
    net.to(device := nets.device(device))
    history, start = History(), 0
    if checkpoint is not None:
        parts = {"net": net, "optimizer": optimizer, "scheduler": scheduler}
        options = {
            "batch_size": batch_size,
            "seed": seed,
            "loss": getattr(loss, "__qualname__", type(loss).__qualname__),
            "scheduler_per": scheduler_per,
        }
        file = Checkpoint(Path(checkpoint), parts, data, options)
        if file.path.exists():
            saved, start = file.load(epochs)
            history = History(**saved)
        if start < epochs:  # a file that cannot be written shall stop the run now
            file.save(asdict(history), start)
    x, y = data.x_train.to(device), data.y_train.to(device)
    bar = tqdm(
        total=epochs * steps,
        initial=start * steps,
        unit="step",
        disable=None if progress is None else not progress,
    )
    cuda = [device] if device.type == "cuda" else []
    with bar, torch.random.fork_rng(devices=cuda):
        for epoch in range(start, epochs):
            # A key of its own for each epoch: resuming needs no state of a generator.
            key = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)
            torch.manual_seed(int(key[0]))
            net.train()
            total = 0.0
            for step, batch in enumerate(batches(n, batch_size, seed, epoch)):
                i = torch.from_numpy(batch).to(device)
                where = f"epoch {epoch + 1} of {epochs}, step {step + 1} of {steps}"
                value = _step(net, x[i], y[i], optimizer, loss, where)
                history.step_loss.append(value)
                total += value * len(i)
                if scheduler_per == "step":
                    _advance(scheduler, value)
                bar.update()
            history.train_loss.append(total / n)
            if scheduler_per == "epoch":
                _advance(scheduler, total / n)
            test_loss, accuracy = evaluate(net, data.x_test, data.y_test, loss=loss)
            history.test_loss.append(test_loss)
            history.test_accuracy.append(accuracy)
            bar.set_postfix_str(f"test accuracy {accuracy:.2%}")
            done = epoch + 1
            if checkpoint is not None and (done % every == 0 or done == epochs):
                file.save(asdict(history), done)
    return history


def evaluate(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    batch_size: int = 1000,
) -> tuple[float, float]:
    """Mean loss of ``net`` on inputs x (n, ...) and labels y (n,), and its accuracy.

    The net is in eval mode meanwhile. Raises ValueError for empty or unequal x and y.
    """
    _check_examples("x", x, "y", y)
    device = next(net.parameters()).device
    mode = net.training
    net.eval()
    total, right = 0.0, 0
    with torch.no_grad():
        for xb, yb in zip(x.split(batch_size), y.split(batch_size), strict=True):
            yb = yb.to(device)
            scores = net(xb.to(device))
            total += loss(scores, yb).item() * len(yb)
            right += (scores.argmax(1) == yb).sum().item()
    net.train(mode)
    return total / len(y), right / len(y)


def _step(net, x, y, optimizer, loss, where) -> float:
    """One step of the optimizer on one batch; the loss before it."""
    losses = []

    def forward_and_backward() -> Tensor:
        optimizer.zero_grad()
        value = loss(net(x), y)
        value.backward()
        losses.append(_finite(net, value.detach(), where))
        return value

    # As a closure, because some optimizers (LBFGS) ask for the loss more than once.
    # All others call it before they change anything: a bad gradient changes nothing.
    optimizer.step(forward_and_backward)
    return losses[0]


def _finite(net: nn.Module, value: Tensor, where: str) -> float:
    """The loss as a float; FloatingPointError unless it and all gradients are finite.

    The sum of a gradient is finite only if its values are; it is cheap, and all sums
    are fetched from the device at once.
    """
    grads = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    grads = {name: g._values() if g.is_sparse else g for name, g in grads.items()}
    number, *sums = torch.stack([value, *(g.sum() for g in grads.values())]).tolist()
    if math.isfinite(number) and all(map(math.isfinite, sums)):
        return number
    # A sum of large finite values may overflow: so look at each value.
    bad = [f"the gradient of {k}" for k, g in grads.items() if not g.isfinite().all()]
    if not math.isfinite(number):
        bad.insert(0, f"the loss ({number})")
    if not bad:
        return number
    raise FloatingPointError(
        f"{where}: {' and '.join(bad[:2])} must be finite but is not; the weights are"
        " those before this step (a smaller lr or smaller inputs may help)"
    )


def _advance(scheduler: Any, value: float) -> None:
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        scheduler.step(value)
    elif scheduler is not None:
        scheduler.step()


def _check(net, data, optimizer, scheduler, scheduler_per) -> None:
    for part in ("train", "test"):
        x, y = (getattr(data, f"{letter}_{part}") for letter in "xy")
        _check_examples(f"x_{part}", x, f"y_{part}", y)
        # Out of range, a label gives an unreadable error on a GPU.
        if y.min() < 0 or y.max() >= len(data.classes):
            raise ValueError(
                f"y_{part} has labels from {y.min()} to {y.max()}, allowed are 0 to"
                f" {len(data.classes) - 1}"
            )
    of_net = {id(p) for p in net.parameters()}
    held = [p for group in optimizer.param_groups for p in group["params"]]
    if foreign := sum(id(p) not in of_net for p in held):
        raise ValueError(
            f"optimizer holds {foreign} parameters that are not of net (of"
            f" {len(held)}); make it with net.parameters()"
        )
    if getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise ValueError("scheduler belongs to another optimizer than optimizer")
    if scheduler_per not in ("epoch", "step"):
        raise ValueError(f"scheduler_per={scheduler_per!r} is not 'epoch' or 'step'")


def _check_examples(x_name: str, x: Tensor, y_name: str, y: Tensor) -> None:
    if len(y) == 0 or len(x) != len(y):
        raise ValueError(
            f"{x_name} has {len(x)} examples and {y_name} {len(y)}; both must have the"
            " same number, at least 1"
        )
    if y.dtype != torch.int64 or y.dim() != 1:
        raise ValueError(
            f"{y_name} has dtype {y.dtype} and shape {tuple(y.shape)}; labels are"
            " torch.int64 of shape (n,), the indices of the classes"
        )
