"""What the student has checked and submitted so far, kept in `.lab/progress.json`."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from labkit.course import Course
from labkit.state import read_json, write_json

SCHEMA = 1


@dataclass(frozen=True)
class Record:
    """What is known of one lab: points and time of the last check, time and place of the last archive."""

    score: float | None = None
    max_score: float | None = None
    checked: datetime | None = None
    submitted: datetime | None = None
    archive: str | None = None


@dataclass(frozen=True)
class Progress:
    """Every lab's record, and where a damaged file was put aside, if there was one."""

    records: dict[str, Record]
    set_aside: Path | None = None


def read(course: Course) -> Progress:
    """The progress so far. A file that cannot be read is renamed, never overwritten."""
    path = _path(course)
    try:
        values = read_json(path)
        records = {name: _record(entry) for name, entry in values["labs"].items()} if values else {}
        return Progress(records)
    except (ValueError, KeyError, TypeError, AttributeError):
        aside = _free_name(path, datetime.now())
        path.rename(aside)
        return Progress({}, aside)


def record_check(course: Course, lab: str, score: float, max_score: float) -> Path | None:
    """Note the points of a check; returns where a damaged file was put aside, if there was one."""
    return _update(course, lab, "checked", {"at": _now(), "score": score, "max_score": max_score})


def record_submission(course: Course, lab: str, archive: Path) -> Path | None:
    """Note that an archive was made; returns where a damaged file was put aside, if there was one."""
    return _update(course, lab, "submitted", {"at": _now(), "archive": str(archive)})


def record_reset(course: Course, lab: str) -> Path | None:
    """Forget the points of work that was put back; returns where a damaged file was put aside, if there was one."""
    return _update(course, lab, "checked", {})


def _update(course: Course, lab: str, key: str, value: dict[str, Any]) -> Path | None:
    aside = read(course).set_aside
    values = read_json(_path(course)) or {"schema": SCHEMA, "labs": {}}
    values["labs"].setdefault(lab, {})[key] = value
    write_json(_path(course), values)
    return aside


def _record(entry: dict[str, Any]) -> Record:
    checked, submitted = entry.get("checked", {}), entry.get("submitted", {})
    return Record(
        score=float(checked["score"]) if checked else None,
        max_score=float(checked["max_score"]) if checked else None,
        checked=datetime.fromisoformat(checked["at"]) if checked else None,
        submitted=datetime.fromisoformat(submitted["at"]) if submitted else None,
        archive=str(submitted["archive"]) if submitted else None,
    )


def _path(course: Course) -> Path:
    return course.state_dir / "progress.json"


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _free_name(path: Path, now: datetime) -> Path:
    name = f"{path.stem}.damaged-{now:%Y-%m-%d-%H%M%S}"
    candidate, count = path.with_name(f"{name}.json"), 2
    while candidate.exists():
        candidate, count = path.with_name(f"{name}-{count}.json"), count + 1
    return candidate
