"""The state of a run in one file: replaced as a whole, read only if it fits the run."""

from __future__ import annotations

import copy
import io
import os
import pickle
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adamtut.data import Dataset

FORMAT = "adamtut checkpoint 1"
# What a scheduler counts while it runs: no setting, so not compared on resuming.
PROGRESS = {
    *("last_epoch", "_step_count", "_last_lr", "_is_initial", "best"),
    *("num_bad_epochs", "cooldown_counter", "_get_lr_called_within_step"),
}


class Checkpoint:
    """The file ``path`` for a run of ``parts``: net, optimizer, scheduler (or None).

    ``options`` are further settings of the run, as plain values. All settings are saved
    and must agree on loading; only then has a resumed run the bits of an unstopped one.
    """

    def __init__(
        self, path: Path, parts: dict[str, Any], data: Dataset, options: dict[str, Any]
    ):
        self.path = path
        self.parts = {name: part for name, part in parts.items() if part is not None}
        # A class of another name, a group of other hyperparameters, another shape ...
        self.settings = options | {
            "data": data.name,
            "checksum of x_train": _checksum(data.x_train),
            "checksum of y_train": _checksum(data.y_train),
        }
        for name, part in self.parts.items():
            state = part.state_dict()
            if name == "net":
                state = {key: value.shape for key, value in state.items()}
            if name == "optimizer":
                state = [dict(group) for group in state["param_groups"]]
                for group in state:  # a scheduler moves lr, not initial_lr
                    group["lr"] = group.pop("initial_lr", group.get("lr"))
            self.settings |= {name: type(part).__qualname__} | _flat(name, state)

    def save(self, history: dict[str, list[float]], epoch: int) -> None:
        """Write the state after ``epoch`` epochs.

        At any moment the old or the new file is there, also when the process is killed.
        Raises OSError where it cannot be written, ValueError where it could not be
        read again; the old file stays.
        """
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"settings": self.settings, "history": history, "epoch": epoch}
        buffer = io.BytesIO()
        torch.save(_python_numbers(state | {"format": FORMAT}), buffer)
        buffer.seek(0)
        try:
            torch.load(buffer, weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(
                f"checkpoint {self.path} is not written: the optimizer or the scheduler"
                " holds more than tensors and plain values, and it could not be read"
            ) from error
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        try:
            with open(temporary, "wb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except OSError as error:
            raise OSError(
                f"checkpoint {self.path} cannot be written ({error.strerror or error});"
                " choose a file in a folder that exists, is writable and has space"
            ) from error
        finally:
            with suppress(OSError):  # gone when all went well
                temporary.unlink()

    def load(self, epochs: int) -> tuple[dict[str, list[float]], int]:
        """Give the parts their saved state; return the history and the epochs done.

        Raises ValueError, before anything is changed, for a damaged file, other
        settings, or more epochs done than ``epochs``.
        """
        try:
            with zipfile.ZipFile(
                self.path
            ) as archive:  # torch.load checks no checksums
                if damaged := archive.testzip():
                    raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            if not isinstance(saved, dict) or saved.get("format") != FORMAT:
                raise ValueError(f"it is no {FORMAT}")
        except Exception as error:  # a damaged file can make torch.load raise anything
            reason = str(error).partition("\n")[0]
            if isinstance(error, pickle.UnpicklingError):
                reason = "it holds more than tensors and plain values"
            raise ValueError(
                f"checkpoint {self.path} cannot be read ({reason}); it is left as it"
                " is: choose another file or move it away"
            ) from error
        old, new = saved["settings"], self.settings
        # Settings that only one of the two has say less: they come last.
        for key in sorted(new | old, key=lambda key: (key in old) != (key in new)):
            if old.get(key) != new.get(key):
                raise ValueError(
                    f"checkpoint {self.path} was made with {key}={old.get(key)!r}, this"
                    f" run has {new.get(key)!r}; choose another file or the same"
                    " settings"
                )
        if saved["epoch"] > epochs:
            raise ValueError(
                f"epochs={epochs} is less than the {saved['epoch']} epochs that"
                f" checkpoint {self.path} has done"
            )
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])
        return saved["history"], saved["epoch"]


def _checksum(x: Tensor) -> int:
    return zlib.crc32(x.cpu().contiguous().numpy())


def _flat(name: str, value: Any) -> dict[str, Any]:
    """Nested settings as one dict of plain values with dotted names."""
    if isinstance(value, Tensor | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        parts = [_flat(f"{name}.{k}", v) for k, v in value.items() if k not in PROGRESS]
        return {key: plain for part in parts for key, plain in part.items()}
    plain = value is None or isinstance(value, bool | int | float | str)
    return {name: value if plain else type(value).__qualname__}


def _python_numbers(value: Any) -> Any:
    """NumPy's numbers (lr from np.logspace) as Python's: weights_only reads those."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return type(value)(map(_python_numbers, value))
    if isinstance(value, dict):
        result = copy.copy(value)  # keeps its class, such as Counter
        for key, item in value.items():
            result[key] = _python_numbers(item)
        return result
    return value
