"""What a process of the node does, seen from outside by py-spy: with the frames of C code, or although it says nothing itself.

py-spy (https://github.com/benfred/py-spy, MIT) reads the memory of the process while that stands still. For this it needs the
right to trace, and it may not be installed; so it is used only when somebody asks for it, or when all else has failed. It runs as
a child of the node, which looks now and then whether it has ended, and goes on with its own work meanwhile.

INV-1: at most one py-spy runs on a node, and it is killed after `PATIENCE_S` and the seconds that it is to watch.
INV-2: every question is answered; what could not be found out is said in `error`.
"""

from __future__ import annotations

import linecache
import os
import shutil
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct, to_builtins

from ..wire import messages as m
from . import reasons
from .faults import Minor

if TYPE_CHECKING:
    from .client import Client
    from .service import Node

PATIENCE_S = 10.0
"""How long py-spy may take to look at one process."""
ASK_S = 45.0
"""After so long a question is answered with what is known; whoever asks waits a little longer."""
SECONDS_MAX = 30
LOOK_S = 0.01
"""How often it is looked whether py-spy has ended."""
RATE = 50
"""Looks per second, for a profile."""
OUTPUT_BYTES_MAX = 4 << 20
QUESTIONS_MAX = 16
MISSING = "py-spy is not installed for this node: pip install 'skate[profile]'"
FORBIDDEN = (
    "the kernel does not let py-spy look at it: this needs root, CAP_SYS_PTRACE (docker run --cap-add SYS_PTRACE), or "
    "kernel.yama.ptrace_scope=0 where the process is the user's own"
)

Stack = dict[str, Any]


class _Frame(Struct):
    name: str
    filename: str
    line: int = 0
    module: str | None = None
    """Of C code: where it is."""

    def plain(self) -> list[Any]:
        """In the words of `stacks.py`: file, line, name, code. C code has no line of a Python file."""
        if self.module is not None:
            place = f"{os.path.basename(self.filename)}:{self.line}" if self.line else ""
            return [self.module, 0, self.name, place]
        return [self.filename, self.line, self.name, linecache.getline(self.filename, self.line).strip()]


class _Thread(Struct):
    """A thread, as `py-spy dump --json` writes it."""

    frames: list[_Frame]
    thread_name: str | None = None
    os_thread_id: int | None = None


class Wish(Struct):
    """What is wanted: `Ask("spy", ...)`."""

    pids: list[int] | None = None
    """Of these processes; None: of all."""
    native: bool = False
    """With the frames of C code."""
    seconds: Annotated[int, Meta(ge=0, le=SECONDS_MAX)] = 0
    """Watch for so long, and count stacks; 0: look once."""


class _Question:
    """Somebody who waits."""

    def __init__(self, client: Client, number: int, wish: Wish, left: deque[tuple[int, int]]) -> None:
        self.client = client
        self.number = number
        self.wish = wish
        self.left = left
        """Processes that are still to be looked at, and the numbers of those that are workers."""
        self.until = time.monotonic() + ASK_S
        self.found: list[Stack] = []


class _Run:
    """A py-spy that runs."""

    def __init__(self, words: list[str], pid: int, worker: int, patience_s: float) -> None:
        self.pid, self.worker = pid, worker
        self.until = time.monotonic() + patience_s
        self._out = os.memfd_create("skate-spy")
        self._err = os.memfd_create("skate-spy-errors")
        try:
            self._child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._err)
        except OSError:
            os.close(self._out)
            os.close(self._err)
            raise

    def ended(self, now: float) -> bool:
        """Whether it has; it is killed when its time is over."""
        if self._child.poll() is None and now < self.until:
            return False
        if self._child.returncode is None:
            self._child.kill()
            self._child.wait()
        return True

    def result(self) -> tuple[bytes, str]:
        """What it has found out, or why it has not."""
        out = os.pread(self._out, OUTPUT_BYTES_MAX, 0)
        code = self._child.returncode
        if code < 0:
            return b"", f"py-spy has not answered in {PATIENCE_S:g} s"
        return out, "" if not code else trouble(os.pread(self._err, 1 << 16, 0).decode(errors="replace"))

    def close(self) -> None:
        """End it, if it has not ended."""
        self.ended(self.until)
        os.close(self._out)
        os.close(self._err)


