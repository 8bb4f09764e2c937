"""Who handed in what: read from the names that students, `lab submit`, Canvas and Moodle give to files."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import PurePosixPath

from grader.sources import Item
from labkit.course import Lab
from labkit.submission import STARTER

_CANVAS = re.compile(
    r"(?P<name>(?:(?!_\d+_).)+?)(?:_(?P<late>LATE))?_(?P<user>\d+)_(?P<order>\d+)_(?P<file>.+)", re.DOTALL
)
_MOODLE = re.compile(r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_(?P<kind>[a-z]+)(?:_(?P<file>.*))?", re.DOTALL)
_COPY = re.compile(r"(?P<stem>.*?)(?: ?\((?P<number>\d+)\))?", re.DOTALL)


@dataclass(frozen=True)
class Piece:
    """One thing somebody handed in. `name` is its path inside that; a greater `order` was handed in later."""

    name: str
    item: Item
    order: int = 0


@dataclass
class Pile:
    """All that one person handed in. `who` is the same for the same person in the next lab; `folder` is the one
    to have, if it is free."""

    who: str
    name: str
    folder: str
    pieces: list[Piece] = field(default_factory=list)
    late: bool = False
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Claim:
    who: str
    name: str
    folder: str
    file: str
    order: int = 0
    late: bool = False
    number: str = ""


def piles(items: Sequence[Item], lab: Lab, others: Iterable[str]) -> tuple[list[Pile], list[str]]:
    """What each person handed in, and a sentence for each thing that is nobody's.

    `others` are the names of the course's other labs: what is named after one of them is left out.
    """
    found: dict[str, Pile] = {}
    left: list[str] = []
    items = _inside(items)
    numbers = _moodle_numbers(items)
    folders = {item.name for item in items if item.kind == "folder"} | {_top(i.name) for i in items if "/" in i.name}
    for item in items:
        # macOS writes an accent as a letter of its own: the same name is the same person.
        top, _, rest = unicodedata.normalize("NFC", item.name).partition("/")
        if re.match(r"\.[^.]", top):
            continue
        if not top or top in (".", "..") or "\\" in top:
            left.append(f"{item.name!a} is no path inside the source: nothing of it was read")
            continue
        claim = _claim(top, rest, lab, is_folder=top in folders, others=tuple(others))
        if isinstance(claim, str) and item.kind in ("symlink", "special") and "." not in top:
            claim = _Claim(
                f"name {top}", top, folder_name(top), lab.notebook
            )  # somebody's folder or notebook, had it been one
        if isinstance(claim, str):
            if claim and not rest:
                left.append(claim)
            continue
        twins = numbers.get(claim.name, set())
        who = f"{claim.who} {claim.number}" if claim.number and len(twins) > 1 else claim.who
        pile = found.setdefault(who, Pile(who, claim.name, claim.folder))
        if who != claim.who and not pile.notes:
            pile.notes.append("somebody else has the same name: told apart by Moodle's number, new in each assignment")
        pile.late |= claim.late
        if claim.file:
            pile.pieces.append(Piece(claim.file, item, claim.order))
    return [found[who] for who in sorted(found)], left


def _top(name: str) -> str:
    return name.split("/")[0]


def _inside(items: Sequence[Item]) -> list[Item]:
    """Without the one folder that unpacking a download puts around everything."""
    tops = {_top(item.name) for item in items}
    if len(tops) != 1:
        return list(items)
    prefix = f"{tops.pop()}/"
    inner = [item.name.removeprefix(prefix) for item in items if item.name.startswith(prefix)]
    if _lms(prefix[:-1]) or not any(_lms(_top(name)) for name in inner):
        return list(items)
    return [
        Item(item.name.removeprefix(prefix), item.kind, item.size, item.modified, item.load)
        for item in items
        if item.name.startswith(prefix)
    ]


def _lms(name: str) -> bool:
    return bool(_CANVAS.fullmatch(name) or _MOODLE.fullmatch(name))


def _moodle_numbers(items: Iterable[Item]) -> dict[str, set[str]]:
    """Moodle's numbers by name: two for one name are two people."""
    numbers: dict[str, set[str]] = {}
    for item in items:
        if found := _MOODLE.fullmatch(_top(item.name)):
            numbers.setdefault(found["name"], set()).add(found["number"])
    return numbers


def _claim(top: str, rest: str, lab: Lab, is_folder: bool, others: tuple[str, ...]) -> _Claim | str:
    """Whose a thing is; a sentence where it is nobody's, empty where nothing need be said."""
    if found := None if is_folder else _CANVAS.fullmatch(top):
        name, user = found["name"], found["user"]
        folder = folder_name(f"{name} {user}")  # Canvas puts names in one word: the number keeps two people apart
        return _Claim(f"canvas {user}", name, folder, found["file"], int(found["order"]), bool(found["late"]))
    if found := _MOODLE.fullmatch(top):
        if found["kind"] != "file":
            return ""
        name, file = found["name"], rest or found["file"] or ""
        return _Claim(f"moodle {name}", name, folder_name(name), file, number=found["number"])
    if is_folder:
        return _Claim(f"name {top}", top, folder_name(top), rest)
    suffix = PurePosixPath(top).suffix.lower()
    if suffix not in (".zip", ".ipynb"):
        return f"{top!a} names no student: left out"
    stem, order = _uncopied(top[: -len(suffix)])
    if any(stem == other or stem.startswith(f"{other}-") for other in others):
        return f"{top!a} is of another lab: left out"
    for prefix in (lab.name, lab.slug):
        if stem == prefix:
            return f"{top!a} names no student: give it alone, with --student ID"
        if stem.startswith(f"{prefix}-") or stem.startswith(f"{prefix}_"):
            stem = stem[len(prefix) + 1 :]
            break
    return _Claim(f"name {stem}", stem, folder_name(stem), lab.notebook if suffix == ".ipynb" else top, order)


