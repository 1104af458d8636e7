"""Sockets, descriptors and epoll, as the code under test sees them, without a kernel.

An `End` is one end of a connection; a `Socket` is a descriptor of it. Several processes may have descriptors of the same end, and
descriptors travel in messages. On one machine bytes arrive at once, as in a kernel. Between machines each message takes its time
on a `Route`, in order; what is on its way when the connection is cut is lost, and both ends hear of that later.

INV-1: an end without descriptors is closed, and its peer hears of it after all that was sent before.
"""

from __future__ import annotations

import array
import select
import socket as real
from collections import deque
from collections.abc import Callable
from typing import Any

from .world import Process, World

FIRST_FD = 1 << 24
"""Larger than any real descriptor."""


class Route:
    """The way between two machines."""

    def __init__(self, world: World, slow: float) -> None:
        self.world = world
        self.slow = slow
        """The largest delay, in seconds."""
        self.blocked_until = 0.0
        self.ends: dict[End, None] = {}

    def delay(self) -> float:
        """How long a message takes."""
        rng = self.world.rng
        return rng.uniform(1e-4, 1e-3) if rng.random() < 0.9 else rng.uniform(1e-4, self.slow)


class End:
    """One end of a connection."""

    def __init__(self, net: Sockets, packets: bool, route: Route | None) -> None:
        self.net = net
        self.packets = packets
        self.route = route
        self.peer: End = self
        self.inbox: deque[tuple[bytes, list[End]]] = deque()
        self.flying: deque[tuple[bytes, list[End]] | None] = deque()
        """On the way here; None is the end of the stream."""
        self.over = False
        """The peer has closed it, and all that it had sent is in `inbox`."""
        self.reset = False
        self.lossy = False
        """The connection is cut, and what is sent is lost, but its ends have not heard of it."""
        self.closed = False
        self.fds = 0
        self.watchers: dict[Epoll, int] = {}
        self.says: Callable[[bytes], str] | None = None
        """What arrives here, in words."""

    @property
    def readable(self) -> bool:
        """Whether a read would not block."""
        return bool(self.inbox) or self.over or self.reset

    def send(self, data: bytes, ends: list[End]) -> None:
        """Send to the peer."""
        if self.reset:
            raise ConnectionResetError("Connection reset by peer")
        if self.over or (self.route is None and self.peer.closed):
            raise BrokenPipeError("Broken pipe")
        for end in ends:
            end.fds += 1
        self.net.note(self, data)
        self._fly((data, ends))

    def _fly(self, what: tuple[bytes, list[End]] | None) -> None:
        peer, route = self.peer, self.route
        if self.lossy:
            self._drop(what)
        elif route is None:
            peer._arrived(what)
        else:
            peer.flying.append(what)
            self.net.world.at(self.net.world.now + route.delay(), peer._land)

    def _land(self) -> None:
        route = self.route
        assert route is not None
        if not self.flying:
            return  # it was lost with its connection
        if route.blocked_until > self.net.world.now:
            self.net.world.at(route.blocked_until + route.delay(), self._land)
            return
        self._arrived(self.flying.popleft())

    def _arrived(self, what: tuple[bytes, list[End]] | None) -> None:
        if self.closed:
            self._drop(what)
            return
        if what is None:
            self.over = True
        else:
            self.inbox.append(what)
        self.notify()

    def notify(self) -> None:
        """Wake whoever polls this end."""
        for epoll, fd in self.watchers.items():
            epoll.ready[fd] = None
            if epoll.owner is not None:
                epoll.owner.wake()

    def break_off(self) -> None:
        """The connection is lost: so is what was on its way."""
        if self.closed or self.reset:
            return
        self.reset = True
        while self.flying:
            self._drop(self.flying.popleft())
        self.notify()

    @staticmethod
    def _drop(what: tuple[bytes, list[End]] | None) -> None:
        for end in what[1] if what else ():
            end.let_go()

    def let_go(self) -> None:
        """A descriptor of it is closed."""
        self.fds -= 1
        if self.fds or self.closed:
            return
        self.closed = True
        for what in (*self.inbox, *self.flying):
            self._drop(what)
        self.inbox.clear()
        self.flying.clear()
        if self.route is not None:
            self.route.ends.pop(self, None)
        if not self.reset:
            self._fly(None)


