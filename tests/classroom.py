"""A course with one tiny lab, and submissions of it in every shape that they come in."""

import json
import stat
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from grader import build, new
from grader.house import House
from labkit.course import Course, Lab

STARTER = "starter/answer.py"


def house(root: Path) -> tuple[House, Lab]:
    """A course folder with the lab that `grader new` makes, built, its notebook not executed."""
    for name in ("labs", "datasets", "solutions"):
        (root / name).mkdir(parents=True)
    made = House(Course(root))
    new.create(made, "90-mini")
    lab = made.source("90")
    build.build(made, lab, execute=False)
    return made, lab


def answer(body: str = "return sum(delay > 15 for delay in delays) / len(delays)") -> bytes:
    """The starter file, answered with `body`."""
    return f"def late_share(delays: list[float]) -> float:\n    {body}\n".encode()


def files(
    house: House, lab: Lab, body: str = "return sum(delay > 15 for delay in delays) / len(delays)"
) -> dict[str, bytes]:
    """A student's files: the released notebook and an answer."""
    return {lab.notebook: (house.release(lab) / lab.notebook).read_bytes(), STARTER: answer(body)}


def zipped(path: Path, content: Mapping[str, bytes] | Iterable[tuple[str, bytes]], links: Iterable[str] = ()) -> Path:
    """A zip with exactly these names and contents, as nobody's tool would check them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items() if isinstance(content, Mapping) else content:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (stat.S_IFLNK if name in links else stat.S_IFREG | 0o644) << 16
            archive.writestr(info, data)
    return path


def packed(content: Mapping[str, bytes], folder: Path) -> bytes:
    """The bytes of a zip with `content`."""
    path = zipped(folder / "packed.zip", content)
    data = path.read_bytes()
    path.unlink()
    return data


def laid_out(folder: Path, content: Mapping[str, bytes]) -> Path:
    """`content` as files in `folder`."""
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def record(house: House, lab: Lab, student: str) -> dict[str, object]:
    """What was noted when that submission was collected."""
    text = (house.classroom / "submitted" / student / lab.name / "collected.json").read_text(encoding="utf-8")
    return dict(json.loads(text))
