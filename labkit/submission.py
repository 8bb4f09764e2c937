"""What a submission may be: the rules that `lab submit` and `grader collect` both apply, and the archive itself."""

import hashlib
import io
import json
import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal

from labkit.course import Lab
from labkit.errors import FailureError, UserError
from labkit.state import replacing

MANIFEST = "manifest.json"
SCHEMA = 1
STARTER = "starter"
MIB = 1024 * 1024
MAX_FILE = 10 * MIB
MAX_TOTAL = 50 * MIB
MAX_FILES = 500
MAX_NAME = 240

Kind = Literal["file", "folder", "symlink", "special"]

_JUNK_FOLDERS = {"__MACOSX", "__pycache__", ".ipynb_checkpoints", ".pytest_cache", ".ruff_cache", ".mypy_cache"}
_JUNK_FILES = {".DS_Store", "Thumbs.db", "desktop.ini"}
_STUB = re.compile(r"^[ \t]*raise NotImplementedError\(", re.MULTILINE)
_STUDENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_ZIPPED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, OverflowError, RuntimeError)


@dataclass(frozen=True)
class Entry:
    """One thing found in a folder or an archive, by its name as written there (`/` between folders)."""

    name: str
    size: int = 0
    kind: Kind = "file"
    data: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Submission:
    """What was handed in, read and found acceptable: the notebook and the files under starter/."""

    lab: str
    notebook: str
    files: dict[str, bytes] = field(repr=False)
    manifest: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """One checksum over names and contents, the same whatever archive or folder they came in."""
        lines = (f"{digest(data)}  {name}\n" for name, data in sorted(self.files.items()))
        return digest("".join(lines).encode())


