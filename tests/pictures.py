"""The README's pictures, made from the real thing: `python -m tests.pictures` (some of them: name them)."""

import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Locator, Page

from grader import answers, demo, source, strip
from labkit import work
from labkit.course import Lab
from tests import chromium, formgrader, fullcourse, jupyterlab
from tests.chromium import Visit
from tests.fullcourse import ROOT, Copy

LAB = "02"
TARGET = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 1400, 900
LARGEST = 150_000

MISTAKE = "cancelled-is-a-fault"
SOLVED = ("starter/ingest.py", "starter/parts.py")
"""What the student of the second picture has written so far, with one of the known mistakes in it."""


def notebook(browser: Browser, copy: Copy, lab: Lab) -> None:
    """JupyterLab on the lab: a task's text, its hints, its check."""
    with jupyterlab.started(copy, LAB) as url, chromium.visit(browser, WIDTH, HEIGHT) as visit:
        open_lab(copy, lab, visit, url)
        task = visit.page.locator(".jp-MarkdownCell").filter(has_text="Task 1").last
        fold = task.locator("summary").first
        fold.scroll_into_view_if_needed()
        fold.evaluate("fold => fold.scrollIntoView({block: 'start'})")
        keep(visit.page, "notebook")


def check(browser: Browser, copy: Copy, lab: Lab) -> None:
    """`lab check` on half of the lab, typed into JupyterLab's terminal."""
    half_solved(copy, lab)
    with jupyterlab.started(copy, LAB) as url, chromium.visit(browser, WIDTH, 620) as visit:
        open_lab(copy, lab, visit, url)
        visit.page.keyboard.press("Control+b")  # without the file browser
        jupyterlab.open_terminal(visit)
        jupyterlab.type_command(visit, "PS1='$ '; clear")  # without this machine's name and folders
        visit.wait_for(lambda: jupyterlab.terminal_text(visit).endswith(("\n$ ", "\r$ ")), "a short prompt")
        jupyterlab.type_command(visit, f"lab check {LAB}")
        ended = re.compile(r"Grading also runs.*\s\$ $", re.DOTALL)
        visit.wait_for(lambda: ended.search(jupyterlab.terminal_text(visit)), "the end of the checks", 600)
        keep(visit.page.locator(".jp-Terminal:visible"), "check")


def classroom(browser: Browser, copy: Copy, lab: Lab) -> None:
    """The class of `grader demo`: its report, and the same class in nbgrader's formgrader."""
    copy.run("grader", "demo", LAB, "--no-open", limit=3600)
    page = copy.root / demo.ROOM / "report" / lab.name / "index.html"
    with chromium.visit(browser, WIDTH, HEIGHT) as visit:
        visit.page.goto(page.as_uri())
        keep(visit.page, "report")
    # formgrader shows the course's own classroom: this copy has none yet
    (copy.root / demo.ROOM).rename(copy.house.classroom)
    with chromium.visit(browser, WIDTH, 640) as visit, formgrader.running(copy, visit) as root:
        visit.page.goto(f"{root}/manage_submissions/{lab.name}")
        visit.page.locator("tr", has_text="graded").last.wait_for()
        keep(visit.page, "formgrader")


PICTURES: dict[str, Callable[[Browser, Copy, Lab], None]] = {
    "notebook": notebook,
    "check": check,
    "classroom": classroom,
}


def open_lab(copy: Copy, lab: Lab, visit: Visit, url: str) -> None:
    cells = len(jupyterlab.read(copy, lab).cells)
    jupyterlab.open_notebook(visit, url, cells)


def half_solved(copy: Copy, lab: Lab) -> None:
    """Write the student's copy as it is halfway, with one mistake."""
    known = {answer.name: answer for answer in answers.read(lab)}
    files = answers.apply(lab, source.notebook(lab), known[MISTAKE])
    work.ensure(copy.course, copy.course.lab(lab.name))
    for name in SOLVED:
        text = strip.without_markers(files[name].decode())
        (copy.course.work(lab) / name).write_text(text, encoding="utf-8")


def keep(shown: Page | Locator, name: str) -> None:
    """Save what is shown as `name`.png, small enough for a clone."""
    TARGET.mkdir(parents=True, exist_ok=True)
    target = TARGET / f"{name}.png"
    shown.screenshot(path=target, animations="disabled", caret="hide")
    with Image.open(target) as picture:
        plain = picture.convert("RGB")
    # A palette spoils small spots of colour: only where the picture is too large without it.
    plain.save(target, optimize=True)
    if target.stat().st_size > LARGEST:
        plain.quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)
    if target.stat().st_size > LARGEST:
        raise SystemExit(f"{target} has {target.stat().st_size:,} bytes, more than {LARGEST:,}: show less of it")
    print(f"{target}: {plain.width} x {plain.height}, {target.stat().st_size:,} bytes")


def main() -> None:
    """Make the pictures named on the command line; all if none is."""
    wanted = sys.argv[1:] or list(PICTURES)
    if unknown := set(wanted) - set(PICTURES):
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(PICTURES)}")
    with tempfile.TemporaryDirectory(prefix="mle-pictures-", ignore_cleanup_errors=True) as name:
        os.environ |= {
            f"JUPYTER_{kind}_DIR": f"{name}/jupyter/{kind.lower()}" for kind in ("CONFIG", "DATA", "RUNTIME")
        }
        with chromium.launched() as browser:
            for one in wanted:
                copy = fullcourse.copy(Path(name) / one / "mle-labs")
                PICTURES[one](browser, copy, copy.house.source(LAB))


if __name__ == "__main__":
    main()
