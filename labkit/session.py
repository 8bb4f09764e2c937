"""A student's working session: tools, copies, clouds and JupyterLab, brought up and taken down together."""

import os
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from labkit import cloud, doctor, install, jupyter, submission, work
from labkit.course import Course, Lab
from labkit.errors import FailureError, UserError

NEEDS = {"docker": doctor.engine, "cluster": doctor.cluster, "gpu": doctor.gpu}
"""What a lab may need that no command of ours can install."""


@dataclass(frozen=True)
class Session:
    """What runs after `start`, and whether JupyterLab ran before."""

    clouds: tuple[cloud.Cloud, ...]
    server: jupyter.Server
    reused: bool
    url: str


def start(course: Course, lab: Lab | None, asked: Sequence[cloud.Name], port: int | None, console: Console) -> Session:
    """Check the machine, install what is missing, copy the labs, start clouds and JupyterLab; reuse what runs."""
    labs = [lab] if lab else course.labs()
    if not labs:
        raise FailureError(f"there is no lab in {course.labs_dir}: get them again with `git checkout -- labs`")
    _require_port(course, port)
    precheck(course, lab, console)
    wanted = clouds_for(lab, asked)
    install_for(course, lab, wanted, console)
    for one in labs:
        if folder := work.ensure(course, one):
            console.print(f"your copy of {one.name}: {folder}", markup=False)
    clouds = tuple(cloud.start(name) for name in wanted)
    server, reused = _serve(course, port, console)
    return Session(clouds, server, reused, server.url(_page(course, lab, console) if lab else ""))


def stop(course: Course) -> tuple[list[str], list[cloud.Name]]:
    """Stop JupyterLab, then the clouds; returns what ran, the clouds apart."""
    server = jupyter.find(course)
    stopped = [f"JupyterLab on port {server.port}" if server else "JupyterLab"] if jupyter.stop(course) else []
    return stopped, cloud.stop()


def _page(course: Course, lab: Lab, console: Console) -> str:
    """The lab's notebook, or its folder where the notebook is not."""
    folder = course.work(lab)
    if (folder / lab.notebook).is_file():
        return f"{lab.name}/{lab.notebook}"
    console.print(f"! {submission.missing_notebook([path.name for path in folder.iterdir()], lab)}", markup=False)
    return lab.name


def precheck(course: Course, lab: Lab | None, console: Console) -> None:
    """Say what this machine lacks for `lab`; raises FailureError where nothing could run."""
    for finding in (doctor.python(), doctor.memory(), doctor.disk(course.root)):
        if finding.status == "broken":
            raise FailureError(f"{finding.what}: {finding.found}: {finding.mend}")
        if finding.status != "ok":
            console.print(
                f"! {finding.what}: {finding.found}; enough for {finding.enables}; {finding.mend}", markup=False
            )
    if lab is None:
        return
    for need in lab.needs:
        if need in NEEDS and (finding := NEEDS[need]()).status != "ok":
            console.print(f"! {lab.name} needs a {finding.what}: {finding.found}; {finding.mend}", markup=False)


def clouds_for(lab: Lab | None, asked: Sequence[cloud.Name]) -> list[cloud.Name]:
    """The clouds to start: what the lab needs (an object store at least), and what was asked for."""
    needed = [name for name in cloud.NAMES if lab and name in lab.needs] or ["aws"]
    return [name for name in cloud.NAMES if name in (*needed, *asked)]


def open_browser(url: str) -> bool:
    """Open `url` where there is a screen; False where there is none."""
    return has_screen() and webbrowser.open(url)


def has_screen() -> bool:
    """Whether a browser window would be seen by whoever typed the command."""
    if os.environ.get("BROWSER"):
        return True
    if sys.platform in ("darwin", "win32"):
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def install_for(course: Course, lab: Lab | None, clouds: Sequence[cloud.Name], console: Console) -> None:
    """Install what `lab` and the local `clouds` need and is not here yet, saying the size first."""
    extras = list(lab.extras) if lab else []
    if {"gcp", "azure"}.intersection(clouds):
        extras.append("clouds")
    install.ensure(course, extras, console)
    if "azure" in clouds and not is_real() and cloud.available("azure"):
        with console.status("installing Azurite, the local Azure storage"):
            cloud.install("azure")


def is_real() -> bool:
    """Whether the student works on a real account."""
    return os.environ.get("MLE_CLOUD", "").lower() == "real"


def _require_port(course: Course, port: int | None) -> None:
    """Before anything is installed or started: a wish for a port that cannot be met."""
    if port is None:
        return
    server = jupyter.find(course)
    if server and server.port != port:
        raise UserError(f"JupyterLab runs on port {server.port} already: run `lab stop` first, or leave out --port")
    if not server:
        jupyter.require_free(port)


def _serve(course: Course, port: int | None, console: Console) -> tuple[jupyter.Server, bool]:
    env = _variables()
    server = jupyter.find(course)
    if server and not _comparable(env) <= _comparable(server.env):
        if server.in_use():
            raise FailureError(
                "JupyterLab runs with other clouds and has notebooks or terminals open: "
                "save your work, run `lab stop`, then this command again"
            )
        console.print("JupyterLab is started again: it led to other clouds", markup=False)
        jupyter.stop(course)
        server = None
    return server or jupyter.start(course, env, port), server is not None


def _variables() -> dict[str, str]:
    """What kernels and terminals must have in order to reach the clouds that run."""
    if is_real():
        return {"MLE_CLOUD": "real"}
    return {"MLE_CLOUD": "local"} | {key: value for one in cloud.running() for key, value in one.env.items()}


def _comparable(env: dict[str, str]) -> set[tuple[str, str]]:
    return {(key, value) for key, value in env.items() if key.upper() != "NO_PROXY"}
