"""Notebooks as graded documents: read one safely, put its locked cells back, run it in a fresh kernel."""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat.notebooknode import NotebookNode
from traitlets.config import Config

from labkit.course import Limits
from labkit.errors import FailureError, UserError


def grading(cell: NotebookNode) -> Mapping[str, Any]:
    """nbgrader's metadata of a cell; empty where it has none that can be used."""
    found = cell.get("metadata", {}).get("nbgrader", {})
    return found if isinstance(found, dict) and isinstance(found.get("grade_id"), str) else {}


def is_check(cell: NotebookNode) -> bool:
    """Whether the cell is an automatic check: it has points and is no answer."""
    known = grading(cell)
    return bool(known.get("grade")) and not known.get("solution")


def is_answer(cell: NotebookNode) -> bool:
    """Whether the student writes in this cell."""
    return bool(grading(cell).get("solution"))


NOT_GRADED = "not-graded"
"""The tag of a cell that no check needs, and that would only cost time: grading leaves it out."""


def has_tag(cell: NotebookNode, tag: str) -> bool:
    """Whether the cell carries that tag."""
    tags = cell.get("metadata", {}).get("tags")
    return isinstance(tags, list) and tag in tags


def parse(data: bytes, name: str) -> NotebookNode:
    """The notebook in `data`; raises UserError, naming `name`, where it cannot be one that Jupyter opens."""
    try:
        raw = json.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise UserError(
            f"{name} is not a whole notebook (it may have been cut off while it was saved): "
            "JupyterLab keeps an earlier one in .ipynb_checkpoints/"
        ) from None
    if not isinstance(raw, dict) or not isinstance(raw.get("cells", raw.get("worksheets")), list):
        raise UserError(f"{name} is JSON but no notebook: save it from JupyterLab and try again")
    if raw.get("nbformat") not in (3, 4):
        raise UserError(f"{name} is of notebook format {raw.get('nbformat')!r}, not 4: save it from JupyterLab")
    try:
        notebook = nbformat.reader.reads(json.dumps(raw))
        notebook = nbformat.convert(notebook, 4)
        return _usable(notebook)
    except Exception as error:  # nbformat's converters raise whatever a malformed cell makes them raise
        raise UserError(f"{name} has a damaged cell ({type(error).__name__}): save it from JupyterLab") from None


def read(path: Path) -> NotebookNode:
    """Read a notebook file; raises UserError where it is missing or damaged."""
    try:
        return parse(path.read_bytes(), path.name)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: put the notebook back under that name") from None


def _usable(notebook: NotebookNode) -> NotebookNode:
    """Only what grading needs of each cell, so that no odd key or type can stop anything later."""
    cells = []
    for cell in notebook.cells:
        source = cell.get("source", "")
        text = "".join(source) if isinstance(source, list) else source
        kind = cell.get("cell_type")
        if not isinstance(text, str) or kind not in ("code", "markdown", "raw"):
            continue
        metadata = cell.get("metadata")
        cells.append(_new_cell(kind, text, metadata if isinstance(metadata, dict) else {}))
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": _KERNEL})


_KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def _new_cell(kind: str, source: str, metadata: Mapping[str, Any]) -> NotebookNode:
    make = {
        "code": nbformat.v4.new_code_cell,
        "markdown": nbformat.v4.new_markdown_cell,
        "raw": nbformat.v4.new_raw_cell,
    }
    return make[kind](source, metadata=deepcopy(dict(metadata)))