class RefusedError(UserError):
    """A submission that cannot be taken; `problems` holds every sentence, the message is the first."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        super().__init__(problems[0] + more)


def digest(data: bytes) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def student_id(text: str) -> str:
    """`text`, when it can stand in a file name; raises UserError otherwise."""
    if not _STUDENT.fullmatch(text):
        raise UserError(
            f"{text!r} cannot be a student's ID: use at most 64 letters, digits, dots, dashes, underscores or @"
        )
    return text


def archive_name(lab: Lab, student: str | None = None) -> str:
    """The file name of an archive of `lab`, e.g. `02-cloud-storage-ada.zip`."""
    return f"{lab.name}-{student_id(student)}.zip" if student else f"{lab.name}.zip"


# The rules. Pure: they see names, sizes, kinds and bytes, never a disk.


def problems(entries: Iterable[Entry], lab: Lab) -> list[str]:
    """Why `entries` cannot be taken as a submission of `lab`, one sentence each; empty when they can."""
    entries = list(entries)
    found = unsafe(entries)
    return found or _notebook_problems(entries, lab)


def unsafe(entries: Sequence[Entry]) -> list[str]:
    """What is wrong with names, kinds and sizes alone, so that it can be known before anything is read."""
    return [*_size_problems(entries), *_name_problems(entries), *_kind_problems(entries)]


def _size_problems(entries: Sequence[Entry]) -> Iterator[str]:
    if len(entries) > MAX_FILES:
        yield f"it holds more than {MAX_FILES} files: remove what the lab did not ask for"
    for entry in entries:
        if entry.size > MAX_FILE:
            yield (
                f"{_shown(entry.name)} is {_mib(entry.size)}, more than {_mib(MAX_FILE)}: "
                + ("clear the large outputs and save" if entry.name.endswith(".ipynb") else "remove it")
            )
    total = sum(entry.size for entry in entries)
    if total > MAX_TOTAL:
        yield f"it is {_mib(total)} in all, more than {_mib(MAX_TOTAL)}: remove data and large outputs"


def _name_problems(entries: Sequence[Entry]) -> Iterator[str]:
    exact: set[str] = set()
    folded: dict[str, str] = {}
    for entry in entries:
        name = entry.name.removesuffix("/") if entry.kind == "folder" else entry.name
        if problem := _name_problem(name):
            yield problem
        elif name in exact:
            yield f"{_shown(name)} is in it twice: pack it again with `lab submit`"
        elif (fold := _folded(name)) in folded:
            yield f"{_shown(name)} and {_shown(folded[fold])} differ only by case: rename one of them"
        exact.add(name)
        folded.setdefault(_folded(name), name)
    files = {_folded(entry.name) for entry in entries if entry.kind != "folder"}
    for entry in entries:
        if any(_folded(str(parent)) in files for parent in PurePosixPath(entry.name).parents):
            yield f"{_shown(entry.name)} lies in something that is itself a file: pack it again with `lab submit`"


def _name_problem(name: str) -> str | None:
    parts = name.split("/")
    if name.startswith("/") or "\\" in name or re.match(r"[A-Za-z]:", name):
        return f"{_shown(name)} is not a path inside the lab's folder: pack it again with `lab submit`"
    if ".." in parts:
        return f"{_shown(name)} points outside the lab's folder: pack it again with `lab submit`"
    if any(part in ("", ".") for part in parts) or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        return f"{_shown(name)} is not a usable file name: rename the file"
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME:
        return f"{_shown(name)} is too long a name: rename the file (at most {MAX_NAME} bytes)"
    return None


def _kind_problems(entries: Sequence[Entry]) -> Iterator[str]:
    for entry in entries:
        if entry.kind == "symlink":
            yield f"{_shown(entry.name)} is a link: put the file itself in its place"
        elif entry.kind == "special":
            yield f"{_shown(entry.name)} is neither a file nor a folder (a pipe or a device): remove it"


def _notebook_problems(entries: Sequence[Entry], lab: Lab) -> list[str]:
    names = {entry.name: entry for entry in entries if entry.kind == "file"}
    if lab.notebook in names:
        problem = notebook_problem(names[lab.notebook].data, lab)
        return [f"{lab.notebook} {problem}"] if problem else []
    return [missing_notebook(names, lab)]


def missing_notebook(names: Iterable[str], lab: Lab) -> str:
    """What to do where the files called `names` are there, and the notebook of `lab` is not."""
    others = sorted(name for name in names if name.endswith(".ipynb") and "/" not in name)
    if others:
        return f"the notebook is called {_shown(others[0])}: rename it to {lab.notebook}"
    return f"the notebook {lab.notebook} is missing: save it under that name, or run `lab reset {lab.number:02d}`"


def notebook_problem(data: bytes, lab: Lab) -> str | None:
    """Why `data` is no notebook that can be graded, as the end of a sentence; None when it is one.

    Only the frame is looked at: grading repairs what can be repaired inside.
    """
    afresh = f"`lab reset {lab.number:02d}` starts afresh and keeps this one in a backup"
    convert = f"open it in JupyterLab and save it, or {afresh}"
    try:
        notebook = json.loads(data)
    except (ValueError, RecursionError):
        return (
            "is not a whole notebook (it may have been cut off while it was saved): "
            f"JupyterLab keeps an earlier one in .ipynb_checkpoints/, and {afresh}"
        )
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        found = notebook.get("nbformat") if isinstance(notebook, dict) else None
        if isinstance(found, int) and found != 4:
            return f"has notebook format {found}, not 4: {convert}"
        return f"is not a Jupyter notebook: {afresh}"
    if notebook.get("nbformat") != 4 or isinstance(notebook["nbformat"], bool):
        return f"has notebook format {str(notebook.get('nbformat'))[:20]}, not 4: {convert}"
    if not all(isinstance(cell, dict) for cell in notebook["cells"]):
        return f"has cells that are not cells: {afresh}"
    return None


def untouched(submission: Submission, released: Submission) -> bool:
    """Whether nothing the student could have written differs from the released lab."""
    own, given = dict(submission.files), dict(released.files)
    notebooks = own.pop(submission.notebook), given.pop(released.notebook)
    return own == given and _sources(notebooks[0]) == _sources(notebooks[1])


def _sources(notebook: bytes) -> list[str]:
    sources = (cell.get("source", "") for cell in json.loads(notebook)["cells"])
    return ["".join(map(str, source)) if isinstance(source, list) else str(source) for source in sources]


def unanswered(submission: Submission, released: Submission) -> dict[str, int]:
    """How many answers are still as the lab gave them, by starter file or by the notebook's cell."""
    own = _answers(submission)
    counts = {}
    for name, given in _answers(released).items():
        if _STUB.search(given):
            # A cell that is gone or empty is as little answered as an untouched one.
            counts[name] = len(_STUB.findall(own.get(name, "").strip() or given))
    return {name: count for name, count in counts.items() if count}


