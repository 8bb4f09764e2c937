"""Which names a notebook lacks when some of its starter files cannot be imported, and which checks need them."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from nbformat.notebooknode import NotebookNode

from labkit import notebook as notebooks

_DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def checks_without(book: NotebookNode, modules: frozenset[str], cells: frozenset[str] = frozenset()) -> frozenset[str]:
    """The checks of `book` that cannot pass when importing any of `modules` stops the cell that does it, and the
    answers called `cells` never come to their end."""
    lost: set[str] = set()
    failing: set[str] = set()
    for cell in book.cells:
        if cell.cell_type != "code":
            continue
        name = notebooks.grading(cell).get("grade_id")
        stopped = name in cells
        for statement in _statements(cell.source):
            needs_lost = bool(_used(statement) & lost)
            if isinstance(statement, _DEFINITIONS):  # its body fails when it is called, not here
                lost = lost | {statement.name} if needs_lost or stopped else lost - {statement.name}
                continue
            stopped = stopped or needs_lost or _imports(statement, modules)
            lost = lost | _bound(statement) if stopped else lost - _bound(statement)
        if stopped and notebooks.is_check(cell):
            failing.add(str(name))
    return frozenset(failing)


def broken_by(files: Mapping[str, bytes], path: str) -> frozenset[str]:
    """The modules among `files` that cannot be imported when the one at `path` cannot."""
    broken = {module(path)}
    trees = {module(name): ast.parse(data) for name, data in files.items() if name.endswith(".py") and name != path}
    while True:
        more = {
            name for name, tree in trees.items() if any(_imports(one, frozenset(broken), name) for one in tree.body)
        }
        if more <= broken:
            return frozenset(broken)
        broken |= more


def module(path: str) -> str:
    """`starter/ingest.py` as Python imports it: `starter.ingest`."""
    return ".".join(PurePosixPath(path).with_suffix("").parts).removesuffix(".__init__")


def _statements(source: str) -> list[ast.stmt]:
    plain = re.sub(r"^[ \t]*[%!].*$", "", source, flags=re.MULTILINE)  # IPython's own commands bind nothing here
    try:
        return ast.parse(plain).body
    except SyntaxError:
        return []


def _imports(statement: ast.AST, modules: frozenset[str], inside: str = "") -> bool:
    return any(name in modules for node in ast.walk(statement) for name in _imported(node, inside))


def _imported(node: ast.AST, inside: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        package = inside.split(".")[: -node.level] if node.level else []
        origin = ".".join([*package, *([node.module] if node.module else [])])
        yield origin
        yield from (f"{origin}.{alias.name}" for alias in node.names)


def _used(statement: ast.stmt) -> set[str]:
    loaded = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return loaded - _bound(statement)


def _bound(statement: ast.stmt) -> set[str]:
    nodes = list(ast.walk(statement))
    names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    aliases = {(node.asname or node.name).split(".")[0] for node in nodes if isinstance(node, ast.alias)}
    return names | aliases | {node.arg for node in nodes if isinstance(node, ast.arg)}
