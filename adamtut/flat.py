"""Tensors moved into one buffer, so that one kernel updates all of a model.

Parameters, their gradients and the states of their rule become views, each kind of a
buffer of its own. A compiled rule then sees a handful of long vectors, however many
parameters there are: it compiles once, in seconds, and goes through memory in order.
"""

from operator import is_, itemgetter

import torch
from torch import Tensor

from adamtut.sharded import is_piece

# Each tensor begins at a multiple of 64 bytes, as kernels want it, and buffers begin at
# different places of a page of memory (4,096 bytes), those of Adam a quarter of it
# apart: what is read would wait for what is written at the same place of another page,
# or near it (up to 10 % of the time of a step).
_ALIGNED = 64
_STAGGER = 17 * _ALIGNED


def can_move(p: Tensor) -> bool:
    """Whether `p` may become a view of a buffer: a plain tensor, alone in its memory.

    What shares its memory (a state_dict that is held, a view, a bucket of
    torch.distributed, another process) would be cut off from it.
    """
    plain = type(p) in (Tensor, torch.nn.Parameter) and p.layout == torch.strided
    if not plain or is_piece(p) or (p.is_shared() and not p.is_cuda):
        return False
    if getattr(p, "_moved_to", None) != p.data_ptr():  # not by a `Flat` before
        storage = p.untyped_storage()
        # two hold it: p and this function
        alone = torch._C._storage_Use_Count(storage._cdata) == 2
        if not alone or storage.nbytes() != p.nbytes:
            return False
    return torch.empty_like(p).stride() == p.stride()  # without holes or overlaps


class Flat:
    """Parameters that are updated together, in buffers that hold nothing else.

    params   tensors of one dtype and device for which `can_move` holds, with gradients
    states   the state of each, a dictionary; replaced are the tensors in it of `names`

    `buffers` are [parameters, gradients, first states, ...], one vector each, of equal
    length. Gaps between tensors hold zeros at the beginning and are never read.
    `direct` is for the optimizer: kernels of `Compiled.direct` for these buffers.
    """

    def __init__(self, params: list[Tensor], states: list[dict], names: tuple):
        self.params, self.states, self.names = params, states, names
        align = _ALIGNED // params[0].element_size()
        ends = [0]
        for p in params:
            ends.append(ends[-1] + -(-p.numel() // align) * align)
        self.buffers = []
        self.views = []
        olds = [params, [p.grad for p in params]]
        olds += [[state[name] for state in states] for name in names]
        for i, old in enumerate(olds):
            shift = i * _STAGGER // params[0].element_size()
            buffer = params[0].new_zeros(shift + ends[-1])[shift:]
            views = [
                buffer[end:].as_strided(p.shape, p.stride())
                for p, end in zip(params, ends, strict=False)
            ]
            torch._foreach_copy_(views, [x.detach() for x in old])
            self.buffers.append(buffer)
            self.views.append(views)
        for p, view in zip(params, self.views[0], strict=True):
            p.data = view
            p._moved_to = view.data_ptr()
        self._take_gradients()
        for name, views in zip(names, self.views[2:], strict=True):
            for state, view in zip(states, views, strict=True):
                state[name] = view
        self._addresses = [*map(Tensor.data_ptr, params)]
        self.direct = {}

    def is_in_place(self) -> bool:
        """Whether parameters and states are the views still, and all of one t."""
        if [*map(Tensor.data_ptr, self.params)] != self._addresses:
            return False
        for name, views in zip(self.names, self.views[2:], strict=True):
            if not all(map(is_, map(itemgetter(name), self.states), views)):
                return False
        return len({*map(itemgetter("t"), self.states)}) == 1

    def fetch(self) -> bool:
        """Copy gradients that are new tensors into the buffer; False where one cannot
        be copied, because there is none or it is of another layout."""
        grads = [p.grad for p in self.params]
        if not all(map(is_, grads, self.views[1])):
            if any(g is None or g.layout != torch.strided for g in grads):
                return False
            torch._foreach_copy_(self.views[1], grads)
            self._take_gradients()
        return True

    def _take_gradients(self) -> None:
        """Let autograd add to the buffer, unless others (DDP) own the gradients."""
        for p, view in zip(self.params, self.views[1], strict=True):
            g = p.grad
            if g is not view and g.untyped_storage().nbytes() == g.nbytes:
                p.grad = view
