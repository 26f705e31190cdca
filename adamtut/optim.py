"""A rule on a torch model: one optimiser class, three ways to run the same lines."""

from collections.abc import Callable, Iterable, Iterator
from operator import is_

import numpy as np
import torch
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from torch.autograd.graph import increment_version

from adamtut.blocks import Noted
from adamtut.flat import Flat, can_move
from adamtut.kernel import Compiled, as_number
from adamtut.rules import as_rule, check_hyper, check_range
from adamtut.rules.form import has_shape_of_p, is_elementwise, start_shape
from adamtut.sharded import check_whole, gradient, plain, put_back
from adamtut.tensor_list import TensorList

HOW = ("loop", "foreach", "compile")
# What a group holds besides the hyperparameters of its rule. Torch's schedulers write
# initial_lr, its named parameters param_names, and its ZeroRedundancyOptimizer how: it
# gives each group all arguments of the optimizer.
_OPTIONS = ("l2", "maximize")
_GROUP_KEYS = {"params", "rule", *_OPTIONS, "initial_lr", "param_names", "how"}
# Numbers of a parameter that "foreach" takes at a time on a CPU: with a rule's other
# arrays they stay in a cache of 1 MB.
_BLOCK = 2**15


def matrices_and_rest(
    params: Iterable[torch.Tensor],
    rule: str | Callable,
    rest: str | Callable = "adamw",
) -> list[dict]:
    """Two parameter groups: two axes or more under `rule`, fewer under `rest`.

    The way to use rules of matrices, such as Muon: vectors (biases, gains) are left to
    a rule like AdamW. Authors of Muon leave embeddings and the output layer to it, too.
    Groups without parameters are left out.
    """
    params = list(params)
    matrices = [p for p in params if p.ndim >= 2]
    vectors = [p for p in params if p.ndim < 2]
    pairs = [(matrices, rule), (vectors, rest)]
    return [{"params": own, "rule": name} for own, name in pairs if own]


