"""The student's command, `lab`."""

import sys
from datetime import datetime
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from labkit import cloud, course, doctor, progress, session, submission, work
from labkit.console import console
from labkit.console import main as entry
from labkit.errors import FailureError, UserError

if TYPE_CHECKING:
    from labkit.checks import CheckReport

app = typer.Typer(
    help="Work on the labs: start, check, submit.",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
)

LabArgument = Annotated[str, typer.Argument(metavar="NN", help="The lab's number or name, e.g. 02 or cloud-storage.")]
OptionalLab = Annotated[str | None, typer.Argument(metavar="[NN]", help="The lab's number or name; none: all labs.")]
PortOption = Annotated[int | None, typer.Option(min=1, max=65535, help="JupyterLab's port; else the next free one.")]

SYMBOLS = {"ok": "+", "limited": "!", "absent": "-", "broken": "x"}
SYMBOLS |= {"passed": "+", "failed": "x", "not run": "-", "answered": "~"}

WIDE = 110
"""From how many columns of the screen on sentences have a column of their own in the table of checks."""


class Clouds(StrEnum):
    """What `--cloud` takes."""

    aws = "aws"
    gcp = "gcp"
    azure = "azure"
    all = "all"


def _version(wanted: bool) -> None:
    if wanted:
        _say(f"lab {version('mle-labs')}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        _say(context.get_help())


@app.command()
def start(
    lab: OptionalLab = None,
    cloud_: Annotated[
        Clouds | None, typer.Option("--cloud", help="Local clouds to start besides what it needs.")
    ] = None,
    port: PortOption = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the browser.")] = True,
) -> None:
    """Start a lab: its tools, clouds and JupyterLab."""
    here = course.find()
    asked = cloud.NAMES if cloud_ is Clouds.all else tuple(name for name in cloud.NAMES if name == cloud_)
    running = session.start(here, here.lab(lab) if lab else None, asked, port, console)
    for one in running.clouds:
        _say(str(one))
    _say("JupyterLab runs already:" if running.reused else "JupyterLab runs:")
    _say(f"  {running.url}")
    if browser and not session.open_browser(running.url):
        _say("open that address in a browser; `lab stop` ends it all")
    else:
        _say("`lab stop` ends it all")


@app.command()
def stop() -> None:
    """Stop JupyterLab and the local clouds."""
    stopped, clouds = session.stop(course.find())
    ended = [*stopped, *(f"the local {name}" for name in clouds)]
    _say(f"stopped {', '.join(ended)}" if ended else "nothing was running")
    if clouds:
        _say("what the local store held is gone: run the set-up cell again after the next `lab start`")


@app.command("list")
def list_labs() -> None:
    """List the labs there are."""
    table = Table("lab", "title", "minutes", "needs")
    for lab in course.find().labs():
        table.add_row(
            lab.name, Text(lab.title), str(lab.minutes), ", ".join((*lab.needs, *lab.extras)) or "nothing more"
        )
    _show(table)


@app.command("doctor")
def examine() -> None:
    """Show what this machine has and how to mend it."""
    findings = doctor.examine(course.find())
    for finding in findings:
        mend = f" | mend: {finding.mend}" if finding.mend else ""
        head = f"{SYMBOLS[finding.status]} {finding.status:8} {finding.what:17}"
        _say(f"{head} {finding.found} | enables: {finding.enables}{mend}")
    if broken := [finding.what for finding in findings if finding.status == "broken"]:
        raise FailureError(f"the labs cannot run until this is mended: {', '.join(broken)}")


@app.command()
def check(
    lab: LabArgument,
    folder: Annotated[
        Path | None, typer.Option(help="Another folder than your copy; not kept in `lab progress`.")
    ] = None,
) -> None:
    """Run the visible checks on your files."""
    here = course.find()
    wanted = here.lab(lab)
    if folder and not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the one that {wanted.notebook} lies in, or leave out --folder")
    from labkit import checks  # with nbgrader, which takes two seconds that no other command should wait for

    report = checks.check(wanted, folder or here.work(wanted))
    if report.problem:
        raise UserError(report.problem)
    _show(_report_table(wanted, report, _screen().width))
    for note in report.notes:
        _say(f"! {note}")
    if open_points := sum(result.max_points for result in report.results if result.status == "answered"):
        _say(f"{open_points:g} more points are for answers that only grading judges.")
    _say("Grading also runs hidden tests: they try other values of the same contract, and ask nothing new.")
    if not folder:
        _tell_set_aside(progress.record_check(here, wanted.name, report.score, report.max_score))
    if any(result.status in ("failed", "not run") for result in report.results):
        raise typer.Exit(1)


@app.command("progress")
def show_progress() -> None:
    """Show the points so far and what was submitted."""
    here = course.find()
    known = progress.read(here)
    _tell_set_aside(known.set_aside)
    table = Table("lab", "points", "checked", "submitted")
    for lab in here.labs():
        record = known.records.get(lab.name, progress.Record())
        points = f"{record.score:g} of {record.max_score:g}" if record.checked else "not checked yet"
        table.add_row(lab.name, points, _time(record.checked), _time(record.submitted))
    _show(table)


@app.command()
def reset(lab: LabArgument, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Back up your copy and put it back to the start."""
    here = course.find()
    wanted = here.lab(lab)
    if not yes:
        if not sys.stdin.isatty():
            raise UserError(f"there is no terminal to ask on: run `lab reset {wanted.number:02d} --yes`")
        typer.confirm(f"Put {here.work(wanted)} back to the start? It is backed up first.", abort=True)
    backup = work.reset(here, wanted, datetime.now())
    _say(f"{here.work(wanted)} is as it was at the start")
    if backup:
        _say(f"your work before is in {backup}")
    _tell_set_aside(progress.record_reset(here, wanted.name))


@app.command()
def submit(
    lab: LabArgument,
    output: Annotated[Path | None, typer.Option(help="Where to write the archive: a folder or a .zip.")] = None,
    student: Annotated[str | None, typer.Option(help="Your ID, to stand in the archive's name.")] = None,
) -> None:
    """Pack the one archive that you hand in."""
    here = course.find()
    wanted = here.lab(lab)
    name = submission.archive_name(wanted, student)
    packed = submission.pack(wanted, here.work(wanted), _archive_path(output or here.work_dir, name), datetime.now())
    for warning in packed.warnings:
        _say(f"! {warning}")
    files = "1 file" if packed.files == 1 else f"{packed.files} files"
    _say(f"packed {files}, {packed.size / 1000:.0f} kB: hand in {packed.path}")
    _tell_set_aside(progress.record_submission(here, wanted.name, packed.path))


def _archive_path(output: Path, name: str) -> Path:
    if output.is_dir():
        return output / name
    if output.suffix != ".zip":
        raise UserError(f"{output} is neither a folder that exists nor a .zip: give one of these with --output")
    if not output.parent.is_dir():
        raise UserError(f"the folder {output.parent} does not exist: make it, or give another with --output")
    return output


def _report_table(lab: course.Lab, report: "CheckReport", width: int) -> Table:
    """A row for each check; on a narrow screen, what to do stands under the check's name."""
    total, score = "total, visible checks", f"{report.score:g} of {report.max_score:g}"
    columns = [Column(), Column("task", total), Column("check"), Column("points", score), Column("what to do")]
    if width < WIDE:
        columns = [Column(), Column("task (check), what to do", total), Column("points", score)]
    table = Table(*columns, title=Text(lab.title), title_justify="left", show_footer=True)
    for result in report.results:
        status = f"{SYMBOLS.get(result.status, '?')} {result.status}"
        points = f"{result.points:g} of {result.max_points:g}"
        if width < WIDE:
            table.add_row(status, Text(f"{result.task} ({result.grade_id})\n{result.message}".strip()), points)
        else:
            table.add_row(status, Text(result.task), result.grade_id, points, Text(result.message))
    return table


def _tell_set_aside(file: Path | None) -> None:
    if file:
        _say(f"! the progress file was damaged: it was put aside as {file} and a new one is begun")


def _time(moment: datetime | None) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}" if moment else "-"


def _say(line: str) -> None:
    console.print(line, markup=False)


def _show(table: Table) -> None:
    table.box = box.SIMPLE
    _screen().print(table, soft_wrap=False)


def _screen() -> Console:
    # In a pipe there is no width to fit: keep sentences whole.
    return console if console.is_terminal else Console(file=console.file, width=1000)


main = entry(app)
