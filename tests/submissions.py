"""Notebooks that somebody might hand in for the assignment on Adam.

`RIGHT` are written differently and all right, `WRONG` are wrong as students are, each
with words of the message that it must get. Not from the assignment's own roster.
"""

import json

STEP = """
def adam_step(p, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v
"""
CLASS = """
class Adam:
    def __init__(self, params, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        self.params = [np.array(p) for p in params]
        self.numbers = (lr, beta1, beta2, eps)
        self.m = [np.zeros_like(p) for p in self.params]
        self.v = [np.zeros_like(p) for p in self.params]
        self.t = 0

    def step(self, grads):
        self.t = self.t + 1
        for i in range(len(grads)):
            new = adam_step(
                self.params[i], grads[i], self.m[i], self.v[i], self.t, *self.numbers
            )
            self.params[i], self.m[i], self.v[i] = new
        return self.params
"""
# The same without adam_step.
OWN_CLASS = """
class Adam:
    def __init__(self, params, **numbers):
        self.numbers = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
        self.numbers.update(numbers)
        self.state = {}
        self.params = {i: p for i, p in enumerate(params)}

    def step(self, grads):
        lr, b, c, eps = (self.numbers[k] for k in ("lr", "beta1", "beta2", "eps"))
        for i, g in enumerate(grads):
            t, m, v = self.state.get(i, (0, 0.0, 0.0))
            t, m, v = t + 1, b * m + (1 - b) * g, c * v + (1 - c) * g * g
            self.state[i] = t, m, v
            root = np.sqrt(v) / np.sqrt(1 - c**t)
            self.params[i] = self.params[i] - lr / (1 - b**t) * m / (root + eps)
        return list(self.params.values())
"""
IMPORT = "import math\nimport numpy as np"
SIGNATURE = "def adam_step(p, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):"


def notebook(*cells: str, **metadata) -> bytes:
    """A notebook of these code cells, as Jupyter writes one."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    book = {
        "cells": [
            {
                "cell_type": "code",
                "execution_count": None,
                "id": f"cell-{number}",
                "metadata": {},
                "outputs": [],
                "source": source.strip("\n").splitlines(keepends=True),
            }
            for number, source in enumerate(cells)
        ],
        "metadata": {"kernelspec": kernel, **metadata},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(book).encode()


def adam(step: str = STEP, optimiser: str = CLASS, *more: str) -> bytes:
    """A submission with this step and this class."""
    return notebook(IMPORT, step, optimiser, *more)


def honest() -> bytes:
    return adam()


def body(text: str) -> str:
    """`adam_step` with this body."""
    lines = [f"    {line}" if line else "" for line in text.strip("\n").split("\n")]
    return "\n".join([SIGNATURE, *lines])


RIGHT = {
    "as the paper": adam(),
    "the paper's efficient form, eps moved": adam(
        body(
            """
m = beta1 * m + (1 - beta1) * g
v = beta2 * v + (1 - beta2) * g * g
c = math.sqrt(1 - beta2**t)
return p - lr * c / (1 - beta1**t) * m / (np.sqrt(v) + eps * c), m, v
"""
        )
    ),
    "averages as steps towards g": adam(
        body(
            """
m = m + (1 - beta1) * (g - m)
v = v + (1 - beta2) * (np.square(g) - v)
root = (v / (1 - beta2**t)) ** 0.5
return [p - lr * (m / (1 - beta1**t)) / (root + eps), m, v]
"""
        )
    ),
    "one coordinate after the other": adam(
        """
def one(p, g, m, v, t, lr, b, c, eps):
    m = b * m + (1.0 - b) * g
    v = c * v + (1.0 - c) * math.pow(g, 2)
    return p - lr * m / (1 - b**t) / (math.sqrt(v / (1 - c**t)) + eps), m, v