class Optimizer(torch.optim.Optimizer):
    """A `torch.optim.Optimizer` that applies a rule of `adamtut.rules`.

    params    parameters or parameter groups. A group may name its own `rule`, any of
              that rule's hyperparameters, `maximize` and `l2`
    rule      a name of `adamtut.rules.RULES`, or a function written like a rule
    how       "loop": the rule on one tensor after the other;
              "foreach": the rule on lists of tensors, one call an operator; on a CPU
              an elementwise rule by NumPy on blocks, in one thread, small parameters
              joined;
              "compile": one compiled kernel. Of an elementwise rule it updates all
              parameters of a group at once: the first step moves them, their gradients
              and their state into buffers, of which they are views from then on (see
              below). A schedule does not recompile
    maximize  climb instead of descend
    l2        coefficient of the penalty l2/2 * |p|**2, added to the gradient (what
              torch.optim calls weight_decay everywhere but in AdamW)
    hyper     hyperparameters of `rule`, for all groups whose rule has them

    The state of a parameter is `t`, the number of its updates, and the rule's tensors,
    of its dtype, device and shape (or of that which the rule declares). A parameter
    without gradient is left alone and its t stands still. A rule of whole models takes
    together the parameters of a group that have the same t, dtype and device.

    With how="compile", a step is fastest where gradients stay in their buffer:
    `zero_grad(set_to_none=False)`; new gradients are copied into it. Parameters that
    share their memory with something at the first step (FSDP's, views, a state_dict
    that is held) are not moved. They, and rules of vectors and matrices, are compiled
    one by one, which takes longer. What is taken from a model later (`detach()`, a
    state_dict) follows as ever, but a tensor of it in a file brings its whole buffer.

    A sparse gradient of rows (of `torch.nn.Embedding(sparse=True)`) updates these rows
    lazily, if the rule is elementwise: other rows, their state, their decay and the
    gradient of l2 wait until they are seen; t counts the steps of the parameter, as in
    torch.optim.SparseAdam. This is a loop over the parameters, whatever `how` is.

    A rule with a point of evaluation of its own (schedule-free) needs `eval()` before
    a model is evaluated or saved, and `train()` before it is trained further.

    Raises ValueError, TypeError: unknown rule, how or hyperparameter, a value out of
    range, no parameters, complex parameters, other sparse gradients (before anything
    is updated), and a state_dict of another rule or other shapes (before anything is
    loaded). RuntimeError: a step between `eval()` and `train()`, or in the
    capture of a CUDA graph.
    """

    def __init__(
        self,
        params: Iterable,
        rule: str | Callable = "adam",
        how: str = "loop",
        *,
        maximize: bool = False,
        l2: float = 0.0,
        **hyper,
    ):
        if how not in HOW:
            raise ValueError(f"how is {how!r}; allowed: {', '.join(HOW)}")
        rule = as_rule(rule)
        check_hyper(rule, hyper)
        params = list(params)
        if not params:
            raise ValueError(
                "params is empty; allowed: at least one parameter or group"
            )
        self.how = how
        self._rules = {rule.__name__: rule}
        self._hyper = hyper
        self._compiled = {}
        self._flats = {}
        self._seen = {}
        lr = hyper.get("lr", rule.defaults.get("lr"))
        super().__init__(
            params, {"rule": rule.__name__, "lr": lr, "maximize": maximize, "l2": l2}
        )

    def __getstate__(self) -> dict:  # for copy.deepcopy and pickle
        return super().__getstate__() | {
            "how": self.how,
            "_rules": self._rules,
            "_hyper": self._hyper,
        }

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        # what does not travel is made again
        self.__dict__.setdefault("_compiled", {})
        self._flats = {}
        self._seen = {}

    def add_param_group(self, group: dict) -> None:
        rule = group.get("rule", self.defaults["rule"])
        rule = as_rule(self._rules.get(rule, rule))
        shared = {k: v for k, v in self._hyper.items() if k in rule.defaults}
        options = {k: self.defaults[k] for k in _OPTIONS}
        name = rule.__name__
        group = options | rule.defaults | shared | group | {"rule": name}
        _check_group(rule, group)
        if group.get("how", self.how) != self.how:
            raise ValueError(
                f"how of a group is {group['how']!r}; allowed: {self.how!r}, as of the "
                "optimizer"
            )
        if self._rules.setdefault(name, rule) is not rule:
            raise ValueError(
                f"two different rules of one optimizer are called {name!r}"
            )
        super().add_param_group(group)
        try:
            _check_params(self.param_groups[-1]["params"])
            check_whole(rule, self.param_groups[-1]["params"])
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    @torch.compiler.disable  # traced by a caller, it would compile anew for each t
    @torch.no_grad()
    def step(self, closure: Callable | None = None):
        """Update every parameter that has a gradient; return the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                "step in the capture of a CUDA graph, which would repeat this t for "
                "ever; allowed: step() after replay() of a graph of the gradients"
            )
        if any("trained" in self.state[p] for _, p in self._points()):
            raise RuntimeError("step after eval(); call train() of the optimizer first")
        ready = {i for i in range(len(self.param_groups)) if self._is_ready(i)}
        for i, group in enumerate(self.param_groups):
            for p in [] if i in ready else _with_gradient(group):
                _check_layout(self._rules[group["rule"]], p)
        for i, group in enumerate(self.param_groups):
            if i in ready:
                for flat in self._flats[i].values():
                    for state in flat.states:
                        state["t"] += 1
                    self._update_flat(group, flat)
                continue
            old, self._flats[i] = self._flats.get(i, {}), {}
            flat = self.how == "compile" and is_elementwise(self._rules[group["rule"]])
            for bucket in self._buckets(group):
                if bucket[0].grad.layout != torch.strided:
                    self._update_rows(group, bucket)
                elif flat:
                    self._update_compiled(i, bucket, old)
                else:
                    self._update(group, bucket)
            self._remember(i)
        return loss

    def _remember(self, i: int) -> None:
        """What group i looks like if the next step can use the same buffers."""
        flats, params = self._flats[i].values(), self.param_groups[i]["params"]
        views = {
            id(p): view
            for flat in flats
            for p, view in zip(flat.params, flat.views[1], strict=True)
        }
        self._seen[i] = [*params], [views.get(id(p)) for p in params]
        self._state_ids = [*map(id, self.state.values())]

    def _is_ready(self, i: int) -> bool:
        """Whether buffers hold all that group i updates, with its new gradients."""
        flats = self._flats.get(i)
        if not flats or self._state_ids != [*map(id, self.state.values())]:
            return False
        params, views = self._seen[i]
        now = self.param_groups[i]["params"]
        if len(now) != len(params) or not all(map(is_, now, params)):
            return False
        grads = [p.grad for p in params]
        if not all(map(is_, grads, views)):
            if [g is None for g in grads] != [view is None for view in views]:
                return False
            if not all([flat.fetch() for flat in flats.values()]):
                return False
        return all(flat.is_in_place() for flat in flats.values())

    def _buckets(self, group: dict) -> list[list]:
        """Parameters with a gradient by t (which is counted up), device, dtype, layout.

        Those without elements are counted and left out.
        """
        rule = self._rules[group["rule"]]
        buckets = {}
        for p in _with_gradient(group):
            state = self.state[p]
            if not state:
                state["t"] = 0
                for name in rule.state:
                    state[name] = start(rule, name, p)
            state["t"] += 1
            kind = (state["t"], p.device, p.dtype, p.grad.layout)
            if p.numel():
                buckets.setdefault(kind, []).append(p)
        return list(buckets.values())

    def _update(self, group: dict, params: list) -> None:
        rule = self._rules[group["rule"]]
        lists = [
            params,
            [gradient(p) for p in params],
            *([self.state[p][name] for p in params] for name in rule.state),
        ]
        sharded, lists = lists, [[plain(rule, x) for x in xs] for xs in lists]
        if rule.unit == "model":
            parts, lists = lists, joined(rule, lists)
        hyper = {name: group[name] for name in rule.defaults}
        t, l2, maximize = self.state[params[0]]["t"], group["l2"], group["maximize"]
        if self.how == "loop":
            apply_to_each(rule, lists, t, l2, maximize, hyper)
        elif self.how == "foreach":  # torch._foreach_* takes numbers, not a tensor lr
            hyper = {k: v.item() if torch.is_tensor(v) else v for k, v in hyper.items()}
            if is_elementwise(rule) and params[0].device.type == "cpu":
                apply_in_blocks(rule, lists, t, l2, maximize, hyper)
            else:
                apply_to_list(rule, lists, t, l2, maximize, hyper)
        else:
            kernel, _, arguments = self._compiled_of(apply_to_each, group, lists, t)
            kernel(*arguments)
        if rule.unit == "model":
            spread(rule, lists, parts)
            lists = parts
        if not is_elementwise(rule):
            put_back(sharded, lists)

    def _update_compiled(self, i: int, params: list, old: dict) -> None:
        """An elementwise rule on a bucket: in buffers, as far as they can be moved."""
        group, moved = self.param_groups[i], [p for p in params if can_move(p)]
        states = [self.state[p] for p in moved]
        key = (*map(id, moved), *map(id, states))
        flat = old.get(key)
        if flat and not (flat.fetch() and flat.is_in_place()):
            flat = None
        if moved and flat is None:
            flat = Flat(moved, states, self._rules[group["rule"]].state)
        if moved:
            self._flats[i][key] = flat
            self._update_flat(group, flat)
        if len(moved) < len(params):
            self._update(group, [p for p in params if id(p) not in key])

    def _update_flat(self, group: dict, flat: Flat) -> None:
        t = flat.states[0]["t"]
        # what the kernel was made for, besides the buffers
        kind = (group["rule"], group["l2"], group["maximize"], torch.get_num_threads())
        if direct := flat.direct.get(kind):
            defaults = self._rules[group["rule"]].defaults
            numbers = [float(group[name]) for name in defaults]
            direct([*flat.buffers, float(t), *numbers])
        else:
            kernel, numbers, arguments = self._compiled_of(
                apply, group, flat.buffers, t
            )
            flat.direct[kind] = kernel.direct([*flat.buffers, *numbers], *arguments)
        # a backward pass that wants the old parameters shall fail, as after any step
        increment_version(flat.params)

    def _compiled_of(
        self, function: Callable, group: dict, tensors: list, t: int
    ) -> tuple[Compiled, list[torch.Tensor], tuple]:
        """`apply` or `apply_to_each`, compiled for the rule of this group; its numbers
        and its arguments."""
        rule = self._rules[group["rule"]]
        hyper = {name: as_number(name, group[name]) for name in rule.defaults}
        t = as_number("t", t)
        if (function, rule) not in self._compiled:
            self._compiled[function, rule] = Compiled(function)
        arguments = (rule, tensors, t, group["l2"], group["maximize"], hyper)
        return self._compiled[function, rule], [t, *hyper.values()], arguments

    def _update_rows(self, group: dict, params: list) -> None:
        """The rule on those rows of each parameter that its sparse gradient holds."""
        rule = self._rules[group["rule"]]
        hyper = {name: group[name] for name in rule.defaults}
        for p in params:
            g, state = p.grad.coalesce(), self.state[p]
            (rows,) = g.indices()
            whole = [p, *(state[name] for name in rule.state)]
            old_p, *old_state = (x[rows] for x in whole)
            part = [old_p, g.values(), *old_state]
            apply(rule, part, state["t"], group["l2"], group["maximize"], hyper)
            for x, new in zip(whole, [part[0], *part[2:]], strict=True):
                x.index_copy_(0, rows, new)

    @torch.no_grad()
    def eval(self) -> None:
        """Put each parameter where its rule wants a model to be evaluated.

        Most rules want nothing else than p; see `rule.point`. The value that training
        goes on from is kept in the state as `trained`, and `train` brings it back.
        """
        for group, p in self._points():
            rule, state = self._rules[group["rule"]], self.state[p]
            if "trained" not in state:
                hyper = {name: group[name] for name in rule.defaults}
                states = [state[name] for name in rule.state]
                state["trained"] = p.clone()
                p.copy_(rule.point(p, *states, **hyper))

    @torch.no_grad()
    def train(self) -> None:
        """Bring back what `eval` replaced; without it before, nothing happens."""
        for _, p in self._points():
            if "trained" in self.state[p]:
                p.copy_(self.state[p].pop("trained"))

    def _points(self) -> list[tuple[dict, torch.Tensor]]:
        """Parameters with a state whose rule has a point of evaluation, and groups."""
        return [
            (group, p)
            for group in self.param_groups
            if self._rules[group["rule"]].point is not None
            for p in group["params"]
            if self.state.get(p)
        ]

    def load_state_dict(self, state_dict: dict) -> None:
        """Load what `state_dict()` returned; where it does not fit, change nothing."""
        self._check_state_dict(state_dict)
        super().load_state_dict(state_dict)

    def _check_state_dict(self, state_dict: dict) -> None:
        if not isinstance(state_dict, dict):
            raise TypeError(f"state_dict is {state_dict!r}; allowed: a dictionary")
        if missing := {"state", "param_groups"} - state_dict.keys():
            raise ValueError(f"state_dict lacks {sorted(missing)}")
        saved, groups = state_dict["param_groups"], self.param_groups
        if len(saved) != len(groups):
            raise ValueError(
                f"state_dict has {len(saved)} parameter groups; "
                f"this optimizer {len(groups)}"
            )
        unknown = {*state_dict["state"]}
        for i, (old, new) in enumerate(zip(saved, groups, strict=True)):
            if old.get("rule") != new["rule"]:
                raise ValueError(
                    f"state_dict holds rule {old.get('rule')!r} in group {i}; "
                    f"this optimizer has {new['rule']!r}"
                )
            rule = self._rules[new["rule"]]
            needed = {"params", *_OPTIONS, *rule.defaults}
            if missing := needed - old.keys():
                raise ValueError(f"state_dict lacks {sorted(missing)} in group {i}")
            # what else is there, a scheduler such as OneCycleLR wrote
            _check_group(rule, {k: old[k] for k in needed})
            if len(old["params"]) != len(new["params"]):
                raise ValueError(
                    f"state_dict has {len(old['params'])} parameters in group {i}; "
                    f"this optimizer {len(new['params'])}"
                )
            for key, p in zip(old["params"], new["params"], strict=True):
                _check_state(rule, state_dict["state"].get(key), key, p)
            unknown -= {*old["params"]}
        if unknown:
            raise ValueError(f"state_dict has a state of no parameter: {unknown}")


def _check_group(rule: Callable, group: dict) -> None:
    """Refuse a group whose hyperparameters or options are not those of its rule."""
    hyper = {k: v for k, v in group.items() if k not in _GROUP_KEYS}
    check_hyper(rule, hyper)
    check_range("l2", group["l2"], "the optimizer")
    for name, value in hyper.items():
        if shape := tuple(getattr(value, "shape", ())):
            raise ValueError(
                f"{name} of {rule.__name__} has shape {shape}; allowed: one number"
            )
    if not isinstance(group["maximize"], bool):
        raise TypeError(f"maximize is {group['maximize']!r}; allowed: True or False")


def _with_gradient(group: dict) -> list[torch.Tensor]:
    return [p for p in group["params"] if p.grad is not None]


def _check_layout(rule: Callable, p: torch.Tensor) -> None:
    """Refuse a gradient that is neither dense nor, for an elementwise rule, of rows."""
    allowed = "dense (torch.strided)"
    if is_elementwise(rule):
        allowed += ", or torch.sparse_coo with one sparse dimension"
        if p.grad.layout == torch.sparse_coo and p.grad.sparse_dim() == 1:
            return
    if p.grad.layout != torch.strided:
        dims = f" of {p.grad.sparse_dim()} dimensions" if p.grad.is_sparse else ""
        raise TypeError(
            f"the gradient of a parameter of shape {tuple(p.shape)} has layout "
            f"{p.grad.layout}{dims}; allowed with rule {rule.__name__}: {allowed}"
        )


def _check_params(params: list) -> None:
    """Refuse parameters of which a rule cannot update each one, once."""
    if len({*params}) < len(params):
        raise ValueError("a parameter stands twice in a group; allowed: once")
    for p in params:
        if not p.is_floating_point():
            raise TypeError(
                f"a parameter of shape {tuple(p.shape)} is {p.dtype}; allowed: "
                "real floating-point numbers (torch.view_as_real for complex ones)"
            )


def _check_state(rule: Callable, state: dict | None, key: int, p) -> None:
    """Refuse the saved state of parameter `key` that `p` under `rule` cannot have."""
    if not state:  # never updated
        return
    if state.keys() - {"trained"} != {"t", *rule.state}:
        raise ValueError(
            f"state_dict holds {', '.join(state)} for parameter {key}; "
            f"allowed with rule {rule.__name__}: {', '.join(['t', *rule.state])}"
        )
    if not isinstance(state["t"], int) or state["t"] < 1:
        raise ValueError(
            f"state_dict holds t = {state['t']!r} for parameter {key}; "
            "allowed: 1, 2, 3, ..."
        )
    for name in state.keys() - {"t"}:
        shape = getattr(state[name], "shape", None)
        allowed = p.shape if name == "trained" else start(rule, name, p).shape
        if shape != allowed:
            raise ValueError(
                f"state_dict holds {name} of shape {shape and tuple(shape)} for "
                f"parameter {key}, whose shape in this optimizer is {tuple(p.shape)}; "
                f"allowed: {tuple(allowed)}"
            )


def seen_as(rule: Callable, x):
    """A tensor, or each of a TensorList, in the shape that `rule` is written for."""
    if rule.unit == "number":
        return x
    if isinstance(x, TensorList):
        return TensorList([seen_as(rule, y) for y in x.tensors])
    return x.reshape(unit_shape(rule, x))


def unit_shape(rule: Callable, p: torch.Tensor) -> tuple[int, ...]:
    """The shape in which a rule of tensors or matrices sees a parameter."""
    if rule.unit != "matrix":
        return (p.numel(),)
    rows = len(p) if p.ndim else 1
    return rows, p.numel() // max(rows, 1)


def start(rule: Callable, name: str, p: torch.Tensor) -> torch.Tensor:
    """The state `name` of parameter `p` before the first step."""
    if not has_shape_of_p(rule, name):
        shape = p.shape if rule.unit == "number" else unit_shape(rule, p)
        return p.new_zeros(start_shape(rule, name, shape))
    return p.clone() if name in rule.starts else torch.zeros_like(p)


def joined(rule: Callable, lists: list) -> list[list[torch.Tensor]]:
    """lists = [parameters, gradients, first states, ...] as if of one parameter."""
    keep = ["p", "g", *rule.state]
    # of one tensor the flattened is a view, which detach makes no view of a parameter
    return [
        [_flatten_dense_tensors(xs).detach()] if has_shape_of_p(rule, k) else xs[:1]
        for k, xs in zip(keep, lists, strict=True)
    ]


def spread(rule: Callable, whole: list, lists: list) -> None:
    """Write what `joined` made, updated, back into the lists that it was made from."""
    names = ["p", "g", *rule.state]
    for name, (one,), xs in zip(names, whole, lists, strict=True):
        if name == "g" or (len(xs) == 1 and one.data_ptr() == xs[0].data_ptr()):
            continue  # a view is written already
        parts = [one] * len(xs)
        if has_shape_of_p(rule, name):
            parts = _unflatten_dense_tensors(one, xs)
        torch._foreach_copy_(xs, parts)


def updated(rule, tensors, t, l2, maximize, hyper) -> list:
    """What a step of `rule` makes of tensors = [p, g, first state, ...]: all but g."""
    p, g, *state = (
        seen_as(rule, x) if has_shape_of_p(rule, name) else x
        for name, x in zip(["p", "g", *rule.state], tensors, strict=True)
    )
    if maximize:
        g = -g
    if l2 != 0:
        g = g + l2 * p
    result = rule(p, g, *state, t, **hyper)
    result = list(result) if rule.state else [result]
    for i, new in enumerate(result):
        others = [x for j, x in enumerate((p, *state)) if j != i]
        if any(new is x for x in others):  # would be overwritten before it is kept
            negative = -new  # and back: Inductor drops a clone of a view (torch 2.14)
            result[i] = -negative
    return result


def apply(rule, tensors, t, l2, maximize, hyper) -> None:
    """One step of `rule`, written back into tensors = [p, g, first state, ...]."""
    result = updated(rule, tensors, t, l2, maximize, hyper)
    for old, new in zip([tensors[0], *tensors[2:]], result, strict=True):
        new = new if rule.unit == "number" else like(new, old)
        if isinstance(old, np.ndarray):
            old[...] = new
        else:
            old.copy_(new)


def apply_to_each(rule, lists, t, l2, maximize, hyper) -> None:
    """`apply` to each parameter; lists = [parameters, gradients, first states, ...]."""
    for tensors in zip(*lists, strict=True):
        apply(rule, tensors, t, l2, maximize, hyper)


def apply_to_list(rule, lists, t, l2, maximize, hyper) -> None:
    """`apply` to all at once; lists = [parameters, gradients, first states, ...]."""
    apply(rule, [TensorList(x) for x in lists], t, l2, maximize, hyper)


def apply_in_blocks(rule, lists, t, l2, maximize, hyper) -> None:
    """`apply` to all, for an elementwise rule on a CPU: by NumPy, _BLOCK numbers at a
    time.

    Calls cost as much as thousands of numbers, and NumPy's are short; more numbers
    would not stay in the cache. So small parameters are joined, large ones cut. NumPy
    has no good arithmetic in 16 bits, and a rule may call what is not NumPy's: there
    `apply` takes each block.
    """
    given = t, l2, maximize, hyper
    notes = {}
    for part in _parts(lists):
        whole = joined(rule, part)
        flat = [x for (x,) in whole]
        kinds = tuple(x.dtype for x in flat)
        with np.errstate(all="ignore"):  # inf and nan are no errors in torch
            if kinds not in notes:
                notes[kinds] = _noted(rule, flat, given)
            if min(x.element_size() for x in flat) > 2:
                flat = [x.numpy() for x in flat]
            if notes[kinds]:
                notes[kinds](flat, _BLOCK)
            else:
                for i in range(0, len(flat[0]), _BLOCK):
                    apply(rule, [x[i : i + _BLOCK] for x in flat], *given)
        spread(rule, whole, part)


def _noted(rule, flat, given) -> Noted | None:
    """A step of the rule as operations of NumPy, if it is nothing else."""
    if min(x.element_size() for x in flat) <= 2:
        return None
    dtypes = [x.numpy().dtype for x in flat]
    changed = [0, *range(2, len(flat))]
    try:
        return Noted(lambda *names: updated(rule, names, *given), dtypes, changed)
    except (AttributeError, TypeError):
        return None


def _parts(lists: list) -> Iterator[list[list[torch.Tensor]]]:
    """lists = [parameters, gradients, first states, ...] in parts: each large tensor
    alone, and small ones until they are _BLOCK numbers."""
    part, count = [], 0
    for row in zip(*lists, strict=True):
        if row[0].numel() >= _BLOCK:
            yield [[x] for x in row]
            continue
        part.append(row)
        count += row[0].numel()
        if count >= _BLOCK:
            yield [list(x) for x in zip(*part, strict=True)]
            part, count = [], 0
    if part:
        yield [list(x) for x in zip(*part, strict=True)]


def like(x, other):
    """A tensor, or each of a TensorList, in the shape of the other."""
    if isinstance(x, TensorList):
        pairs = zip(x.tensors, other.tensors, strict=True)
        return TensorList([a.reshape(b.shape) for a, b in pairs])
    return x.reshape(other.shape)