class Socket:
    """One descriptor, as an object like `socket.socket`."""

    family = real.AF_UNIX

    def __init__(self, net: Sockets, end: End, owner: Process | None) -> None:
        self.net = net
        self.end = end
        self.fd = net.next_fd()
        self.owner = owner
        self.closed = False
        end.fds += 1
        net.by_fd[self.fd] = self
        if owner is not None:
            owner.sockets[self.fd] = self

    def give(self, owner: Process) -> None:
        """Another process has it from now on."""
        if self.owner is not None:
            self.owner.sockets.pop(self.fd, None)
        self.owner = owner
        owner.sockets[self.fd] = self

    def fileno(self) -> int:
        """Its number."""
        return self.fd

    def setblocking(self, flag: bool) -> None:
        """It never blocks."""

    def detach(self) -> int:
        """Its number; the caller closes it."""
        return self.fd

    def dup(self) -> Socket:
        """Another descriptor of the same end."""
        return Socket(self.net, self.end, self.net.world.current)

    def send(self, data: Any) -> int:
        """All of it is taken."""
        self.end.send(bytes(data), [])
        return len(data)

    def sendmsg(self, parts: list[bytes], ancillary: list[tuple[int, int, Any]]) -> int:
        """With descriptors."""
        fds = [fd for _, _, numbers in ancillary for fd in numbers]
        data = b"".join(parts)
        self.end.send(data, [self.net.by_fd[fd].end for fd in fds])
        return len(data)

    def _take(self) -> tuple[bytes, list[End]]:
        end = self.end
        if end.inbox:
            return end.inbox.popleft()
        if end.reset:
            raise TimeoutError("Connection timed out")
        if end.over:
            return b"", []
        raise BlockingIOError

    def recv(self, size: int) -> bytes:
        """What is there: one packet, or of a stream all."""
        data = self._take()[0]
        if self.end.packets:
            return data
        parts = [data]
        while self.end.inbox:
            parts.append(self.end.inbox.popleft()[0])
        return b"".join(parts)

    def recv_into(self, buffer: Any) -> int:
        """One packet."""
        data = self._take()[0]
        buffer[: len(data)] = data
        return len(data)

    def recvmsg(self, size: int, room: int, flags: int) -> tuple[bytes, list[Any], int, None]:
        """One packet, with descriptors that are this process's from now on."""
        data, ends = self._take()
        fds = []
        for end in ends:
            fds.append(Socket(self.net, end, self.net.world.current).fd)
            end.fds -= 1  # it was counted on the way
        ancillary = [(real.SOL_SOCKET, real.SCM_RIGHTS, array.array("i", fds).tobytes())] if fds else []
        return data, ancillary, 0, None

    def close(self) -> None:
        """Close the descriptor."""
        if self.closed:
            return
        self.closed = True
        del self.net.by_fd[self.fd]
        if self.owner is not None:
            self.owner.sockets.pop(self.fd, None)
        for epoll in [epoll for epoll, fd in self.end.watchers.items() if fd == self.fd]:
            epoll.unregister(self.fd)
        self.end.let_go()


