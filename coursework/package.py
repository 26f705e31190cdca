"""An assignment as an autograder for Gradescope, and a grade in Gradescope's words.

Gradescope starts a container for each submission, as root. There bubblewrap may have no
namespaces; then the submission runs as another user, to whom the folders are closed.
"""

import io
import tomllib
import zipfile
from pathlib import Path

from coursework.assignment import HERE, Assignment
from coursework.course import write_bytes

ROOT = HERE.parent
_SETUP = """\
#!/usr/bin/env bash
# Gradescope runs this once, when the image is built.
set -euo pipefail
apt-get update -qq
apt-get install -qq -y bubblewrap python3 python3-pip python3-venv
python3 -m venv /autograder/venv
/autograder/venv/bin/python -m pip install --quiet {packages}
"""
_RUN = """\
#!/usr/bin/env bash
# Gradescope runs this for each submission.
set -euo pipefail
umask 077
chmod -R go-rwx /autograder/source /autograder/submission /autograder/results
cd /autograder/source
/autograder/venv/bin/python -m coursework grade-one /autograder/submission \\
  --assignment {name} --out /autograder/results/grade.json \\
  --gradescope /autograder/results/results.json
"""


def package(assignment: Assignment, path: Path) -> Path:
    """Write the zip that Gradescope takes as an autograder; returns its path."""
    texts = {
        "setup.sh": _SETUP.format(packages=" ".join(_requirements(assignment))),
        "run_autograder": _RUN.format(name=assignment.name),
    }
    files = [*HERE.glob("*.py"), *(ROOT / "adamtut").rglob("*.py")]
    files = {str(file.relative_to(ROOT)): file for file in files}
    for file in assignment.folder.iterdir():
        if file.is_file() and file.name != "master.ipynb":
            files[f"coursework/{assignment.name}/{file.name}"] = file
    texts |= {name: file.read_bytes() for name, file in files.items()}
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted(texts.items()):
            entry = zipfile.ZipInfo(name)  # no time in it: the same zip each time
            runs = name in ("setup.sh", "run_autograder")
            entry.external_attr = (0o755 if runs else 0o644) << 16
            archive.writestr(entry, text, zipfile.ZIP_DEFLATED)
    write_bytes(path, data.getvalue())
    return path


def gradescope(record: dict) -> dict:
    """The record as Gradescope's results.json."""
    cells = "\n".join(f"code cell {n}: {text}" for n, text in record["cells"].items())
    return {
        "score": record["points"],
        "output": record["note"] or cells,
        "output_format": "text",
        "stdout_visibility": "hidden",
        "visibility": "visible",
        "tests": [
            {
                "name": question["name"],
                "score": question["points"],
                "max_score": question["of"],
                "status": "passed" if question["points"] else "failed",
                "output": question["message"],
                "output_format": "text",
            }
            for question in record["questions"]
        ],
        "extra_data": {
            key: record[key]
            for key in ("submission", "grader", "versions", "isolation", "missing")
        },
    }


def _requirements(assignment):
    """What the grader and a submission import, with the versions of this book."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {"numpy", "pyyaml", "tqdm", *assignment.packages} - {"adamtut"}
    if "adamtut" in assignment.packages:
        lines = project["project"]["dependencies"]
        needed |= {line.split(">")[0] for line in lines}
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0]: line.split(" ;")[0] for line in pins if "==" in line}
    return sorted(pinned.get(name.lower(), name) for name in needed)
