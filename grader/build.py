"""From a lab's one source to what students get, and to the executed notebook that an instructor reads."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode
from nbgrader.converters.generate_assignment import GenerateAssignment
from nbgrader.preprocessors import SaveCells
from traitlets.config import Config

from grader import classic, leaks, source, strip
from grader.house import House, staging
from grader.pages import lab_readme
from labkit import checks, notebook
from labkit.course import Lab, pick
from labkit.errors import FailureError, UserError
from labkit.state import replacing

_SKIPPED = shutil.ignore_patterns("__pycache__", "*.pyc", ".ipynb_checkpoints")


def build(house: House, lab: Lab, say: Callable[[str], None] = lambda _: None, execute: bool = True) -> None:
    """Write `labs/NN-name/` and the executed notebook of `lab`; both stay as they were if anything fails.

    The notebook is executed only where something it depends on has changed since its outputs were made.
    Raises UserError for a fault in the source, naming file, cell and line, and FailureError for a leak.
    """
    with staging(house.release(lab)) as fresh:
        release(house, lab, fresh)
        made = executed(house, lab, fresh, say) if execute else None
    if made is not None:
        with replacing(lab.path / lab.notebook) as file:
            file.write(nbformat.writes(made).encode())
        (lab.path / lab.notebook).chmod(0o644)


def release(house: House, lab: Lab, target: Path) -> None:
    """Write into the empty folder `target` what students get of `lab`. Raises UserError, or FailureError for a leak."""
    solved = source.notebook(lab)
    _generate(house, lab, solved, target)
    for name, text in given_files(house, lab).items():
        _write(target / "given" / name, text)
    if (lab.path / "live").is_dir():
        shutil.copytree(lab.path / "live", target / "live", ignore=_SKIPPED)
    shutil.copyfile(lab.path / "lab.toml", target / "lab.toml")
    _write(target / "README.md", lab_readme(lab, solved))
    _scan(house, lab, solved, target)


def _generate(house: House, lab: Lab, solved: NotebookNode, target: Path) -> None:
    """Run nbgrader's own generate step on the source, in a folder of its own and without a gradebook."""
    with tempfile.TemporaryDirectory(prefix="mle-build-") as name:
        root = Path(name)
        config = classic.configure(Config(), house, root)
        config.GenerateAssignment.no_database = True
        config.GenerateAssignment.preprocessors = [
            step for step in GenerateAssignment.preprocessors.default() if step is not SaveCells
        ]
        generate(lab, solved, config)
        shutil.copytree(root / "labs" / lab.name, target, dirs_exist_ok=True)


def generate(lab: Lab, solved: NotebookNode, config: Config) -> None:
    """nbgrader's `generate_assignment` of `lab`, from `solutions/` into `labs/` under the root that `config` names."""
    folder = Path(config.CourseDirectory.root) / "solutions" / lab.name
    folder.mkdir(parents=True)
    for name in checks.STUDENT_FOLDERS:
        if (lab.path / name).is_dir():
            shutil.copytree(lab.path / name, folder / name, ignore=_SKIPPED)
    nbformat.write(solved, folder / lab.notebook)
    classic.call(classic.api(config).generate_assignment, lab.name)


def given_files(house: House, lab: Lab) -> dict[str, str]:
    """What `lab` takes from earlier labs (`given` in lab.toml: `NN-name/path`), solved, by file name."""
    files: dict[str, str] = {}
    for entry in lab.given:
        number, _, inside = entry.partition("/")
        path = pick(house.sources(), number).path / inside
        if not inside or not path.is_file():
            raise UserError(f"{lab.path / 'lab.toml'}: given names {entry!r}, which is no file of that lab")
        files[path.name] = strip.without_markers(path.read_text(encoding="utf-8"))
    return files