def _uncopied(stem: str) -> tuple[str, int]:
    """Without the ` (1)` that a browser adds to a second download."""
    found = _COPY.fullmatch(stem)
    assert found is not None  # both parts may be empty
    return found["stem"], int(found["number"] or 0)


@dataclass(frozen=True)
class Choice:
    """What of a pile is the submission: an archive, or files by their path inside the lab."""

    archive: Piece | None = None
    files: tuple[Piece, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def order(self) -> int:
        """When it was handed in, where the source says so; greater is later."""
        pieces = [self.archive] if self.archive else self.files
        return max((piece.order for piece in pieces), default=0)


def choose(pile: Pile, lab: Lab, starter: Sequence[str]) -> Choice:
    """The latest attempt in `pile`. `starter` are the released files, by path inside the lab.

    An archive goes before loose files of the same attempt, for it is whole, unless they come with a starter folder.
    """
    archives = [p for p in pile.pieces if p.item.kind != "folder" and _is_archive(p.name)]
    files = _files(pile, lab, starter)
    if not archives:
        return Choice(files=tuple(files))
    own = f"{lab.name}-"
    latest = max(archives, key=lambda p: (p.order, p.item.modified, p.name.startswith(own), p.name))
    newest_file = max((piece.order for piece in files), default=-1)
    whole = any(piece.name.startswith(f"{STARTER}/") and piece.item.kind != "folder" for piece in files)
    has_notebook = any(piece.name == lab.notebook for piece in files)
    if has_notebook and (newest_file > latest.order or (whole and newest_file == latest.order)):
        return Choice(files=tuple(files), notes=_unread([piece.name for piece in archives]))
    return Choice(archive=latest, notes=_unread([piece.name for piece in archives if piece is not latest]))


def _unread(names: list[str]) -> tuple[str, ...]:
    return (f"also handed in, and not read: {', '.join(ascii(name) for name in names[:3])}",) if names else ()


def _is_archive(name: str) -> bool:
    return name.lower().endswith(".zip") and name.count("/") <= 1


def _files(pile: Pile, lab: Lab, starter: Sequence[str]) -> list[Piece]:
    """The loose files that make up a submission, each under its path inside the lab, the latest of each."""
    base = _base([piece.name for piece in pile.pieces], lab)
    flat = {PurePosixPath(path).name: path for path in sorted(starter, reverse=True)}
    tree = any(piece.name.startswith(f"{base}{STARTER}/") for piece in pile.pieces)
    latest: dict[str, Piece] = {}
    suspect: list[Piece] = []
    for piece in pile.pieces:
        if ".." in piece.name.split("/"):
            suspect.append(piece)  # kept, so that it is refused by name
        if not piece.name.startswith(base):
            continue
        name = piece.name.removeprefix(base)
        if not (name == STARTER or name.startswith(f"{STARTER}/")):
            name = _placed(name, lab, flat, tree)
        if name in latest and latest[name].item.name == piece.item.name:
            suspect.append(Piece(name, piece.item, piece.order))  # twice in one zip
        elif name and (name not in latest or piece.order > latest[name].order):
            latest[name] = Piece(name, piece.item, piece.order)
    if lab.notebook in latest:  # a student's other notebooks beside the right one are not worth a refusal
        latest = {name: piece for name, piece in latest.items() if not _is_spare(name, lab)}
    return [*(latest[name] for name in sorted(latest)), *suspect]


def _is_spare(name: str, lab: Lab) -> bool:
    return "/" not in name and name.endswith(".ipynb") and name != lab.notebook


def _base(names: Sequence[str], lab: Lab) -> str:
    """The folder in which the notebook lies: at the top or one level down, the lab's own name first."""
    for base in ("", f"{lab.name}/", *sorted({f"{_top(n)}/" for n in names if n.count("/") == 1 and _top(n) != ".."})):
        if f"{base}{lab.notebook}" in names:
            return base
    if not any(name == STARTER or name.startswith(f"{STARTER}/") or name.endswith(".ipynb") for name in names):
        below = sorted({f"{_top(name)}/" for name in names if "/" in name and _top(name) != ".."})
        if f"{lab.name}/" in below or len(below) == 1:
            return f"{lab.name}/" if f"{lab.name}/" in below else below[0]
    return ""


def _placed(name: str, lab: Lab, flat: dict[str, str], tree: bool) -> str:
    """Where a file handed in by itself belongs; empty where nowhere. An LMS adds `-1` to a second attempt's name."""
    if "/" in name:
        return ""
    stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
    plain = re.sub(r"-\d+$", "", _uncopied(stem)[0]) + suffix
    for candidate in (name, _uncopied(stem)[0] + suffix, plain):
        if candidate == lab.notebook:
            return candidate
        if candidate in flat and not tree:
            return flat[candidate]
    if suffix == ".py" and not tree:
        return f"{STARTER}/{name}"
    return name if suffix == ".ipynb" else ""


def folder_name(name: str) -> str:
    """`name` as a folder's: letters, digits, dots, dashes and underscores, never empty, never special anywhere."""
    if re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,62}[A-Za-z0-9])?", name):
        plain = name
    else:
        bare = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
        plain = re.sub(r"[^a-z0-9._@]+", "-", bare.casefold())[:56].strip("-._@")
    reserved = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
    if not plain or plain.casefold().split(".")[0] in reserved:
        return f"student-{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
    return plain
