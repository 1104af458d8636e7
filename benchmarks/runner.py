"""Starts the children: for each group the machine's yardsticks, then skate, then Ray, one at a time.

A line that hangs or takes its process down is reported as failed, and a new child goes on behind it. So one broken
line never costs the others.
"""

from __future__ import annotations

import importlib.util
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from .child import PREFIX, select
from .data.files import FOLDER
from .lines import GROUPS, MACHINE, PEERS, RAY, SKATE, Result
from .sweep import MARK, sweep

ROOT = Path(__file__).resolve().parent.parent
LINE_LIMIT_S = 400.0
QUICK_LINE_LIMIT_S = 90.0
STOP_GRACE_S = 5.0


@dataclass(frozen=True)
class Plan:
    """What to run: which lines, how thoroughly, and the interpreter of each system ("" leaves the system out)."""

    only: str = ""
    quick: bool = False
    big: bool = False
    ray_python: str = ""

    def systems(self) -> list[tuple[str, str]]:
        ours = [(MACHINE, sys.executable), (SKATE, sys.executable)]
        if self.ray_python:
            ours.append((RAY, self.ray_python))
        return ours + [(peer, sys.executable) for peer in PEERS if importlib.util.find_spec(peer) is not None]


def run(plan: Plan, report: Callable[[Result], None]) -> list[Result]:
    """Run every line of the plan; `report` is called with each result as it arrives."""
    with tempfile.TemporaryDirectory(prefix="benchmarks") as folder:
        os.environ[FOLDER] = folder
        return _run(plan, report)


def _run(plan: Plan, report: Callable[[Result], None]) -> list[Result]:
    results: list[Result] = []
    for group in GROUPS:
        for system, python in plan.systems():
            if not select(group, system, plan.only, plan.big):
                continue  # an interpreter that finds no line to run costs time, and with Ray seconds
            for result in run_group(plan, group, system, python):
                results.append(result)
                report(result)
    return results


def run_group(plan: Plan, group: str, system: str, python: str) -> Iterator[Result]:
    """The results of one group on one system; starts a new child behind each line that ended one."""
    skip = 0
    while True:
        child = _Child(plan, group, system, python, skip)
        yield from child.results()
        if child.error:
            failed = child.current or Result(f"(start or end of the group {group!r})", group, "", system)
            yield replace(failed, error=child.error)
        skip += child.done + 1
        if not child.error or child.current is None or child.done + 1 >= len(child.planned):
            return


class _Child:
    """One child process. `results()` yields until it ends, fails, or takes too long over a line."""

    def __init__(self, plan: Plan, group: str, system: str, python: str, skip: int) -> None:
        command = [python, "-m", "benchmarks.child", "--system", system, "--group", group, "--only", plan.only]
        command += ["--skip", str(skip)]
        command += ["--quick"] * plan.quick + ["--big"] * plan.big
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        env = {**os.environ, "PYTHONPATH": path, "BENCH_FRAMEWORK": SKATE if system == MACHINE else system}
        env[MARK] = self._mark = uuid.uuid4().hex
        env["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing but the work is to be measured
        self.planned: list[str] = []
        self.current: Result | None = None
        self.done = 0
        self.error = ""
        self._limit_s = QUICK_LINE_LIMIT_S if plan.quick else LINE_LIMIT_S
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - _end() closes it
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._stderr, env=env, cwd=ROOT, start_new_session=True
        )

    def results(self) -> Iterator[Result]:
        stdout = self._process.stdout
        if stdout is None:
            raise RuntimeError("the child was started without a pipe")
        try:
            for message in self._messages(stdout):
                if "plan" in message:
                    self.planned = message["plan"]
                elif "begin" in message:
                    self.current = Result.from_dict(message["begin"])
                else:
                    self.done += 1
                    self.current = None
                    yield Result.from_dict(message["result"])
        finally:
            self._end(stdout)

    def _messages(self, stdout: IO[bytes]) -> Iterator[dict[str, Any]]:
        deadline, pending = time.monotonic() + self._limit_s, b""
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while True:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self.error = f"no result within {self._limit_s:.0f} s"
                    return
                data = os.read(stdout.fileno(), 65536)
                if not data:
                    return
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    # What user code prints without a newline may stand in front.
                    _, found, text = line.decode(errors="replace").partition(PREFIX)
                    if found:
                        deadline = time.monotonic() + self._limit_s
                        yield json.loads(text)

    def _end(self, stdout: IO[bytes]) -> None:
        """See the child out, with everything it started, and keep why it failed."""
        if self.error:
            self._stop(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_GRACE_S * 3)
        except subprocess.TimeoutExpired:
            self.error = self.error or "the child did not end after its last line"
            code = 0
        self._stop(signal.SIGKILL)
        sweep(self._mark)  # nodes have sessions of their own
        stdout.close()
        if code != 0 and not self.error:
            self.error = f"the process ended with code {code}: {self._last_words()}"
        self._stderr.close()

    def _stop(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
            self._process.wait(STOP_GRACE_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            return  # gone already, or the stronger signal follows

    def _last_words(self) -> str:
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 2000))
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "nothing on stderr"
