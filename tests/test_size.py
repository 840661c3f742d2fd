"""How long files and functions may be, so that a reader sees one whole."""

import ast
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION, MOST_AT_THE_MEDIAN = 300, 40, 8
PRODUCT = sorted(path for wing in ("inference", "training", "monoku") for path in (ROOT / wing).rglob("*.py"))


def functions(source: str) -> dict[str, int]:
    """The lines of every function's body, its docstring left out, by its name and first line."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            found[f"{node.name}:{node.lineno}"] = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
    return found


def test_the_measure_leaves_a_docstring_out() -> None:
    source = 'def f():\n    """Say.\n\n    More.\n    """\n    a = 1\n\n    return a\n\n\ndef g():\n    """Say."""\n'
    assert functions(source) == {"f:1": 3, "g:11": 0}


def test_no_file_and_no_function_is_long_and_most_functions_are_short() -> None:
    sources = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in PRODUCT}
    assert len(sources) > 200
    files = {name: len(source.splitlines()) for name, source in sources.items()}
    assert {name: lines for name, lines in files.items() if lines > MOST_LINES_OF_A_FILE} == {}
    inside = {f"{name} {one}": lines for name, source in sources.items() for one, lines in functions(source).items()}
    assert {name: lines for name, lines in inside.items() if lines > MOST_LINES_OF_A_FUNCTION} == {}
    assert median(inside.values()) <= MOST_AT_THE_MEDIAN
