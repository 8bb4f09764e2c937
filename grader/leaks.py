"""The leak scan: no line of a solution or of a hidden test may stand in a file that students get."""

import io
import json
import re
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nbformat.notebooknode import NotebookNode

from grader.source import regions
from labkit.notebook import is_answer

MIN_LENGTH = 20
"""Shorter lines, counted without white space, say nothing: `return total` is in every program."""


@dataclass(frozen=True)
class Leak:
    """One secret line, and the place where students could read it."""

    secret: str
    origin: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: shows a line of {self.origin}: {self.secret!r}"


def secrets(notebook: NotebookNode, starters: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The secret lines of a lab: normalised line -> (as written, where it stands)."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    sources = [(_whole_answer(cell), f"cell {cell.id!r}") for cell in code]
    sources += [(text, name) for name, text in starters.items()]
    found: dict[str, tuple[str, str]] = {}
    for source, origin in sources:
        for line in _inside(source):
            if not _is_common(line):
                found.setdefault(normalise(line), (line.strip(), origin))
    for source, _ in sources:
        for line in _outside(source):
            found.pop(normalise(line), None)
    return {line: place for line, place in found.items() if len(line) >= MIN_LENGTH}


def scan(hidden: Mapping[str, tuple[str, str]], files: Mapping[str, str]) -> Iterator[Leak]:
    """Every line of `files` (name -> text) that is one of the `hidden` lines, or holds one."""
    for name, text in files.items():
        for number, line in enumerate(_readable(name, text), 1):
            seen = normalise(line)
            for secret, (written, origin) in hidden.items():
                if secret in seen:
                    yield Leak(written, origin, name, number)


def normalise(line: str) -> str:
    """`line` without its comment, white space and quote style, so that a reformatted copy is still found."""
    return re.sub(r"\s+", "", _without_comment(line)).replace("'", '"')


def _without_comment(line: str) -> str:
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(line.strip()).readline))
    except (tokenize.TokenError, IndentationError, SyntaxError):
        return line
    comments = [token.start[1] for token in tokens if token.type == tokenize.COMMENT]
    return line.strip()[: comments[0]] if comments else line


def _whole_answer(cell: NotebookNode) -> str:
    """The cell's text; an answer without markers is a solution from its first line to its last."""
    source = str(cell.source)
    if is_answer(cell) and "BEGIN SOLUTION" not in source:
        return f"### BEGIN SOLUTION\n{source}\n### END SOLUTION"
    return source


def _inside(source: str) -> Iterator[str]:
    lines = source.split("\n")
    for number in sorted(_secret_numbers(source)):
        yield lines[number]


def _outside(source: str) -> Iterator[str]:
    """The lines of code that students are given on purpose."""
    secret = _secret_numbers(source)
    yield from (line for number, line in enumerate(source.split("\n")) if number not in secret)


def _secret_numbers(source: str) -> set[int]:
    return {
        number
        for region in ("SOLUTION", "HIDDEN TESTS")
        for first, last in regions(source, region, "source")
        for number in range(first, last + 1)
    }


def _is_common(line: str) -> bool:
    """An import, a comment or a lone signature says nothing about how a task is solved."""
    return bool(re.match(r"\s*(import |from \S+ import |#|@|except\b|\"\"\"|$)", line))


def _readable(name: str, text: str) -> Iterator[str]:
    """The lines a reader sees: of a notebook its sources and outputs, of any other file its text."""
    if not name.endswith(".ipynb"):
        yield from text.split("\n")
        return
    for cell in json.loads(text)["cells"]:
        yield from _joined(cell["source"]).split("\n")
        for output in cell.get("outputs", []):
            yield from _joined(output.get("text", "")).split("\n")
            for value in output.get("data", {}).values():
                yield from _joined(value).split("\n")


def _joined(value: object) -> str:
    if isinstance(value, list):
        return "".join(str(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value)
