"""The house itself: pins agree, imports run one way, code is clean, no machine is named. Each gate refuses a case."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
CLONE_LIMIT = 60 * 2**20


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def tracked() -> list[str]:
    """Every file git knows here, and each new one it would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout.split("\0")
    return sorted({name for name in names if name and (ROOT / name).is_file()})


def texts(suffixes: tuple[str, ...] = ()) -> dict[str, str]:
    """The text files of the course by their path."""
    found = {}
    for name in tracked():
        content = (ROOT / name).read_bytes()
        if name.endswith(suffixes or "") and b"\0" not in content[:8192]:
            found[name] = content.decode("utf-8")
    return found


# --- pins ---------------------------------------------------------------------------------------------------------


def pins(lock: str) -> dict[str, set[str]]:
    """Each package of a lock with its versions; more than one where the platforms differ."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", lock, flags=re.MULTILINE):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def unpinned(project: Mapping[str, Any], locks: Mapping[str, str]) -> list[str]:
    """What pyproject asks for and its lock (an extra's with core's, and its .pin) does not hold as asked."""
    wrong = []
    wanted = {"core": project["dependencies"], **project["optional-dependencies"]}
    for extra, requirements in wanted.items():
        held = {**pins(locks["core.lock"]), **pins(locks[f"{extra}.lock"]), **pins(locks.get(f"{extra}.pin", ""))}
        for requirement in map(Requirement, requirements):
            if canonicalize_name(requirement.name) == "mle-labs":
                continue
            versions = held.get(canonicalize_name(requirement.name), set())
            if not versions or not all(requirement.specifier.contains(version) for version in versions):
                wrong.append(f"{extra}: {requirement} is {', '.join(versions) or 'missing'} in its lock")
    return wrong


def unhashed(lock: str) -> list[str]:
    """The pins of a lock that no hash follows."""
    entries = re.findall(r"^([^\s#]\S*==.*\n(?:[ \t]+.*\n)*)", lock, flags=re.MULTILINE)
    return [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry]


def locks() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "requirements").glob("*.[lp]*[kn]")}


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(read("pyproject.toml"))["project"]
    return found


def test_every_dependency_is_locked_at_a_version_that_fits() -> None:
    assert unpinned(project(), locks()) == []


def test_every_locked_package_has_a_hash() -> None:
    found = {name: text for name, text in locks().items() if name.endswith(".lock")}
    assert len(found) >= 8
    assert {name: unhashed(text) for name, text in found.items() if unhashed(text)} == {}


@pytest.mark.parametrize(
    ("lock", "complaint"),
    [
        ("", "core: pandas>=3 is missing in its lock"),
        ("pandas==2.3.3 --hash=sha256:0\n", "core: pandas>=3 is 2.3.3 in its lock"),
    ],
    ids=["not there", "too old"],
)
def test_a_lock_that_does_not_hold_what_pyproject_asks_for_is_noticed(lock: str, complaint: str) -> None:
    small = {"dependencies": ["pandas>=3"], "optional-dependencies": {}}
    assert unpinned(small, {"core.lock": lock}) == [complaint]


def test_a_pin_without_a_hash_is_noticed() -> None:
    assert unhashed("a==1 \\\n    --hash=sha256:0\nb==2\n    # via a\n") == ["b==2"]


def test_torch_is_pinned_once_for_pyproject_and_pip() -> None:
    assert [line for line in read("requirements/torch.pin").splitlines() if not line.startswith("#")] == [
        requirement for requirement in project()["optional-dependencies"]["torch"] if requirement.startswith("torch==")
    ]


def other_pins(environment: str) -> list[str]:
    """What a conda environment would install by other pins than the core lock's."""
    entries = yaml.safe_load(environment)["dependencies"]
    by_pip = [line for entry in entries if isinstance(entry, dict) for line in entry["pip"]]
    by_conda = [entry for entry in entries if isinstance(entry, str)]
    wrong = [entry for entry in by_conda if entry not in ("python=3.11", "pip")]
    wrong += [line for line in by_pip if line != "--requirement requirements/core.lock"]
    if "python=3.11" not in by_conda:
        wrong.append("python is not 3.11")
    if not by_pip:
        wrong.append("nothing by the lock")
    return wrong


def test_conda_users_get_the_packages_of_the_core_lock() -> None:
    assert other_pins(read("environment.yml")) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("- python=3.11", "- python=3.12"), ["python=3.12", "python is not 3.11"]),
        (("  - pip\n", "  - pip\n  - pandas=2\n"), ["pandas=2"]),
        (("requirements/core.lock", "requirements/other.lock"), ["--requirement requirements/other.lock"]),
    ],
    ids=["other python", "package beside the lock", "other lock"],
)
def test_a_conda_environment_with_its_own_pins_is_noticed(change: tuple[str, str], complaint: list[str]) -> None:
    assert other_pins(read("environment.yml").replace(*change)) == complaint


