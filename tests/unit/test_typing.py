"""What pyright and mypy see through `.remote()`; the programs they look at are in `tests/typing`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = ROOT / "tests" / "typing"


def mypy(name: str) -> list[tuple[int, str]]:
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--no-incremental", str(FILES / name)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode in (0, 1), result.stderr
    found = re.findall(rf"^.*{name}:(\d+): error: (.*)$", result.stdout, re.MULTILINE)
    assert found or "Success" in result.stdout, result.stdout
    return [(int(line), text) for line, text in found]


def pyright(name: str) -> list[tuple[int, str]]:
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", str(FILES / name)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    report = json.loads(result.stdout)
    assert report["summary"]["filesAnalyzed"] >= 1
    errors = [each for each in report["generalDiagnostics"] if each["severity"] == "error"]
    return [(each["range"]["start"]["line"] + 1, each["message"]) for each in errors]


def marked(name: str) -> set[int]:
    lines = (FILES / name).read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# error")}


def test_mypy_accepts():
    assert mypy("accepted.py") == []


def test_pyright_accepts():
    assert pyright("accepted.py") == []
    assert pyright("accepted_decorated.py") == []


def test_mypy_rejects():
    assert {line for line, _ in mypy("rejected.py")} == marked("rejected.py")


def test_pyright_rejects():
    assert {line for line, _ in pyright("rejected.py")} == marked("rejected.py")
