"""`python -m benchmarks [grading|setup]`: measure and print; without a name, all of them."""

import sys

from benchmarks import grading, setup

MEASURES = {"grading": grading.measure, "setup": setup.measure}


def main(names: list[str]) -> int:
    """Run the named measurements; returns the exit code."""
    for name in names:
        if name not in MEASURES:
            print(f"there is no benchmark {name!r}; there are {', '.join(MEASURES)}", file=sys.stderr)
            return 2
    for name in names or MEASURES:
        MEASURES[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