def adam_step(p, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    if np.ndim(p) == 0:
        return one(p, g, m, v, t, lr, beta1, beta2, eps)
    new = [np.empty_like(p) for _ in range(3)]
    for at in np.ndindex(p.shape):
        found = one(p[at], g[at], m[at], v[at], t, lr, beta1, beta2, eps)
        for array, number in zip(new, found):
            array[at] = number
    return tuple(new)
"""
    ),
    "in place on copies": adam(
        body(
            """
p, m, v = (np.array(x, dtype=float, copy=True) for x in (p, m, v))
m *= beta1
m += (1 - beta1) * np.asarray(g)
v *= beta2
v += (1 - beta2) * np.asarray(g) ** 2
p -= lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
return p, m, v
"""
        )
    ),
    "one matrix product for both averages": adam(
        body(
            """
shape = np.shape(p)
g = np.ravel(g)
old = np.stack([np.ravel(m), np.ravel(v)])
new = np.diag([beta1, beta2]) @ old
new += np.diag([1 - beta1, 1 - beta2]) @ np.stack([g, g**2])
m_hat, v_hat = new / (1 - np.array([[beta1], [beta2]]) ** t)
p = np.ravel(p) - lr * m_hat / (np.sqrt(v_hat) + eps)
return tuple(x.reshape(shape) for x in (p, *new))
"""
        )
    ),
    "a class without the function": adam(STEP, OWN_CLASS),
}

_M_V = "m = beta1 * m + (1 - beta1) * g\nv = beta2 * v + (1 - beta2) * g**2\n"
_HATS = "m_hat = m / (1 - beta1**t)\nv_hat = v / (1 - beta2**t)\n"
_NORM = _M_V.replace("g**2", "np.dot(np.ravel(g), np.ravel(g))")
_SUM = _M_V.replace("beta2 * v + (1 - beta2) * g**2", "v + g**2")
_M_HAT = "m_hat = m / (1 - beta1**t)\n"
_SKIP = "if np.all(np.asarray(g) == 0):\n    return p, m, v\n"
_END = "return p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v\n"
# what: (submission, words of the message, the question that says it)
WRONG = {
    "eps inside the root": (
        adam(body(f"{_M_V}{_HATS}return p - lr * m_hat / (v_hat + eps) ** 0.5, m, v")),
        "eps is inside the root",
        "first-step",
    ),
    "correction with t + 1": (
        adam(body(f"{_M_V}t = t + 1\n{_HATS}{_END}")),
        "corrections use t + 1",
        "first-step",
    ),
    "float32 accumulation": (
        adam(
            body(
                f"m, v = np.float32(m), np.float32(v)\ng = np.asarray(g, np.float32)\n"
                f"{_M_V}{_HATS}{_END}"
            )
        ),
        "as float32",
        "first-step",
    ),
    "state shared between parameters": (
        adam(
            STEP,
            """
class Adam:
    def __init__(self, params, **numbers):
        self.params, self.numbers, self.t = list(params), numbers, 0
        self.m = self.v = 0.0

    def step(self, grads):
        self.t += 1
        for i, (p, g) in enumerate(zip(self.params, grads)):
            self.params[i], self.m, self.v = adam_step(
                p, g, self.m, self.v, self.t, **self.numbers
            )
        return list(self.params)
""",
        ),
        "share one m and one v",
        "optimiser",
    ),
    "the gradient changed in place": (
        adam(
            body(
                "m = beta1 * m + (1 - beta1) * g\ng *= g\n"
                f"v = beta2 * v + (1 - beta2) * g\n{_HATS}{_END}"
            )
        ),
        "change the gradient in place",
        "arguments",
    ),
    "scalars only": (
        adam(
            body(f"{_M_V}{_HATS}return p - lr * m_hat / (math.sqrt(v_hat) + eps), m, v")
        ),
        "single numbers alone: math.sqrt",
        "arrays",
    ),
    "scalars only, an if": (
        adam(body(f"{_M_V}{_HATS}if v_hat < 0:\n    v_hat = 0.0\n{_END}")),
        "single numbers alone: an `if`",
        "arrays",
    ),
    "right at t <= 2 only": (
        adam(
            body(
                f"{_M_V}a = [beta1, beta1**2]\nb = [beta2, beta2**2]\n"
                "i = min(t, 2) - 1\nm_hat = m / (1 - a[i])\nv_hat = v / (1 - b[i])\n"
                f"{_END}"
            )
        ),
        "wrong from t = 3 on",
        "ten-steps",
    ),
    "nothing happens at a zero gradient": (
        adam(body(f"{_SKIP}{_M_V}{_HATS}{_END}")),
        "Where the gradient is zero in all coordinates you change nothing",
        "zeros-and-extremes",
    ),
    "m forgotten at a zero gradient": (
        adam(body(f"{_M_V}m = m * (g != 0)\n{_HATS}{_END}")),
        "you set m to zero",
        "zeros-and-extremes",
    ),
    "v not corrected": (
        adam(body(f"{_M_V}{_M_HAT}return p - lr * m_hat / (v**0.5 + eps), m, v")),
        "v is not corrected: at t = 1 your step is 31.62 lr",
        "first-step",
    ),
    "the efficient form as it stands": (
        adam(
            body(
                f"{_M_V}a = lr * np.sqrt(1 - beta2**t) / (1 - beta1**t)\n"
                "return p - a * m / (np.sqrt(v) + eps), m, v"
            )
        ),
        "'efficient' form",
        "first-step",
    ),
    "corrected moments returned": (
        adam(
            body(
                f"{_M_V}m = m / (1 - beta1**t)\nv = v / (1 - beta2**t)\n"
                "return p - lr * m / (np.sqrt(v) + eps), m, v"
            )
        ),
        "You return m_hat and v_hat",
        "first-step",
    ),
    "Keras' eps": (
        adam(STEP.replace("1e-8", "1e-7")),
        "default of eps is 1e-7",
        "first-step",
    ),
    "the norm of the gradient in v": (
        adam(body(f"{_NORM}{_HATS}{_END}")),
        "squared length",
        "arrays",
    ),
    "m in place": (
        adam(
            body(
                "m *= beta1\nm += (1 - beta1) * g\nv = beta2 * v + (1 - beta2) * g**2\n"
                f"{_HATS}{_END}"
            )
        ),
        "change m in place",
        "arguments",
    ),
    "AdaGrad's v": (
        adam(body(f"{_SUM}{_HATS}{_END}")),
        "as AdaGrad's",
        "ten-steps",
    ),
    "t counted for each parameter": (
        adam(
            STEP,
            CLASS.replace("        self.t = self.t + 1\n", "").replace(
                "            new =", "            self.t += 1\n            new ="
            ),
        ),
        "count t once for each parameter",
        "optimiser",
    ),
    "state on the class": (
        adam(
            STEP,
            """
class Adam:
    m, v = {}, {}

    def __init__(self, params, **numbers):
        self.params, self.numbers, self.t = list(params), numbers, 0

    def step(self, grads):
        self.t += 1
        for i, (p, g) in enumerate(zip(self.params, grads)):
            self.params[i], self.m[i], self.v[i] = adam_step(
                p, g, self.m.get(i, 0.0), self.v.get(i, 0.0), self.t, **self.numbers
            )
        return list(self.params)
""",
        ),
        "Two optimisers share m and v",
        "optimiser",
    ),
    "hyperparameters lost": (
        adam(STEP, CLASS.replace(", *self.numbers", "")),
        "ignores the hyperparameters",
        "optimiser",
    ),
    "not written yet": (
        adam(SIGNATURE + "\n    ...", "class Adam:\n    ..."),
        "adam_step returns None: is it written?",
        "first-step",
    ),
}
