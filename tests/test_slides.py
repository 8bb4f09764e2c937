"""The decks become pages by the command the README shows."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import needs

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 300
"""The first run downloads the pinned Marp."""


def make_slides(folder: Path) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "Makefile", folder)
    environment = {**os.environ, "PATH": needs.node_path()}
    return subprocess.run(
        ["make", "slides"], cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=SECONDS
    )


def unpublished(decks: Path, pages: Path) -> list[str]:
    """Each deck without a page that holds as many slides as the deck has."""
    wrong = []
    for deck in sorted(decks.glob("[0-9]*.md")):
        page = pages / f"{deck.stem}.html"
        slides = page.read_text(encoding="utf-8").count("</section>") if page.is_file() else 0
        front_matter, *rest = re.split(r"^---$", deck.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
        if "marp: true" not in front_matter or slides != len(rest):
            wrong.append(f"{deck.name}: {len(rest)} slides, {slides} on its page")
    return wrong


@pytest.fixture
def course(tmp_path: Path) -> Path:
    needs.require("node", needs.node())
    shutil.copytree(ROOT / "slides", tmp_path / "slides", ignore=shutil.ignore_patterns("build"))
    return tmp_path


def test_every_deck_becomes_a_page_with_all_its_slides(course: Path) -> None:
    assert list((course / "slides").glob("[0-9]*.md"))
    done = make_slides(course)
    assert done.returncode == 0, done.stdout + done.stderr
    assert unpublished(course / "slides", course / "slides" / "build") == []
    assert not (course / "slides" / "build" / "README.html").exists()


def test_a_deck_without_its_page_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "01-a.md").write_text("---\nmarp: true\n---\n# one\n\n---\n\n# two\n", encoding="utf-8")
    (tmp_path / "01-a.html").write_text("<section></section>", encoding="utf-8")
    assert unpublished(tmp_path, tmp_path) == ["01-a.md: 2 slides, 1 on its page"]


def test_without_node_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    make, shell = shutil.which("make"), shutil.which("sh")
    assert make and shell
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").symlink_to(shell)
    environment = {"PATH": str(tmp_path / "bin")}
    done = subprocess.run(
        [make, "slides"], cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("the slides need Node.js 18 or newer, and there is no npx: install Node.js")
