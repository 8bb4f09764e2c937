"""The edge of both commands: what is printed, and how every error becomes one sentence and an exit code."""

import errno
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from labkit.errors import CourseError

console = Console(soft_wrap=True, highlight=False)
stderr = Console(stderr=True, soft_wrap=True, highlight=False)

_SYSTEM_ERRORS: dict[int | None, str] = {
    errno.ENOSPC: "the disk is full: free some space and run the command again",
    errno.EDQUOT: "your disk quota is used up: free some space and run the command again",
    errno.EROFS: "the file system is read-only: work in a folder you can write to",
    errno.EACCES: "permission denied: check who owns the file",
    errno.EPERM: "not permitted: check who owns the file",
    errno.EMFILE: "too many files are open: close other programs and run the command again",
}


def run(app: typer.Typer, argv: list[str] | None = None) -> int:
    """Run a command line and return its exit code: 0, 1 (a failure), 2 (a user's mistake) or 130 (Ctrl-C).

    Nothing escapes as a traceback: what nobody foresaw is written to a file whose path is printed.
    """
    try:
        return int(_invoke(app, argv) or 0)
    except typer.Exit as stop:
        return int(stop.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return _say("stopped", 130)
    except typer.TyperException as error:
        if not error.format_message():
            return 2  # a command without arguments has printed its help
        context = getattr(error, "ctx", None)
        hint = f" (try `{context.command_path} --help`)" if context else ""
        return _say(error.format_message() + hint, 2)
    except CourseError as error:
        return _say(str(error), error.exit_code)
    except OSError as error:
        return _say(explain(error), 1)
    except Exception as error:
        return _say(f"unexpected {type(error).__name__}; please report it with the file {_keep_traceback()}", 1)


def explain(error: OSError) -> str:
    """One sentence for an operating system's error: the file, and what to do about it."""
    where = f"{error.filename}: " if error.filename else ""
    return where + _SYSTEM_ERRORS.get(error.errno, f"{error.strerror or error}")


def main(app: typer.Typer) -> Callable[[], None]:
    """The entry point of a command: runs `app` and exits."""

    def entry() -> None:
        sys.exit(run(app))

    return entry


def _invoke(app: typer.Typer, argv: list[str] | None) -> Any:
    return typer.main.get_command(app).main(args=argv, standalone_mode=False)


def _say(sentence: str, code: int) -> int:
    stderr.print(f"{sentence}", style="bold red" if code else None, markup=False)
    return code


def _keep_traceback() -> Path:
    with tempfile.NamedTemporaryFile("w", prefix="mle-labs-", suffix=".txt", delete=False, encoding="utf-8") as file:
        traceback.print_exc(file=file)
    return Path(file.name)
