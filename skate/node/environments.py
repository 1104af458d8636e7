"""The runtime environments of a node: for each that a job uses, a zygote, which sets it up and then forks its workers.

It is forked from the first zygote, so an environment that only sets variables costs a fork. One that has to be fetched or
installed does that in its own process, which may take minutes: meanwhile it is `preparing`, and the scheduler keeps nothing for
it. What it prints, as an installer's progress, goes to the driver like the output of workers. If it fails, all that waits for it
fails with what it has said, and the next task that asks for it tries anew.

INV-1: a crew is in `scheduler.preparing` from the fork of its zygote until that has said `Prepared` or has ended.
INV-2: a zygote ends only when its crew has no workers.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from ..client.errors import pack_error
from ..exceptions import RuntimeEnvSetupError
from ..wire import forks, messages as m
from ..wire.channel import Channel, ChannelClosed, pair
from ..wire.environments import crew as crew_of, decode, job_of, what as what_of

if TYPE_CHECKING:
    from .client import Client
    from .packages import Packages
    from .service import Node

TEXTS_MAX = 256
"""When more environments are remembered, those are forgotten that nobody wants workers of."""
FAILURES_MAX = 100
"""So many that could not be set up are remembered."""
UNUSED_S = 10.0
"""How long the zygote of an environment without workers stays: setting up from what is there takes milliseconds."""
LOADED_MAX = 2
"""So many of those without workers that have imported something stay as long as their job: importing takes longer."""


class Zygote:
    """The process that sets an environment up, and has its workers."""

    def __init__(self, crew: str, text: str, number: int, channel: Channel) -> None:
        self.crew = crew
        self.text = text
        self.number = number
        self.channel = channel
        self.has_imports = bool(decode(text).imports)
        self.pid = 0
        self.ready = False
        self.ending = False
        """It is not needed any more, and ends as soon as it has no workers."""
        self.first = False
        """Workers are to be started as soon as it is ready."""
        self.workers = 0
        self.unused_since = 0.0
        """Since when it has no workers, and nobody wants any; 0: it has."""
        self.began = time.monotonic()
        self.took_s = 0.0
        """How long it was set up."""


class Environments:
    """The zygotes of all environments on one node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._zygotes: dict[str, Zygote] = {}
        self._gone: dict[int, Zygote] = {}
        """By number: it is to be killed as soon as its pid is known, or its end is still to be heard of."""
        self._texts: dict[str, str] = {}
        """The environments that were asked for, by crew."""
        self._texts_max = TEXTS_MAX
        self.packages: Packages | None = None
        """Of a member of a cluster."""
        self._failures: deque[tuple[str, str, str]] = deque(maxlen=FAILURES_MAX)
        """Crew, text and reason of those that could not be set up lately."""
        node.parts.append(self)

    # ------------------------------------------------------------ asked for

    def crew(self, job: str, text: str) -> str:
        """Whose workers run tasks of a job in an environment."""
        crew = crew_of(job, text)
        if text:
            if len(self._texts) >= self._texts_max:
                self._forget_unwanted()
            self._texts[crew] = text
            zygote = self._zygotes.get(crew)
            if zygote is not None:
                zygote.ending = False
        return crew

    def _forget_unwanted(self) -> None:
        """Whoever wants one of them again says so again."""
        asked = self.node.scheduler.asked()
        self._texts = {crew: text for crew, text in self._texts.items() if crew in asked or crew in self._zygotes}
        self._texts_max = max(TEXTS_MAX, 2 * len(self._texts))  # so that looking costs little for each

    def prepare(self, crew: str) -> None:
        """Somebody wants workers of a crew, and there is room for them: set its environment up, unless that is under way."""
        if crew in self._texts and crew not in self._zygotes:
            self._start(crew, self._texts[crew])

    def on_prepare(self, client: Client, message: m.Prepare) -> None:
        """A driver says what its tasks will run in."""
        crew = self.crew(client.job, message.env)
        if not message.env or not decode(message.env).eager or not self.node.total.get("CPU"):
            return
        self.prepare(crew)
        self._zygotes[crew].first = True

    def zygote_of(self, crew: str) -> Channel | None:
        """The channel of an environment's zygote, when that is ready."""
        zygote = self._zygotes.get(crew)
        return zygote.channel if zygote is not None and zygote.ready else None

    def _start(self, crew: str, text: str) -> None:
        node = self.node
        mine, theirs = pair()
        zygote = self._zygotes[crew] = Zygote(crew, text, node.pool.number(), Channel(mine))
        node.watch(zygote.channel.fd, partial(self._on_event, zygote))
        node.scheduler.preparing.add(crew)
        out, err = node.output.logs.paths(zygote.number, job_of(crew))
        hello = node.hello_of(job_of(crew))
        fork = forks.Fork(zygote.number, out, err, text, str(node.session_dir), hello.sys_path if hello else [])
        node.pool.tell(node.pool.zygote, fork, (theirs.fileno(),))
        theirs.close()

    # ------------------------------------------------------------ what zygotes say

    def forked(self, message: forks.Forked) -> None:
        """A zygote has a process, or none could be had."""
        gone = self._gone.get(message.worker)
        zygote = gone or next((z for z in self._zygotes.values() if z.number == message.worker), None)
        if zygote is None:
            return
        zygote.pid = message.pid
        self.node.output.logs.started(message.worker, message.pid)
        if message.error:
            if gone is None:
                self._failed(zygote, f"no process could be started for it: {message.error}")
            self._gone.pop(zygote.number, None)
            self.node.output.ended(zygote.number)
        elif gone is not None:
            self._kill(zygote)

    def _on_event(self, zygote: Zygote, mask: int) -> bool:
        try:
            return self.node.pool.on_zygote(zygote.channel)
        except ChannelClosed:
            self._ended(zygote)
            return True

    def on_message(self, channel: Channel, message: Any) -> None:
        """A zygote tells how far it is."""
        zygote = next((z for z in self._zygotes.values() if z.channel is channel), None)
        if zygote is None:
            return
        if isinstance(message, forks.Failed):
            self._failed(zygote, message.error)
        elif isinstance(message, forks.Prepared):
            zygote.ready, zygote.took_s = True, time.monotonic() - zygote.began
            self.node.scheduler.preparing.discard(zygote.crew)
            if zygote.first:
                self.node.start_first(zygote.crew)
            self.node.decide_again()
        elif isinstance(message, forks.Need):
            self._bring(zygote, message)

    def _bring(self, zygote: Zygote, need: forks.Need) -> None:
        def then(error: str) -> None:
            if self._zygotes.get(zygote.crew) is zygote:
                self.node.pool.tell(zygote.channel, forks.Package(need.hash, error))

        if self.packages is None:
            then("it is not on this machine any more")
        else:
            self.packages.bring(need.hash, need.node, then)

    def _failed(self, zygote: Zygote, reason: str) -> None:
        """It could not be set up: what waits for it fails."""
        self._failures.append((zygote.crew, zygote.text, reason))
        self.cannot_start(zygote.crew, reason)
        self._drop(zygote)

    def cannot_start(self, crew: str, reason: str) -> None:
        """A crew cannot have workers: what waits for them fails."""
        zygote = self._zygotes.get(crew)
        if zygote is None:
            self.node.cannot_start(crew, reason)
            return
        error = pack_error(RuntimeEnvSetupError(reason), function_name="", pid=0, task_id="")
        self.node.cannot_start(crew, f"its runtime environment could not be set up: {reason}", zygote.text, error)

    def _ended(self, zygote: Zygote) -> None:
        """Its channel has ended without a word."""
        if self._zygotes.get(zygote.crew) is not zygote:
            return
        node = self.node
        if not zygote.ready:
            last = "\n".join(node.output.logs.tail(zygote.number))
            python = decode(zygote.text).py_executable
            which = f" ended: `{python}`, which must be a Python that has skate" if python else " ended"
            self._failed(zygote, f"the process that was setting it up has{which}. {last}".strip())
            return
        self._drop(zygote)
        node.pool.parent_ended(zygote.crew, m.Death("the process that its runtime environment is set up in has ended"))
        node.scheduler.crew_gone(zygote.crew)
        node.decide_again()

    def reaped(self, message: forks.Reaped) -> None:
        """The first zygote says that one of these has ended; its channel says so, too."""
        self._gone.pop(message.worker, None)
        self.node.output.ended(message.worker)

    # ------------------------------------------------------------ ends

    def job_gone(self, job: str) -> None:
        """A job has ended here, but perhaps for actors."""
        for zygote in list(self._zygotes.values()):
            if job_of(zygote.crew) == job:
                zygote.ending = True
        for crew in [crew for crew in self._texts if job_of(crew) == job and crew not in self._zygotes]:
            del self._texts[crew]
        self.node.decide_again()

    def _drop(self, zygote: Zygote) -> None:
        """Forget a zygote, and end its process."""
        del self._zygotes[zygote.crew]
        if zygote.ending or zygote.crew not in self.node.scheduler.asked():
            self._texts.pop(zygote.crew, None)  # whoever wants it says so again
        self.node.scheduler.crew_gone(zygote.crew)
        self.node.scheduler.preparing.discard(zygote.crew)
        self.node.unwatch(zygote.channel.fd)
        zygote.channel.close()
        self._gone[zygote.number] = zygote
        if zygote.pid:
            self._kill(zygote)

    def _kill(self, zygote: Zygote) -> None:
        self.node.pool.tell(self.node.pool.zygote, forks.Kill(zygote.pid, signal.SIGKILL))

    def on_time(self, now: float) -> None:
        """End what is not used."""
        if not self._zygotes:
            return
        for zygote in list(self._zygotes.values()):
            if zygote.workers or (not zygote.ending and self._is_wanted(zygote)):
                zygote.unused_since = 0.0
                continue
            zygote.unused_since = zygote.unused_since or now
            if zygote.ending or (now - zygote.unused_since > UNUSED_S and not self._stays(zygote)):
                self._drop(zygote)

    def _stays(self, zygote: Zygote) -> bool:
        """Whether it is one of those that were used last, and are worth their memory."""
        loaded = [each for each in self._zygotes.values() if each.has_imports and each.unused_since]
        return zygote in sorted(loaded, key=lambda each: each.unused_since)[-LOADED_MAX:]

    def _is_wanted(self, zygote: Zygote) -> bool:
        return (zygote.first and not zygote.ready) or self.node.scheduler.wanted(zygote.crew)

    def count(self, crew: str, change: int) -> None:
        """A crew has one worker more, or one less."""
        zygote = self._zygotes.get(crew)
        if zygote is not None:
            zygote.workers += change

    def listed(self) -> list[dict[str, Any]]:
        """Those that are there or are being set up, and those that could not be, in Ray's words."""
        rows = [
            _row(zygote.crew, zygote.text, zygote.ready or None, zygote.took_s * 1000, zygote.workers, "")
            for zygote in self._zygotes.values()
        ]
        return rows + [_row(crew, text, False, None, 0, reason) for crew, text, reason in reversed(self._failures)]

    def why(self, crew: str) -> str:
        """What is still in the way of a crew when there are resources."""
        zygote = self._zygotes.get(crew)
        if zygote is None or zygote.ready:
            return "a worker is being started"
        said = (self.node.output.logs.tail(zygote.number) or [""])[-1].strip()
        return f"its runtime environment is being set up ({what_of(zygote.text)})" + (
            f", which says: {said}" * bool(said)
        )

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        unused = [zygote for zygote in self._zygotes.values() if zygote.unused_since and not self._stays(zygote)]
        due = [zygote.unused_since + UNUSED_S for zygote in unused]
        return max(0.0, min(due) - now) if due else None


def _row(crew: str, text: str, success: bool | None, took_ms: float | None, workers: int, error: str) -> dict[str, Any]:
    return {
        "runtime_env": msgspec.json.decode(text),
        "success": success,
        "creation_time_ms": round(took_ms, 1) if success and took_ms is not None else None,
        "ref_cnt": workers,
        "error": error,
        "job_id": job_of(crew),
    }