def _answers(submission: Submission) -> dict[str, str]:
    notebook = submission.files[submission.notebook]
    texts = {
        name: data.decode("utf-8", "replace") for name, data in submission.files.items() if name != submission.notebook
    }
    for cell, source in zip(json.loads(notebook)["cells"], _sources(notebook), strict=True):
        metadata = cell.get("metadata")
        known = metadata.get("nbgrader") if isinstance(metadata, dict) else None
        if isinstance(known, dict) and isinstance(known.get("grade_id"), str):
            texts.setdefault(known["grade_id"], source)
    return texts


# Reading.


def from_entries(entries: Iterable[Entry], lab: Lab) -> Submission:
    """The submission that `entries` make; raises RefusedError with every problem."""
    entries = list(entries)
    if found := unsafe(entries):
        raise RefusedError(found)
    entries = _unwrapped(entries, lab)
    manifest, warnings = _manifest(entries)
    if found := _notebook_problems(entries, lab):
        other = manifest.get("lab") if manifest else None
        if isinstance(other, str) and other != lab.name:
            found = [f"it was packed for lab {_shown(other)}, not for {lab.name}: submit the archive of {lab.name}"]
        raise RefusedError(found)
    wanted = [entry for entry in entries if entry.kind == "file" and entry.name != MANIFEST and not _junk(entry.name)]
    files = {e.name: e.data for e in wanted if e.name == lab.notebook or e.name.startswith(f"{STARTER}/")}
    ignored = sorted(entry.name for entry in wanted if entry.name not in files)
    if ignored:
        more = f" and {len(ignored) - 1} more" if len(ignored) > 1 else ""
        warnings.append(f"{_shown(ignored[0])}{more}: ignored, only {lab.notebook} and {STARTER}/ are graded")
    if manifest is not None:
        warnings += _manifest_warnings(manifest, files, lab)
    return Submission(lab.name, lab.notebook, files, manifest, tuple(warnings))


