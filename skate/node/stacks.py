"""What the processes of a node do at the moment: the stacks of their threads.

Who reads messages while it works is asked, and looks at its own frames. A worker that runs a loop and has never submitted
anything reads nothing: it gets a signal, for which `faulthandler` has a handler in C, set up once in the zygote, that writes the
stacks into a memory file that node and workers share. That works also while C code holds the interpreter, and costs nothing
until it is used.

Nobody says when the writing is over, but the kernel knows: a handler runs with its signal blocked, and a signal that has no
handler yet is pending. So processes are written one after the other, each until its signal is neither.

INV-1: a signal is only sent to a process that has a handler for it.
INV-2: every question is answered, at the latest after `PATIENCE_S`; who has not said anything by then is named.
"""

from __future__ import annotations

import linecache
import os
import re
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from ..wire import messages as m
from ..wire.forks import STACK_SIGNAL
from . import reasons
from .faults import Minor

if TYPE_CHECKING:
    from .client import Client
    from .service import Node
    from .spying import Spying

PATIENCE_S = 3.0
LOOK_S = 0.002
"""How often it is looked whether a process has written its stacks."""
DUMP_BYTES_MAX = 1 << 20
_THREAD = re.compile(r"^(Current thread|Thread) (0x[0-9a-f]+)(?: \[(.*)\])? \(most recent call first\):")
_FRAME = re.compile(r'^  File "(.*)", line (\d+|\?\?\?) in (.*)$')

Stack = dict[str, Any]


class Request:
    """Somebody who waits for stacks."""

    def __init__(self, client: Client, number: int, until: float) -> None:
        self.client = client
        self.number = number
        self.until = until
        self.found: list[Stack] = []
        self.left: deque[int] = deque()
        """Workers that are still to be signalled."""


class Stacks(Minor):
    """The stacks of one node's processes."""

    def __init__(self, node: Node, fd: int) -> None:
        """`fd`: of the file that workers write into."""
        self.node = node
        self._fd = fd
        self.spying: Spying | None = None
        """py-spy, from the first time that somebody asks for it."""
        self._requests: deque[Request] = deque()
        self._writing = 0
        """The worker that has got the signal, if one has."""
        node.parts.append(self)

    def on_ask(self, client: Client, message: m.Ask) -> bool:
        """`Ask("stacks", {"pids"?})` is answered later, and `Ask("spy")` by `spying.py`; False: it is another question."""
        if message.what == "spy":
            if self.spying is None:
                from .spying import Spying

                self.spying = Spying(self.node)
            self.spying.on_ask(client, message)
            return True
        if message.what != "stacks":
            return False
        pids = (message.argument or {}).get("pids")
        request = Request(client, message.request, time.monotonic() + PATIENCE_S)
        drivers = [each for each in self.node.clients.values() if not each.worker and not each.far and each.pid]
        wanted = [each for each in (*drivers, *self.node.workers.values()) if pids is None or each.pid in pids]
        heard = {each.id.hex() for each in wanted if not each.worker or each.talks or each.waits}
        request.left.extend(each.worker for each in wanted if each.id.hex() not in heard and each.pid)

        def told(said: list[dict[str, Any]]) -> None:
            for each in said:
                if each["error"] and each["worker"] in self.node.workers:  # its code lets no thread run
                    request.left.append(each["worker"])
                else:
                    self._add(request, each["pid"], each["worker"], "asked", each["value"] or [], each["error"])
            self._requests.append(request)

        self.node.inquiries.begin("stack", None, told, heard)
        return True

    def _add(self, request: Request, pid: int, worker: int, how: str, threads: list[Any], error: str = "") -> None:
        found: Stack = {"pid": pid, "how": how, "threads": threads, "error": error, "process": None}
        if worker in self.node.workers:
            found["process"] = to_builtins(reasons.process_of(self.node, worker))
        request.found.append(found)

    # ------------------------------------------------------------ signals

    def on_time(self, now: float) -> None:
        """Go on with the request that is first."""
        while self._requests:
            request = self._requests[0]
            if self._writing and not self._written(request, now):
                return
            if not request.left:
                self._requests.popleft()
                linecache.clearcache()  # of whole files, which will be others when somebody asks again
                if not request.client.channel.closed:
                    self.node.send(request.client, m.Answer(request.number, request.found))
                continue
            worker = request.left.popleft()
            client = self.node.workers.get(worker)
            if client is None:
                continue  # it has ended meanwhile
            trouble = "there was no time" if now >= request.until else self._begin(client)
            if trouble:
                self._add(request, client.pid, worker, "signal", [], trouble)

    def _begin(self, client: Client) -> str:
        """Have a worker write its stacks; why that cannot be, if so."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.ftruncate(self._fd, 0)
        try:
            if not _has(f"/proc/{client.pid}/status", "SigCgt"):
                return f"it has no handler for signal {STACK_SIGNAL}: its code has replaced it"
            os.kill(client.pid, STACK_SIGNAL)
        except (FileNotFoundError, ProcessLookupError):
            return "it has just ended"
        self._writing = client.worker
        return ""

    def _written(self, request: Request, now: float) -> bool:
        """Whether the worker has written all that it has to."""
        client = self.node.workers.get(self._writing)
        if client is not None and _under_way(client.pid):
            if now < request.until:
                return False
            self._add(request, client.pid, self._writing, "signal", [], f"it has not answered in {PATIENCE_S:g} s")
        elif client is not None:
            text = os.pread(self._fd, DUMP_BYTES_MAX, 0).decode(errors="replace")
            self._add(request, client.pid, self._writing, "signal", parsed(text))
        self._writing = 0
        return True

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return None if not self._requests else LOOK_S if self._writing else 0.0

    def close(self) -> None:
        """Let go of the file."""
        if self.spying is not None:
            self.spying.close()
        os.close(self._fd)


def _has(path: str, field: str) -> bool:
    """Whether a set of signals in a file of /proc has the one for stacks."""
    for line in Path(path).read_text().splitlines():
        if line.startswith(field):
            return bool(int(line.split()[1], 16) >> (STACK_SIGNAL - 1) & 1)
    return False


def _under_way(pid: int) -> bool:
    """Whether the signal waits for its handler, or the handler runs."""
    try:
        if _has(f"/proc/{pid}/status", "ShdPnd"):
            return True
        threads = [f"/proc/{pid}/task/{thread}/status" for thread in os.listdir(f"/proc/{pid}/task")]
        return any(_has(path, "SigPnd") or _has(path, "SigBlk") for path in threads)
    except (FileNotFoundError, ProcessLookupError):
        return False  # it has ended, or a thread of it: then the next look tells


def parsed(text: str) -> list[Stack]:
    """The threads in what `faulthandler` writes, the main thread first; with the lines of code, as far as they are here."""
    threads: list[Stack] = []
    for line in text.splitlines():
        thread = _THREAD.match(line)
        if thread:
            threads.append({"thread": thread[3] or thread[2], "frames": []})
            continue
        frame = _FRAME.match(line)
        if frame and threads:
            number = int(frame[2]) if frame[2].isdigit() else 0
            code = linecache.getline(frame[1], number).strip() if number else ""
            threads[-1]["frames"].append([frame[1], number, frame[3], code])
    threads.reverse()  # the thread that was there first is written last
    if threads and not threads[0]["thread"].startswith("Main"):
        threads[0]["thread"] = "MainThread"
    return threads
