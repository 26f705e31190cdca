"""What a chapter prints: the equations of a rule, the difference of two rules, numbers
and claims that hold on every machine."""

import ast
import difflib
import inspect
import textwrap
from collections.abc import Callable, Sequence

import numpy as np

from adamtut import ops
from adamtut.rules import as_rule

# The paper's letters. Other names: x_hat gets a hat, x_max a superscript.
_LETTERS = {
    "p": r"\theta",
    "lr": r"\alpha",
    "beta": r"\beta",
    "beta1": r"\beta_1",
    "beta2": r"\beta_2",
    "beta3": r"\beta_3",
    "eps": r"\epsilon",
    "rho": r"\rho",
    "weight_decay": r"\lambda",
    "delta": r"\Delta",
    "mu": r"\mu",
    "gamma": r"\gamma",
    "eps1": r"\epsilon_1",
    "eps2": r"\epsilon_2",
    "d0": "d_0",
    "p0": r"\theta_0",
    # AdEMAMix's own alpha beside the learning rate
    "alpha": r"\alpha_{\text{slow}}",
}
# Functions with a notation of their own; others of adamtut.ops are printed by name.
_FUNCTIONS = {
    "sqrt": r"\sqrt{{{}}}",
    "abs": r"\left|{}\right|",
    "maximum": r"\max\left({}, {}\right)",
    "minimum": r"\min\left({}, {}\right)",
    "norm": r"\left\lVert {} \right\rVert",
    "matrix_norm": r"\left\lVert {} \right\rVert_F",
    "total": r"\operatorname{{sum}}\left({}\right)",
    "aspect": r"\frac{{\text{{rows}}}}{{\text{{columns}}}}",
}
_RELATIONS = {ast.Gt: ">", ast.Lt: "<", ast.Eq: "=", ast.GtE: r"\ge", ast.LtE: r"\le"}
_PRECEDENCE = {
    ast.Add: 1,
    ast.Sub: 1,
    ast.USub: 2,
    ast.Mult: 3,
    ast.MatMult: 3,
    ast.Mod: 3,
    ast.Pow: 4,
}


class Latex(str):
    """A formula: rendered in a notebook, its source as text."""

    def _repr_latex_(self) -> str:
        return f"$${self}$$"

    def __repr__(self) -> str:
        return str(self)


def lines(rule: str | Callable) -> list[str]:
    """The equations of a rule, one LaTeX string of the form `left &= right` a line.

    Made from the source of the function. A name stands for its new value once it has
    been assigned, for the value of step t - 1 before. Raises ValueError for a body that
    is not a straight line of assignments, that assigns a name twice, or that returns
    anything but names.
    """
    rule = as_rule(rule)
    source = textwrap.dedent(inspect.getsource(rule))
    function = ast.parse(source).body[0]
    old = {"p", *rule.state}  # names that still hold the value of step t - 1
    assigned = set()
    result = []
    for node in function.body:
        match node:
            case ast.Expr(value=ast.Constant()):  # the docstring
                continue
            case ast.Return(value=ast.Name()):
                continue
            case ast.Return(value=ast.Tuple(elts=values)) if all(
                isinstance(x, ast.Name) for x in values
            ):
                continue
            case ast.Assign(targets=[ast.Name(id=name)]):
                pass
            case _:
                raise ValueError(
                    f"rule {rule.__name__} has the line {ast.unparse(node)!r}; "
                    "allowed in a rule: name = expression, return of names"
                )
        if name in assigned:
            raise ValueError(
                f"rule {rule.__name__} assigns {name!r} twice; allowed: once"
            )
        right = _tex(node.value, old, rule)
        old.discard(name)
        assigned.add(name)
        result.append(f"{_name(name, old, rule)} &= {right}")
    return result


def equations(rule: str | Callable) -> Latex:
    """The algorithm box of a rule, made from its code."""
    return Latex(_environment("aligned", lines(rule)))


