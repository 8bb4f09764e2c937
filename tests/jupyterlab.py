"""JupyterLab as somebody with a keyboard and a mouse uses it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import nbformat
from nbformat.notebooknode import NotebookNode
from playwright.sync_api import Locator

from labkit.course import Lab
from tests import fullcourse
from tests.chromium import SECONDS, Visit
from tests.fullcourse import Copy

# Cells out of sight have no layout, so their text is read as it is in the document, not as it is shown.
_PROMPTS = """() => [...document.querySelectorAll('.jp-NotebookPanel .jp-CodeCell .jp-InputPrompt')]
    .map(prompt => prompt.textContent.trim())"""


@contextmanager
def started(copy: Copy, lab: str) -> Iterator[str]:
    """`lab start` has run, and this is the address that it printed; `lab stop` runs at the end."""
    said = copy.run("lab", "start", lab, "--no-browser", "--port", str(fullcourse.free_port()))
    try:
        url = re.search(r"http://127\.0\.0\.1:\d+/lab\S*", said)
        assert url, said
        yield url[0]
    finally:
        copy.run("lab", "stop")


def read(copy: Copy, lab: Lab) -> NotebookNode:
    """The student's notebook as it was saved last."""
    return nbformat.read(copy.course.work(lab) / lab.notebook, 4)


def open_notebook(visit: Visit, url: str, cells: int) -> None:
    """Open the notebook at `url` and wait until its kernel is ready and all of its `cells` are there."""
    visit.page.goto(url)
    visit.page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    visit.page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    visit.wait_for(lambda: visit.page.locator(".jp-Notebook .jp-Cell").count() == cells, f"all {cells} cells")


def menu(visit: Visit, first: str, *names: str) -> None:
    """Choose an entry of the menu bar, e.g. `File`, `New`, `Terminal`."""
    visit.page.locator(".lm-MenuBar-item").get_by_text(first, exact=True).click()
    for name in names:
        visit.page.locator(".lm-Menu-itemLabel").get_by_text(name, exact=True).click()


def run_all(visit: Visit) -> None:
    """Run > Run All Cells, and wait until the last cell ran, or one stopped the rest."""
    before = prompts(visit)[0]
    visit.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook").focus()
    menu(visit, "Run", "Run All Cells")

    def ended() -> bool:
        now = prompts(visit)
        return "[*]:" not in now and re.fullmatch(r"\[\d+\]:", now[0]) is not None and now[0] != before

    visit.wait_for(ended, "all cells to run", SECONDS * 3)


def prompts(visit: Visit) -> list[str]:
    """What stands before each code cell: `[ ]:`, `[*]:` or `[3]:`."""
    found: list[str] = visit.page.evaluate(_PROMPTS)
    return found


def cell(visit: Visit, text: str) -> Locator:
    """The code cell that holds `text`."""
    return visit.page.locator(".jp-NotebookPanel .jp-CodeCell").filter(has_text=text)


def type_into(visit: Visit, editor: Locator, text: str) -> None:
    """Replace all that stands in an editor by typing."""
    editor.scroll_into_view_if_needed()
    editor.click()
    visit.page.keyboard.press("Control+a")
    visit.page.keyboard.type(text)


def paste_into(visit: Visit, editor: Locator, text: str) -> None:
    """Replace all that stands in an editor at once, so that nothing is indented a second time."""
    editor.click()
    visit.page.keyboard.press("Control+a")
    visit.page.keyboard.insert_text(text)


def open_file(visit: Visit, *path: str) -> Locator:
    """Open a file by double clicks in the file browser, from the folder it shows; returns its editor."""
    for name in path:
        visit.page.locator(".jp-DirListing-item").get_by_text(name, exact=True).dblclick()
    editor = visit.page.locator(".jp-FileEditor:visible .cm-content")
    editor.wait_for()
    return editor


def show_tab(visit: Visit, name: str) -> None:
    """Bring an open document to the front."""
    visit.page.locator(".jp-MainAreaWidget, .lm-DockPanel-tabBar .lm-TabBar-tab").get_by_text(name, exact=True).click()


def save(visit: Visit) -> None:
    """Save the document in front, and wait until nothing in it is unsaved."""
    visit.page.keyboard.press("Control+s")
    visit.page.locator(".lm-DockPanel-tabBar .lm-TabBar-tab.lm-mod-current.jp-mod-dirty").wait_for(state="detached")


def open_terminal(visit: Visit) -> str:
    """File > New > Terminal; returns its prompt."""
    visit.frames.clear()
    menu(visit, "File", "New", "Terminal")
    visit.wait_for(lambda: terminal_text(visit).endswith(("$ ", "# ", "% ")), "the terminal's prompt")
    return terminal_text(visit).rpartition("\n")[2]


def type_command(visit: Visit, command: str) -> None:
    """Type a command into the terminal in front."""
    visit.page.locator(".jp-Terminal:visible .xterm-helper-textarea").focus()
    visit.page.keyboard.type(command)
    visit.page.keyboard.press("Enter")


def terminal_text(visit: Visit) -> str:
    """What the terminal has printed since it was opened, without colours."""
    said = (json.loads(frame) for frame in visit.frames if frame.startswith('["stdout"'))
    return re.sub(r"\x1b[\[(?][0-9;?]*[A-Za-z]", "", "".join(text for _, text in said))
