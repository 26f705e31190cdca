"""State in 8 bits: a map of 256 numbers, blocks with a scale each, and an optimiser.

Dettmers et al. 2022. A number is stored as the code of the nearest number of a map,
after its block of 256 neighbours was divided by its largest absolute value.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache

import torch

from adamtut.data import whole_number
from adamtut.optim import Optimizer

BLOCK = 256


@lru_cache
def dynamic_map(signed: bool = True) -> torch.Tensor:
    """The 256 numbers that a code can mean, in order, float32, between -1 and 1.

    Each power of ten below 1 has twice the numbers of the one below it, from 1e-7 or so
    to 1: few digits for small numbers, many for large ones. Zero and 1 are there; the
    signed map ends at -0.993. Source: Dettmers et al. 2022, section 1.3 (a tree of
    bits: sign, exponent, fraction), as create_dynamic_map of bitsandbytes.
    """
    numbers = [torch.tensor([0.0, 1.0])]
    for exponent in range(7):
        edges = torch.linspace(0.1, 1.0, 2 ** (exponent + (not signed)) + 1)
        middles = 10 ** (exponent - 6) * (edges[:-1] + edges[1:]) / 2
        numbers += [middles, -middles] if signed else [middles]
    return torch.cat(numbers).sort().values


def quantise(
    x: torch.Tensor, signed: bool = True, block: int = BLOCK
) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes (uint8, the shape of x) and the largest |x| of each block (float32).

    Blocks are runs of `block` numbers of the flat x; the last one may be shorter. A
    block with a number that is not finite holds no other when it is decoded.
    Raises ValueError: negative numbers where not signed.
    """
    if not signed and (x < 0).any():
        raise ValueError(f"x holds {x.min().item()!r}; allowed unless signed: 0 and up")
    rows = _rows(x.float(), block)
    scale = rows.abs().amax(dim=1)
    numbers = dynamic_map(signed).to(x.device)
    middles = (numbers[:-1] + numbers[1:]) / 2
    unit = rows / scale.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    codes = torch.bucketize(unit, middles, right=True).to(torch.uint8)
    return codes.flatten()[: x.numel()].reshape(x.shape), scale


def dequantise(
    codes: torch.Tensor, scale: torch.Tensor, signed: bool = True, block: int = BLOCK
) -> torch.Tensor:
    """What is left of the numbers that `quantise` took: float32, the shape of codes.

    Raises ValueError: codes that are no bytes, scales that are not one a block.
    """
    blocks = -(-codes.numel() // block)
    if codes.dtype != torch.uint8 or tuple(scale.shape) != (blocks,):
        raise ValueError(
            f"codes of shape {tuple(codes.shape)} are {codes.dtype} with scales of "
            f"shape {tuple(scale.shape)}; allowed: torch.uint8 with ({blocks},)"
        )
    rows = _rows(dynamic_map(signed).to(codes.device)[codes.long()], block)
    return (rows * scale[:, None]).flatten()[: codes.numel()].reshape(codes.shape)


def _rows(x: torch.Tensor, block: int) -> torch.Tensor:
    """The flat x as rows of one block each, the last one filled up with zeros."""
    flat = x.reshape(-1)
    return torch.nn.functional.pad(flat, (0, -len(flat) % block)).reshape(-1, block)


class EightBit(Optimizer):
    """An `Optimizer` that keeps its state in 8 bits between steps.

    params, rule, how, options   as with `Optimizer`; the rule is elementwise
    smallest   parameters with fewer elements keep their state as it is (biases, gains:
               little to save)

    In optimizer.state, a state m of the shape of p is a tensor of codes, beside it
    stand `m.scale` of its blocks and `m.signed`, whether it held a negative number:
    1 + 4 / 256 bytes for each number. What starts as p, or is one number, stays as it
    is. While a step lasts, the states of a group are there in the dtype of p.
    `state_dict` holds the codes; that of an `Optimizer` can be loaded, too.

    What is less than 1.6e-7 of the largest of its block is kept as zero. Where that
    befalls v and not m, the next step is m / eps.

    Raises what `Optimizer` raises; ValueError where `smallest` is no whole number;
    TypeError for a rule of tensors, matrices or models, or with a point of evaluation.
    """

    def __init__(
        self,
        params: Iterable,
        rule: str | Callable = "adam",
        how: str = "loop",
        *,
        smallest: int = 4096,
        **options,
    ):
        self.smallest = whole_number("smallest", smallest, 0)
        super().__init__(params, rule, how, **options)

    def __getstate__(self) -> dict:
        return super().__getstate__() | {"smallest": self.smallest}

    def add_param_group(self, group: dict) -> None:
        super().add_param_group(group)
        rule = self._rules[self.param_groups[-1]["rule"]]
        if rule.unit != "number" or rule.point is not None:
            self.param_groups.pop()
            raise TypeError(
                f"rule {rule.__name__} is not for 8 bits; allowed: elementwise rules "
                "without a point of evaluation"
            )

    def _update(self, group: dict, params: list) -> None:
        self._decode(params)
        super()._update(group, params)
        self._encode(group, params)

    def _update_rows(self, group: dict, params: list) -> None:
        self._decode(params)
        super()._update_rows(group, params)
        self._encode(group, params)

    def _decode(self, params: list) -> None:
        for p in params:
            self.state[p] = _plain(self.state[p], p.dtype)

    def _encode(self, group: dict, params: list) -> None:
        rule = self._rules[group["rule"]]
        names = [x for x in rule.state if x not in rule.starts]
        for p in params:
            state = self.state[p]
            for name in names if p.numel() >= self.smallest else []:
                signed = bool((state[name] < 0).any())
                state[name], state[f"{name}.scale"] = quantise(state[name], signed)
                state[f"{name}.signed"] = signed

    def load_state_dict(self, state_dict: dict) -> None:
        """Load what `state_dict()` returned; where it does not fit, change nothing."""
        super().load_state_dict(state_dict)
        # torch has turned codes and scales into numbers of the dtype of p
        old = [key for group in state_dict["param_groups"] for key in group["params"]]
        new = [p for group in self.param_groups for p in group["params"]]
        for key, p in zip(old, new, strict=True):
            saved = state_dict["state"].get(key, {})
            for scale in [x for x in saved if x.endswith(".scale")]:
                for name in (scale, scale.removesuffix(".scale")):
                    self.state[p][name] = saved[name].to(p.device, copy=True)

    def _check_state_dict(self, state_dict: dict) -> None:
        if isinstance(state_dict, dict) and isinstance(state_dict.get("state"), dict):
            states = {key: _plain(x) for key, x in state_dict["state"].items()}
            state_dict = state_dict | {"state": states}
        super()._check_state_dict(state_dict)


def _plain(state: dict, dtype: torch.dtype = torch.float32) -> dict:
    """The state of a parameter with the numbers that its codes stand for."""
    plain = {name: x for name, x in state.items() if "." not in name}
    for name in plain:
        if f"{name}.signed" in state:
            if f"{name}.scale" not in state:
                raise ValueError(f"state_dict holds {name} as codes without scales")
            scale, signed = state[f"{name}.scale"], state[f"{name}.signed"]
            plain[name] = dequantise(plain[name], scale, signed).to(dtype)
    return plain
