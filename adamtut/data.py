"""The data sets of the book, as tensors in memory: digits and MNIST.

Batches are drawn with NumPy, because the generators of a CPU and of a GPU differ:
the same seed gives the same batches on both.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import operator
import os
import socket
import sys
import tempfile
import warnings
import zlib
from contextlib import nullcontext, redirect_stderr
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# Uncompressed IDX files of MNIST: size in bytes, first four bytes as a big-endian
# number (2051: images, 2049: labels), md5.
MNIST_FILES = {
    "train-images-idx3-ubyte": (47040016, 2051, "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte": (60008, 2049, "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte": (7840016, 2051, "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte": (10008, 2049, "27ae3e4e09519cfbb04c329615203637"),
}
# A dead network shall lead to the fall-back after seconds, not minutes.
TIMEOUT_SECONDS = 20


class Dataset(NamedTuple):
    """Labelled images, on the CPU.

    ``x_train``, ``x_test``: float32, shape (n, 1, height, width), grey values in
    [0, 1] unless normalised. ``y_train``, ``y_test``: int64, shape (n,), an index
    into ``classes``, the tuple of the classes' names.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    name: str
    classes: tuple[str, ...]


def digits(normalise: bool = False) -> Dataset:
    """The 1,797 digits that come with scikit-learn: 1,500 to train, 297 to test.

    Images have shape (n, 1, 8, 8); the split is always the same. ``normalise``
    subtracts the mean of all training pixels and divides by their standard deviation.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    x = torch.from_numpy(bunch.images[order, None].astype(np.float32) / 16)
    y = torch.from_numpy(bunch.target[order].astype(np.int64))
    data = Dataset(x[:1500], y[:1500], x[1500:], y[1500:], "digits", _ten_digits())
    return _normalised(data) if normalise else data


def mnist(
    root: str | os.PathLike | None = None,
    download: bool = True,
    normalise: bool = False,
) -> Dataset:
    """MNIST: 60,000 handwritten digits to train, 10,000 to test, shape (n, 1, 28, 28).

    The files are looked for in ``root``/MNIST/raw, as torchvision lays them out,
    unpacked or .gz; ``root`` is the argument, else the environment variable
    ``ADAMTUT_DATA``, else ``~/.cache/adamtut``. Where they are, nothing is printed and
    no network is used. Where some are missing, torchvision downloads them into a
    temporary folder, and they are moved into place once their checksums are right.

    Where that is impossible, a warning says so and the digits of scikit-learn are
    returned, enlarged to 28 x 28 so that the same network runs: ``name`` is then
    "digits" and no longer "mnist".

    ``normalise`` subtracts the mean of all training pixels and divides by their
    standard deviation.

    Raises ValueError for a file that is not the MNIST file of its name (it is left
    alone), FileNotFoundError where files are missing and ``download`` is False.
    """
    root = Path(root or os.environ.get("ADAMTUT_DATA") or _cache()).expanduser()
    folder = root / "MNIST" / "raw"
    found = {name: _read(folder, name) for name in MNIST_FILES}
    missing = [name for name, content in found.items() if content is None]
    if missing and not download:
        raise FileNotFoundError(
            f"MNIST is not complete in {folder} (missing: {', '.join(missing)}) and"
            " download=False; allow the download or set ADAMTUT_DATA to a folder that"
            " holds MNIST/raw"
        )
    if missing:
        try:
            found |= _download(folder, missing)
        except (OSError, RuntimeError, EOFError, http.client.HTTPException) as error:
            # torchvision reports one mirror a line; the last line is the reason.
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            warnings.warn(
                f"MNIST is not in {folder} and cannot be downloaded there ({reason}):"
                " the digits of scikit-learn, enlarged to 28 x 28, are used instead;"
                " to use MNIST, set ADAMTUT_DATA to a folder that holds MNIST/raw",
                stacklevel=2,
            )
            return _enlarged(digits(normalise))
    x_train, y_train, x_test, y_test = (_tensor(found[name]) for name in MNIST_FILES)
    data = Dataset(x_train, y_train, x_test, y_test, "mnist", _ten_digits())
    return _normalised(data) if normalise else data


def batches(n: int, batch_size: int, seed: int = 0, epoch: int = 0) -> list[np.ndarray]:
    """The batches of one epoch: each of ``n`` examples once, in random order.

    Returns int64 arrays of shape (batch_size,), the last one shorter where batch_size
    does not divide n. They depend on (n, batch_size, seed, epoch) alone. Raises
    ValueError unless n >= 1, 1 <= batch_size <= n, seed >= 0 and epoch >= 0.
    """
    n = whole_number("n", n, 1)
    batch_size = whole_number("batch_size", batch_size, 1, n)
    key = [whole_number("seed", seed, 0), whole_number("epoch", epoch, 0)]
    order = np.random.default_rng(key).permutation(n)
    return np.split(order, range(batch_size, n, batch_size))


def whole_number(name: str, value: int, low: int, high: int | None = None) -> int:
    """``value`` as an int; ValueError unless it is one with low <= value <= high."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or number < low or (high is not None and number > high):
        allowed = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name}={value!r} is not a whole number {allowed}")
    return number