def diff(first: str | Callable, second: str | Callable) -> Latex:
    """The lines in which two rules differ: those of `first` marked -, of `second` +.

    Lines that they share are left out.
    """
    a, b = lines(first), lines(second)
    rows = []
    for tag, i, j, k, n in difflib.SequenceMatcher(a=a, b=b).get_opcodes():
        if tag != "equal":
            rows += [("-", line) for line in a[i:j]] + [("+", line) for line in b[k:n]]
    if not rows:
        return Latex(r"\text{no difference}")
    names = [as_rule(x).__name__.replace("_", r"\_") for x in (first, second)]
    body = [rf"- & \text{{{names[0]}}}", rf"+ & \text{{{names[1]}}}"]
    for sign, line in rows:
        body.append(rf"{sign} & \displaystyle {line.replace('&= ', '= ', 1)}")
    return Latex(_environment("array", body, "{cl}"))


def _environment(name: str, rows: list[str], columns: str = "") -> str:
    body = " \\\\[8pt]\n".join(rows)
    return f"\\begin{{{name}}}{columns}\n{body}\n\\end{{{name}}}"


def _name(name: str, old: set, rule: Callable) -> str:
    """A name with its step: m_{t-1} while `old` has m, then m_t; beta1 has none."""
    if name == "t":
        return "t"
    if name in rule.defaults:
        return _LETTERS.get(name, rf"\text{{{name.replace('_', ' ')}}}")
    step = "_{t-1}" if name in old else "_t"
    stem, _, mark = name.partition("_")
    letter = _LETTERS.get(stem, stem if len(stem) == 1 else rf"\text{{{stem}}}")
    if name == "p0":  # the start, the same at every step
        return letter
    if mark == "t":  # lr_t: the rate of step t
        return letter + step
    if mark == "hat":
        return rf"\hat{{{letter}}}{step}"
    return letter + step + (rf"^{{\text{{{mark}}}}}" if mark else "")


def _tex(node: ast.expr, old: set, rule: Callable) -> str:
    def tex(child):
        return _tex(child, old, rule)

    def inner(child, limit):
        """A part of an expression, in brackets where it binds less than `limit`."""
        operator = type(getattr(child, "op", None))
        if _PRECEDENCE.get(operator, 9) >= limit:  # 9: a fraction needs no brackets
            return tex(child)
        return rf"\left({tex(child)}\right)"

    match node:
        case ast.Name(id=name):
            return _name(name, old, rule)
        case ast.Constant(value=int() | float() as value):
            return repr(value)
        case ast.UnaryOp(op=ast.USub(), operand=x):
            return "-" + inner(x, 3)
        case ast.BinOp(left=x, op=ast.Add(), right=y):
            return f"{tex(x)} + {tex(y)}"
        case ast.BinOp(left=x, op=ast.Sub(), right=y):
            return f"{tex(x)} - {inner(y, 3)}"
        case ast.BinOp(left=x, op=ast.Mult(), right=y):
            times = r"\cdot" if inner(y, 3)[0].isdigit() else r"\,"
            return rf"{inner(x, 2)}{times} {inner(y, 3)}"
        case ast.BinOp(left=x, op=ast.MatMult(), right=y):
            return rf"{inner(x, 2)}\, {inner(y, 3)}"
        case ast.BinOp(left=x, op=ast.Mod(), right=y):
            return rf"{inner(x, 2)} \bmod {inner(y, 3)}"
        case ast.BinOp(left=x, op=ast.Div(), right=y):
            return rf"\frac{{{tex(x)}}}{{{tex(y)}}}"
        case ast.BinOp(left=x, op=ast.Pow(), right=y):
            base = inner(x, 5)
            bare = not base.startswith(r"\left(")
            if "^" in base and bare or isinstance(getattr(x, "op", None), ast.Div):
                base = rf"\left({base}\right)"
            return rf"{base}^{{{tex(y)}}}" if len(tex(y)) > 1 else f"{base}^{tex(y)}"
        case ast.Compare(left=x, ops=[relation], comparators=[y]) if (
            type(relation) in _RELATIONS
        ):
            return f"{tex(x)} {_RELATIONS[type(relation)]} {tex(y)}"
        case ast.Call(func=ast.Name(id="where"), args=[condition, x, y]):
            rows = rf"{tex(x)} & {tex(condition)} \\ {tex(y)} & \text{{else}}"
            return rf"\begin{{cases}} {rows} \end{{cases}}"
        case ast.Call(func=ast.Name(id="transpose"), args=[x]):
            return rf"{{{inner(x, 5)}}}^{{\top}}"
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in _FUNCTIONS:
            return _FUNCTIONS[name].format(*map(tex, arguments))
        case ast.Call(func=ast.Name(id=name), args=arguments) if hasattr(ops, name):
            words = name.replace("_", r"\ ")
            inside = ", ".join(map(tex, arguments))
            return rf"\operatorname{{{words}}}\left({inside}\right)"
    raise ValueError(
        f"rule {rule.__name__} contains {ast.unparse(node)!r}; allowed: "
        "+ - * / ** @ %, comparisons, numbers, names, abs and functions of adamtut.ops"
    )


