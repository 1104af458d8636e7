"""Who reads the sockets: the thread that waits.

Exactly one thread at a time leads: it polls, receives and handles messages. A thread that blocks in `get` leads itself, so
that an answer costs no hand-over between threads; other waiting threads sleep until the leader wakes them. Only while
no user thread waits does the I/O thread lead, so that work goes on behind a program that computes.

The hand-over is lazy. While user threads come and go quickly, the I/O thread only looks in every `TICK_S`; it takes the
lead when nobody has led for a whole tick, and then blocks in the kernel: an idle process uses no CPU. A user thread
that wants the lead back rings `wake_fd`.

A wait spins for `SPIN_S` before it sleeps in the kernel, as long as spinning has been paying: waking a sleeping process
on another core costs several times the round trip itself. (Measured on two cores: 12,000 round trips per second
asleep, 39,000 with one side spinning, 90,000 with both.)

INV-1: `_lead` is held exactly by the thread that polls.
INV-2: handlers run with the runtime's lock held, and only in the leader.
"""

from __future__ import annotations

import os
import select
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

TICK_S = 0.005
SPIN_S = 100e-6
SPIN_TURNS = 16
"""After so many turns that found something, what is due is done first. Short waits leave it to the I/O thread's tick."""
SPIN_BACKOFF = 64
"""After this many waits in which spinning did not pay, it is tried again."""

_clock = time.perf_counter


def sooner(one: float | None, other: float | None) -> float | None:
    """The shorter of two times to wait; None is for ever."""
    return one if other is None or (one is not None and one < other) else other


class Waiter:
    """A condition that a thread waits for: `left` counts down to 0, or below when it is met by other means."""

    __slots__ = ("left", "lock", "refs")

    def __init__(self, left: int = 1) -> None:
        self.left = left
        self.lock: Any = None
        self.refs: Sequence[Any] = ()
        """The references that it waits for, if it does, for those who ask why."""

    def notify(self, _: object = None) -> None:
        """One of the awaited things has happened."""
        self.left -= 1
        if self.left <= 0 and self.lock is not None:
            _release(self.lock)


def _release(lock: Any) -> None:
    try:
        lock.release()
    except RuntimeError:
        return  # it was released already: the waiter is awake