def _ten_digits() -> tuple[str, ...]:
    return tuple("0123456789")


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "adamtut"


def _read(folder: Path, name: str) -> bytes | None:
    """The content of an MNIST file, from it or its .gz; None if neither is there."""
    path = folder / name
    if path.is_file():
        content = path.read_bytes()
    else:
        path = folder / f"{name}.gz"
        if not path.is_file():
            return None
        try:
            content = gzip.decompress(path.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(
                f"MNIST file {path} cannot be unpacked ({error}); {_ADVICE}"
            ) from error
    size, magic, md5 = MNIST_FILES[name]
    actual_magic = int.from_bytes(content[:4], "big")
    actual_md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    for what, actual, expected in (
        ("bytes", len(content), size),
        ("as magic number", actual_magic, magic),
        ("as md5 of its content", actual_md5, md5),
    ):
        if actual != expected:
            raise ValueError(
                f"MNIST file {path} has {actual} {what}, expected {expected}; {_ADVICE}"
            )
    return content


_ADVICE = "it is left as it is: move it away to have it downloaded again"


def _download(folder: Path, names: list[str]) -> dict[str, bytes]:
    from torchvision.datasets import MNIST

    folder.mkdir(parents=True, exist_ok=True)
    timeout = socket.getdefaulttimeout()
    # The progress bar goes to a terminal only: notebooks are compared with stderr.
    quiet = nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())
    # The temporary folder is beside the final place: moving a file there is atomic.
    with tempfile.TemporaryDirectory(dir=folder, prefix="download-") as temporary:
        socket.setdefaulttimeout(TIMEOUT_SECONDS)
        try:
            with quiet:
                source = Path(MNIST(temporary, download=True).raw_folder)
        finally:
            socket.setdefaulttimeout(timeout)
        found = {name: _read(source, name) for name in names}
        for name in names:
            os.replace(source / name, folder / name)
    return found


def _tensor(content: bytes) -> Tensor:
    """Images as float32 in [0, 1], labels as int64, from a verified IDX file."""
    if int.from_bytes(content[:4], "big") == 2049:
        labels = np.frombuffer(content, np.uint8, offset=8)
        return torch.from_numpy(labels.astype(np.int64))
    pixels = np.frombuffer(content, np.uint8, offset=16).reshape(-1, 1, 28, 28)
    return torch.from_numpy(pixels / np.float32(255))


def _enlarged(data: Dataset) -> Dataset:
    def enlarge(x: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(x, size=(28, 28), mode="bilinear")

    return data._replace(x_train=enlarge(data.x_train), x_test=enlarge(data.x_test))


def _normalised(data: Dataset) -> Dataset:
    # In float64: a sum of 47 million float32 depends on the number of threads.
    std, mean = map(float, torch.std_mean(data.x_train.double(), correction=0))
    return data._replace(
        x_train=(data.x_train - mean) / std, x_test=(data.x_test - mean) / std
    )
