"""The lines of an elementwise rule on blocks of numbers, without a new array for each
operation.

New arrays push old ones out of the cache. So the lines run once, on names: their
operations are noted, and then done to each block in a few arrays that stay there, or
right in the place of their result. Nothing is reordered: the bits are NumPy's own.
"""

from collections.abc import Callable
from functools import lru_cache
from operator import itemgetter

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin


class Noted:
    """A function of arrays whose results overwrite some of them, as operations.

    function   of arrays of one length, to what shall be in the `changed` of them;
               made of arithmetic and elementwise functions of NumPy
    dtypes     of its arrays
    changed    which of them its results go into; none of these is itself a result

    Raises TypeError or AttributeError where it does anything else with an array.
    """

    def __init__(self, function: Callable, dtypes: list, changed: list[int]):
        # values are counted: first the arrays, then the result of each operation;
        # numbers have -1, -2, ... and stand at the end of what an operation may take
        self._operations, self._dtypes, self._numbers = [], [], []
        names = [self._named(np.empty(0, dtype)) for dtype in dtypes]
        results = [self._value(x) for x in function(*names)]
        self._steps, self._spare, self._copies = _plan(
            tuple(self._operations), tuple(self._dtypes), tuple(results), tuple(changed)
        )

    def note(self, function: Callable, inputs: tuple) -> "_Name":
        """Add an operation, and name its result."""
        samples = [x.sample if isinstance(x, _Name) else x for x in inputs]
        self._operations.append((function, *map(self._value, inputs)))
        return self._named(function(*samples))

    def _named(self, sample: np.ndarray) -> "_Name":
        self._dtypes.append(sample.dtype)
        return _Name(self, len(self._dtypes) - 1, sample)

    def _value(self, x) -> int:
        if isinstance(x, _Name):
            return x.value
        self._numbers.insert(0, x)
        return -len(self._numbers)

    def __call__(self, arrays: list[np.ndarray], size: int) -> None:
        """Do it to arrays of one length, `size` numbers at a time."""
        count = len(arrays[0])
        spare = [np.empty(min(size, count), dtype) for dtype in self._spare]
        for i in range(0, count, size):
            if (rest := count - i) < size:
                spare = [x[:rest] for x in spare]
            known = [*(x[i : i + size] for x in arrays), *spare, *self._numbers]
            for function, operands in self._steps:
                function(*operands(known))
            for old, new in self._copies:
                known[old][...] = known[new]


class _Name(NDArrayOperatorsMixin):
    """Stands for an array while a function runs once; `sample` has its dtype."""

    def __init__(self, notes: Noted, value: int, sample: np.ndarray):
        self.notes, self.value, self.sample = notes, value, sample

    def __array_ufunc__(self, function, method, *inputs, **options):
        elementwise = function.signature is None  # unlike a product of matrices
        if method != "__call__" or options or not elementwise:
            return NotImplemented
        return self.notes.note(function, inputs)

    def __array_function__(self, function, types, inputs, options):
        if function is not np.where or options:
            return NotImplemented
        return self.notes.note(function, inputs)

    def __pow__(self, exponent):
        if isinstance(exponent, int | float) and exponent == 2:
            return np.square(self)  # as NumPy does, for a power takes longer
        return np.power(self, exponent)

    def __bool__(self):
        raise TypeError("an array has no truth value: its elements differ")


@lru_cache(maxsize=256)  # most steps differ in their numbers only
def _plan(operations: tuple, dtypes: tuple, results: tuple, changed: tuple):
    """Where each value is: in the place of an array that nobody reads any more.

    Returns the steps [(function, what takes its operands and the place of its result)],
    the dtypes of the spare arrays, and what is copied in the end [(place, place)].
    """
    arrays, end = len(dtypes) - len(operations), len(operations)
    last = {x: i for i, (_, *inputs) in enumerate(operations) for x in inputs}
    place, copies = {i: i for i in range(arrays)}, []
    for old, new in zip(changed, results, strict=True):
        fits = arrays <= new and new not in place and dtypes[new] == dtypes[old]
        if fits and last.get(old, -1) <= new - arrays:
            place[new] = old
        else:
            copies.append((old, new))
            last[new] = end
    steps, spare, free = [], [], []
    for i, (function, *inputs) in enumerate(operations):
        free += [x for x in {*inputs} if place.get(x, -1) >= arrays and last[x] == i]
        result = arrays + i
        if result not in place:
            left = [x for x in free if dtypes[x] == dtypes[result]]
            if left:
                free.remove(left[0])
                place[result] = place[left[0]]
            else:
                place[result] = arrays + len(spare)
                spare.append(dtypes[result])
        places = [place.get(x, x) for x in (*inputs, result)]
        steps.append((_INTO.get(function, function), itemgetter(*places)))
    return steps, spare, [(old, place.get(new, new)) for old, new in copies]


def _where(condition, x, y, out) -> None:
    out[...] = np.where(condition, x, y)


def _maximum(x, y, out) -> None:
    np.maximum(x, y, out=out)


def _minimum(x, y, out) -> None:
    np.minimum(x, y, out=out)


# functions that do not take the place of their result as one more argument, and what
# does instead
_INTO = {np.where: _where, np.maximum: _maximum, np.minimum: _minimum}
