"""Parameters that are split over processes by torch.distributed.fsdp.

`fully_shard` makes each parameter a DTensor, `FullyShardedDataParallel` flat pieces. An
elementwise rule updates its part of either; another rule needs whole parameters, which
a DTensor can gather and a flat piece cannot.
"""

from collections.abc import Callable

from torch import Tensor

from adamtut.rules.form import is_elementwise


def is_piece(p: Tensor) -> bool:
    """Whether `p` belongs to a FullyShardedDataParallel, which owns its memory."""
    return getattr(p, "_fsdp_flattened", False) or getattr(p, "_is_flat_param", False)


def check_whole(rule: Callable, params: list[Tensor]) -> None:
    """Refuse, with a ValueError, flat pieces for a rule that needs whole parameters."""
    if not is_elementwise(rule) and any(map(is_piece, params)):
        raise ValueError(
            f"rule {rule.__name__} needs whole parameters, and "
            "FullyShardedDataParallel hands out flat pieces of them; allowed: an "
            "elementwise rule, or torch.distributed.fsdp.fully_shard"
        )


def gradient(p: Tensor) -> Tensor:
    """The gradient of `p`, split over processes as p is."""
    if hasattr(p, "placements") and p.grad.placements != p.placements:
        return p.grad.redistribute(p.device_mesh, p.placements)
    return p.grad


def plain(rule: Callable, x: Tensor) -> Tensor:
    """A tensor for `rule` in the place of one that is split over processes.

    The part of this process, in the same memory, where the rule is elementwise;
    otherwise the whole, gathered (each process then computes the same update).
    """
    if not hasattr(x, "full_tensor"):  # importing DTensor takes half a second
        return x
    return x.to_local() if is_elementwise(rule) else x.full_tensor()


def put_back(sharded: list[list[Tensor]], lists: list[list[Tensor]]) -> None:
    """Write gathered tensors, updated, into those that they were gathered from.

    Both are [parameters, gradients, first states, ...]; gradients are left out.
    """
    pairs = zip([sharded[0], *sharded[2:]], [lists[0], *lists[2:]], strict=True)
    for xs, wholes in pairs:
        for x, whole in zip(xs, wholes, strict=True):
            if x is not whole:
                from torch.distributed.tensor import distribute_tensor

                kind = {"src_data_rank": None}  # all have it: nothing is sent
                x.copy_(distribute_tensor(whole, x.device_mesh, x.placements, **kind))
