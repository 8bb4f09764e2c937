"""End an emulator once the file that says where it runs is gone, for then nobody can find it again."""

import os
import threading
from pathlib import Path

from labkit.emulators.processes import STATE

SECONDS = 2.0


def when_forgotten() -> None:
    """Watch from now on, in a thread of its own."""
    threading.Thread(target=_watch, args=(Path(os.environ[STATE]),), daemon=True).start()


def _watch(state: Path) -> None:
    pause = threading.Event()
    seen = False
    while state.exists() or not seen:
        seen = seen or state.exists()
        pause.wait(SECONDS)
    os._exit(0)
