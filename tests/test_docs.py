"""What the pages say is there is there: files behind links, commands, pictures with a text beside them."""

import re
from pathlib import Path

import pytest
import typer

from grader import cli as grader_cli
from labkit import cli as lab_cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *ROOT.glob("labs/*/README.md"),
]


def broken_links(page: Path) -> list[str]:
    """The links of a page to files that are not there."""
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    return [link for link in links if ":" not in link and not (page.parent / link).exists()]


def unknown_commands(page: Path) -> list[str]:
    """The commands `lab X` and `grader X` in a page's code that neither program has."""
    text = page.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```(?:bash|text)?\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text))
    used = set(re.findall(r"^(?:\S*/)?(lab|grader) ([a-z]+)", code, re.MULTILINE))
    known = {"lab": commands(lab_cli.app), "grader": commands(grader_cli.app)}
    return sorted(f"{program} {name}" for program, name in used if name not in known[program])


def commands(app: typer.Typer) -> set[str]:
    return set(typer.main.get_command(app).commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere_and_commands_exist(page: Path) -> None:
    assert broken_links(page) == []
    assert unknown_commands(page) == []


def test_the_readme_has_a_door_for_each_reader_and_pictures_with_words() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    top = "\n".join(text.splitlines()[:25])
    for reader in ("a student", "an instructor", "a workshop team", "an author"):
        assert f"**{reader}**" in top
    pictures = re.findall(r"!\[([^\]]*)\]\(", text)
    assert len(pictures) >= 4
    assert all(len(words.split()) >= 6 for words in pictures)


def test_every_lab_is_on_the_map() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for folder in ROOT.glob("labs/*/"):
        assert f"labs/{folder.name}/README.md" in text


def test_a_dead_link_and_an_invented_command_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "[there](page.md) [gone](gone.md#a)\n\n```bash\nlab fly 02\n```\n`grader grade 02`\n", encoding="utf-8"
    )
    assert broken_links(page) == ["gone.md"]
    assert unknown_commands(page) == ["lab fly"]
