"""What workers print, on its way to the driver: a bounded share of the node's time, and of its memory.

Lines stay in the workers' files until the driver has room for them, so a driver that reads slowly, or a worker that prints
faster than anybody reads, costs disk space (see `logs.py`) and nothing else. In a round of the node's loop so much is read
that control messages wait a few milliseconds at most, and after it the files rest for a moment, in which lines gather.
"""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING

from ..wire import messages as m
from .faults import Minor
from .logs import LogFile, Logs

if TYPE_CHECKING:
    from .client import Client
    from .service import Node

READ_BYTES = 128 * 1024
"""What is read of one file before it is the next one's turn."""
ROUND_BYTES = 512 * 1024
REST_S = 0.005
BLOCKED_S = 0.05
"""How soon to look again whether a driver has room."""
DRIVER_BACKLOG_BYTES_MAX = 4 << 20
DRIVER_COMES_S = 5.0
"""A worker of another node that has work done here comes before its driver, by so much at the most (`Reached`)."""


class _Flush:
    """A driver that wants everything that has been printed by now."""

    def __init__(self, client: Client, request: int, ends: list[tuple[LogFile, int]]) -> None:
        self.client = client
        self.request = request
        self.ends = ends

    def reached(self, unread: dict[str, LogFile]) -> bool:
        return all(file.name not in unread or file.offset >= end for file, end in self.ends)


class Output(Minor):
    """The way of all lines of a node."""

    def __init__(self, node: Node, logs: Logs) -> None:
        self.node = node
        self.logs = logs
        self._flushes: list[_Flush] = []
        self._rests_until = 0.0
        """Not zero: changes of files are not looked at until then."""
        node.epoll.register(logs.fd, select.EPOLLIN)

    # ------------------------------------------------------------ events

    def on_event(self) -> None:
        """Some files have changed; `on_time` reads them, in the same round."""
        self.logs.note_changes()

    def ended(self, worker: int, crashed: bool = False) -> None:
        """A worker is dead, perhaps by a signal. Its last lines go before the news of its death, unless there are very many."""
        for file in self.logs.ended(worker, crashed):
            self._read(file, ROUND_BYTES)

    def flush(self, client: Client, request: int) -> None:
        """Answer when everything that the client's job has printed by now was sent."""
        ends = [(file, self.logs.size(file)) for file in self.logs.of_job(client.job)]
        self.logs.unread.update((file.name, file) for file, _ in ends)
        self._flushes.append(_Flush(client, request, ends))
        self._rest(time.monotonic())

    # ------------------------------------------------------------ rounds

    def on_time(self, now: float) -> None:
        """Read what has changed, unless it is not the time yet."""
        if not self._rests_until and not self.logs.unread:
            return
        if now < self._rests_until and not self._flushes:
            return
        self.logs.note_changes()
        if not self.logs.unread and not self._flushes:
            self._rests_until = 0.0
            self.node.epoll.modify(self.logs.fd, select.EPOLLIN)
            return
        progress = self._round()
        self._answer()
        self._rest(now + (BLOCKED_S if not progress else 0 if self._flushes else REST_S))

    def _rest(self, until: float) -> None:
        if not self._rests_until:
            self.node.epoll.modify(self.logs.fd, 0)
        self._rests_until = until

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return max(0.0, self._rests_until - now) if self._rests_until else None

    def _round(self) -> bool:
        """Read a little of each file; False when there was no room for any of it."""
        left = ROUND_BYTES
        progress = not self.logs.unread
        for file in list(self.logs.unread.values()):
            if left <= 0:
                break
            size = self._read(file, READ_BYTES)
            if size is not None:
                progress = True
                left -= size
        return progress

    def _read(self, file: LogFile, most: int) -> int | None:
        """Send the next lines of a file: how many bytes they were, or None when its driver has no room for them."""
        driver = self.node.jobs.get(file.job)
        if driver is None or not driver.log_to_driver:
            if driver is not None and _comes_alone(driver):
                return None
            self.logs.skip(file)
            return 0
        if driver.channel.backlog_bytes > DRIVER_BACKLOG_BYTES_MAX:
            return None
        lines, size = self.logs.read(file, most)
        for whose, printed in lines:
            self.node.send(driver, m.Output(f"{whose or 'worker'} pid={file.pid}", file.is_error, printed))
        return size

    def _answer(self) -> None:
        for flush in [flush for flush in self._flushes if flush.reached(self.logs.unread)]:
            self._flushes.remove(flush)
            self.node.send(flush.client, m.Answer(flush.request, True))


def _comes_alone(client: Client) -> bool:
    """Whether it is a worker whose driver may still come."""
    return client.hello is not None and not client.hello.is_driver and time.monotonic() < client.since + DRIVER_COMES_S