def read_folder(folder: Path, lab: Lab) -> Submission:
    """The submission in `folder`: its notebook and starter/. Links and special files are never opened."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: run `lab start {lab.number:02d}` to get the lab")
    return from_entries(_folder_entries(folder, lab), lab)


def read_notebook(data: bytes, lab: Lab) -> Submission:
    """The submission made of a notebook alone."""
    return from_entries([Entry(lab.notebook, len(data), "file", data)], lab)


def read_archive(source: Path | bytes, lab: Lab) -> Submission:
    """The submission in a zip, given by path or as its bytes; nothing is written to the disk.

    Names, kinds and declared sizes are judged before anything is unpacked, and unpacking stops at what was declared.
    """
    try:
        return from_entries(_zip_entries(source if isinstance(source, bytes) else _archive_bytes(source)), lab)
    except RefusedError as error:
        where = f"{source}: " if isinstance(source, Path) else ""
        raise RefusedError([where + problem for problem in error.problems]) from None


def _open_regular(path: Path) -> BinaryIO:
    try:
        # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(path, flags), "rb")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: check the path") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give a zip made by `lab submit`") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise RefusedError(["it is not a regular file: give a zip made by `lab submit`"])
    return file


def _archive_bytes(path: Path) -> bytes:
    with _open_regular(path) as file:
        return file.read(MAX_TOTAL + MIB + 1)


def _zip_entries(data: bytes) -> list[Entry]:
    if len(data) > MAX_TOTAL + MIB:
        raise RefusedError([f"it is more than {_mib(MAX_TOTAL)}: remove data and large outputs"])
    _refuse_long_contents(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            entries = [Entry(info.orig_filename, info.file_size, zip_kind(info)) for info in infos]
            if found := [*unsafe(entries), *_packing_problems(infos)]:
                raise RefusedError(found)
            return [_unpacked(archive, info, e) for info, e in zip(infos, entries, strict=True)]
    except _DAMAGE:
        raise RefusedError(["it is not a readable zip, or a damaged one: pack it again with `lab submit`"]) from None


def _refuse_long_contents(data: bytes) -> None:
    """Refuse a table of contents that zipfile would need minutes and gigabytes to read."""
    tail = data[-65_557:]
    end = tail.rfind(b"PK\x05\x06")
    length = int.from_bytes(tail[end + 12 : end + 16], "little") if end >= 0 else 0
    if length > MAX_FILES * (46 + 2 * MAX_NAME) or (end >= 20 and tail[end - 20 : end - 16] == b"PK\x06\x07"):
        raise RefusedError([f"it holds more than {MAX_FILES} files: remove what the lab did not ask for"])


def zip_kind(info: zipfile.ZipInfo) -> Kind:
    """What a member of a zip says it is."""
    mode = stat.S_IFMT(info.external_attr >> 16)
    if mode == stat.S_IFLNK:
        return "symlink"
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "special"
    return "folder" if info.orig_filename.endswith("/") or mode == stat.S_IFDIR else "file"


def _packing_problems(infos: list[zipfile.ZipInfo]) -> Iterator[str]:
    for info in infos:
        if info.flag_bits & 0x1:
            yield f"{_shown(info.orig_filename)} is encrypted: pack it again without a password"
        elif info.compress_type not in _ZIPPED:
            yield f"{_shown(info.orig_filename)} is packed in an unusual way: pack it again with `lab submit`"


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, entry: Entry) -> Entry:
    if entry.kind == "folder":
        return entry
    with archive.open(info) as file:
        data = file.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise zipfile.BadZipFile("shorter or longer than declared")
    return Entry(entry.name, len(data), entry.kind, data)


def _folder_entries(folder: Path, lab: Lab) -> list[Entry]:
    tops = [path for path in sorted(folder.iterdir()) if path.name == STARTER or path.suffix == ".ipynb"]
    entries: list[Entry] = []
    total = 0
    todo = [(path, path.name) for path in reversed(tops)]
    while todo and len(entries) <= MAX_FILES and total <= MAX_TOTAL:
        path, name = todo.pop()
        if _junk(name) or ("/" not in name and path.suffix == ".ipynb" and _spare(path.name, folder, lab)):
            continue
        entry = _folder_entry(path, name)
        entries.append(entry)
        total += entry.size
        if entry.kind == "folder":
            todo += [(inner, f"{name}/{inner.name}") for inner in sorted(path.iterdir(), reverse=True)]
    return entries


def _spare(name: str, folder: Path, lab: Lab) -> bool:
    """A student's other notebook beside the right one: neither graded nor worth a refusal."""
    return name != lab.notebook and os.path.lexists(folder / lab.notebook)


def _folder_entry(path: Path, name: str) -> Entry:
    found = path.lstat()
    if stat.S_ISDIR(found.st_mode):
        return Entry(name, 0, "folder")
    if not stat.S_ISREG(found.st_mode):
        return Entry(name, 0, "symlink" if stat.S_ISLNK(found.st_mode) else "special")
    if found.st_size > MAX_FILE:
        return Entry(name, found.st_size)
    with _open_regular(path) as file:
        data = file.read(MAX_FILE + 1)
    return Entry(name, len(data), "file", data)


def _unwrapped(entries: list[Entry], lab: Lab) -> list[Entry]:
    """Without the one folder that a file manager's "compress" puts around everything."""
    names = {entry.name for entry in entries}
    inside = [entry for entry in entries if not _junk(entry.name)]
    tops = {entry.name.split("/")[0] for entry in inside}
    if len(tops) != 1 or lab.notebook in names:
        return entries
    top = tops.pop() + "/"
    bare = [e for e in inside if e.name.startswith(top) and e.name != top]
    if not any("/" not in e.name.removeprefix(top) and e.name.endswith(".ipynb") for e in bare):
        return entries
    return [Entry(e.name.removeprefix(top), e.size, e.kind, e.data) for e in bare]


def _junk(name: str) -> bool:
    *folders, last = name.rstrip("/").split("/")
    return bool(_JUNK_FOLDERS.intersection([*folders, last])) or last in _JUNK_FILES or last.endswith((".pyc", ".pyo"))


