"""Questions that only clients can answer: the node passes them on, collects what is said, and answers whoever asked.

Workers that have not submitted anything, and do not wait, have nothing to tell, and are not asked: nobody in them would hear it.
A client that runs user code without ever letting another thread run does not answer. Nobody waits for it for longer than
`PATIENCE_S`: the answer then says of whom nothing is known, and why.

INV-1: every inquiry that has begun ends: with the last answer, with the end of those who have not answered, or in time.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from ..wire import messages as m
from ..wire.inquiry import Telling
from .faults import Minor
from .history import WARNING

if TYPE_CHECKING:
    from .client import Client
    from .service import Node

PATIENCE_S = 1.0
"""How long a client may take to answer."""

Then = Callable[[list[dict[str, Any]]], None]


class Inquiry:
    """One question, and what was said to it."""

    def __init__(self, then: Then, until: float) -> None:
        self.then = then
        self.until = until
        self.missing: dict[bytes, Client] = {}
        self.said: list[Telling] = []


class Inquiries(Minor):
    """The questions of one node that are not answered yet."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._numbers = itertools.count(1)
        self._open: dict[int, Inquiry] = {}
        node.parts.append(self)

    def on_ask(self, client: Client, message: m.Ask) -> bool:
        """`Ask("tell", {"what", "argument", "clients"?})` is answered later; False: it is another question."""
        if message.what != "tell":
            return False
        wanted = message.argument
        only = wanted.get("clients")

        def answer(said: list[dict[str, Any]]) -> None:
            if wanted["what"] == "cancel":
                self._note_cancelled(wanted["argument"], said)
            if not client.channel.closed:
                self.node.send(client, m.Answer(message.request, said))

        self.begin(str(wanted["what"]), wanted.get("argument"), answer, None if only is None else set(only))
        return True

    def begin(
        self,
        what: str,
        argument: Any,
        then: Then,
        only: set[str] | None = None,
        patience_s: float = PATIENCE_S,
        busy: bool = False,
    ) -> None:
        """Ask the drivers and workers of this node; `then(what each has said)`, exactly once.

        Args:
            what: the question, by name (see `client/telling.py`).
            argument: of the question.
            then: called with the `Telling` of each, as a dict.
            only: the ids of those to ask, in hexadecimal; by default all.
            patience_s: wait so long.
            busy: also ask workers that read nothing while they run a task. One that has just been forked waits for another
                message, and has nothing to tell.
        """
        number = next(self._numbers)
        inquiry = self._open[number] = Inquiry(then, time.monotonic() + patience_s)
        drivers = [client for client in self.node.clients.values() if not client.worker and not client.far]
        begun = [each for each in self.node.workers.values() if each.began]
        workers = [each for each in begun if each.talks or each.waits or busy]
        for client in [*drivers, *workers]:
            if only is None or client.id.hex() in only:
                inquiry.missing[client.id] = client
        for client in list(inquiry.missing.values()):
            self.node.send(client, m.Question(number, what, argument))
        self._look(number)

    def _note_cancelled(self, argument: dict[str, str], said: list[dict[str, Any]]) -> None:
        """Somebody who looks has cancelled a task, if one of these processes has it: an event says so."""
        for each in said:
            if each["value"]:
                text = f"task {each['value']} ({argument['id']}) was cancelled {argument['how']}"
                self.node.history.event(WARNING, "JOB", text, each["job"], task_id=argument["id"])

    def on_told(self, client: Client, message: m.Told) -> None:
        """A client has answered."""
        inquiry = self._open.get(message.request)
        if inquiry is None or inquiry.missing.pop(client.id, None) is None:
            return  # it was too late
        inquiry.said.append(_telling(client, message.value, message.error))
        self._look(message.request)

    def on_talks(self, client: Client, message: m.Talks) -> None:
        """A worker may be asked from now on."""
        client.talks = True

    def _look(self, number: int) -> None:
        inquiry = self._open[number]
        if inquiry.missing:
            return
        del self._open[number]
        inquiry.then([to_builtins(said) for said in inquiry.said])

    def gone(self, client: Client) -> None:
        """A client has ended: nobody waits for what it would have said."""
        for number, inquiry in list(self._open.items()):
            if inquiry.missing.pop(client.id, None) is not None:
                inquiry.said.append(_telling(client, None, "it has ended"))
                self._look(number)

    # ------------------------------------------------------------ time

    def on_time(self, now: float) -> None:
        """Go on without those who take too long."""
        for number, inquiry in list(self._open.items()):
            if now >= inquiry.until:
                for client in inquiry.missing.values():
                    inquiry.said.append(
                        _telling(
                            client,
                            None,
                            "it has not answered in time: it runs code that lets no thread run",
                        )
                    )
                inquiry.missing.clear()
                self._look(number)

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return max(0.0, min(inquiry.until for inquiry in self._open.values()) - now) if self._open else None


def _telling(client: Client, value: Any, error: str) -> Telling:
    return Telling(client.id.hex(), client.pid, client.worker, client.job, value, error)
