"""The seam between collecting and the gradebook: a job goes in, a result comes out, both plain JSON.

A job needs nothing but itself and the released course, so that any executor can carry it. `run` is the first
engine: a fresh kernel for each submission, without isolation. A faster, locked-in one takes its place unseen.
"""

import base64
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nbformat

from labkit import cloud
from labkit.checks import CheckReport, CheckResult, Judgement, judge, kept_environment
from labkit.course import Lab, Limits
from labkit.emulators import leave


@dataclass(frozen=True)
class Job:
    """One submission to judge. `files` are the student's, by path inside the lab; `reference` is the notebook
    with all check cells, hidden tests included, as JSON text; `lab` is the released lab."""

    student: str
    lab: Lab
    reference: str
    files: Mapping[str, bytes]

    def to_json(self) -> str:
        """The job as one JSON text."""
        lab = asdict(self.lab) | {"path": str(self.lab.path)}
        files = {name: base64.b64encode(content).decode() for name, content in self.files.items()}
        return json.dumps({"student": self.student, "lab": lab, "reference": self.reference, "files": files})

    @staticmethod
    def from_json(text: str) -> "Job":
        """The job that `to_json` wrote."""
        values = json.loads(text)
        files = {name: base64.b64decode(content) for name, content in values["files"].items()}
        return Job(values["student"], _lab(values["lab"]), values["reference"], files)


@dataclass(frozen=True)
class Result:
    """The verdict on one submission. `notebook` is the executed notebook as JSON text, with every check cell's
    output reduced to its message; `seconds` is the wall time the engine took."""

    student: str
    lab: str
    report: CheckReport
    notebook: str
    seconds: float

    def to_json(self) -> str:
        """The result as one JSON text."""
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> "Result":
        """The result that `to_json` wrote."""
        values = json.loads(text)
        report = values.pop("report")
        results = tuple(CheckResult(**result) for result in report["results"])
        return Result(report=CheckReport(results, report["problem"], tuple(report["notes"])), **values)


def run(job: Job) -> Result:
    """Judge one job. What a submission does never raises; a machine that cannot judge raises FailureError."""
    start = time.monotonic()
    if any(running.name == "aws" for running in cloud.running()):
        cloud.reset("aws")  # what the last submission stored is no use to this one, and fills the memory
    judged: Judgement = judge(job.lab, nbformat.reads(job.reference, as_version=4), job.files)
    return Result(
        student=job.student,
        lab=job.lab.name,
        report=judged.report,
        notebook=nbformat.writes(judged.executed),
        seconds=round(time.monotonic() - start, 3),
    )


def run_all(jobs: Iterable[Job], workers: int) -> Iterator[Result]:
    """Judge `jobs` on this machine, `workers` at a time, each worker with emulators of its own.

    Results come in the order in which they are ready.
    """
    with _local(workers) as executor:
        yield from _collect(executor, jobs)


def _collect(executor: Executor, jobs: Iterable[Job]) -> Iterator[Result]:
    waiting = [executor.submit(_run_json, job.to_json()) for job in jobs]
    try:
        for done in as_completed(waiting):
            yield Result.from_json(done.result())
    finally:
        for future in waiting:
            future.cancel()


def _run_json(text: str) -> str:
    return run(Job.from_json(text)).to_json()


@contextmanager
def _local(workers: int) -> Iterator[Executor]:
    with tempfile.TemporaryDirectory(prefix="mle-workers-", ignore_cleanup_errors=True) as state:
        try:
            # A forked worker would inherit this process's threads and locks; a spawned one starts clean.
            with ProcessPoolExecutor(workers, get_context("spawn"), _own_state, (state, os.getpid())) as executor:
                yield executor
        finally:
            _stop_clouds(Path(state))


def _own_state(parent: str, owner: int) -> None:
    os.environ |= {"MLE_STATE": str(Path(parent) / str(os.getpid())), leave.OWNER: str(owner)}
    leave.with_owner()


def _stop_clouds(states: Path) -> None:
    """Stop the emulators that workers left running: a worker that was killed cannot do it itself."""
    with kept_environment():
        for state in states.iterdir():
            os.environ["MLE_STATE"] = str(state)
            cloud.stop()


def _lab(values: dict[str, Any]) -> Lab:
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    return Lab(**(values | lists | {"path": Path(values["path"]), "limits": Limits(**values["limits"])}))