class Spying(Minor):
    """The questions to py-spy of one node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._questions: deque[_Question] = deque()
        self._run: _Run | None = None
        node.parts.append(self)

    def on_ask(self, client: Client, message: m.Ask) -> None:
        """Answer later; at once, if it cannot be answered."""
        try:
            wish = msgspec.convert(message.argument or {}, Wish)
        except msgspec.ValidationError as error:
            self.node.send(client, m.Answer(message.request, None, str(error)))
            return
        if len(self._questions) >= QUESTIONS_MAX:
            self.node.send(client, m.Answer(message.request, None, f"{QUESTIONS_MAX} others wait for py-spy already"))
            return
        clients = [each for each in self.node.clients.values() if not each.worker and not each.far]
        wanted = [(each.pid, each.worker) for each in (*clients, *self.node.workers.values()) if each.pid]
        left = deque(each for each in wanted if wish.pids is None or each[0] in wish.pids)
        self._questions.append(_Question(client, message.request, wish, left))

    def on_time(self, now: float) -> None:
        """Go on with the question that is first."""
        while self._questions:
            question = self._questions[0]
            if self._run is not None:
                if not self._run.ended(now):
                    return
                self._add(question, self._run.pid, self._run.worker, *self._run.result())
                self._run.close()
                self._run = None
            elif question.left:
                self._next(question, now)
            else:
                self._questions.popleft()
                linecache.clearcache()
                if not question.client.channel.closed:
                    self.node.send(question.client, m.Answer(question.number, question.found))

    def _next(self, question: _Question, now: float) -> None:
        """Look at the next process."""
        pid, worker = question.left.popleft()
        program = which()
        wish = question.wish
        if program is None or now + wish.seconds >= question.until:  # who asks would not wait for it
            self._add(question, pid, worker, b"", "there was no time" if program else MISSING)
            return
        words = [program, *command(pid, wish, _stands_still(pid))]
        try:
            self._run = _Run(words, pid, worker, PATIENCE_S + wish.seconds)
        except OSError as error:
            self._add(question, pid, worker, b"", f"py-spy cannot be started: {error}")

    def _add(self, question: _Question, pid: int, worker: int, out: bytes, error: str) -> None:
        found: Stack = {"pid": pid, "how": "py-spy", "threads": [], "samples": [], "error": error, "process": None}
        try:
            if not error and question.wish.seconds:
                found["samples"] = samples(out.decode(errors="replace"))
            elif not error:
                found["threads"] = threads(out)
        except (msgspec.DecodeError, ValueError) as broken:
            found["error"] = f"what py-spy says cannot be read: {broken}"
        if worker in self.node.workers:
            found["process"] = to_builtins(reasons.process_of(self.node, worker))
        question.found.append(found)

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return None if not self._questions else LOOK_S if self._run is not None else 0.0

    def close(self) -> None:
        """Nobody waits any more."""
        if self._run is not None:
            self._run.until = 0.0
            self._run.close()


def which() -> str | None:
    """Where py-spy is: on the path, or beside the interpreter."""
    return shutil.which("py-spy") or shutil.which("py-spy", path=os.path.dirname(sys.executable))


def command(pid: int, wish: Wish, still: bool) -> list[str]:
    """The arguments of py-spy. `still`: the process is stopped, and cannot be stopped once more."""
    how = ["--full-filenames", "--pid", str(pid), *(["--native"] if wish.native else ["--nonblocking"] * still)]
    if not wish.seconds:
        return ["dump", "--json", *how]
    return [
        "record",
        "--format",
        "raw",
        "--duration",
        str(wish.seconds),
        "--rate",
        str(RATE),
        "-o",
        "/dev/stdout",
        *how,
    ]


def _stands_still(pid: int) -> bool:
    try:
        return "\nState:\tT" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False  # it has ended, or cannot be looked at, which py-spy will say


def trouble(text: str) -> str:
    """What py-spy complains of, in one line."""
    lines = [line.strip() for line in text.partition("Stack backtrace:")[0].splitlines() if line.strip()]
    if any("permission denied" in line.lower() or "os error 1)" in line for line in lines):
        return FORBIDDEN
    about = [line for line in lines if line != "Caused by:" and not line.startswith("py-spy>")]
    return f"py-spy: {'; '.join(about) or 'it has failed, and does not say why'}"


def threads(out: bytes) -> list[Stack]:
    """The threads in what `py-spy dump --json` writes, in the words of `stacks.py`."""
    found = []
    for thread in msgspec.json.decode(out, type=list[_Thread]):
        name = thread.thread_name or f"thread {thread.os_thread_id}"
        found.append({"thread": name, "frames": [frame.plain() for frame in thread.frames]})
    return sorted(found, key=lambda thread: thread["thread"] != "MainThread")


def samples(out: str) -> list[tuple[list[str], int]]:
    """The stacks in what `py-spy record --format raw` writes, the outermost frame first, and how often each was seen."""
    found = []
    for line in out.splitlines():
        frames, _, count = line.rpartition(" ")
        if frames and count.isdigit():
            found.append((frames.split(";"), int(count)))
    return found