# The manifest: a claim about the content, checked against it and never believed over it.


def _manifest(entries: list[Entry]) -> tuple[dict[str, Any] | None, list[str]]:
    for entry in entries:
        if entry.name == MANIFEST and entry.kind == "file":
            try:
                value = json.loads(entry.data)
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, dict):
                return value, []
            return None, [f"{MANIFEST} cannot be read: ignored, the files themselves are graded"]
    return None, []


def _manifest_warnings(manifest: dict[str, Any], files: dict[str, bytes], lab: Lab) -> list[str]:
    found = []
    if manifest.get("lab") != lab.name:
        found.append(f"{MANIFEST} says lab {_shown(str(manifest.get('lab')))}, the notebook is of {lab.name}")
    listed = manifest.get("files")
    claims = [claim for claim in listed if isinstance(claim, dict)] if isinstance(listed, list) else []
    claimed = {(str(claim.get("name")), str(claim.get("sha256"))) for claim in claims}
    if claimed != {(name, digest(data)) for name, data in files.items()}:
        found.append("the files were changed after they were packed: what is there now is graded")
    return found


def manifest_for(submission: Submission, lab: Lab, created: datetime) -> dict[str, Any]:
    """What stands in the archive beside the files: what they are, and which release of the lab they belong to."""
    return {
        "schema": SCHEMA,
        "lab": lab.name,
        "created": created.astimezone(UTC).isoformat(timespec="seconds"),
        "labkit": labkit_version(),
        "released": {name: _file_digest(lab.path / name) for name in ("lab.toml", lab.notebook)},
        "files": [
            {"name": name, "size": len(data), "sha256": digest(data)} for name, data in sorted(submission.files.items())
        ],
    }


def labkit_version() -> str:
    """The version of this package, as its installation says."""
    return version("mle-labs")


def _file_digest(path: Path) -> str:
    try:
        return digest(path.read_bytes())
    except FileNotFoundError:
        raise FailureError(f"{path} is missing: the course is incomplete, get it again with `git checkout`") from None


def write_archive(submission: Submission, lab: Lab, output: Path, created: datetime) -> dict[str, Any]:
    """Write the archive to `output`, whole or not at all, and return its manifest."""
    manifest = manifest_for(submission, lab, created)
    contents = {MANIFEST: json.dumps(manifest, indent=2).encode() + b"\n"}
    contents[submission.notebook] = submission.files[submission.notebook]
    contents |= dict(sorted(submission.files.items()))
    with replacing(output) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            info = zipfile.ZipInfo(name)  # dated 1980: the same files make the same bytes
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return manifest


@dataclass(frozen=True)
class Packed:
    """An archive on the disk, and what its student should know of it."""

    path: Path
    files: int
    size: int
    warnings: tuple[str, ...]


def pack(lab: Lab, folder: Path, output: Path, created: datetime) -> Packed:
    """Write the archive of the student's `folder` to `output`, and read it again as collecting will."""
    own, released = read_folder(folder, lab), read_folder(lab.path, lab)
    if missing := sorted(released.files.keys() - own.files.keys()):
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UserError(
            f"{missing[0]}{more} is missing: copy it from {lab.path}, "
            f"or `lab reset {lab.number:02d}` brings it back and keeps your work as a backup"
        )
    warnings = own.warnings
    if untouched(own, released):
        warnings += ("nothing differs from the lab as it was released: save the notebook before you submit",)
    elif empty := unanswered(own, released):
        many = "answers are" if (count := sum(empty.values())) > 1 else "answer is"
        warnings += (f"{count} {many} still empty: {', '.join(empty)}",)
    if output.exists() and not zipfile.is_zipfile(output):
        raise UserError(f"{output} is there already and is no archive: give another name with --output")
    write_archive(own, lab, output, created)
    if read_archive(output, lab).files != own.files:
        raise FailureError(f"{output} was not written as it should be: check the disk, then submit again")
    return Packed(output, len(own.files), output.stat().st_size, warnings)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().rstrip("/")


def _shown(name: str) -> str:
    return ascii(name) if len(name) <= 80 else ascii(name[:77]) + "..."


def _mib(size: int) -> str:
    return f"{size / MIB:.1f} MiB"
