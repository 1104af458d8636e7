"""Run a driver as a program of its own, and see what it prints and leaves."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import skate

ROOT = str(Path(skate.__file__).resolve().parent.parent)


def environment(**more: str) -> dict[str, str]:
    """This process's environment, with the skate that is tested."""
    return {**os.environ, "PYTHONPATH": ROOT, "PYTHONWARNINGS": "error", **more}


def run_script(text: str, timeout_s: float = 30, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a new process until it ends."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        capture_output=True, text=True, timeout=timeout_s, env=environment(**more),
    )  # fmt: skip


def start_script(text: str, **more: str) -> subprocess.Popen[str]:
    """Start Python code in a new process, with pipes."""
    return subprocess.Popen(
        [sys.executable, "-u", "-c", textwrap.dedent(text)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**more),
    )  # fmt: skip
