"""From what students handed in, in whatever shape it comes, to `classroom/submitted/<student>/<lab>/`."""

import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from rich.table import Table
from rich.text import Text

from grader import shapes, sources
from grader.house import House, staging
from labkit import submission
from labkit.course import Lab
from labkit.errors import UserError
from labkit.state import locked
from labkit.submission import MANIFEST, Entry, RefusedError, Submission

TIMESTAMP = "timestamp.txt"
RECORD = "collected.json"
PROBLEM = "problem.txt"
"""In a collected folder: why nothing in it can be graded, one sentence. Grading gives it no points and says so."""

State = Literal["collected", "unchanged", "replaced", "kept", "refused", "left out"]


@dataclass(frozen=True)
class Outcome:
    """What became of one submission. `student` is the folder's name; empty for what is nobody's."""

    student: str
    state: State
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Taken:
    """What one person handed in, judged: files to grade, or the problem, and what is kept to look at."""

    files: Mapping[str, bytes] = field(repr=False)
    sha256: str
    problem: str = ""
    notes: tuple[str, ...] = ()


def collect(
    house: House, lab: Lab, path: Path, student: str = "", keep: bool = False, now: datetime | None = None
) -> list[Outcome]:
    """Take the submissions of `lab` in `path`: a folder, an LMS's zip, or one student's own archive.

    The latest attempt wins, and the one before goes to `classroom/history/`; with `keep`, what is there stays. A
    submission that is refused becomes a folder with a `problem.txt` if there is no good one yet, and stops nothing.
    `now` is the time all of them are taken to be handed in. Raises UserError where there is nothing to collect.
    """
    now = (now or datetime.now(UTC)).astimezone(UTC)
    house.classroom.mkdir(parents=True, exist_ok=True)
    busy = f"{house.classroom} is in use by another `grader collect`: wait for it, then run this again"
    with locked(house.classroom / ".collect.lock", 5, busy):
        if _is_one(path, lab, student):
            names = _Names(house)
            pile = _single(path, lab, student)
            pile.who = (student and names.owner(pile.folder)) or pile.who
            outcomes = [_take(house, lab, pile, keep, now, names)]
        else:
            outcomes = _many(house, lab, path, keep, now)
    if not any(outcome.student for outcome in outcomes):
        more = f" ({outcomes[0].remarks[0]})" if outcomes else ""
        raise UserError(f"{path} holds no submission of {lab.name}{more}: give the folder or zip that holds them")
    return outcomes


def _many(house: House, lab: Lab, path: Path, keep: bool, now: datetime) -> list[Outcome]:
    others = sorted({one.name for one in (*house.course.labs(), *house.sources())} - {lab.name})
    with sources.opened(path) as items:
        piles, left = shapes.piles(items, lab, others)
        names = _Names(house)
        outcomes = []
        for pile in piles:
            if _is_about_others(pile, lab, others):
                left.append(f"{pile.name!a} handed in other labs only")
            else:
                outcomes.append(_take(house, lab, pile, keep, now, names))
    return outcomes + [Outcome("", "left out", (sentence,)) for sentence in left]


def _is_about_others(pile: shapes.Pile, lab: Lab, others: Sequence[str]) -> bool:
    tops = {piece.name.split("/")[0] for piece in pile.pieces}
    return bool(tops) and tops <= set(others)


# One student's own archive, folder or notebook, given alone.


def _is_one(path: Path, lab: Lab, student: str) -> bool:
    if student or path.suffix.lower() == ".ipynb":
        return True
    if path.is_dir():
        return (path / lab.notebook).exists()
    if not path.is_file():
        return False
    named = path.stem.startswith(f"{lab.name}-")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return named
    if lab.notebook in names or MANIFEST in names or {name.split("/")[0] for name in names} == {lab.name}:
        return True
    return named and not any(name.lower().endswith(".zip") for name in names)


