"""The zygote: a warm, single-threaded process that forks workers in a millisecond.

It has imported what every worker needs, and does nothing but fork, kill and reap: it is the parent, so it learns from the
kernel how each worker ended. When the node goes, it ends all workers and itself. It is a subreaper: children that a
worker leaves behind become its own, and are ended too.

The zygote of an environment is a fork of the first one that has set the environment up (`environment.py`); its workers are in it.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import importlib
import os
import select
import signal
import socket
import sys
import traceback
from typing import TYPE_CHECKING, Any

from ..wire import forks, messages as m
from ..wire.channel import Channel, ChannelClosed, wait_writable
from .descendants import children, end_all
from .rehearsal import ROUNDS, rehearse
from .start import run

if TYPE_CHECKING:
    from .environment import Place

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    """Set a process attribute."""
    if _libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl failed")


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends; at once if it has ended already."""
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def end_with_parent(parent: int) -> None:
    """End when the parent ends, or by SIGTERM, with all that this process has started, and what that has."""
    signal.signal(signal.SIGTERM, _end_with_all)
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def _end_with_all(*_: object) -> None:
    end_all()
    os._exit(1)


def outlive_parent() -> None:
    """Take that back."""
    prctl(_PR_SET_PDEATHSIG, 0)


class Zygote:
    """The fork server of one node, or of one environment."""

    def __init__(
        self, channel: Channel, arena_fd: int, warm_after_s: float, place: Place | None = None, warm: bool = False
    ) -> None:
        self.channel = channel
        self._place = place
        self._warm = warm
        self._warm_after_s = warm_after_s
        self.arena_fd = arena_fd
        self.workers: dict[int, int] = {}
        self.epoll = select.epoll()
        self.epoll.register(channel.fd, select.EPOLLIN)
        self.wake_read, self.wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.epoll.register(self.wake_read, select.EPOLLIN)

    def run(self) -> None:
        """Serve until the node closes the channel."""
        prctl(_PR_SET_CHILD_SUBREAPER, 1)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: self._end())
        faulthandler.enable(file=2, all_threads=False)  # where a worker was that a signal ends: its node says so
        gc.freeze()
        while True:
            events = self.epoll.poll(-1 if self._warm else self._warm_after_s)
            if not events and not self._warm:
                self._warm = True
                self._warm_up()
            for fd, _ in events:
                if fd == self.wake_read:
                    os.read(self.wake_read, 4096)
                    self._reap()
                else:
                    self._receive()

    def _warm_up(self) -> None:
        """Prepare, while nothing is to be done, what most workers will need and the first ones could do without."""
        api = ("skate.api.actors", "skate.api.decorator", "skate.api.objects")
        for module in ("asyncio", "inspect", *api, "skate.worker.environment"):
            importlib.import_module(module)
        try:
            rehearse(self.arena_fd)
            self._rehearse_process()
        except Exception:  # workers start all the same, but slower
            traceback.print_exc()
        gc.collect()
        gc.freeze()

    @staticmethod
    def _rehearse_process() -> None:
        """What `_become_child` calls, with what is so already. See `rehearsal`."""
        spare = os.open(os.devnull, os.O_RDONLY)
        for _ in range(ROUNDS):
            signal.signal(signal.SIGCHLD, signal.getsignal(signal.SIGCHLD))
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
            prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            _redirect(os.devnull, spare)
            select.epoll().close()
        os.close(spare)

    def _receive(self) -> None:
        while True:
            try:
                received = self.channel.receive()
            except ChannelClosed:
                self._end()
                return
            if received is None:
                return
            message = forks.decode_to_zygote(received[0])
            if type(message) is forks.Fork:
                self._fork(message, received[1])
            elif type(message) is forks.Kill and message.pid in self.workers:
                os.kill(message.pid, message.signal)

    def _fork(self, message: forks.Fork, fds: list[int]) -> None:
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(fds[0])
            self._tell(forks.Forked(message.worker, 0, str(error)))
            return
        if pid == 0:
            self._become_child(message, fds[0], parent)
        os.close(fds[0])
        self.workers[pid] = message.worker
        self._tell(forks.Forked(message.worker, pid))

    def _become_child(self, message: forks.Fork, fd: int, parent: int) -> None:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            die_with_parent(parent)
            os.setsid()
            self.epoll.close()
            os.close(self.wake_read)
            os.close(self.wake_write)
            self.channel.close()
            _redirect(message.log_out, 1)
            _redirect(message.log_err, 2)
            if message.environment:
                from .environment import serve

                serve(socket.socket(fileno=fd), self.arena_fd, message, self._warm)
            run(socket.socket(fileno=fd), self.arena_fd, self._place)
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(1)

    def _tell(self, message: Any) -> None:
        try:
            done = self.channel.send(m.encode(message))
            while not done:  # the node always reads
                wait_writable(self.channel.fd)
                done = self.channel.flush()
        except ChannelClosed:
            self._end()

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            worker = self.workers.pop(pid, None)
            if worker is None:
                continue
            self._end_group(pid)
            self._tell(forks.Reaped(worker, pid, status, usage.ru_maxrss * 1024))

    def _end_group(self, pid: int) -> None:
        """A worker's own children end with it: those of its group, and those that became ours."""
        try:
            os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # it had no children in its group, or none that this user may end
        for child in children():
            if child in self.workers:
                continue
            try:
                if os.getsid(child) not in self.workers:  # other workers' children, left behind, are theirs
                    os.kill(child, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue  # it has ended, or is another user's by now

    def _end(self) -> None:
        """The node is gone: nothing of it stays."""
        signal.set_wakeup_fd(-1)
        end_all()
        os._exit(0)


def _redirect(path: str, fd: int) -> None:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, fd)
    os.close(log)


def fork(sock: socket.socket, not_its: list[socket.socket], arena_fd: int, stacks_fd: int, warm_after_s: float) -> int:
    """Fork the zygote off the node before that has opened anything else; its pid. It closes what is `not_its`.

    It and all workers write their stacks to `stacks_fd` when they get `STACK_SIGNAL`.
    """
    parent = os.getpid()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    try:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if os.getppid() != parent:
            os._exit(1)
        for each in not_its:
            each.close()
        gc.enable()
        faulthandler.register(forks.STACK_SIGNAL, file=stacks_fd, all_threads=True)
        Zygote(Channel(sock), arena_fd, warm_after_s).run()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)
