# Linux and macOS. On Windows: py -3.11 requirements/bootstrap.py, then .venv\Scripts\lab start (or grader demo, ...).
PYTHON = $(or $(shell for p in python3.11 python3 python; do $$p -c "" 2>/dev/null && echo $$p && break; done),$(error no Python was found: install Python 3.11 and run make again))
NODE = export PATH="$$PATH:$(CURDIR)/.venv/bin"; command -v npx >/dev/null || { echo "the slides need Node.js 18 or newer, and there is no npx: install Node.js and run make again" >&2; exit 2; }

.PHONY: lab test build demo slides pictures bench lock clean core dev
.SILENT:

# Install what is missing, start the object store, open JupyterLab on the labs.
lab: core
	.venv/bin/lab start

# Every check there is, the style and the types included; ARGS="-k submit" picks some.
test: dev
	.venv/bin/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile $(ARGS)

# Make labs/ and the executed notebooks again out of solutions/.
build: dev
	.venv/bin/grader build $(ARGS)

# A class of 24 hands in and is graded; the report opens.
demo: core
	.venv/bin/grader demo $(ARGS)

# One HTML page a deck, in slides/build/.
slides:
	$(NODE) && npx --yes @marp-team/marp-cli@4.5.1 --input-dir slides --output slides/build && rm -f slides/build/README.html

# The README's pictures again, from the real thing (Chromium needed); ARGS="notebook check" makes some.
pictures: dev
	.venv/bin/python -m tests.pictures $(ARGS)

# Measure the figures that the pages state.
bench: core
	.venv/bin/python -m benchmarks $(ARGS)

# Renew requirements/*.lock after a change in pyproject.toml; ARGS=--upgrade takes the newest versions.
lock: dev
	.venv/bin/python requirements/lock.py $(ARGS)

# Remove what make installed and built. What students and instructors made (work/, classroom/) stays.
clean:
	rm -rf .venv slides/build *.egg-info .pytest_cache .mypy_cache .ruff_cache

core:
	$(PYTHON) requirements/bootstrap.py core

dev:
	$(PYTHON) requirements/bootstrap.py core dev
