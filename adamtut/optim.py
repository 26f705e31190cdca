"""A rule on a torch model: one optimiser class, three ways to run the same lines."""

import types
from collections.abc import Callable, Iterable

import torch

from adamtut.rules import as_rule, check_hyper, check_range
from adamtut.tensor_list import TensorList

HOW = ("loop", "foreach", "compile")
# What a group holds besides the hyperparameters of its rule; torch's schedulers and its
# named parameters write the last two.
_OPTIONS = ("l2", "maximize")
_GROUP_KEYS = {"params", "rule", *_OPTIONS, "initial_lr", "param_names"}


class Optimizer(torch.optim.Optimizer):
    """A `torch.optim.Optimizer` that applies a rule of `adamtut.rules`.

    params    parameters or parameter groups. A group may name its own `rule`, any of
              that rule's hyperparameters, `maximize` and `l2`
    rule      a name of `adamtut.rules.RULES`, or a function written like a rule
    how       "loop": the rule on one tensor after the other;
              "foreach": the rule on lists of tensors, one call an operator;
              "compile": torch.compile of that; hyperparameters and t are tensors, so
              that a schedule does not recompile
    maximize  climb instead of descend
    l2        coefficient of the penalty l2/2 * |p|**2, added to the gradient (what
              torch.optim calls weight_decay everywhere but in AdamW)
    hyper     hyperparameters of `rule`, for all groups whose rule has them

    The state of a parameter is `t`, the number of its updates, and the rule's tensors,
    of the parameter's shape, dtype and device. A parameter without gradient is left
    alone and its t stands still.

    Raises ValueError, TypeError: unknown rule, how or hyperparameter, a value out of
    range, no parameters, complex parameters, sparse gradients (before anything is
    updated), and a state_dict of another rule or other shapes (before anything is
    loaded).
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
        self._compiled = {}  # compiled code does not travel; it is made again

    def add_param_group(self, group: dict) -> None:
        rule = group.get("rule", self.defaults["rule"])
        rule = as_rule(self._rules.get(rule, rule))
        shared = {k: v for k, v in self._hyper.items() if k in rule.defaults}
        options = {k: self.defaults[k] for k in _OPTIONS}
        name = rule.__name__
        group = options | rule.defaults | shared | group | {"rule": name}
        _check_group(rule, group)
        if self._rules.setdefault(name, rule) is not rule:
            raise ValueError(
                f"two different rules of one optimizer are called {name!r}"
            )
        super().add_param_group(group)
        try:
            _check_params(self.param_groups[-1]["params"])
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    @torch.no_grad()
    def step(self, closure: Callable | None = None):
        """Update every parameter that has a gradient; return the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = [
            (group, [p for p in group["params"] if p.grad is not None])
            for group in self.param_groups
        ]
        for _, params in groups:
            for p in params:
                if p.grad.layout != torch.strided:
                    raise TypeError(
                        f"the gradient of a parameter of shape {tuple(p.shape)} has "
                        f"layout {p.grad.layout}; allowed: dense (torch.strided)"
                    )
        for group, params in groups:
            for bucket in self._buckets(group, params):
                self._update(group, bucket)
        return loss

    def _buckets(self, group: dict, params: list) -> list[list]:
        """Parameters of the same t (which is counted up), device and dtype."""
        rule = self._rules[group["rule"]]
        buckets = {}
        for p in params:
            state = self.state[p]
            if not state:
                state["t"] = 0
                for name in rule.state:
                    state[name] = (
                        p.clone() if name in rule.starts else torch.zeros_like(p)
                    )
            state["t"] += 1
            buckets.setdefault((state["t"], p.device, p.dtype), []).append(p)
        return list(buckets.values())

    def _update(self, group: dict, params: list) -> None:
        rule = self._rules[group["rule"]]
        hyper = {name: group[name] for name in rule.defaults}
        t = self.state[params[0]]["t"]
        l2, maximize = group["l2"], group["maximize"]
        lists = [
            params,
            [p.grad for p in params],
            *([self.state[p][name] for p in params] for name in rule.state),
        ]
        if self.how == "loop":
            apply_to_each(rule, lists, t, l2, maximize, hyper)
        elif self.how == "foreach":  # torch._foreach_* takes numbers, not a tensor lr
            hyper = {k: v.item() if torch.is_tensor(v) else v for k, v in hyper.items()}
            apply(rule, map(TensorList, lists), t, l2, maximize, hyper)
        else:
            hyper = {
                k: torch.as_tensor(v, dtype=torch.float64) for k, v in hyper.items()
            }
            t = torch.tensor(t, dtype=torch.float64)
            if rule not in self._compiled:
                own = own_copy(apply_to_each)
                self._compiled[rule] = torch.compile(own)
            self._compiled[rule](rule, lists, t, l2, maximize, hyper)

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
    if state.keys() != {"t", *rule.state}:
        raise ValueError(
            f"state_dict holds {', '.join(state)} for parameter {key}; "
            f"allowed with rule {rule.__name__}: {', '.join(['t', *rule.state])}"
        )
    if not isinstance(state["t"], int) or state["t"] < 1:
        raise ValueError(
            f"state_dict holds t = {state['t']!r} for parameter {key}; "
            "allowed: 1, 2, 3, ..."
        )
    for name in rule.state:
        shape = getattr(state[name], "shape", None)
        if shape != p.shape:
            raise ValueError(
                f"state_dict holds {name} of shape {shape and tuple(shape)} for "
                f"parameter {key}, whose shape in this optimizer is {tuple(p.shape)}"
            )


def apply(rule, tensors, t, l2, maximize, hyper) -> None:
    """One step of `rule`, written back into tensors = [p, g, first state, ...]."""
    p, g, *state = tensors
    if maximize:
        g = -g
    if l2 != 0:
        g = g + l2 * p
    result = rule(p, g, *state, t, **hyper)
    for old, new in zip([p, *state], result if rule.state else [result], strict=True):
        old.copy_(new)


def apply_to_each(rule, lists, t, l2, maximize, hyper) -> None:
    """`apply` to each parameter; lists = [parameters, gradients, first states, ...]."""
    for tensors in zip(*lists, strict=True):
        apply(rule, tensors, t, l2, maximize, hyper)


def own_copy(function: types.FunctionType) -> types.FunctionType:
    """The same function with a code object of its own: torch.compile counts recompiles
    by code object, and two optimisers shall not use up each other's."""
    return types.FunctionType(
        function.__code__.replace(), function.__globals__, function.__name__
    )
