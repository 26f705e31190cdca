"""The tasks of the tournament: small problems that differ in what makes them hard."""

from __future__ import annotations

import pydoc_data.topics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from adamtut import data, nets
from adamtut.data import Dataset


@dataclass(frozen=True)
class Task:
    """What `adamtut.sweep` needs, and one sentence on the difficulty.

    make   () -> (net, data): a function of the seed, and a Dataset
    floor  what no method can go below, subtracted from the loss
    """

    make: Callable[[], tuple[Callable, Dataset]]
    loss: Callable[[Tensor, Tensor], Tensor]
    steps: int
    batch_size: int
    hard: str
    floor: float = 0.0


class Bowl(nn.Module):
    """The root of a Hessian times (weight - minimum - x); the weight is 8 x 8.

    Eigenvalues go from 1 / kappa to 1, their axes are turned at random. With the loss
    `half_squares` this is a quadratic. Its minimum is not zero: there, rules that
    shrink a weight in proportion to itself would have an easy task.
    """

    def __init__(self, seed: int, kappa: float):
        super().__init__()
        start = np.random.default_rng(seed).standard_normal((8, 8))
        self.weight = nn.Parameter(torch.tensor(start, dtype=torch.float32))
        # of its own stream: with the seed of a run, that run would begin at the minimum
        minimum = np.random.default_rng([6, 64]).standard_normal(64)
        self.register_buffer("minimum", torch.tensor(minimum, dtype=torch.float32))
        root = torch.tensor(_root(kappa), dtype=torch.float32)
        self.register_buffer("root", root)

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight.flatten() - self.minimum - x) @ self.root


def half_squares(output: Tensor, y: Tensor) -> Tensor:
    return 0.5 * ((output - y) ** 2).sum(dim=1).mean()


class Factors(nn.Module):
    """Predicts entry (i, j) of a matrix as the product of row i of U, row j of V."""

    def __init__(self, seed: int, rows: int = 60, columns: int = 40, rank: int = 6):
        super().__init__()
        draw = np.random.default_rng(seed).standard_normal((rows + columns, rank)) * 0.3
        draw = torch.tensor(draw, dtype=torch.float32)
        self.u = nn.Parameter(draw[:rows].clone())
        self.v = nn.Parameter(draw[rows:].clone())

    def forward(self, pairs: Tensor) -> Tensor:
        return (self.u[pairs[:, 0]] * self.v[pairs[:, 1]]).sum(dim=1)


class Characters(nn.Module):
    """Scores of the next character from the last eight: embedding, hidden, scores."""

    def __init__(self, seed: int, letters: int, context: int = 8):
        super().__init__()
        draw = np.random.default_rng(seed).standard_normal((letters, 12)) * 0.3
        self.embedding = nn.Parameter(torch.tensor(draw, dtype=torch.float32))
        self.net = nets.mlp((12 * context, 64, letters), seed)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.embedding[x])


def _root(kappa: float) -> np.ndarray:
    turn, _ = np.linalg.qr(np.random.default_rng(7).standard_normal((64, 64)))
    return turn * np.logspace(-np.log10(kappa) / 2, 0, 64) @ turn.T


def _points(x: np.ndarray) -> Dataset:
    x = torch.tensor(x, dtype=torch.float32)
    y = torch.zeros_like(x)
    return Dataset(x, y, x[:1], y[:1], "points", ())


_NOISE = np.random.default_rng(8).standard_normal((512, 64))
_NOISE -= _NOISE.mean(axis=0)  # so that the minimum stays where it is


def _linear(seed: int, inputs: int, classes: int) -> nn.Module:
    net = nets.mlp((inputs, classes), seed)
    with torch.no_grad():
        net.linear1.weight.zero_()
    return net


def _digits(n: int = 1000) -> Dataset:
    """The first n digits to train, fewer than there are: a measurement is quicker."""
    full = data.digits(normalise=True)
    return full._replace(x_train=full.x_train[:n], y_train=full.y_train[:n])


