"""The guard of one job: a small process between the node and the job's entrypoint, which leaves nothing of the job behind.

A job is a command of a user: it may start what it likes, in sessions of its own. The guard is the reaper of all its descendants,
so it can end them all, also when the node has been killed: then its standard input ends. It runs as a script, isolated and with
the standard library alone, so that it is small and starts at once whatever the job's environment is.

It first unpacks what the job brings along. It is told to stop the job by a byte on its standard input, and says on its standard
output what has become of it, a line each: `pid N`, then `exit CODE` (below 0: a signal), or `error REASON`. Standard error is the
log of the job.

INV-1: when it ends, every descendant has ended. If it is killed itself, the entrypoint is, too.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time

STOP_S = 3.0
"""How long a job may take to end after SIGTERM."""
SWEEP_S = 5.0
"""How long killed processes may take to end."""
_NOT_FOR_THE_GUARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Whoever ends a job ends its entrypoint, or asks the node."""
_SET_PDEATHSIG = 1
_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Run a job. Arguments: its own folder, its working directory, its command for the shell, and pairs of a zip file and where
    that is to be unpacked."""
    own, folder, command, *packages = sys.argv[1:]
    try:
        for file, to in zip(packages[::2], packages[1::2], strict=True):
            _unpack(file, to)
        for file in set(packages[::2]):
            os.unlink(file)
    except Exception as error:  # whatever is wrong with it, the job says so
        _say(f"error its files cannot be unpacked: {error}".replace("\n", " "))
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker)
    for signo in _NOT_FOR_THE_GUARD:
        signal.signal(signo, signal.SIG_IGN)
    guard = os.getpid()
    leads, leading = os.pipe()
    pid = os.fork()
    if pid == 0:
        libc.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guard:
            os._exit(1)
        _become(folder, command, leading)
    os.close(leading)
    os.read(leads, 1)  # until then no signal to its group would reach it, and the node may be gone already
    os.close(leads)
    _say(f"pid {pid}")
    status = _watch(pid, wake)
    _sweep()
    _clean(own)
    _say(f"exit {status}")


def _unpack(file: str, to: str) -> None:
    """A package, with what may be executed. It came from one who may run any command here."""
    import zipfile  # half of the start of a guard, and few need it

    os.makedirs(to, exist_ok=True)  # the package may be empty
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            made = archive.extract(info, to)
            mode = info.external_attr >> 16 & 0o777
            if mode:
                os.chmod(made, mode | 0o600)


def _clean(own: str) -> None:
    """Remove what the job has left in its folder, which may be much. The node looks once more, for what cannot be removed now."""
    import shutil

    try:
        folders = [each.path for each in os.scandir(own) if each.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _become(folder: str, command: str, leading: int) -> None:
    """In the child: be the entrypoint. Does not return. `leading` is closed when it has a group, and signals end it."""
    try:
        os.setsid()
        for signo in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, *_NOT_FOR_THE_GUARD):
            signal.signal(signo, signal.SIG_DFL)
        os.close(leading)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        os.chdir(folder)
        os.execv("/bin/sh", ["sh", "-c", command])
    except OSError as error:
        os.write(2, f"the entrypoint cannot be started: {error}\n".encode())
    os._exit(127)


def _say(line: str) -> None:
    try:
        os.write(1, line.encode() + b"\n")
    except BrokenPipeError:
        return  # the node is gone: what is left to do is to end everything


def _watch(pid: int, wake: int) -> int:
    """Wait for the end of the entrypoint, by itself or because the node wants it; its exit code."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(wake, select.POLLIN)
    status: int | None = None
    until: float | None = None
    while True:
        for ended, how in _reap():
            if ended == pid:
                status = os.waitstatus_to_exitcode(how)
        if status is not None and (until is None or not _group_lives(pid)):
            return status
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            _signal_group(pid, signal.SIGKILL)
            until, left = None, SWEEP_S
        for fd, _ in poll.poll(None if left is None else left * 1000):
            said = os.read(fd, 512)
            if fd == wake:
                continue
            if not said:  # the node is gone
                _signal_group(pid, signal.SIGKILL)
                poll.unregister(0)
            elif until is None:
                _signal_group(pid, signal.SIGTERM)
                until = time.monotonic() + STOP_S


def _reap() -> list[tuple[int, int]]:
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, how = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, how))


def _group_lives(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _signal_group(pid: int, signo: int) -> None:
    try:
        os.killpg(pid, signo)
    except (ProcessLookupError, PermissionError):
        return  # all of it has ended


def _sweep() -> None:
    """End whatever is left. Who loses its parent becomes a child of this process, so this finds all of them."""
    until = time.monotonic() + SWEEP_S
    while time.monotonic() < until:
        _reap()
        children = _children()
        if not children:
            return
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        time.sleep(0.005)


def _children() -> list[int]:
    me = os.getpid()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == me:
                found.append(int(name))
    return found


if __name__ == "__main__":
    main()