# --- nothing of one machine or one registry -----------------------------------------------------------------------

# In parts, so that this file does not hold what it looks for.
FOREIGN = (
    *(r"pypi\." + "org", "python" + r"hosted\.org", r"npmjs\." + "(org|com)", r"yarnpkg\." + "com", "conda" + r"\.io"),
    *(r"docker\." + "io/", r"ghcr\." + "io", r"quay\." + "io", r"\bgcr\." + "io", r"mcr\." + r"microsoft\.com"),
    *(r"public\.ecr\." + "aws", r"anaconda\." + "org", r"download\." + r"pytorch\.org"),
    *("/work/" + "(main|shared)", "/tmp/" + "w/", "/opt/" + "(wheels|pypi)", "/root/" + r"\.pyenv"),
)


def foreign(files: Mapping[str, str]) -> list[str]:
    """Where a file names a package index, an image registry, or a folder of the machine it was written on."""
    pattern = re.compile("|".join(FOREIGN))
    found = []
    for name, text in files.items():
        for number, line in enumerate(text.splitlines(), start=1):
            if match := pattern.search(line):
                found.append(f"{name}:{number}: {match.group()}")
    return found


def test_no_file_names_a_registry_or_a_folder_of_one_machine() -> None:
    assert foreign(texts()) == []


@pytest.mark.parametrize(
    "line",
    ["https://pypi." + "org/simple", "FROM docker." + "io/library/python", "path = /work/" + "main/labs"],
)
def test_a_file_that_names_one_is_noticed(line: str) -> None:
    assert [complaint.partition(": ")[0] for complaint in foreign({"a.txt": "fine\n" + line})] == ["a.txt:2"]


def packed_bytes(repository: Path) -> int:
    """What a clone of the current branch downloads."""
    command = ["git", "pack-objects", "--revs", "--stdout", "--quiet"]
    return len(subprocess.run(command, cwd=repository, input=b"HEAD\n", capture_output=True, check=True).stdout)


def test_a_clone_is_small() -> None:
    assert packed_bytes(ROOT) < CLONE_LIMIT


