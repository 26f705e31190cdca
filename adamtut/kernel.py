"""One compiled kernel from the lines of a rule."""

import operator
import types
from array import array
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, fx


class Compiled:
    """torch.compile of a function of tensors that changes them and returns nothing.

    Its code object is its own: recompiles are counted by code object, and two
    optimisers shall not use up each other's. Give numbers that change (lr, t) as
    tensors, see `as_number`: other values do not recompile, and what is computed from
    them alone is computed once.
    """

    kernels = 0  # compiled in this process

    def __init__(self, function: types.FunctionType):
        code = function.__code__.replace()
        own = types.FunctionType(code, function.__globals__, function.__name__)
        self._entry = torch.compile(own, backend=self._backend)
        self._noted = None

    def __call__(self, *arguments) -> None:
        self._entry(*arguments)

    def direct(self, tensors: list[Tensor], *arguments) -> Callable | None:
        """Call it, and return what does the same with other tensors of the same shapes,
        strides and dtypes in place of `tensors`, which are all that `arguments` hold.
        In place of a number may stand a float, of which no tensor needs to be made.

        torch.compile looks at every argument before each call (0.2 ms, a small model's
        step); who knows that nothing else has changed can leave that out. None where
        the call was not one graph.
        """
        self._noted = []
        try:
            self._entry(*arguments)
        finally:
            calls, self._noted = self._noted, None
        if len(calls) != 1:
            return None
        graph, on_floats, given, result = calls[0]
        if result:  # a part of the function only: the rest changes the tensors
            return None
        # what is no tensor is a length, of which torch.compile made a variable
        lengths = [x for x in given if not isinstance(x, Tensor)]
        place = {id(x): i for i, x in enumerate([*tensors, *lengths])}
        if any(id(x) not in place for x in given):
            return None
        places = [place[id(x)] for x in given]

        def call(tensors: list[Tensor | float]) -> None:
            if not on_floats:
                tensors = [
                    torch.tensor(x, dtype=torch.float64) if isinstance(x, float) else x
                    for x in tensors
                ]
            known = [*tensors, *lengths]
            graph(*[known[i] for i in places])

        return call

    def _backend(self, graph: fx.GraphModule, inputs: list) -> Callable:
        run, on_floats = _numbers_first(graph, inputs)
        Compiled.kernels += 1  # not before: what is traced is sometimes traced again

        def noted(*given):
            result = run(*given)
            if self._noted is not None:
                self._noted.append((run, on_floats, given, result))
            return result

        return noted


def as_number(name: str, value: float | Tensor) -> Tensor:
    """A 0-dimensional float64 tensor on the CPU, a different one for each name: two
    arguments that are one tensor would be compiled anew."""
    if isinstance(value, Tensor):
        return value.to("cpu", torch.float64)
    return _kept(name, float(value))


