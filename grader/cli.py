"""The command `grader`: each command parses, calls one function and prints."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from grader import build as building
from grader import classic, gradebook, new, tables
from grader import collect as collecting
from grader import demo as demonstration
from grader import grade as grading
from grader import prove as proving
from grader import report as reporting
from grader.house import House, here
from labkit.console import console, stderr
from labkit.console import main as entry
from labkit.course import Lab
from labkit.errors import FailureError
from labkit.session import open_browser

app = typer.Typer(
    name="grader", help="Build labs, prove them, grade submissions.", no_args_is_help=True, add_completion=False
)
main = entry(app)

LabArgument = Annotated[str, typer.Argument(metavar="LAB", help="number or name of a lab, e.g. 02")]
MaybeLab = Annotated[str | None, typer.Argument(metavar="[LAB]", help="number or name; all labs if left out")]
Workers = Annotated[int, typer.Option("--workers", "-j", min=1, help="how many to judge at a time")]
CORES = os.cpu_count() or 1


@app.command()
def build(
    lab: MaybeLab = None,
    check: Annotated[bool, typer.Option("--check", help="only compare: exit 1 where a rebuild would differ")] = False,
    execute: Annotated[bool, typer.Option(help="run the solved notebook if its sources changed")] = True,
) -> None:
    """Write what students get of LAB, and its executed solution, from the one source."""
    house = here()
    for one in _chosen(house, lab):
        if check:
            differences = building.differences(house, one)
            if differences:
                raise FailureError("\n".join(differences))
        else:
            building.build(house, one, stderr.print, execute)
        console.print(f"{one.name}: {'as its source builds it' if check else 'built'}")


@app.command()
def prove(lab: MaybeLab = None, workers: Workers = CORES) -> None:
    """Judge every known answer of LAB: untouched 0, reference full, each wrong one loses exactly what it names."""
    house = here()
    surprised = 0
    for one in _chosen(house, lab):
        grading.ready(one)
        with _progress(f"proving {one.name}") as bar:
            proofs = proving.prove(house, one, workers, bar)
        console.print(tables.proofs(one.title, proofs))
        surprised += sum(bool(proof.surprises) for proof in proofs)
    if surprised:
        raise FailureError(f"{surprised} answers were not graded as they must be: see the last column")


@app.command("new")
def new_(name: Annotated[str, typer.Argument(metavar="NN-NAME", help="e.g. 18-feature-store")]) -> None:
    """Make an empty lab, ready to be written, that builds and proves as it is."""
    folder = new.create(here(), name)
    console.print(f"{folder} is there. Next: `grader build {name[:2]}`, `grader prove {name[:2]}`, then write.")


@app.command()
def collect(
    lab: LabArgument,
    path: Annotated[Path, typer.Argument(help="a folder of submissions, a zip from Canvas or Moodle, or one archive")],
    student: Annotated[str, typer.Option(help="whose PATH is, where its name does not say")] = "",
    keep: Annotated[bool, typer.Option("--keep/--replace", help="leave what was collected before as it is")] = False,
    at: Annotated[datetime | None, typer.Option(help="when all of it was handed in, UTC; now if left out")] = None,
) -> None:
    """Take the submissions of LAB in PATH into the classroom; the latest of each student counts, none is lost."""
    house, one = _of(lab)
    outcomes = collecting.collect(house, one, path, student, keep, at.replace(tzinfo=UTC) if at else None)
    console.print(collecting.table(f"{one.name}: {path.name}", outcomes))


@app.command()
def grade(
    lab: LabArgument,
    workers: Workers = CORES,
    student: Annotated[list[str] | None, typer.Option(help="only this one; may be given again")] = None,
) -> None:
    """Judge every collected submission of LAB and write the gradebook. This engine does not isolate submissions."""
    house = here()
    one = house.source(lab)
    with _progress(f"grading {one.name}") as bar:
        results = grading.grade(house, one, workers, frozenset(student or ()), lambda _: bar())
    console.print(tables.scores(results))


@app.command()
def feedback(lab: LabArgument) -> None:
    """Write a page for each graded student: points, messages, their own outputs, no hidden test."""
    pages = gradebook.feedback(*_of(lab))
    console.print(f"{len(pages)} pages, for example {pages[0]}")


@app.command()
def report(
    lab: LabArgument,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="show the page where there is a screen")] = True,
) -> None:
    """Write the class report of LAB: scores, what each check found, each student; and the grades as a table."""
    page = reporting.write(*_of(lab))
    if not (open_ and open_browser(page.as_uri())):
        console.print(str(page))


@app.command()
def demo(
    lab: Annotated[str, typer.Argument(metavar="[LAB]", help="number or name of a lab")] = "02",
    workers: Workers = CORES,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="show the page where there is a screen")] = True,
) -> None:
    """Let a made-up class of 24 hand in LAB; collect, grade and report, in a classroom apart from the real one."""
    house, one = _of(lab)
    shown = demonstration.run(house, one, workers, console.print, _progress)
    console.print(f"all of it took {shown.seconds:.0f} s")
    if shown.surprises:
        raise FailureError("\n".join([*shown.surprises, f"the report is {shown.page}"]))
    console.print(f"all {shown.students} scores are what the known answers of {one.name} say they must be")
    if not (open_ and open_browser(shown.page.as_uri())):
        console.print(f"the class report: {shown.page}")


@app.command()
def formgrader(
    demo: Annotated[bool, typer.Option("--demo", help="the class of `grader demo`")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="JupyterLab's port; else the next free one")] = 8888,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="open the browser")] = True,
) -> None:
    """Open nbgrader's screens on the class, to read answers, comment and change grades. Ctrl-C ends it."""
    house = here()
    code = classic.formgrader(replace(house, room=demonstration.ROOM) if demo else house, port, browser)
    if code:
        raise FailureError(f"JupyterLab ended with exit code {code}: its messages above say why")


def _of(lab: str) -> tuple[House, Lab]:
    house = here()
    return house, house.source(lab)


def _chosen(house: House, lab: str | None) -> list[Lab]:
    labs = [house.source(lab)] if lab else house.sources()
    if not labs:
        raise FailureError(f"{house.solutions} has no lab: `grader new 01-name` makes one")
    return labs


class _progress:
    """A bar on a terminal, nothing elsewhere; called once for each piece done."""

    def __init__(self, title: str, total: int | None = None) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal)
        self._task = self._bar.add_task(title, total=total)

    def __enter__(self) -> "_progress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self) -> None:
        self._bar.advance(self._task)
