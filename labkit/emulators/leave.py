"""End a process that nobody can find or wants any more."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import psutil

from labkit.emulators.processes import STATE

OWNER = "MLE_OWNER"
"""Names the process, by its id, for which emulators and workers were started: killed, it cannot stop them itself."""

SECONDS = 2.0


def when_forgotten() -> None:
    """End this emulator once the file that says where it runs is gone, or its owner is."""
    state = Path(os.environ[STATE])
    seen = False

    def forgotten() -> bool:
        nonlocal seen
        seen = seen or state.exists()
        return (seen and not state.exists()) or _is_orphan()

    _watch(forgotten)


def with_owner() -> None:
    """End this process once the one that `MLE_OWNER` names is gone."""
    _watch(_is_orphan)


def _is_orphan() -> bool:
    owner = os.environ.get(OWNER)
    return owner is not None and not psutil.pid_exists(int(owner))


def _watch(over: Callable[[], bool]) -> None:
    threading.Thread(target=_end_when, args=(over,), daemon=True).start()


def _end_when(over: Callable[[], bool]) -> None:
    pause = threading.Event()
    while not over():
        pause.wait(SECONDS)
    os._exit(0)
