"""The networks of the first chapters, and the device that they run on.

Weights are drawn with NumPy, because the generators of a CPU and of a GPU differ:
the same seed gives the same network on both.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import numpy as np
import torch
from torch import nn

from adamtut.data import whole_number


def mlp(sizes: Sequence[int] = (784, 512, 256, 10), seed: int = 0) -> nn.Sequential:
    """A multilayer perceptron: linear layers with ReLU between them.

    Takes images of any shape (n, ...) with ``sizes[0]`` values each, gives scores
    (logits) of shape (n, sizes[-1]). The layers are named linear1, relu1, linear2, ...
    Weights are drawn by ``initialise``. The default has 535,818 parameters.
    Raises ValueError unless ``sizes`` are at least two whole numbers, 1 or more.
    """
    try:
        widths = [whole_number("size", size, 1) for size in sizes]
    except (TypeError, ValueError):
        widths = []
    if len(widths) < 2:
        raise ValueError(
            f"sizes={sizes!r} must be two or more whole numbers, 1 or more:"
            " (inputs, hidden, ..., outputs)"
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for i, (n_in, n_out) in enumerate(pairwise(widths), start=1):
        if i > 1:
            layers[f"relu{i - 1}"] = nn.ReLU()
        # torch would draw weights of its own, from its global generator.
        layers[f"linear{i}"] = nn.utils.skip_init(nn.Linear, n_in, n_out)
    return initialise(nn.Sequential(layers), seed)


def initialise(net: nn.Module, seed: int = 0) -> nn.Module:
    """Draw the weights of all linear and convolutional layers of ``net``, in place.

    Weights are normal with mean 0 and variance 2 / fan_in, biases 0: the rule of He,
    Zhang, Ren and Sun, "Delving Deep into Rectifiers" (2015, equation 10), which keeps
    the scale of the signal through layers of ReLU. They come from
    ``np.random.default_rng(seed)``, layer by layer in the order of ``net.modules()``.
    Returns ``net``. Raises ValueError unless seed is a whole number, 0 or more.
    """
    rng = np.random.default_rng(whole_number("seed", seed, 0))
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
                weight = rng.standard_normal(tuple(layer.weight.shape))
                weight *= sqrt(2 / layer.weight[0].numel())
                layer.weight.copy_(torch.from_numpy(weight))
                if layer.bias is not None:
                    layer.bias.zero_()
    return net


def count(net: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def device(name: str | torch.device | None = None) -> torch.device:
    """The device to train on: CUDA where there is one, else the CPU.

    Another one, such as "cpu" or "mps", is used when asked for. Also makes torch
    repeat itself: deterministic algorithms, and float32 products without TF32 (whose
    10 bits of mantissa would change the printed numbers).
    Raises ValueError for a device that is not there.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(name)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"device={name!r} is not available here; leave it out, or use 'cpu'"
        ) from error
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    # cuBLAS reads this when it starts; without it torch refuses to be deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory with NaN is for finding bugs; it costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    return chosen