class Epoll:
    """In place of `select.epoll`: it never waits."""

    def __init__(self, net: Sockets) -> None:
        self.net = net
        self.owner = net.world.current
        self.masks: dict[int, int] = {}
        self.ready: dict[int, None] = {}
        self._fd = net.next_fd()

    def fileno(self) -> int:
        """Its number."""
        return self._fd

    def register(self, fd: int, mask: int) -> None:
        """Watch a descriptor; what is not of this world never becomes ready."""
        sock = self.net.by_fd.get(fd)
        if sock is None:
            return
        self.masks[fd] = mask
        sock.end.watchers[self] = fd
        if sock.end.readable or mask & select.EPOLLOUT:
            self.ready[fd] = None
            if self.owner is not None:
                self.owner.wake()

    modify = register

    def unregister(self, fd: int) -> None:
        """Forget it."""
        self.masks.pop(fd, None)
        self.ready.pop(fd, None)
        sock = self.net.by_fd.get(fd)
        if sock is not None:
            sock.end.watchers.pop(self, None)

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """What is ready now."""
        out = []
        for fd in list(self.ready):
            sock = self.net.by_fd.get(fd)
            mask = self.masks.get(fd, 0)
            can_read = sock is not None and sock.end.readable
            got = (select.EPOLLIN if can_read else 0) | (mask & select.EPOLLOUT)
            if got:
                out.append((fd, got))
            else:
                del self.ready[fd]
        return out

    def close(self) -> None:
        """Forget everything."""
        for fd in list(self.masks):
            self.unregister(fd)


class Poll:
    """In place of `select.poll`, with which a process waits in the middle of something: the others go on meanwhile."""

    def __init__(self, net: Sockets) -> None:
        self.net = net
        self._fds: list[int] = []

    def register(self, fd: int, mask: int = 0) -> None:
        """Watch a descriptor."""
        self._fds.append(fd)

    def _ready(self) -> list[int]:
        socks = [self.net.by_fd[fd] for fd in self._fds if fd in self.net.by_fd]
        return [sock.fd for sock in socks if sock.end.readable]

    def poll(self, timeout_ms: float | None = None) -> list[tuple[int, int]]:
        """Let time go on until one is readable."""
        world = self.net.world
        until = world.now + (10.0 if timeout_ms is None else timeout_ms / 1000)
        process = world.current
        if process is not None:
            process.booting = True
        with world.running(None):
            world.run(until, lambda: bool(self._ready()) or (process is not None and not process.alive))
        if process is not None:
            process.booting = False
        return [(fd, select.POLLIN) for fd in self._ready()]


class Sockets:
    """All descriptors of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.by_fd: dict[int, Socket] = {}
        self._last = FIRST_FD

    def next_fd(self) -> int:
        """A number that no descriptor ever had."""
        self._last += 1
        return self._last

    def pair(self, packets: bool, route: Route | None = None) -> tuple[Socket, Socket]:
        """A connection; both ends are the running process's."""
        a, b = End(self, packets, route), End(self, packets, route)
        a.peer, b.peer = b, a
        if route is not None:
            route.ends[a] = route.ends[b] = None
        return Socket(self, a, self.world.current), Socket(self, b, self.world.current)

    def socketpair(self, family: int = real.AF_UNIX, kind: int = real.SOCK_STREAM, proto: int = 0) -> Any:
        """As `socket.socketpair`."""
        return self.pair(kind == real.SOCK_SEQPACKET)

    def of_fileno(self, *_: Any, fileno: int) -> Socket:
        """As `socket.socket(fileno=...)`."""
        return self.by_fd[fileno]

    def close(self, fd: int) -> bool:
        """As `os.close`; False when it is not of this world."""
        sock = self.by_fd.get(fd)
        if sock is not None:
            sock.close()
        return sock is not None

    def dup(self, fd: int) -> int:
        """As `os.dup`."""
        return self.by_fd[fd].dup().fd

    def note(self, end: End, data: bytes) -> None:
        """Remember a message, for the trace."""
        world = self.world
        sender = world.current
        says = end.peer.says
        if says is not None:
            to = next((epoll.owner for epoll in end.peer.watchers), None)
            world.say(lambda: f"{sender} -> {to or '...'}  {says(data)}")
