"""A case: a list of calls of a student's functions, as plain data.

The same lines run a case in the notebook's own checks, in the jail and on the trusted
side, so this file imports nothing of the project and nothing but NumPy.
"""

import base64

import numpy as np

ARRAYS = "biuf"  # kinds of arrays that travel: bool, int, unsigned, float
LONGEST = 2_000_000  # numbers in one array


def call(function, *args, keep="", show=True, **kwargs):
    """One call of a case.

    function   the name of a function of the notebook, or of what an earlier call kept,
               with attributes: "adam_step", "optimizer.step"
    keep       names under which its results are kept, as "p m v"; `ref("m")` is then
               that very object in a later call
    show       whether the result is an answer that is compared
    """
    return {
        "call": function,
        "args": list(args),
        "kwargs": kwargs,
        "keep": keep.split(),
        "show": show,
    }


def put(name, value):
    """Keep a value under a name, so that several calls get the very same object."""
    return {"put": name, "value": value}


def look(name):
    """Ask for a kept object or one of its attributes: "g", "optimizer.params"."""
    return {"look": name}


def ref(name):
    """The object kept under this name, as an argument."""
    return {"ref": name}


def function(source, **values):
    """A function as an argument: a lambda, or lines that end in one def.

    It may use `np` and the names in `values`.
    """
    return {"function": source, "values": values}


def pack(value):
    """A value as plain JSON; what cannot travel becomes {"other": its type}."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, dict):
        return {"dict": {str(k): pack(v) for k, v in value.items()}}
    if isinstance(value, (list, tuple)):
        return [pack(v) for v in value]
    if hasattr(value, "detach"):  # a tensor, where torch may be used
        value = value.detach().cpu().numpy()
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.kind in ARRAYS and array.size <= LONGEST:
            data = base64.b64encode(np.ascontiguousarray(array).tobytes())
            shape = list(array.shape)
            kind = array.dtype.newbyteorder("<").str
            return {"array": data.decode(), "dtype": kind, "shape": shape}
    return {"other": type(value).__name__}


def unpack(value):
    """The value of plain JSON; ValueError where it is not what `pack` makes."""
    if isinstance(value, list):
        return [unpack(v) for v in value]
    if isinstance(value, int) and abs(value) >= 2**63:  # no number of NumPy's
        return float("inf") if value > 0 else float("-inf")
    if not isinstance(value, dict):
        return value
    if "array" in value:
        dtype, shape = np.dtype(value["dtype"]), tuple(map(int, value["shape"]))
        if dtype.kind not in ARRAYS or min(shape, default=0) < 0:
            raise ValueError(f"no array of {value['dtype']!r} and {shape}")
        data = base64.b64decode(value["array"], validate=True)
        return np.frombuffer(data, dtype).reshape(shape).copy()
    if "dict" in value:
        return {k: unpack(v) for k, v in value["dict"].items()}
    if "other" in value:
        return Other(str(value["other"])[:80])
    raise ValueError(f"no value with keys {sorted(value)[:5]}")


class Other:
    """Something that cannot travel; knows the name of its type."""

    def __init__(self, type):
        self.cannot_travel = type


def pack_case(case):
    """A case as plain JSON."""
    return [_arguments(step, pack) for step in case]


def unpack_case(case):
    """The case of plain JSON."""
    return [_arguments(step, unpack) for step in case]


def run_case(case, namespace):
    """The answers of a case, one for each call that is shown and each look.

    namespace   names of the notebook; what a function raises passes through
    """
    kept, answers = {}, []
    for step in case:
        if "put" in step:
            kept[step["put"]] = _value(step["value"], kept)
        elif "look" in step:
            answers.append(pack(_find(step["look"], kept, namespace)))
        else:
            args = [_value(x, kept) for x in step["args"]]
            kwargs = {k: _value(x, kept) for k, x in step["kwargs"].items()}
            result = _find(step["call"], kept, namespace)(*args, **kwargs)
            if step["show"]:  # packed at once: a later call may change it in place
                answers.append(pack(result))
            names = step["keep"]
            if names:
                if result is None:
                    raise TypeError(f"{step['call']} returns None: is it written?")
                results = [result] if len(names) == 1 else list(result)
                if len(results) != len(names):
                    raise ValueError(
                        f"{step['call']} returned {len(results)} values; "
                        f"asked for: {', '.join(names)}"
                    )
                kept.update(zip(names, results, strict=True))
    return answers


def _find(name, kept, namespace):
    first, *rest = name.split(".")
    if first not in kept and first not in namespace:
        raise NameError(f"there is no {first} in the notebook")
    found = kept[first] if first in kept else namespace[first]
    for attribute in rest:
        found = getattr(found, attribute)
    return found


def _value(value, kept):
    """An argument: a kept object, a function, or a copy of the value."""
    if isinstance(value, list):
        return [_value(v, kept) for v in value]
    if isinstance(value, np.ndarray):
        return value.copy()
    if not isinstance(value, dict):
        return value
    if "ref" in value:
        return kept[value["ref"]]
    if "function" in value:
        space = {"np": np, **{k: _value(v, kept) for k, v in value["values"].items()}}
        if value["function"].startswith("lambda"):
            return eval(value["function"], space)
        before = set(space)
        exec(value["function"], space)
        return space[[k for k in space if k not in before | {"__builtins__"}][-1]]
    return {k: _value(v, kept) for k, v in value.items()}


def _arguments(step, change):
    """The step with `change` applied to its values, but not to ref and function."""

    def changed(value):
        if isinstance(value, (list, tuple)):
            return [changed(v) for v in value]
        if isinstance(value, dict) and "ref" in value:
            return value
        if isinstance(value, dict) and "function" in value:
            values = {k: changed(v) for k, v in value["values"].items()}
            return {"function": value["function"], "values": values}
        return change(value)

    new = dict(step)
    if "put" in step:
        new["value"] = changed(step["value"])
    if "call" in step:
        new["args"] = [changed(x) for x in step["args"]]
        new["kwargs"] = {k: changed(x) for k, x in step["kwargs"].items()}
    return new
