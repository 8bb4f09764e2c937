"""The README of a lab, written from its `lab.toml` and its notebook."""

from nbformat.notebooknode import NotebookNode

from labkit.checks import tasks
from labkit.course import Lab
from labkit.notebook import grading

_NEEDS = {
    "aws": "an object store with Amazon's API, started for you",
    "gcp": "the Google Cloud Storage emulator, installed by `lab start`",
    "azure": "the Azure Blob emulator, installed by `lab start`",
    "docker": "a container engine that answers",
    "cluster": "a Kubernetes cluster that answers",
    "gpu": "an accelerator, where there is one",
}


def lab_readme(lab: Lab, notebook: NotebookNode) -> str:
    """The page a student sees first: what comes out, what it takes, how to begin, what each task is worth."""
    number = f"{lab.number:02d}"
    rows = [f"| {task} | {points} |" for task, points in points_by_task(notebook).items()]
    total = sum(points_by_task(notebook).values())
    parts = [
        f"# Lab {number}: {lab.title}",
        lab.summary,
        "You will be able to:",
        "\n".join(f"- {objective}" for objective in lab.objectives),
        f"**Time:** about {lab.minutes} minutes. **Tools:** {', '.join(lab.tools)}.",
        "**Needs:** " + ("; ".join(_NEEDS[need] for need in lab.needs) or "nothing but the course itself") + ".",
        "## Begin",
        f"```bash\nlab start {number}     # opens {lab.notebook} in JupyterLab, in your own copy under work/\n"
        f"lab check {number}     # the visible checks, any time\n"
        f"lab submit {number}    # one archive to hand in\n```",
        "## Points",
        "\n".join(["| task | points |", "|---|---|", *rows, f"| all | {total} |"]),
        f"Topics: {', '.join(lab.topics)}.",
        f"`labs/{lab.name}/` is generated (`grader build {number}`): write in your own copy, `work/{lab.name}/`.",
    ]
    return "\n\n".join(parts) + "\n"


def points_by_task(notebook: NotebookNode) -> dict[str, int]:
    """The points under each second-level heading, in the notebook's order."""
    points: dict[str, int] = {}
    headings = tasks(notebook)
    for cell in notebook.cells:
        if grading(cell).get("grade"):
            task = headings[grading(cell)["grade_id"]]
            points[task] = points.get(task, 0) + int(grading(cell)["points"])
    return points