@lru_cache(maxsize=1024)  # to make one takes some microseconds
def _kept(name: str, value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _numbers_first(graph: fx.GraphModule, inputs: list) -> tuple[Callable, bool]:
    """Inductor, but for the lines on numbers such as 1 - beta1**t: they run before it.

    Inside of a kernel they would be computed again for every few numbers of a
    parameter, and two powers take several times as long as the rest of Adam's step.
    Also whether floats can be given in place of numbers.
    """
    from torch._inductor.compile_fx import compile_fx  # seconds, where it is used
    from torch.fx.passes.split_module import split_module

    numbers = _numbers(graph.graph)
    _multiply(graph.graph, numbers)
    if all(x.device.type == "cpu" for x in _tensors(graph.graph).values()):
        _pack(graph.graph, numbers)
    else:
        _narrow(graph.graph, numbers)  # a GPU is given a number as such
    parts = split_module(graph, None, lambda node: int(node not in numbers))
    kernel = parts.submod_1
    examples = [
        node.meta["example_value"] for node in kernel.graph.find_nodes(op="placeholder")
    ]
    # a kernel takes no float, but a vector of them
    on_floats = all(node.target in _FOR_FLOATS for node in numbers) and all(
        x.ndim for x in examples if isinstance(x, Tensor)
    )
    whole = fx.GraphModule(parts, parts.graph)  # not made lazily: that takes longer
    replaced = {"submod_1": compile_fx(kernel, examples, config_patches=_options())}
    if hasattr(parts, "submod_0"):
        replaced["submod_0"] = fx.GraphModule({}, parts.submod_0.graph).forward
    for name, function in replaced.items():
        delattr(whole, name)  # a module, whose call takes longer than a number's line
        setattr(whole, name, function)
    return whole.forward, on_floats


def _options() -> dict[str, bool | int]:
    """Of Inductor: for a first step within seconds on a machine that never compiled,
    and for long vectors."""
    from torch._inductor import config

    options = {}
    cpu = torch.backends.cpu.get_cpu_capability()
    if config.cpp.simdlen is None and cpu in ("AVX2", "AVX512"):
        # Sixteen numbers at a time are no faster where memory is the limit, and 2 % of
        # Adam's step slower on an AMD EPYC.
        options["cpp.simdlen"] = 256
    if config.cpp.vec_isa_ok is None:
        # Each set of vector instructions would be tried on torch's headers. A compiler
        # of those knows AVX-512 anyway, and what is newer is tried all the same.
        options["cpp.vec_isa_ok"] = True
    if Compiled.kernels == 0:
        # To compile the headers in advance takes as long as four kernels: most
        # processes train one network, which needs one.
        options["cpp_cache_precompile_headers"] = False
    return options


def _multiply(graph: fx.Graph, numbers: set[fx.Node]) -> None:
    """Instead of dividing a tensor by a number, multiply it by the number's reciprocal.

    A division takes as long as ten products, and a kernel for Adam would do three.
    """
    for node in graph.find_nodes(op="call_function", target=operator.truediv):
        x, number = node.args
        if number in numbers and x not in numbers and node not in numbers:
            with graph.inserting_before(node):
                reciprocal = graph.call_function(operator.truediv, (1.0, number))
            reciprocal.meta = dict(number.meta)
            numbers.add(reciprocal)
            node.target, node.args = operator.mul, (x, reciprocal)


def _pack(graph: fx.Graph, numbers: set[fx.Node]) -> None:
    """Put the numbers that a kernel for the CPU reads into one vector.

    It reads them again after each store, and such a read waits for a store to the same
    place of another page of memory (4,096 bytes). Stores come to each place in turn, so
    numbers in eight places wait eight times as often: 4 % of a long step of Adam.
    """
    first = next(x for x in graph.nodes if x.op != "placeholder" and x not in numbers)
    for node in [node for node in graph.nodes if node in numbers]:
        first.prepend(node)  # they need nothing else
    values, vectors = _tensors(graph), {}
    for node, dtype in _read(graph, numbers).items():
        vectors.setdefault(dtype, []).append(node)
    for dtype, nodes in vectors.items():
        with graph.inserting_before(first):
            vector = graph.call_function(_vector, (dtype, *nodes))
            vector.meta["example_value"] = _vector(dtype, *[values[x] for x in nodes])
            numbers.add(vector)
            for i, node in enumerate(nodes):
                place = graph.call_method("select", (vector, 0, i))
                one = graph.call_method("clone", (place,))  # a branch wants no views
                for x in (place, one):
                    x.meta["example_value"] = values[node].to(dtype)
                _let_kernel_read(one, node, numbers)


def _narrow(graph: fx.Graph, numbers: set[fx.Node]) -> None:
    """Round numbers to what a kernel reads once: it would do it again for every few
    numbers of a parameter."""
    values = _tensors(graph)
    for node, dtype in _read(graph, numbers).items():
        if dtype != values[node].dtype:
            after = node.next if node.op != "placeholder" else _first_operation(graph)
            with graph.inserting_before(after):
                narrow = graph.call_method("to", (node, dtype))
            narrow.meta["example_value"] = values[node].to(dtype)
            numbers.add(narrow)
            _let_kernel_read(narrow, node, numbers)


def _read(graph: fx.Graph, numbers: set[fx.Node]) -> dict[fx.Node, torch.dtype]:
    """Numbers, given or computed, that the kernel reads, and as what: as float32, where
    no tensor is wider."""
    tensors, changed = _tensors(graph), _changed(graph)
    wide = any(
        x.dtype == torch.float64
        for node, x in tensors.items()
        if x.ndim or node in changed
    )
    found = {}
    for node, x in tensors.items():
        given = node.op == "placeholder" and not x.ndim and node not in changed
        if (given or node in numbers) and not numbers.issuperset(node.users):
            narrow = x.dtype == torch.float64 and not wide
            found[node] = torch.float32 if narrow else x.dtype
    return found


def _let_kernel_read(new: fx.Node, old: fx.Node, numbers: set[fx.Node]) -> None:
    for user in [x for x in old.users if x not in numbers]:
        user.replace_input_with(old, new)


def _vector(dtype: torch.dtype, *numbers: Tensor | float) -> Tensor:
    if all(isinstance(x, Tensor) for x in numbers):
        return torch.stack(numbers).to(dtype)
    # an array: torch.tensor would take three times as long
    code = {torch.float32: "f", torch.float64: "d"}[dtype]
    return torch.frombuffer(array(code, numbers), dtype=dtype)


# what numbers are computed with that may be floats
_FOR_FLOATS = {operator.add, operator.sub, operator.mul, operator.truediv, operator.pow}
_FOR_FLOATS |= {operator.neg, _vector}


def _tensors(graph: fx.Graph) -> dict[fx.Node, Tensor]:
    """Nodes that are tensors, and one like each."""
    values = {node: node.meta.get("example_value") for node in graph.nodes}
    return {node: x for node, x in values.items() if isinstance(x, Tensor)}


def _first_operation(graph: fx.Graph) -> fx.Node:
    return next(node for node in graph.nodes if node.op != "placeholder")


def _changed(graph: fx.Graph) -> set[fx.Node]:
    return {x.args[0] for x in graph.find_nodes(op="call_method", target="copy_")}


def _numbers(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that compute a 0-dimensional tensor on the CPU from nothing but such, which
    are not changed themselves, as a parameter of one number is."""
    known, found, changed = set(), set(), _changed(graph)
    for node, x in _tensors(graph).items():
        if x.ndim or x.device.type != "cpu":
            continue
        if node.op == "placeholder":
            known |= {node} - changed
        elif known.issuperset(node.all_input_nodes) and node.target != "copy_":
            known.add(node)
            found.add(node)
    return found