def _scan(house: House, lab: Lab, solved: NotebookNode, release: Path) -> None:
    hidden = leaks.secrets(solved, starter_texts(lab))
    files = {file.relative_to(release).as_posix(): file for file in sorted(release.rglob("*")) if file.is_file()}
    # What an earlier lab's solution is given as is public on purpose, and its slides are read before its lab.
    texts = {name: _text(file) for name, file in files.items() if not name.startswith("given/")}
    slides = house.course.root / "slides" / f"{lab.name}.md"
    if slides.is_file():
        texts[f"slides/{slides.name}"] = _text(slides)
    found = list(leaks.scan(hidden, texts))
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise FailureError(f"{lab.name}: the student's version leaks. {found[0]}{more}")


def starter_texts(lab: Lab) -> dict[str, str]:
    """The solved starter files of `lab`, by path."""
    return {
        file.relative_to(lab.path).as_posix(): _text(file)
        for file in checks.student_files(lab, lab.path)
        if file.suffix != ".ipynb"
    }


def executed(house: House, lab: Lab, release: Path, say: Callable[[str], None]) -> NotebookNode | None:
    """The solved notebook with its outputs; None where the one on disk is of the same sources already.

    Raises FailureError naming the first cell that fails.
    """
    solved = source.notebook(lab)
    mark = fingerprint(house, lab)
    if is_current(lab, mark):
        return None
    say(f"{lab.name}: running the solved notebook")
    with checks.own_clouds(), tempfile.TemporaryDirectory(prefix="mle-build-", ignore_cleanup_errors=True) as name:
        folder = Path(name) / lab.name
        shutil.copytree(release, folder)
        shutil.copytree(lab.path / "starter", folder / "starter", dirs_exist_ok=True)
        run = notebook.execute(solved, folder, lab.limits, checks.environment())
    for number, cell in enumerate(solved.cells, 1):
        failed = [output for output in cell.get("outputs", []) if output.output_type == "error"]
        if failed:
            error = f"{failed[0].ename}: {failed[0].evalue}"[:500]
            raise FailureError(
                f"{lab.path / (lab.slug + '.py')}, cell {number} ({cell.id}): the reference fails: {error}"
            )
    if run.stopped:
        raise FailureError(f"{lab.path / (lab.slug + '.py')}: the reference did not run to its end: {run.stopped}")
    solved.metadata["mle"] = {"sources": mark}
    for cell in solved.cells:
        cell.metadata.pop("execution", None)
    return solved


def is_current(lab: Lab, mark: str) -> bool:
    """Whether the executed notebook on disk was made from the sources whose fingerprint is `mark`."""
    try:
        found = json.loads((lab.path / lab.notebook).read_text(encoding="utf-8"))
        return bool(found["metadata"]["mle"]["sources"] == mark)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def fingerprint(house: House, lab: Lab) -> str:
    """One checksum of all that the outputs of the solved notebook depend on."""
    digest = hashlib.sha256(nbformat.writes(source.notebook(lab)).encode())
    texts = {**starter_texts(lab), **given_files(house, lab)}
    for name, text in sorted(texts.items()):
        digest.update(f"\0{name}\0{text}".encode())
    return digest.hexdigest()


def differences(house: House, lab: Lab) -> list[str]:
    """What in the committed release is not what the source builds today: one sentence a file. Empty is good."""
    with tempfile.TemporaryDirectory(prefix="mle-compare-") as name:
        fresh = Path(name) / lab.name
        fresh.mkdir()
        release(house, lab, fresh)
        wanted, found = _contents(fresh), _contents(house.release(lab))
    told = [
        f"labs/{lab.name}/{file} is not what its source builds" for file in wanted if found.get(file) != wanted[file]
    ]
    told += [f"labs/{lab.name}/{file} has no source" for file in found if file not in wanted]
    if not is_current(lab, fingerprint(house, lab)):
        told.append(f"solutions/{lab.name}/{lab.notebook} was executed from other sources")
    return [f"{sentence}: run `grader build {lab.number:02d}`" for sentence in told]


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not checks.is_clutter(file.relative_to(folder).as_posix())
    }


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""  # a picture holds no line of code


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
