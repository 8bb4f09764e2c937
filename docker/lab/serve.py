"""What the student's container runs: a copy of each lab in work/, then JupyterLab on that folder."""

import os
import sys

from labkit import course, work

here = course.find()
for lab in here.labs():
    work.ensure(here, lab)
here.work_dir.mkdir(exist_ok=True)
os.chdir(here.work_dir)
# the process becomes JupyterLab, so that the container stops when it does
os.execv(
    sys.executable,
    [sys.executable, "-m", "jupyterlab", "--ip=0.0.0.0", "--port=8888", "--no-browser", "--port-retries=0"],
)