def _single(path: Path, lab: Lab, student: str) -> shapes.Pile:
    if not path.exists():
        raise UserError(f"{path} does not exist: give the folder or the zip that holds the submissions")
    if path.is_dir():
        name = student or path.resolve().name
        if name in (lab.name, lab.slug):
            raise UserError(f"{path} names no student: add --student ID")
        with sources.opened(path) as items:
            pieces = [shapes.Piece(item.name, item) for item in items]
            return shapes.Pile(f"name {name}", name, shapes.folder_name(name), pieces)
    if student:
        piece = shapes.Piece(lab.notebook if path.suffix.lower() == ".ipynb" else path.name, sources.file(path))
        return shapes.Pile(f"name {student}", student, shapes.folder_name(student), [piece])
    found, left = shapes.piles([sources.file(path)], lab, ())
    if not found:
        raise UserError(f"{path} names no student: add --student ID" if left else f"{path} cannot be collected")
    return found[0]


# Reading: labkit's rules decide, the same ones as `lab submit`.


def _take(house: House, lab: Lab, pile: shapes.Pile, keep: bool, now: datetime, names: "_Names") -> Outcome:
    choice = shapes.choose(pile, lab, _starter_files(house, lab))
    taken = _read(choice, lab)
    student, notes = names.of(pile)
    notes = (*pile.notes, *notes, *choice.notes, *taken.notes)
    target = house.classroom / "submitted" / student / lab.name
    before = _record(target)
    if before is not None and before.get("sha256") == taken.sha256:
        return Outcome(student, "refused" if taken.problem else "unchanged", (taken.problem, *notes))
    good_before = target.is_dir() and not (target / PROBLEM).exists()
    if before is not None and good_before and 0 < choice.order < int(before.get("order", 0)):
        return Outcome(student, "kept", ("what is here was handed in later", *notes))
    if good_before and taken.problem:
        return Outcome(student, "refused", (taken.problem, "the submission collected before stays", *notes))
    if good_before and keep:
        return Outcome(student, "kept", ("another one was collected before, and --keep was given", *notes))
    record = {
        "who": pile.who,
        "name": _printable(pile.name),
        "collected": now.isoformat(timespec="seconds"),
        "late": pile.late,
        "order": choice.order,
        "sha256": taken.sha256,
        "notes": notes,
    }
    replaced = _write(house, target, taken, record, now)
    if taken.problem:
        return Outcome(student, "refused", (taken.problem, *notes))
    if replaced:
        return Outcome(student, "replaced", (f"the one before is in {replaced}", *notes))
    return Outcome(student, "collected", tuple(notes))


def _read(choice: shapes.Choice, lab: Lab) -> _Taken:
    if choice.archive is not None:
        return _read_archive(choice.archive.item, lab)
    pieces = [(piece, Entry(piece.name, piece.item.size, piece.item.kind)) for piece in choice.files]
    entries: list[Entry] = []
    try:
        if found := submission.unsafe([entry for _, entry in pieces]):
            raise RefusedError(found)
        for piece, entry in pieces:
            data = piece.item.read() if entry.kind == "file" else b""
            entries.append(Entry(entry.name, entry.size, entry.kind, data))
        return _accepted(submission.from_entries(entries, lab))
    except RefusedError as error:
        return _refused(error, {entry.name: entry.data for entry in entries if entry.kind == "file"})


def _read_archive(item: sources.Item, lab: Lab) -> _Taken:
    name = item.name.rsplit("/", 1)[-1]
    if item.kind != "file":
        return _refused(RefusedError([f"{name!a} is not a file but a {item.kind}: hand in the zip itself"]), {})
    try:
        data = item.read()
    except RefusedError as error:
        return _refused(error, {})
    try:
        return _accepted(submission.read_archive(data, lab))
    except RefusedError as error:
        return _refused(error, {"handed-in.zip": data})  # closed as it came, for the instructor to look at


def _accepted(found: Submission) -> _Taken:
    return _Taken(found.files, found.sha256, notes=found.warnings)


def _refused(error: RefusedError, files: Mapping[str, bytes]) -> _Taken:
    problem = str(error)
    lines = [problem, *(f"{submission.digest(data)}  {name}" for name, data in sorted(files.items()))]
    return _Taken(files, submission.digest("\n".join(lines).encode()), problem, error.problems[1:4])


def _starter_files(house: House, lab: Lab) -> list[str]:
    released = house.release(lab)
    files = [file for file in (released / submission.STARTER).rglob("*") if file.is_file()]
    return [file.relative_to(released).as_posix() for file in files if not sources.skipped(file.name)]


# Writing: whole or not at all, and nothing that was there is lost.


