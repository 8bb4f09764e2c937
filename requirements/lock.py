"""Renew the locks beside this file out of pyproject.toml: `make lock`; `make lock ARGS=--upgrade` takes what is newest.

core.lock is what every student installs. Each other lock holds only what its extra adds to core, so both are installed
together. Needs `uv`, which dev.lock brings.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

UNHASHED = {"torch": re.compile(r"torch|triton|nvidia-.*|cuda-.*")}
"""What an extra leaves out of its lock. One version of torch is another file on each of its package indexes (CPU,
several CUDA releases, ROCm), and each needs other libraries: a list of hashes would fit only one of these choices. So
torch.pin names the version alone; pip takes the file, and what that file needs, from the index a student has chosen."""

PIN_HEADER = "# made by `make lock`; why this is no lock: requirements/lock.py"


def main(arguments: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    core = compile_lock("core", arguments)
    in_core = {pin(block) for _, block in blocks(core)}
    for extra, wanted in extras.items():
        text = compile_lock(extra, [*arguments, "--extra", extra, "--constraint", "requirements/core.lock"])
        left_out = UNHASHED.get(extra, re.compile(r"(?!)"))
        kept = [block for name, block in blocks(text) if pin(block) not in in_core and not left_out.fullmatch(name)]
        write(f"{extra}.lock", header(text) + "".join(kept))
        if pins := [line for line in wanted if left_out.match(line)]:
            write(f"{extra}.pin", "\n".join([PIN_HEADER, *pins, ""]))


def compile_lock(name: str, arguments: list[str]) -> str:
    """Resolve for every platform at once; what is pinned today stays so, unless `arguments` has `--upgrade`."""
    command = ["uv", "pip", "compile", "pyproject.toml", "--universal", "--python-version", "3.11", "--generate-hashes"]
    quiet = ["--quiet", "--no-config", "--no-emit-index-url", "--custom-compile-command", "make lock"]
    subprocess.run(
        [sys.executable, "-m", *command, *quiet, *arguments, "--output-file", f"requirements/{name}.lock"],
        cwd=ROOT,
        check=True,
    )
    return (HERE / f"{name}.lock").read_text(encoding="utf-8")


def header(lock: str) -> str:
    return "".join(line for line in lock.splitlines(keepends=True) if line.startswith("#"))


def blocks(lock: str) -> list[tuple[str, str]]:
    """Each package's name with its lines: the pin, its hashes, and who asked for it."""
    found = re.findall(r"^(([a-z0-9][a-z0-9._-]*)(?:\[[^\]]*\])?==.*\n(?:[ \t]+.*\n)*)", lock, flags=re.MULTILINE)
    return [(name, block) for block, name in found]


def pin(block: str) -> str:
    """The pin with its marker: core's `colorama on Windows` does not make up for an extra's `colorama`."""
    return block.partition("\n")[0]


def write(name: str, text: str) -> None:
    (HERE / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except subprocess.CalledProcessError as failed:
        sys.exit(f"the lock could not be renewed: see uv's message above (exit code {failed.returncode})")
