"""The pictures of the README: what `make pictures` makes, small, and with no notes in them."""

from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.pictures import LARGEST, TARGET, WIDTH

NAMES = {"check", "formgrader", "notebook", "report"}


def faults(folder: Path) -> list[str]:
    """What is wrong with the pictures in `folder`, one sentence each."""
    files = sorted(folder.iterdir())
    told = [f"{name}.png is missing: run `make pictures`" for name in sorted(NAMES - {file.stem for file in files})]
    for file in files:
        if file.suffix != ".png" or file.stem not in NAMES:
            told.append(f"{file.name} is made by nobody")
            continue
        with Image.open(file) as picture:
            if file.stat().st_size > LARGEST or picture.width > WIDTH:
                told.append(f"{file.name} is {picture.width} wide and {file.stat().st_size:,} bytes: too large")
            if picture.info.keys() - {"transparency"}:
                told.append(
                    f"{file.name} carries {', '.join(map(str, picture.info))}: nothing but the picture is published"
                )
    return told


def test_the_pictures_are_there_and_small() -> None:
    assert faults(TARGET) == []


@pytest.mark.parametrize("fault", ["missing", "stray", "wide", "telling"])
def test_a_picture_that_should_not_be_is_found(fault: str, tmp_path: Path) -> None:
    for name in NAMES - ({"check"} if fault == "missing" else set()):
        Image.new("RGB", (10, 10)).save(tmp_path / f"{name}.png")
    note = PngInfo()
    note.add_text("Author", "somebody")
    if fault == "stray":
        (tmp_path / "extra.svg").write_text("", encoding="utf-8")
    if fault == "wide":
        Image.new("RGB", (WIDTH + 1, 10)).save(tmp_path / "check.png")
    if fault == "telling":
        Image.new("RGB", (10, 10)).save(tmp_path / "check.png", pnginfo=note)
    assert len(faults(tmp_path)) == 1
