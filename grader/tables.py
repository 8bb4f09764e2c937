"""What `grader` prints, as tables."""

from collections.abc import Sequence

from rich.table import Table

from grader.engine import Result
from grader.prove import Proof


def proofs(title: str, found: Sequence[Proof]) -> Table:
    """One row a known answer: kind, points, the checks it lost, and what was not as it must be."""
    table = Table(title=f"{title}: {len(found)} known answers", caption=_verdict(found), title_justify="left")
    for column in ("kind", "answer", "points", "seconds", "lost", "not as it must be"):
        table.add_column(column, justify="right" if column in ("points", "seconds") else "left", overflow="fold")
    for proof in found:
        lost = "all" if proof.kind == "untouched" and not proof.surprises else ", ".join(proof.lost)
        points = f"{proof.score:g} of {proof.max_score:g}"
        table.add_row(proof.kind, proof.name, points, f"{proof.seconds:.1f}", lost, "\n".join(proof.surprises) or "ok")
    return table


def _verdict(found: Sequence[Proof]) -> str:
    wrong = sum(bool(proof.surprises) for proof in found)
    return f"{wrong} of {len(found)} not as they must be" if wrong else f"all {len(found)} as they must be"


def scores(results: Sequence[Result]) -> Table:
    """One row a student: points, and the checks that were lost or why nothing could be judged."""
    table = Table(title=f"{len(results)} submissions", title_justify="left")
    for column in ("student", "points", "seconds", "lost"):
        table.add_column(column, justify="right" if column in ("points", "seconds") else "left", overflow="fold")
    for result in results:
        report = result.report
        lost = report.problem or ", ".join(
            check.grade_id for check in report.results if check.points < check.max_points
        )
        table.add_row(result.student, f"{report.score:g} of {report.max_score:g}", f"{result.seconds:.1f}", lost)
    return table