def say(label: str, x: float | Sequence[float], digits: int = 4, wobble: float = 1e-9):
    """Print `label: x` with `digits` significant digits that no other machine can flip.

    x may be up to six numbers; integers are printed whole. `wobble` is the relative
    difference to expect between machines: 1e-9 for float64 arithmetic, 1e-4 for a few
    float32 steps, 5e-2 for a trained network. Raises ValueError where x (1 +- wobble)
    would print in two ways.
    """
    numbers = np.atleast_1d(np.asarray(x))
    if numbers.ndim != 1 or not 1 <= len(numbers) <= 6:
        raise ValueError(f"x has shape {np.shape(x)}; allowed: a number, or up to six")
    if digits < 1:
        raise ValueError(f"digits is {digits!r}; allowed: 1 or more")
    count = numbers.dtype.kind in "iu"  # integers are exact and printed whole

    def text(number):
        return str(number) if count else f"{number:#.{digits}g}".rstrip(".")

    for number in () if count else numbers:
        low, high = text(number * (1 - wobble)), text(number * (1 + wobble))
        if low != high:
            raise ValueError(
                f"{label}: {float(number)!r} may print as {low} or {high}; "
                "ask for fewer digits"
            )
    print(f"{label}: {', '.join(map(text, numbers))}")


def claim(text: str, holds: bool, measured=None) -> None:
    """State `text`, which `holds`; raise AssertionError where it does not.

    One line that is the same on every machine. `measured`, a number or a short list or
    dict of numbers, goes into the metadata of the output, which nbval does not compare,
    for the ledger of all claims.
    """
    if not isinstance(holds, bool | np.bool_):
        raise TypeError(f"holds is {holds!r}; allowed: True or False")
    measured = _plain(measured)
    if not holds:
        raise AssertionError(f"false: {text} (measured: {measured})")
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ModuleNotFoundError:
        get_ipython = None
    if get_ipython is None or get_ipython() is None:
        print(f"✓ {text}")
        return
    display(
        {"text/plain": f"✓ {text}"},
        raw=True,
        metadata={"adamtut": {"claim": text, "measured": measured}},
    )


def _plain(x):
    """As JSON can hold it: six significant digits, 'inf' and 'nan' as text."""
    if x is None or isinstance(x, str | bool | int):
        return x
    if isinstance(x, dict):
        return {str(k): _plain(v) for k, v in x.items()}
    if hasattr(x, "tolist"):
        return _plain(x.tolist())
    if isinstance(x, list | tuple):
        return [_plain(v) for v in x]
    return float(f"{x:.6g}") if np.isfinite(x) else str(float(x))
