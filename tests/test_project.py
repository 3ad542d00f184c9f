"""The project's files tell the truth about each other."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_readme_commands_are_what_ci_runs():
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    for command in (
        "pip install -c constraints.txt -e . && python train.py",
        'pip install -c constraints.txt -e ".[test]" && pytest',
    ):
        assert command in readme and command in ci
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", readme):
        assert (ROOT / path).exists(), path


def test_constraints_pin_every_dependency():
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text().lower(), flags=re.M))
    block = (ROOT / "setup.cfg").read_text().split("install_requires =")[1].split("[options.packages")[0]
    assert set(re.findall(r"^    ([\w-]+)", block, flags=re.M)) <= pinned
