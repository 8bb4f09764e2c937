"""What this course adds to nbgrader's own steps, as preprocessors that its configuration names."""

from typing import Any

from nbformat.notebooknode import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor

from labkit.notebook import without_hidden


class HideTests(NbGraderPreprocessor):  # type: ignore[misc]
    """Leave hidden tests out of the feedback that students read."""

    def preprocess_cell(self, cell: NotebookNode, resources: Any, index: int) -> tuple[NotebookNode, Any]:
        cell.source = without_hidden(cell.source)
        return cell, resources