def _write(house: House, target: Path, taken: _Taken, record: Mapping[str, Any], now: datetime) -> Path | None:
    backup = _keep_before(house, target, now)
    with staging(target) as fresh:
        for name, data in taken.files.items():
            file = fresh / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        (fresh / TIMESTAMP).write_text(f"{now:%Y-%m-%d %H:%M:%S} UTC\n", encoding="utf-8")
        (fresh / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        if taken.problem:
            (fresh / PROBLEM).write_text(taken.problem + "\n", encoding="utf-8")
        fresh.chmod(0o755)
    return backup


def _keep_before(house: House, target: Path, now: datetime) -> Path | None:
    """A copy of the folder that is about to be replaced, under `classroom/history/`."""
    if not target.is_dir():
        return None
    folder = house.classroom / "history" / target.parent.name / target.name
    backup, count = folder / f"{now:%Y-%m-%d-%H%M%S}", 2
    while backup.exists():
        backup, count = folder / f"{now:%Y-%m-%d-%H%M%S}-{count}", count + 1
    with staging(backup) as fresh:
        for file in sorted(target.rglob("*")):
            if file.is_file() and not file.is_symlink():
                copy = fresh / file.relative_to(target)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.read_bytes())
    return backup.relative_to(house.course.root)


class _Names:
    """The folder of each person in the classroom. Whoever came first under a name has it; the next gets `-2`."""

    def __init__(self, house: House) -> None:
        self._owners: dict[str, tuple[str, str | None]] = {}
        for folder in sorted((house.classroom / "submitted").glob("[!.]*")):
            known = [record for lab in sorted(folder.iterdir()) if (record := _record(lab))] if folder.is_dir() else []
            self._owners[folder.name.casefold()] = folder.name, str(known[0]["who"]) if known else None

    def owner(self, folder: str) -> str | None:
        """Who has `folder`: an instructor who names it means that person."""
        return self._owners.get(folder.casefold(), ("", None))[1]

    def of(self, pile: shapes.Pile) -> tuple[str, tuple[str, ...]]:
        """The folder of `pile`'s person, and a remark where it is not called as one would think."""
        wanted = pile.folder
        mine = [name for name, who in self._owners.values() if who == pile.who]
        name, count = mine[0] if mine else wanted, 2
        while not mine and self.owner(name) not in (None, pile.who):
            name, count = f"{wanted}-{count}", count + 1
        if not mine:
            name = self._owners.get(name.casefold(), (name, None))[0]  # a folder made by hand has no owner yet
        self._owners[name.casefold()] = name, pile.who
        told = f"{_printable(pile.name)!a} has the folder {name}, for {wanted} is somebody else's"
        return name, (told,) if name.casefold() != wanted.casefold() else ()


def _record(folder: Path) -> dict[str, Any] | None:
    """What was noted when `folder` was collected; None where it was not, or by hand."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("who"), str) else None


def records(house: House, lab: Lab) -> dict[str, dict[str, Any]]:
    """What was noted when each submission of `lab` was collected, by student."""
    folders = sorted((house.classroom / "submitted").glob(f"[!.]*/{lab.name}"))
    return {folder.parent.name: _record(folder) or {} for folder in folders}


def problem(folder: Path) -> str | None:
    """Why nothing in the collected `folder` can be graded, or None."""
    try:
        return (folder / PROBLEM).read_text(encoding="utf-8").strip() or "it was refused when it was collected"
    except FileNotFoundError:
        return None


def _printable(text: str) -> str:
    """`text` without what would break a line, a terminal or a file."""
    kept = "".join(c if c.isprintable() else "?" for c in text)
    return kept.encode("utf-8", "replace").decode()[:100]


def summary(outcomes: Iterable[Outcome]) -> str:
    """How many there are of each kind."""
    counts = Counter(outcome.state for outcome in outcomes)
    return ", ".join(f"{counts[state]} {state}" for state in get_args(State) if counts[state])


def table(title: str, outcomes: Sequence[Outcome]) -> Table:
    """One row a submission, and how many there are of each kind."""
    made = Table(title=title, caption=summary(outcomes), title_justify="left")
    for column in ("student", "state", "remarks"):
        made.add_column(column, overflow="fold")
    for outcome in outcomes:
        remarks = "\n".join(remark for remark in outcome.remarks if remark)
        made.add_row(Text(outcome.student or "-"), outcome.state, Text(remarks))
    return made