def _sparse() -> Dataset:
    """Bags of 128 words, frequent to rare; a rare word says more."""
    draw = np.random.default_rng(9)
    often = 0.5 / np.arange(1, 129) ** 0.9
    x = (draw.random((1500, 128)) < often).astype(np.float32)
    score = x @ (draw.standard_normal(128) / often**0.3)
    noise = draw.logistic(size=1500) * score.std() * 0.2
    y = torch.tensor((score + noise > np.median(score)).astype(np.int64))
    x = torch.tensor(x)
    return Dataset(x[:1200], y[:1200], x[1200:], y[1200:], "bags of words", ("0", "1"))


def _conv(seed: int) -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 8, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 10),
    )
    return nets.initialise(net, seed)


def _autoencoder() -> tuple[Callable, Dataset]:
    few = _digits()
    few = few._replace(
        y_train=few.x_train.flatten(1),
        y_test=few.x_test.flatten(1),
        classes=(),
    )
    return partial(nets.mlp, (64, 32, 8, 32, 64)), few


def _text(length: int = 4000, context: int = 8) -> Dataset:
    """The reference manual that comes with Python, its letters as 30 numbers."""
    text = "".join(pydoc_data.topics.topics[k] for k in ("assert", "binary", "class"))
    letters = " abcdefghijklmnopqrstuvwxyz.,"
    codes = np.array([letters.find(x) + 1 for x in " ".join(text.lower().split())])
    codes = torch.tensor(codes[:length], dtype=torch.int64)
    x, y = codes.unfold(0, context, 1)[:-1], codes[context:]
    split = len(y) * 4 // 5
    names = ("other", *letters)
    return Dataset(x[:split], y[:split], x[split:], y[split:], "Python manual", names)


def _entries() -> Dataset:
    """Noisy entries of a matrix of rank 4 whose rows differ in size by 30."""
    draw = np.random.default_rng(10)
    u = draw.standard_normal((60, 4)) * np.logspace(-1, 0.5, 60)[:, None]
    matrix = u @ draw.standard_normal((4, 40))
    pairs = np.argwhere(draw.random(matrix.shape) < 0.6)
    pairs = pairs[draw.permutation(len(pairs))]
    y = matrix[tuple(pairs.T)] + 0.05 * draw.standard_normal(len(pairs))
    x, y = torch.tensor(pairs), torch.tensor(y, dtype=torch.float32)
    return Dataset(x[:1200], y[:1200], x[1200:], y[1200:], "entries", ())


TASKS = {
    "quadratic": Task(
        lambda: (partial(Bowl, kappa=1e4), _points(np.zeros((1, 64)))),
        half_squares,
        400,
        1,
        "a valley with condition number 10,000, not along the axes; no noise",
    ),
    "noisy quadratic": Task(
        lambda: (partial(Bowl, kappa=100.0), _points(_NOISE)),
        half_squares,
        400,
        8,
        "gradients that are mostly noise, condition number 100",
        floor=0.5 * float(((_NOISE @ _root(100.0)) ** 2).sum(axis=1).mean()),
    ),
    "logistic, dense": Task(
        lambda: (partial(_linear, inputs=64, classes=10), _digits()),
        cross_entropy,
        300,
        32,
        "convex: pixels of digits, some never lit",
    ),
    "logistic, sparse": Task(
        lambda: (partial(_linear, inputs=128, classes=2), _sparse()),
        cross_entropy,
        300,
        32,
        "convex: words, most of them rare",
    ),
    "MLP": Task(
        lambda: (partial(nets.mlp, (64, 32, 10)), _digits()),
        cross_entropy,
        300,
        32,
        "the usual network, on digits",
    ),
    "conv net": Task(
        lambda: (_conv, _digits(500)),
        cross_entropy,
        200,
        16,
        "shared weights, on digits",
    ),
    "autoencoder": Task(
        _autoencoder, mse_loss, 400, 32, "four layers with a neck of eight"
    ),
    "characters": Task(
        lambda: (partial(Characters, letters=30), _text()),
        cross_entropy,
        300,
        16,
        "next character: frequent and rare classes, embeddings",
    ),
    "factorisation": Task(
        lambda: (Factors, _entries()),
        mse_loss,
        400,
        64,
        "a saddle at the start, rows of different size, sparse gradients",
    ),
}
