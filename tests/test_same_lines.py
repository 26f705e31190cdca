"""The rule that a chapter writes by hand is the rule that the package runs."""

import ast
import inspect
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from adamtut.rules import RULES

CHAPTERS = sorted(Path(__file__).parents[1].glob("chapters/*.ipynb"))


def normal(function: ast.FunctionDef) -> str:
    """A definition without docstring, decorators, comments and spacing."""
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    bare = ast.FunctionDef(
        name=function.name,
        args=function.args,
        body=body,
        decorator_list=[],
        returns=function.returns,
        type_params=[],
    )
    return ast.unparse(ast.fix_missing_locations(bare))


def definitions(source: str) -> list[ast.FunctionDef]:
    """The functions of a cell that have the name of a rule, nested ones included."""
    return [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name in RULES
    ]


def wrong_copies(notebook: nbformat.NotebookNode) -> list[str]:
    """The hand-written rules of a chapter that are not the rule of the package."""
    package = {
        name: normal(ast.parse(inspect.getsource(rule)).body[0])
        for name, rule in RULES.items()
    }
    return [
        ast.unparse(function)
        for function in handwritten(notebook)
        if normal(function) != package[function.name]
    ]


def handwritten(notebook: nbformat.NotebookNode) -> list[ast.FunctionDef]:
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            # %pip is no Python until IPython has translated it
            found += definitions(TransformerManager().transform_cell(cell.source))
    return found


@pytest.mark.parametrize("file", CHAPTERS, ids=lambda file: file.stem)
def test_a_chapter_writes_the_lines_of_the_rule(file):
    assert wrong_copies(nbformat.read(file, as_version=4)) == []


def chapter(source):
    cells = [
        nbformat.v4.new_markdown_cell("def adam("),
        nbformat.v4.new_code_cell(source),
    ]
    return nbformat.v4.new_notebook(cells=cells)


ADAM = inspect.getsource(RULES["adam"]).replace("@rule\n", "")


@pytest.mark.parametrize(
    "old, new",
    [
        ("(sqrt(v_hat) + eps)", "sqrt(v_hat) + eps"),
        ("m_hat = m / (1 - beta1**t)", "m_hat = m / (1 - beta1)"),
        ("beta1=0.9,", "beta1=0.99,"),
        ("    m_hat = m / (1 - beta1**t)\n", ""),
        ("return p, m, v", "return p, v, m"),
        ("lr * m_hat", "m_hat * lr"),
    ],
)
def test_a_differing_cell_is_found(old, new):
    assert old in ADAM
    assert len(wrong_copies(chapter(ADAM.replace(old, new)))) == 1


@pytest.mark.parametrize(
    "source",
    [
        ADAM,
        "%pip install adamtut\nimport math\n\n" + ADAM,
        ADAM.replace("    m_hat", "    # the average, unbiased\n    m_hat"),
        ADAM.replace("beta1**t", "beta1 ** t").replace("def adam", "@rule\ndef adam"),
        "def adam_by_hand(p, g):\n    return p - g\n",
    ],
    ids=["itself", "after others", "commented", "spaced and decorated", "another name"],
)
def test_a_faithful_cell_is_accepted(source):
    assert wrong_copies(chapter(source)) == []


def test_the_chapters_write_rules_by_hand():
    """So that the test above has something to compare."""
    names = {
        f.name
        for file in CHAPTERS
        for f in handwritten(nbformat.read(file, as_version=4))
    }
    assert {"sgd", "momentum", "nesterov", "adam"} <= names