class Pump:
    """The event loop that any thread may run."""

    def __init__(self, lock: Any, flush: Callable[[], None], between: Callable[[], float | None]) -> None:
        """`lock` is the runtime's; `flush` sends what must not wait for an answer; `between` does that and whatever else is
        due between two polls, and returns when to be called again."""
        self.epoll = select.epoll()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.lock = lock
        self.flush = flush
        self.between = between
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.epoll.register(self.wake_fd, select.EPOLLIN)
        self._lead = threading.Lock()
        self._followers: list[Waiter] = []
        self._park = threading.Lock()
        self._park.acquire()
        self._parked = False
        self._turns = 0
        self._io_leads = False
        self._wanted = 0
        self._claimed = False
        self._thread: threading.Thread | None = None
        self.nudge_turn = False
        """A submitter asks for `try_turn` once it has let go of the lock."""
        self._closed = False
        self._spin_misses = 0
        self.on_tick: Callable[[], object] | None = None
        self.on_thread: Callable[[], None] | None = None
        """Called when the I/O thread starts: from then on messages are read whatever the program does."""

    # ------------------------------------------------------------ registration

    def add(self, fd: int, handler: Callable[[int], None]) -> None:
        """Call `handler(events)` in the leader when the descriptor is readable."""
        self.handlers[fd] = handler
        self.epoll.register(fd, select.EPOLLIN)

    def want_write(self, fd: int, wanted: bool) -> None:
        """Also call when it is writable."""
        if fd in self.handlers:
            self.epoll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if wanted else 0))

    def remove(self, fd: int) -> None:
        """Forget a descriptor, before it is closed."""
        if self.handlers.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    # ------------------------------------------------------------ waiting

    def wait(self, waiter: Waiter, timeout: float | None) -> bool:
        """Wait until the waiter is met; False when the time is over first.

        Called without the runtime's lock.
        """
        deadline = None if timeout is None else _clock() + timeout
        while waiter.left > 0:
            if not self._claimed and self._lead.acquire(False):
                try:
                    self._turns += 1
                    if not self._run(waiter, deadline):
                        return waiter.left <= 0
                finally:
                    self._lead.release()
                    self._leave()
            elif not self._follow(waiter, deadline):
                self._pass_on()
                return waiter.left <= 0
        if self._followers or self._parked:
            self._pass_on()
        return True

    def _pass_on(self) -> None:
        """Whoever leaves may have been the one that was asked to lead: ask another."""
        if not self._claimed and self._lead.acquire(False):
            self._lead.release()
            self._leave()

    def claim(self) -> None:
        """Take the lead, from whoever has it: for the main loop of a worker, which nobody can stand in for."""
        if not self._lead.acquire(False):
            self._claimed = True
            self._wanted += 1
            self.wake()
            self._lead.acquire()
            self._wanted -= 1
            self._claimed = False

    def unclaim(self, hand_over: bool) -> None:
        """Give the lead back; with `hand_over` to another waiting thread, as this one is about to do something else."""
        self._turns += 1
        self._lead.release()
        if hand_over:
            self._leave()

    def _run(self, waiter: Waiter, deadline: float | None) -> bool:
        """Lead until the waiter is met or the main loop claims the lead (True), or the time is over (False)."""
        spin = self._spin_misses < 4
        turns = 0
        while waiter.left > 0 and not self._claimed:
            limit = None if deadline is None else deadline - _clock()
            if limit is not None and limit <= 0:
                self.turn(0)
                return waiter.left <= 0
            if spin and turns < SPIN_TURNS:  # the answer is nearly there: what is due can wait for it
                self.flush()
                if self._spin():
                    turns += 1
                    continue
            turns = 0
            limit = sooner(limit, self.between())
            if not spin:
                self._spin_misses += 1
                if self._spin_misses > SPIN_BACKOFF:
                    self._spin_misses = 0
            spin = self.turn(limit) and self._spin_misses < 4
        return True

    def _spin(self) -> bool:
        """Poll without sleeping for a short while; True when something came."""
        poll = self.epoll.poll
        end = _clock() + SPIN_S
        while True:
            events = poll(0)
            if events:
                self._spin_misses = 0
                self._handle(events)
                return True
            if _clock() > end:
                self._spin_misses += 1
                return False

    def turn(self, timeout: float | None) -> bool:
        """Poll once, and handle what came; True when something did. Only in the leader."""
        events = self.epoll.poll(-1 if timeout is None else timeout)
        if events:
            self._handle(events)
            return True
        return False

    def try_turn(self) -> None:
        """Handle what is there already, unless another thread leads."""
        if self._lead.acquire(False):
            try:
                self._turns += 1
                self.turn(0)
            finally:
                self._lead.release()
                self._leave()

    def _handle(self, events: list[tuple[int, int]]) -> None:
        with self.lock:
            for fd, mask in events:
                handler = self.handlers.get(fd)
                if handler is not None:
                    try:
                        handler(mask)
                    except Exception:  # one channel's failure must not stop the others, nor the thread that reads
                        traceback.print_exc()
                        self.remove(fd)
                elif fd == self.wake_fd:
                    os.eventfd_read(fd)

    def _follow(self, waiter: Waiter, deadline: float | None) -> bool:
        """Sleep until met, or asked to lead; False when the time is over."""
        lock = waiter.lock = threading.Lock()
        lock.acquire()
        self._wanted += 1
        self._followers.append(waiter)
        try:
            if self._io_leads:
                self.wake()
            if waiter.left <= 0:
                return True
            if not self._claimed and self._lead.acquire(False):  # the leader left before it could see us
                self._lead.release()
                return True
            limit = -1.0 if deadline is None else max(0.0, deadline - _clock())
            return self._sleep(lock, limit)
        finally:
            self._wanted -= 1
            waiter.lock = None
            if waiter in self._followers:
                self._followers.remove(waiter)

    @staticmethod
    def _sleep(lock: Any, limit: float) -> bool:
        acquired: bool = lock.acquire(True, limit)
        return acquired

    def _leave(self) -> None:
        """After leading: let another waiting thread lead."""
        for waiter in list(self._followers):
            lock = waiter.lock
            if lock is not None and waiter.left > 0:
                _release(lock)
                return
        if self._parked:
            _release(self._park)

    def wake(self) -> None:
        """Make the leader look around."""
        if not self._closed:
            os.eventfd_write(self.wake_fd, 1)

    def nudge(self) -> None:
        """Something is to be done soon that only a leader does: wake the I/O thread if it sleeps in the kernel."""
        if self._io_leads:
            self.wake()
        elif self._parked:
            _release(self._park)

    # ------------------------------------------------------------ the I/O thread

    def start_thread(self) -> None:
        """Start the I/O thread, once."""
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._io, name="skate-io", daemon=True)
            self._thread.start()
            if self.on_thread is not None:
                self.on_thread()

    def _io(self) -> None:
        seen = -1
        same = 0
        while not self._closed:
            time.sleep(TICK_S)
            if self.on_tick is not None:
                self.on_tick()
            if self._turns != seen:
                seen = self._turns
                same = 0
                continue
            if not self._lead.acquire(False):
                same += 1
                if same > 4:  # somebody waits for long: that thread reads, and wakes this one when it leaves
                    self._sleep_until_unparked()
                    same = 0
                continue
            try:
                self._io_leads = True
                while not self._closed and not self._wanted:
                    self.turn(self.between())
            finally:
                self._io_leads = False
                self._lead.release()
                self._leave()
            seen = self._turns

    def _sleep_until_unparked(self) -> None:
        self._parked = True
        try:
            if self._lead.acquire(False):  # it left meanwhile
                self._lead.release()
                return
            self._park.acquire()
        finally:
            self._parked = False

    def close(self) -> None:
        """Stop the I/O thread and close the descriptors."""
        self._closed = True
        thread = self._thread
        os.eventfd_write(self.wake_fd, 1)
        _release(self._park)
        if thread is not None and thread is not threading.current_thread():
            thread.join(2.0)
        self.epoll.close()
        os.close(self.wake_fd)
