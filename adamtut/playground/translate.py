"""From the lines of a rule or a surface to the same lines in JavaScript.

The counterpart of `adamtut.show`, which makes LaTeX of them: nothing that the
playground computes is written a second time. The arithmetic keeps its order, so that
both languages round alike; where they cannot (the last bit of a power), a walk differs
in its last digits.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable

import numpy as np

from adamtut.rules import as_rule
from adamtut.surfaces import Surface

_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_COMPARISONS = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "===",
    ast.NotEq: "!==",
}
_FUNCTIONS = {
    "sqrt": "Math.sqrt({})",
    "abs": "Math.abs({})",
    "sign": "Math.sign({})",
    "exp": "Math.exp({})",
    "log": "Math.log({})",
    "maximum": "Math.max({}, {})",  # as NumPy's, nan where either is
    "minimum": "Math.min({}, {})",
    "where": "({} ? {} : {})",
}
# Names that a rule may have and JavaScript may not.
_RESERVED = frozenset(
    "arguments await case catch const debugger default delete do enum eval export "
    "extends function implements instanceof interface let new null package private "
    "protected public static super switch this throw typeof undefined var void".split()
)


def rule_js(rule: str | Callable, *, correction: bool = True) -> str:
    """A rule as a JavaScript function of one coordinate.

    `(p, g, [state], t, {hyperparameters}) => [new p, new state ...]`, all numbers. With
    correction=False every division by 1 - beta**t is left out, which is Adam without
    bias correction.

    Raises ValueError for a rule that is not elementwise, for a line that is no plain
    assignment, or for anything in it that has no translation; with correction=False
    also for one without `has_correction`.
    """
    rule = as_rule(rule)
    owner = f"rule {rule.__name__}"
    if getattr(rule, "unit", "number") != "number":
        raise ValueError(f"{owner} has unit {rule.unit!r}; allowed: 'number'")
    tree = _function(rule)
    if not correction:
        if not has_correction(rule):
            raise ValueError(f"{owner} corrects no bias in a way that can be left out")
        tree = _Uncorrected().visit(tree)
    state, hyper = ", ".join(rule.state), ", ".join(rule.defaults)
    known = {"p", "g", "t", *rule.state, *rule.defaults}
    return "\n".join(
        [
            f"(p, g, [{state}], t, {{ {hyper} }}) => {{",
            *_body(tree, known, owner),
            "}",
        ]
    )


def has_correction(rule: str | Callable) -> bool:
    """Whether each line that defines a name_hat divides by 1 - beta**t.

    Only then leaving the divisions out gives the rule without bias correction: Nadam,
    for one, corrects m in another way.
    """
    hats = [
        node
        for node in _function(as_rule(rule)).body
        if isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]).endswith("_hat")
    ]
    removers = [_Uncorrected() for _ in hats]
    for remover, node in zip(removers, hats, strict=True):
        remover.visit(node)
    return bool(hats) and all(remover.removed for remover in removers)


def surface_js(surface: Surface) -> str:
    """A surface of the plane as JavaScript: `{ f, grad }`, functions of x and y.

    `grad` returns two numbers. A quadratic is made from its Hessian, any other surface
    from the source of its f and grad. Raises ValueError for a dimension other than
    two, or a line that has no translation.
    """
    if len(surface.start) != 2:
        raise ValueError(
            f"surface {surface.name} has dimension {len(surface.start)}; allowed: 2"
        )
    if surface.grad.__qualname__.startswith("quadratic."):
        h = surface.grad(np.eye(2))  # grad is linear: its values are the Hessian
        (a, b), (_, c) = h.tolist()
        return f"quadratic({a!r}, {b!r}, {c!r})"
    parts = []
    for name in ("f", "grad"):
        owner = f"{name} of surface {surface.name}"
        body = _body(_function(getattr(surface, name)), {"x", "y"}, owner)
        parts.append("\n".join([f"{name}: (x, y) => {{", *body, "}"]))
    return "{\n" + ",\n".join(parts) + "\n}"


class _Uncorrected(ast.NodeTransformer):
    """x / (1 - beta**t) becomes x, where x itself has no t."""

    removed = 0

    def visit_BinOp(self, node):
        self.generic_visit(node)
        match node:
            case ast.BinOp(
                left=x,
                op=ast.Div(),
                right=ast.BinOp(
                    left=ast.Constant(value=1),
                    op=ast.Sub(),
                    right=ast.BinOp(left=ast.Name(), op=ast.Pow(), right=power),
                ),
            ) if "t" in _names(power) and "t" not in _names(x):
                self.removed += 1
                return x
        return node


def _names(node: ast.AST) -> set[str]:
    return {x.id for x in ast.walk(node) if isinstance(x, ast.Name)}


def _function(function: Callable) -> ast.FunctionDef:
    source = textwrap.dedent(inspect.getsource(function))
    return ast.parse(source).body[0]


def _body(function: ast.FunctionDef, known: set[str], owner: str) -> list[str]:
    """The statements; `known` are the names that exist before the first."""
    lines, known = [], set(known)
    for node in function.body:
        match node:
            case ast.Expr(value=ast.Constant()):  # the docstring
                continue
            case ast.Assign(
                targets=[ast.Tuple(elts=[ast.Name(id="x"), ast.Name(id="y")])]
            ) if ast.unparse(node.value) == "(p[..., 0], p[..., 1])":
                continue  # a surface takes its point apart: x and y are the arguments
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pairs = [(name, value)]
            case ast.Assign(
                targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=xs)
            ) if not {x.id for x in names} & _names(node.value):
                pairs = [(x.id, value) for x, value in zip(names, xs, strict=True)]
            case ast.Return(value=ast.Tuple(elts=values)):
                lines.append(f"return [{_list(values, known, owner)}];")
                continue
            # a surface returns its gradient as np.stack([...], axis=-1)
            case ast.Return(
                value=ast.Call(
                    func=ast.Attribute(attr="stack"), args=[ast.List(values)]
                )
            ):
                lines.append(f"return [{_list(values, known, owner)}];")
                continue
            case ast.Return(value=value) if owner.startswith("rule"):
                lines.append(f"return [{_js(value, known, owner)}];")
                continue
            case ast.Return(value=value):
                lines.append(f"return {_js(value, known, owner)};")
                continue
            case _:
                raise ValueError(
                    f"{owner} has the line {ast.unparse(node)!r}; allowed: "
                    "name = expression, return"
                )
        for name, value in pairs:
            if name in _RESERVED:
                raise ValueError(
                    f"{owner} has the name {name!r}; allowed: any that JavaScript "
                    "does not keep for itself"
                )
            right = _js(value, known, owner)
            lines.append(f"{'' if name in known else 'let '}{name} = {right};")
            known.add(name)
    return lines


def _list(values: list[ast.expr], known: set, owner: str) -> str:
    return ", ".join(_js(x, known, owner) for x in values)


def _js(node: ast.expr, known: set, owner: str) -> str:
    """An expression, with brackets around every operation."""

    def js(child):
        return _js(child, known, owner)

    match node:
        case ast.Name(id=name) if name in known:
            return name
        case ast.Constant(value=bool() as value):
            return "true" if value else "false"
        case ast.Constant(value=int() | float() as value):
            return repr(value)
        case ast.UnaryOp(op=ast.USub(), operand=x):
            return f"(-{js(x)})"
        case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=x):
            return f"(!{js(x)})"
        case ast.BinOp(left=x, op=ast.Pow(), right=ast.Constant(value=2)):
            return f"square({js(x)})"  # NumPy multiplies; ** may round otherwise
        case ast.BinOp(left=x, op=ast.Pow(), right=y):
            return f"Math.pow({js(x)}, {js(y)})"
        case ast.BinOp(left=x, op=op, right=y) if type(op) in _OPERATORS:
            return f"({js(x)} {_OPERATORS[type(op)]} {js(y)})"
        case ast.BinOp(left=x, op=ast.BitAnd() | ast.BitOr() as op, right=y):
            return f"({js(x)} {'&&' if isinstance(op, ast.BitAnd) else '||'} {js(y)})"
        case ast.Compare(left=x, ops=[op], comparators=[y]) if type(op) in _COMPARISONS:
            return f"({js(x)} {_COMPARISONS[type(op)]} {js(y)})"
        case ast.Call(func=ast.Name(id=name), args=xs) if name in _FUNCTIONS:
            return _FUNCTIONS[name].format(*map(js, xs))
    raise ValueError(
        f"{owner} contains {ast.unparse(node)!r}; allowed: + - * / **, comparisons, "
        f"& | ~, numbers, names assigned before, and {', '.join(_FUNCTIONS)}"
    )
