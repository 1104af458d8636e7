"""Threads that move the bytes of objects between connections and the arena, so that the node's loop goes on meanwhile.

One thread for each lane: it blocks in system calls, which hold no lock of the interpreter, and has a time limit for every one
of them, so that a peer that has vanished, or stands still, is given up whether this end waits or sends. Bytes are sent from a
mapping of the arena, and received through a small buffer that stays in the processor's cache and is written with `pwrite`: pages
that are new need not be cleared first nor mapped here, and a machine without memory is an error instead of a SIGBUS.

The threads know nothing of the directory. What they share with the node's own thread is a `Copy`, under its lock; how a
lane has ended, they report (`Reports`).

INV-1: the memory of a copy is not given back while a lane runs on it.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

from ..store.arena import Arena
from ..wire.transfer import FRAME, GONE, REQUEST, TAKE, WAIT
from .pulls import CHUNK_BYTES, SEARCH_S, Chunks
from .reports import Reports

STALL_S = 4.0
"""A lane on which nothing moves for so long is given up. A node that is silent for 3 s is dead."""
TELL_S = 1.0
"""Who has nothing to send says so, this often."""
AT_ONCE_BYTES = 256 << 10
"""Up to this size the node's own thread moves an object: to wake another costs more."""
BUFFER_BYTES = 512 << 10
AHEAD = 2
"""Requests that are on their way at a time."""


class Ended(Exception):
    """A lane has come to its end; the message says why."""

    def __init__(self, reason: str, denied: bool = False) -> None:
        super().__init__(reason)
        self.denied = denied


class Copy:
    """The bytes of an object in this arena: all of them, or on their way."""

    def __init__(self, offset: int, size: int, chunks: Chunks | None = None) -> None:
        self.offset = offset
        self.size = size
        self.chunks = chunks
        """None: it was whole from the beginning."""
        self.lanes = 0
        """How many run on it; for the node's own thread."""
        self._changed = threading.Condition()
        self._cancelled = False

    @property
    def whole(self) -> bool:
        """Whether all bytes are there."""
        return self.chunks is None or self.chunks.complete

    @property
    def moved(self) -> int:
        """How many chunks have come."""
        return self.chunks.count - self.chunks.left if self.chunks is not None else 0

    def take(self) -> tuple[int, int] | None:
        """The next piece to ask for."""
        with self._changed:
            return None if self._cancelled or self.chunks is None else self.chunks.take()

    def done(self, at: int) -> None:
        """A piece is there."""
        with self._changed:
            assert self.chunks is not None
            self.chunks.done(at)
            self._changed.notify_all()

    def give_back(self, pieces: list[tuple[int, int]]) -> None:
        """Pieces that were taken do not come."""
        with self._changed:
            for at, _ in pieces:
                assert self.chunks is not None
                self.chunks.give_back(at)

    def wait(self, at: int, size: int, timeout_s: float) -> bool:
        """Wait until these bytes are there; False when they are not after that time.

        Raises:
            Ended: they will not come.
        """
        chunks = self.chunks
        if chunks is None:
            return True
        with self._changed:
            self._changed.wait_for(lambda: self._cancelled or chunks.has(at, size), timeout_s)
            if self._cancelled:
                raise Ended("the object does not come here any more", denied=True)
            return chunks.has(at, size)

    def cancel(self) -> None:
        """It does not become whole."""
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()


