"""The directive `api`: the public names of adamtut, from the sources alone.

Nothing is imported, so an optional library may be missing. A name is public without an
underscore. A package offers what its __init__ imports from its own modules, and every
function marked as an update rule.
"""

import ast
import re
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_CODE = re.compile(r"(`+[^`]+`+)")
_MARKS = re.compile(r"([\\*_$<>\[\]{}#~|])")


class Api(SphinxDirective):
    """A section a module: its docstring, then each function, class and constant."""

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        files = sorted((root / "adamtut").rglob("*.py"))
        for path in files:
            self.env.note_dependency(path.relative_to(root).as_posix())
        return [self._section(path) for path in modules(root / "adamtut")]

    def _section(self, path: Path) -> nodes.section:
        name = module_name(path)
        section = nodes.section(ids=[f"api-{name.split('.')[-1]}"])
        section += nodes.title("", name)
        lines = StringList(describe(path).splitlines(), source=path.as_posix())
        self.state.nested_parse(lines, 0, section)
        return section


def modules(package: Path) -> list[Path]:
    """The files whose names are public, a package by its __init__; by name."""
    inner = [path for path in package.glob("*/__init__.py")]
    own = [path for path in package.glob("*.py") if path.name != "__init__.py"]
    return sorted(inner + own, key=module_name)


def module_name(path: Path) -> str:
    """`adamtut.walk` of .../adamtut/walk.py."""
    parts = path.with_suffix("").parts
    start = len(parts) - 1 - parts[::-1].index("adamtut")
    return ".".join(part for part in parts[start:] if part != "__init__")


def describe(path: Path) -> str:
    """The Markdown of a module: docstring and public names in the order of the file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    name = module_name(path)
    blocks = [markdown(ast.get_docstring(tree) or "")]
    for source, node in public(path):
        blocks.append(_object(node, source.splitlines(), name))
    return "\n\n".join(block for block in blocks if block)


def public(path: Path) -> list[tuple[str, ast.stmt]]:
    """(source of its file, statement) of each public name of a module or package."""
    own = path.read_text(encoding="utf-8")
    tree = ast.parse(own)
    found = [(own, node) for node in tree.body if _is_public(node, own.splitlines())]
    if path.name != "__init__.py":
        return found
    package = module_name(path)
    offered = {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package)
        for alias in node.names
    }
    for inner in sorted(path.parent.glob("[!_]*.py")):
        source = inner.read_text(encoding="utf-8")
        for node in ast.parse(source).body:
            if _name(node) in offered or _is_rule(node):
                found.append((source, node))
    return found


def _is_public(node: ast.stmt, lines: list[str]) -> bool:
    """Whether a name has no underscore and, being a constant, a comment."""
    if _name(node).startswith("_"):
        return False
    return not isinstance(node, ast.Assign) or bool(_comment(node, lines))


def _name(node: ast.stmt) -> str:
    """The name that a statement defines; "_" where it defines none."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case (
            ast.Assign(targets=[ast.Name(id=name)])
            | ast.AnnAssign(target=ast.Name(id=name))
        ):
            return name
    return "_"


def _is_rule(node: ast.stmt) -> bool:
    if not isinstance(node, ast.FunctionDef):
        return False
    return any(
        isinstance(mark := getattr(x, "func", x), ast.Name) and mark.id == "rule"
        for x in node.decorator_list
    )


def _object(node: ast.stmt, lines: list[str], module: str) -> str:
    """One name as a directive of Sphinx's Python domain."""
    match node:
        case ast.FunctionDef(name=name):
            text = markdown(ast.get_docstring(node) or "")
            return _directive("function", name + _signature(node), module, text)
        case ast.ClassDef(name=name):
            return _directive("class", *_class(node, module))
        case _:
            return _directive("data", _name(node), module, _comment(node, lines))


def _class(node: ast.ClassDef, module: str) -> tuple[str, str, str]:
    body = [markdown(ast.get_docstring(node) or "")]
    signature = ""
    fields = [x for x in node.body if isinstance(x, ast.AnnAssign)]
    marks = [ast.unparse(x) for x in node.decorator_list]
    if fields and any("dataclass" in mark for mark in marks):
        parts = [ast.unparse(x).replace(" = ", "=") for x in fields if x.value is None]
        parts += [f"{x.target.id}=..." for x in fields if x.value is not None]
        signature = f"({', '.join(parts)})"
    for method in node.body:
        if not isinstance(method, ast.FunctionDef):
            continue
        text = ast.get_docstring(method)
        if method.name == "__init__":
            signature = _signature(method, drop=1)
            body.append(markdown(text or ""))
        elif not method.name.startswith("_") and text:
            marks = [ast.unparse(x) for x in method.decorator_list]
            kind = "property" if "property" in marks else "method"
            drop = 0 if "staticmethod" in marks else 1
            head = method.name + (
                "" if kind == "property" else _signature(method, drop)
            )
            body.append(_directive(kind, head, module, markdown(text), fence="````"))
    return node.name + signature, module, "\n\n".join(x for x in body if x)


def _signature(node: ast.FunctionDef, drop: int = 0) -> str:
    """Its arguments without the first `drop` and without annotations.

    The docstring says what each one is.
    """
    arguments = node.args
    for argument in ast.walk(arguments):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    before = arguments.posonlyargs + arguments.args
    arguments.posonlyargs, arguments.args = [], before[drop:]
    return f"({ast.unparse(arguments)})"


def _directive(kind: str, head: str, module: str, text: str, fence="`````") -> str:
    return f"{fence}{{py:{kind}}} {head}\n:module: {module}\n\n{text}\n{fence}"


def _comment(node: ast.stmt, lines: list[str]) -> str:
    """The comment of a constant: on its line, or the lines above it."""
    first = lines[node.lineno - 1]
    if "  # " in first:
        return markdown(first.split("  # ", 1)[1])
    above, at = [], node.lineno - 2
    while at >= 0 and lines[at].startswith("# "):
        above.insert(0, lines[at][2:])
        at -= 1
    return markdown("\n".join(above))


def markdown(docstring: str) -> str:
    """A docstring of this package as Markdown.

    Paragraphs stay; a block with two spaces in a row, such as a list of arguments or
    lines of code, stays as it was typed; only backticks mark anything.
    """
    blocks = re.split(r"\n\s*\n", docstring.strip("\n"))
    result, code = [], []
    for block in blocks:
        if "  " in block and not block.startswith("- "):
            code.append(block)
            continue
        result += _literal(code)
        result.append(_prose(block))
        code = []
    return "\n\n".join(result + _literal(code))


def _literal(blocks: list[str]) -> list[str]:
    return ["```text\n" + "\n\n".join(blocks) + "\n```"] if blocks else []


def _prose(block: str) -> str:
    parts = _CODE.split(re.sub(r"::$", ":", block))
    return "".join(
        part if part.startswith("`") else _MARKS.sub(r"\\\1", part) for part in parts
    )


def setup(app: Sphinx) -> None:
    app.add_directive("api", Api)