def restore(student: NotebookNode, reference: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """The student's answers inside the reference's frame, and a note for each thing that was mended.

    Locked cells have the reference's text, missing ones are back, a cell copied together with its `grade_id`
    counts once, and the student's own cells stay behind the cell they followed.
    """
    frame = [cell for cell in reference.cells if grading(cell)]
    known = {grading(cell)["grade_id"]: cell for cell in frame}
    theirs: dict[str, NotebookNode] = {}
    followers: dict[str | None, list[NotebookNode]] = {None: []}
    notes: list[str] = []
    last: str | None = None
    for cell in student.cells:
        name = str(grading(cell).get("grade_id", ""))
        if name in known and name not in theirs:
            theirs[name] = cell
            followers[name] = []
            last = name
            continue
        if name in known:
            notes.append(f"the cell {name!r} is there twice: the first one counts")
            if not is_answer(known[name]):
                continue
        own = _new_cell(cell.cell_type, cell.source, {"tags": [NOT_GRADED]} if has_tag(cell, NOT_GRADED) else {})
        followers[last].append(own)

    cells = list(followers[None])
    for reference_cell in frame:
        name = grading(reference_cell)["grade_id"]
        found = theirs.get(name)
        if found is None:
            notes.append(f"the cell {name!r} is missing: the original was used")
        keep_text = found is not None and is_answer(reference_cell)
        source = (
            found.source
            if found is not None and keep_text
            else ("" if is_answer(reference_cell) else reference_cell.source)
        )
        if (
            found is not None
            and not keep_text
            and found.source != reference_cell.source
            and not _is_visible_part(found, reference_cell)
        ):
            notes.append(f"the locked cell {name!r} was changed: the original was used")
        cells.append(_new_cell(reference_cell.cell_type, source, reference_cell.metadata))
        cells.extend(followers.get(name, []))
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": _KERNEL}), notes


def _is_visible_part(found: NotebookNode, reference: NotebookNode) -> bool:
    """Whether the student's text of a locked cell is the reference's without its hidden tests."""
    return bool(found.source.strip() == without_hidden(reference.source).strip())


def without_hidden(source: str) -> str:
    """A check's text as students see it: nbgrader's hidden-test regions left out."""
    lines, hidden = [], False
    for line in source.split("\n"):
        if "BEGIN HIDDEN TESTS" in line:
            hidden = True
        elif "END HIDDEN TESTS" in line:
            hidden = False
        elif not hidden:
            lines.append(line)
    return "\n".join(lines)


def empty() -> NotebookNode:
    """A notebook without cells: what a submission that cannot be read is worth."""
    return nbformat.v4.new_notebook(metadata={"kernelspec": _KERNEL})


def fail(cell: NotebookNode, ename: str, sentence: str) -> None:
    """Let a check's one output be this sentence: a traceback would show its hidden tests."""
    cell.outputs = [nbformat.v4.new_output("error", ename=ename, evalue=sentence, traceback=[f"{ename}: {sentence}"])]


@dataclass
class Run:
    """How a run ended: `stopped` says in one sentence why cells were left out, `not_run` names their positions."""

    stopped: str | None = None
    not_run: set[int] = field(default_factory=set)


def graded_cells(notebook: NotebookNode) -> frozenset[int]:
    """The positions of the cells that grading runs."""
    return frozenset(position for position, cell in enumerate(notebook.cells) if not has_tag(cell, NOT_GRADED))


def execute(
    notebook: NotebookNode, folder: Path, limits: Limits, env: Mapping[str, str], only: frozenset[int] | None = None
) -> Run:
    """Run the cells (those at the positions `only`) in a fresh kernel inside `folder`, each whatever the ones before
    did; outputs go into `notebook`.

    A cell that runs longer than `limits.cell_seconds` is interrupted. Raises FailureError if no kernel starts.
    """
    with tempfile.TemporaryDirectory(prefix="mle-kernel-", ignore_cleanup_errors=True) as sockets:
        cells = [(n, cell) for n, cell in _code_cells(notebook) if only is None or n in only]
        return asyncio.run(_execute(notebook, cells, folder, limits, dict(env), _kernel_config(Path(sockets))))


def _kernel_config(sockets: Path) -> Config:
    """Let client and kernel talk through files in `sockets`: no port to be free, nobody else to listen in."""
    transport = "ipc" if os.name == "posix" else "tcp"
    return Config({"AsyncKernelManager": {"transport": transport, "connection_file": str(sockets / "kernel.json")}})


async def _execute(
    notebook: NotebookNode,
    cells: list[tuple[int, NotebookNode]],
    folder: Path,
    limits: Limits,
    env: dict[str, str],
    config: Config,
) -> Run:
    client = NotebookClient(
        notebook,
        timeout=limits.cell_seconds,
        interrupt_on_timeout=True,
        allow_errors=True,
        kernel_name="python3",
        kernel_manager_class=AsyncKernelManager,
        config=config,
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--HistoryManager.enabled=False"],
    )
    run = Run()
    deadline = time.monotonic() + limits.total_seconds
    try:
        async with client.async_setup_kernel(env=env):
            for position, cell in cells:
                left = deadline - time.monotonic()
                if left <= 0 and run.stopped is None:
                    run.stopped = f"the notebook needed more than {limits.total_seconds} s in all"
                if run.stopped is not None:
                    run.not_run.add(position)
                    continue
                client.timeout = int(min(limits.cell_seconds, max(1, left)))
                try:
                    await client.async_execute_cell(cell, position)
                except DeadKernelError:
                    run.stopped = f"the kernel died in {_title(cell)}: it took too much memory, or was told to exit"
                    cell.outputs.append(
                        nbformat.v4.new_output(
                            "error", ename="DeadKernel", evalue="this cell ended the kernel", traceback=[]
                        )
                    )
    except RuntimeError as error:
        if not str(error):
            raise
        raise FailureError(f"no Jupyter kernel started ({error}): run `lab doctor`") from error
    return run


def _title(cell: NotebookNode) -> str:
    name = grading(cell).get("grade_id")
    return f"the cell {name!r}" if name else f"the cell that begins with `{cell.source.strip().splitlines()[0][:60]}`"


def _code_cells(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    for position, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and cell.source.strip():
            yield position, cell