def test_what_was_committed_is_weighed(tmp_path: Path) -> None:
    content = bytes((7 * n * n + n // 3) % 251 for n in range(100_000))
    (tmp_path / "big.bin").write_bytes(content)
    me = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "big.bin"], [*me, "commit", "-q", "-m", "big", "--no-verify"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, capture_output=True)
    assert 100 < packed_bytes(tmp_path) < 110_000


# --- imports ------------------------------------------------------------------------------------------------------


def imports(source: str) -> set[str]:
    """The top-level packages that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
    return found


FORBIDDEN = {
    "labkit": {"grader", "labs", "solutions", "starter", "tests"},
    "grader": {"labs", "solutions", "starter", "tests"},
    "labs": {"grader", "solutions", "tests"},
    "solutions": {"grader", "solutions", "tests"},
}


def wrong_way(files: Mapping[str, str]) -> list[str]:
    """Each import against the direction: grader may use labkit, a lab may use labkit, and that is all."""
    return [
        f"{name} imports {package}"
        for name, source in files.items()
        for package in sorted(imports(source) & FORBIDDEN.get(name.partition("/")[0], set()))
    ]


def test_imports_run_one_way() -> None:
    files = texts((".py",))
    assert {"labkit", "grader"} <= {name.partition("/")[0] for name in files}
    assert wrong_way(files) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("labkit/a.py", "import grader.build"),
        ("labkit/a.py", "def f():\n    from grader import build"),
        ("grader/a.py", "from starter.ingest import ingest"),
        ("solutions/02-cloud-storage/a.py", "import grader"),
    ],
)
def test_an_import_against_the_direction_is_noticed(name: str, source: str) -> None:
    assert len(wrong_way({name: source})) == 1


def undeclared(files: Mapping[str, str], requirements: Iterable[str]) -> list[str]:
    """Each import of a package that pyproject does not name: there today by another's dependency, gone tomorrow."""
    declared = {canonicalize_name(Requirement(requirement).name) for requirement in requirements}
    ours = {"labkit", "grader", *sys.stdlib_module_names}
    sources = importlib.metadata.packages_distributions()
    return [
        f"{name} imports {package}"
        for name, source in files.items()
        for package in sorted(imports(source) - ours)
        if not declared & {canonicalize_name(source) for source in sources.get(package, [package])}
    ]


def test_what_the_packages_import_is_declared() -> None:
    files = {name: text for name, text in texts((".py",)).items() if name.startswith(("labkit/", "grader/"))}
    extras = [requirement for wanted in project()["optional-dependencies"].values() for requirement in wanted]
    assert undeclared(files, [*project()["dependencies"], *extras]) == []


def test_an_import_that_nobody_declared_is_noticed() -> None:
    files = {"labkit/a.py": "import json, yaml\nimport pandas as pd\n"}
    assert undeclared(files, ["pandas>=3"]) == ["labkit/a.py imports yaml"]


# --- style and types ----------------------------------------------------------------------------------------------


def tool(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, encoding="utf-8")


def test_the_code_follows_the_rules() -> None:
    done = tool("ruff", "check", "--no-cache", "--output-format", "concise")
    assert done.returncode == 0, done.stdout


def test_the_code_is_formatted() -> None:
    done = tool("ruff", "format", "--no-cache", "--check")
    assert done.returncode == 0, done.stdout


def test_the_types_hold() -> None:
    done = tool("mypy")
    assert done.returncode == 0, done.stdout


def test_the_rules_refuse_an_unused_import_and_the_format_a_wild_one(tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text("import os\nx = [ 1,2 ]\n", encoding="utf-8")
    config = ["--no-cache", "--config", str(ROOT / "pyproject.toml"), str(file)]
    assert "F401" in tool("ruff", "check", *config).stdout
    assert "1 file would be reformatted" in tool("ruff", "format", "--check", *config).stdout


def test_the_types_refuse_an_untyped_function(tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text("def f(x):\n    return x\n", encoding="utf-8")
    assert "no-untyped-def" in tool("mypy", "--config-file", str(ROOT / "pyproject.toml"), str(file)).stdout


# --- Makefile, images, licences -----------------------------------------------------------------------------------


def targets(makefile: str) -> set[str]:
    return set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))


def missing_targets(pages: Mapping[str, str], makefile: str) -> list[str]:
    """Each `make X`, as code in a page, that the Makefile does not know."""
    code = re.compile(r"`make ([a-z]+)|^(?: {4}|\$ )?make ([a-z]+)(?: |$)", flags=re.MULTILINE)
    used = [(page, one or two) for page, text in pages.items() for one, two in code.findall(text)]
    return [f"{page}: make {target}" for page, target in used if target not in targets(makefile)]


def test_every_make_target_that_a_page_names_exists() -> None:
    assert missing_targets(texts((".md", ".toml", ".yml")), read("Makefile")) == []


def test_the_makefile_has_the_targets_of_the_house() -> None:
    assert {"lab", "test", "build", "demo", "slides", "bench", "lock", "clean"} <= targets(read("Makefile"))


def test_a_make_target_that_does_not_exist_is_noticed() -> None:
    pages = {"a.md": "Run `make lab` or `make tset`.\n\n    make coffee\n\n```\nmake demo\n```\nThey make sense.\n"}
    assert missing_targets(pages, read("Makefile")) == ["a.md: make tset", "a.md: make coffee"]


def careless(dockerfile: str) -> list[str]:
    """What an image of the house must not do: float, run as root, copy the code before the dependencies."""
    lines = [line.split() for line in re.sub(r"\\\n", " ", dockerfile).splitlines() if line and line[0] not in "# "]
    stages = {line[-1] for line in lines if line[0] == "FROM" and "AS" in line}
    wrong = []
    for line in lines:
        if line[0] == "FROM" and line[1] not in stages and (":" not in line[1] or line[1].endswith(":latest")):
            wrong.append(f"{line[1]} is not pinned")
    users = [line[1] for line in lines if line[0] == "USER"]
    if not users or users[-1] in ("root", "0"):
        wrong.append("the last stage runs as root")
    steps = [" ".join(line) for line in lines if line[0] in ("COPY", "RUN")]
    install = next((n for n, step in enumerate(steps) if "--require-hashes" in step), len(steps))
    if any(step.endswith(" . .") for step in steps[:install]):
        wrong.append("the code is copied before the locked dependencies are installed")
    if not any(line[0] == "HEALTHCHECK" for line in lines):
        wrong.append("no healthcheck")
    return wrong


def test_every_image_is_pinned_not_root_and_takes_dependencies_before_code() -> None:
    files = {name: text for name, text in texts(("Dockerfile",)).items() if name.startswith("docker/")}
    assert files
    assert {name: careless(text) for name, text in files.items() if careless(text)} == {}


def test_a_careless_image_is_noticed() -> None:
    assert careless("FROM python\nCOPY . .\nRUN pip install --require-hashes -r core.lock\nUSER root\n") == [
        "python is not pinned",
        "the last stage runs as root",
        "the code is copied before the locked dependencies are installed",
        "no healthcheck",
    ]


def test_the_licences_say_what_holds_for_code_texts_and_data() -> None:
    assert "Apache License" in read("LICENSE") and "END OF TERMS AND CONDITIONS" in read("LICENSE")
    stated = read("LICENSES.md")
    for words in ("Apache License 2.0", "CC BY 4.0", "`datasets/`"):
        assert words in stated
    assert project()["license"] == "Apache-2.0"


def test_ci_is_a_script_that_stops_at_the_first_failure() -> None:
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)
    assert "set -euo pipefail" in read(".ci/run")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