class Lane:
    """One connection on which the bytes of one object move."""

    def __init__(
        self,
        sock: socket.socket,
        copy: Copy,
        node: int,
        ident: bytes,
        rest: bytes = b"",
        unasked: bool = False,
    ) -> None:
        self.sock = sock
        self.copy = copy
        self.node = node
        self.ident = ident
        self.reason = ""
        """Why it has ended before everything had come."""
        self.denied = False
        self.broken = False
        """This machine is at fault: it has no memory."""
        self.moved_bytes = 0
        self.held = False
        """Whether the directory holds the object for it."""
        self._rest = rest
        self._unasked = unasked
        """The object is small, and comes without requests."""
        self._skip = 0
        """So many bytes of the first answer are sent already."""

    def cut(self) -> None:
        """End it from another thread."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # its thread has seen the end already

    # ------------------------------------------------------------ sending

    def send(self, arena: Arena) -> None:
        """Send what the other end asks for, until it closes."""
        view = self._view(arena)
        for at, size in self._requests():
            self._await(at, size)
            skip, self._skip = self._skip, 0
            self._write(memoryview(FRAME.pack(TAKE, size))[skip:])
            self._write(view[at + max(0, skip - FRAME.size) : at + size])
            self.moved_bytes += size

    def send_at_once(self, arena: Arena) -> bool:
        """Send of an object of one piece what the connection takes now, without a thread; whether that was all."""
        size = self.copy.size
        try:
            self._skip = self.sock.sendmsg([FRAME.pack(TAKE, size), self._view(arena)])
        except OSError:
            return False  # it takes nothing now, or is gone: `send` will see
        return self._skip == FRAME.size + size

    def _view(self, arena: Arena) -> memoryview:
        return memoryview(arena.exporter(self.copy.offset, self.copy.size, mine=False)).cast("B")

    def _requests(self) -> Iterator[tuple[int, int]]:
        if self._unasked:
            pieces = Chunks(self.copy.size)
            while (piece := pieces.take()) is not None:
                yield piece
            return
        while request := self._read(REQUEST.size, end_is_fine=True):
            at, size = REQUEST.unpack(request)
            if not 0 < size <= CHUNK_BYTES or at + size > self.copy.size:
                raise Ended(f"the other end asks for {size} bytes at {at}")
            yield at, size

    def _await(self, at: int, size: int) -> None:
        try:
            while not self.copy.wait(at, size, TELL_S):
                self._write(memoryview(FRAME.pack(WAIT, 0)))
        except Ended:
            self._write(memoryview(FRAME.pack(GONE, 0)))
            raise

    def _write(self, data: memoryview) -> None:
        while data:
            data = data[self.sock.send(data) :]

    # ------------------------------------------------------------ receiving

    def receive(self, arena_fd: int) -> None:
        """Ask for pieces and write them into the arena, until nobody needs any more of them."""
        buffer = memoryview(bytearray(min(BUFFER_BYTES, self.copy.size)))
        asked: list[tuple[int, int]] = []
        try:
            while True:
                while len(asked) < AHEAD and (piece := self.copy.take()) is not None:
                    asked.append(piece)
                    if not self._unasked:
                        self._write(memoryview(REQUEST.pack(*piece)))
                if not asked:
                    return
                at, size = asked[0]
                self._receive(at, size, buffer, arena_fd)
                del asked[0]
                self.copy.done(at)
                self.moved_bytes += size
        finally:
            self.copy.give_back(asked)

    def receive_at_once(self, arena_fd: int) -> None:
        """Take a small object that is there as a whole: what has come after the first answer."""
        try:
            self.receive(arena_fd)
        except Ended as end:
            self.reason, self.denied = str(end), end.denied
        except OSError as error:
            self.reason = f"it has sent something else: {error}"
        self.sock.close()

    def _receive(self, at: int, size: int, buffer: memoryview, arena_fd: int) -> None:
        waits = 0
        while (frame := FRAME.unpack(self._read(FRAME.size)))[0] == WAIT:
            waits += 1
            if waits * TELL_S > SEARCH_S:
                raise Ended(f"it has got nothing itself for {SEARCH_S:g} s")
        if frame != (TAKE, size):
            raise Ended("it does not have it any more", denied=True)
        offset = self.copy.offset + at
        end = offset + size
        while offset < end:
            part = buffer[: min(len(buffer), end - offset)]
            count = self._receive_into(part)
            done = 0
            while done < count:
                try:
                    done += os.pwrite(arena_fd, part[done:count], offset + done)
                except OSError as error:
                    self.broken = True
                    raise Ended(f"the machine has no memory for an object of {self.copy.size} bytes: {error}") from None
            offset += count

    def _receive_into(self, part: memoryview) -> int:
        if self._rest:
            data, self._rest = self._rest[: len(part)], self._rest[len(part) :]
            part[: len(data)] = data
            return len(data)
        count = self.sock.recv_into(part)
        if not count:
            raise Ended("it has closed the connection in the middle")
        return count

    def _read(self, size: int, end_is_fine: bool = False) -> bytes:
        data = bytearray(size)
        got = 0
        while got < size:
            try:
                got += self._receive_into(memoryview(data)[got:])
            except Ended:
                if end_is_fine and not got:
                    return b""
                raise
        return bytes(data)


class Movers:
    """The threads. There are as many as lanes at the same time; one that is idle takes the next."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = 0

    def start(self, lane: Lane, work: Callable[[], None], then: Callable[[Lane], None]) -> None:
        """Run a lane, and close it; afterwards the node's thread calls `then`."""
        lane.copy.lanes += 1
        lane.sock.settimeout(STALL_S)

        def ended() -> None:
            self._idle += 1
            lane.copy.lanes -= 1
            then(lane)

        def job() -> None:
            try:
                work()
            except Ended as end:
                lane.reason, lane.denied = str(end), end.denied
            except TimeoutError:
                lane.reason = f"nothing has moved on the connection for {STALL_S:g} s"
            except Exception as error:  # of the other end's making: this lane ends, and nothing else
                lane.reason = f"the connection has ended: {error}"
            lane.sock.close()
            self._reports.add(ended)

        if self._idle:
            self._idle -= 1
        else:
            self._threads.append(threading.Thread(target=self._run, name="skate-lane", daemon=True))
            self._threads[-1].start()
        self._work.put(job)

    def _run(self) -> None:
        while (job := self._work.get()) is not None:
            job()

    def close(self) -> None:
        """End the threads. Their lanes have ended, or been cut."""
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()
