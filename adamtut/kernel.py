"""One compiled kernel from the lines of a rule."""

import operator
import types
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, fx


def compiled(function: types.FunctionType) -> Callable:
    """torch.compile of `function` with a code object of its own: recompiles are counted
    by code object, and two optimisers shall not use up each other's.

    Give numbers that change (lr, t) as tensors, see `as_number`: other values do not
    recompile, and what is computed from them alone is computed once.
    """
    code = function.__code__.replace()
    own = types.FunctionType(code, function.__globals__, function.__name__)
    return torch.compile(own, backend=_numbers_first)


def as_number(name: str, value: float | Tensor) -> Tensor:
    """A 0-dimensional float64 tensor on the CPU, a different one for each name: two
    arguments that are one tensor would be compiled anew."""
    if isinstance(value, Tensor):
        return value.to("cpu", torch.float64)
    return _kept(name, float(value))


@lru_cache(maxsize=1024)  # to make one takes some microseconds
def _kept(name: str, value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _numbers_first(graph: fx.GraphModule, inputs: list) -> Callable:
    """Inductor, but for the lines on numbers such as 1 - beta1**t: they run before it.

    Inside of a kernel they would be computed again for every few numbers of a
    parameter, and two powers take several times as long as the rest of Adam's step.
    """
    from torch._inductor.compile_fx import compile_fx  # seconds, where it is used
    from torch.fx.passes.split_module import split_module

    numbers = _numbers(graph.graph)
    _multiply(graph.graph, numbers)
    _narrow(graph.graph, numbers)
    parts = split_module(graph, None, lambda node: int(node not in numbers))
    kernel = parts.submod_1
    examples = [
        node.meta["example_value"] for node in kernel.graph.find_nodes(op="placeholder")
    ]
    del parts.submod_1  # a module; what takes its place is a function
    parts.submod_1 = compile_fx(kernel, examples)
    return parts.forward


def _multiply(graph: fx.Graph, numbers: set[fx.Node]) -> None:
    """Instead of dividing a tensor by a number, multiply it by the number's reciprocal.

    A division takes as long as ten products, and a kernel for Adam would do three.
    """
    for node in graph.find_nodes(op="call_function", target=operator.truediv):
        x, number = node.args
        if number in numbers and x not in numbers and node not in numbers:
            with graph.inserting_before(node):
                reciprocal = graph.call_function(torch.reciprocal, (number,))
            reciprocal.meta = dict(number.meta)
            numbers.add(reciprocal)
            node.target, node.args = operator.mul, (x, reciprocal)


def _narrow(graph: fx.Graph, numbers: set[fx.Node]) -> None:
    """Round numbers to float32 once, where no tensor is wider: a kernel would do it
    again for every few numbers of a parameter."""
    nodes = [node for node in graph.nodes if "example_value" in node.meta]
    values = {node: node.meta["example_value"] for node in nodes}
    wide = [x for x in values.values() if isinstance(x, Tensor) and x.ndim]
    if any(x.dtype == torch.float64 for x in wide):
        return
    for node, x in values.items():
        given = node.op == "placeholder" and isinstance(x, Tensor) and not x.ndim
        users = [user for user in node.users if user not in numbers]
        if users and (given or node in numbers) and x.dtype == torch.float64:
            after = node.next if not given else _first_operation(graph)
            with graph.inserting_before(after):
                narrow = graph.call_method("float", (node,))
            narrow.meta["example_value"] = x.float()
            numbers.add(narrow)
            for user in users:
                user.replace_input_with(node, narrow)


def _first_operation(graph: fx.Graph) -> fx.Node:
    return next(node for node in graph.nodes if node.op != "placeholder")


def _numbers(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that compute a 0-dimensional tensor on the CPU from nothing but such."""
    known, found = set(), set()
    for node in graph.nodes:
        value = node.meta.get("example_value")
        if not isinstance(value, Tensor) or value.ndim or value.device.type != "cpu":
            continue
        if node.op == "placeholder":
            known.add(node)
        elif known.issuperset(node.all_input_nodes) and node.target != "copy_":
            known.add(node)
            found.add(node)
    return found
