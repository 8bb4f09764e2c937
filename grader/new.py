"""An empty lab that builds and proves as it is: the place to begin writing one."""

import re
from importlib import resources
from pathlib import Path

from grader.house import House, staging
from labkit.errors import UserError


def create(house: House, name: str) -> Path:
    """Make `solutions/NN-name/` from the templates; returns the folder.

    Raises UserError for a name that is none, or a number that is taken.
    """
    found = re.fullmatch(r"(\d\d)-([a-z][a-z0-9-]{1,40})", name)
    if not found:
        raise UserError(
            f"{name!r} is no name for a lab: two digits, a hyphen, then lower case words, e.g. 18-feature-store"
        )
    number, slug = int(found[1]), found[2]
    for lab in house.sources():
        if number == lab.number:
            raise UserError(f"the number {found[1]} is taken by {lab.name}: numbers never change, choose another")
    target = house.solutions / name
    if target.exists():
        raise UserError(f"{target} exists already and has no lab.toml: move it away, or write its lab.toml")
    with staging(target) as fresh:
        for template in sorted(resources.files("grader").joinpath("templates/lab").iterdir(), key=lambda one: one.name):
            text = template.read_text(encoding="utf-8")
            text = text.replace("@NUMBER@", str(number)).replace("@NN@", found[1]).replace("@SLUG@", slug)
            file = fresh / _target(template.name, slug)
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
    return target


def _target(template: str, slug: str) -> str:
    """`notebook.py.txt` -> `slug.py`, `starter-answer.py.txt` -> `starter/answer.py`."""
    name = template.removesuffix(".txt")
    if name.startswith("starter-"):
        return "starter/" + name.removeprefix("starter-")
    return name.replace("notebook", slug)
