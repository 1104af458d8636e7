"""The jobs of one node: what they need is reserved by its scheduler, their entrypoints run under guards, their logs are read.

A job is remembered here, with its log, until the head says that nobody wants it any more: also when it is over. So a head that
was killed hears all when this node joins again.

INV-1: a job has a lease from the time that it has room until its entrypoint is over.
INV-2: a job that runs has a guard; the guard's end is the job's. While its environment is set up, the process that does so is in
the guard's place, and then becomes it.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..exceptions import describe_code, describe_signal
from ..wire import jobs as j, messages as m
from ..wire.environments import what as what_of
from .job_files import Fetch
from .job_log import PART_BYTES, JobLog
from .job_start import how_to_start
from .resources import to_units
from .scheduler import Lease, WaitingActor

if TYPE_CHECKING:
    from .client import Client
    from .service import Node

LOOK_S = 0.05
"""How often a log is looked at that somebody follows."""
WAIT_S_MAX = 3.0
"""How long an answer may be held back until there is more in a log."""
FOLLOWERS_MAX = 1_000
"""So many may wait for more at a time; others are answered at once."""
LOG_LOOK_S = 5.0
"""How often the sizes of logs are looked at."""
CLOSE_S = 2.0
"""How long a node that ends waits for its guards."""


class Running:
    """A job of this node."""

    def __init__(self, spec: j.JobSpec, folder: Path) -> None:
        self.spec = spec
        self.folder = folder
        self.log = JobLog(folder / "log")
        self.now = j.HostedJob(spec.id)
        self.lease: Lease | None = None
        self.guard: subprocess.Popen[bytes] | None = None
        self.fetch: Fetch | None = None
        """Of one that is to begin: what it brings along is on its way."""
        self.said = b""
        """By the guard, and not a whole line yet."""
        self.bound_at = 0.0
        self.stopping = False
        self.dropped = False
        """Nobody wants it any more: when its guard has ended, nothing of it is kept."""


class Follower:
    """Somebody who waits for more of a log."""

    def __init__(self, client: Client, request: int, job: Running, offset: int, until: float) -> None:
        self.client = client
        self.request = request
        self.job = job
        self.offset = offset
        self.until = until


class JobHost:
    """The jobs of this node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.by_id: dict[str, Running] = {}
        self.busy: dict[str, Running] = {}
        """Those that have begun, and are not over."""
        self._by_lease: dict[int, Running] = {}
        self._numbers = itertools.count(-1, -1)
        self._followers: list[Follower] = []
        self._look_at = 0.0
        node.parts.append(self)

    # ------------------------------------------------------------ the head

    def from_head(self, message: j.ToJobs) -> None:
        """The head wants something of a job here; it may say so again."""
        if isinstance(message, j.PlaceJob):
            if message.spec.id not in self.by_id:
                self._place(message.spec)
            return
        job = self.by_id.get(message.job if isinstance(message, j.PackagePart) else message.id)
        if job is None:
            return
        if isinstance(message, j.BeginJob):
            if job.now.state == j.ROOM and job.guard is None and job.fetch is None:
                self._fetch(job)
        elif isinstance(message, j.PackagePart):
            if job.fetch is not None:
                job.fetch.on_part(message)
        elif isinstance(message, j.StopJob):
            self._stop(job)
        else:
            self._drop(job)

    def hosted_now(self) -> list[j.HostedJob]:
        """What the head should know of the jobs here, whatever it has heard."""
        return [job.now for job in self.by_id.values() if not job.dropped]

    def head_is_back(self) -> None:
        """What it was asked for it may not have heard."""
        for job in self.busy.values():
            if job.fetch is not None:
                job.fetch.ask_at = 0.0

    def _tell(self, job: Running) -> None:
        if self.node.cluster is not None and not job.dropped:
            self.node.cluster.send_to_head(j.JobIs(job.now))

    # ------------------------------------------------------------ room

    def _place(self, spec: j.JobSpec) -> None:
        job = self.by_id[spec.id] = Running(spec, self.node.session_dir / "jobs" / spec.id)
        number = next(self._numbers)
        self._by_lease[number] = job
        amounts = to_units(spec.resources)
        self.node.scheduler.want_actor(WaitingActor(_key(spec.id), "", amounts, amounts, lease=number))
        self.node.decide_again()

    def has_room(self, lease: Lease) -> None:
        """What a job needs is reserved for it."""
        job = self._by_lease.pop(lease.worker)
        job.lease = lease
        job.now.state = j.ROOM
        self._tell(job)

    def _give_back(self, job: Running) -> None:
        """It needs nothing any more."""
        if job.lease is not None:
            self.node.scheduler.release(job.lease.worker)
            job.lease = None
        else:
            self.node.scheduler.forget_actor(_key(job.spec.id))
            self._by_lease = {number: other for number, other in self._by_lease.items() if other is not job}
        self.node.decide_again()

    # ------------------------------------------------------------ the entrypoint

    def _fetch(self, job: Running) -> None:
        """Get what it brings along, and begin."""
        try:
            job.folder.mkdir(mode=0o700, parents=True)
        except OSError as error:
            self._over(job, None, f"it could not be started: {error}")
            return

        def then(error: str) -> None:
            job.fetch = None
            if error:
                self._over(job, None, f"it could not be started: {error}")
            else:
                self._begin(job)

        self.busy[job.spec.id] = job
        job.fetch = Fetch(self.node, job.spec, job.folder, then)
        job.fetch.ask()

    def _begin(self, job: Running) -> None:
        try:
            gpus = job.lease.gpus if job.lease else []
            arguments, variables = how_to_start(self.node, job.spec, job.folder, gpus)
            log = job.log.open()
            try:
                job.guard = subprocess.Popen(
                    arguments,
                    env=variables,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    bufsize=0,
                    start_new_session=True,
                )
            finally:
                os.close(log)
        except (OSError, ValueError) as error:
            self._over(job, None, f"it could not be started: {error}")
            return
        assert job.guard.stdout is not None
        fd = job.guard.stdout.fileno()
        os.set_blocking(fd, False)
        self.node.watch(fd, lambda mask: self._on_guard(job))
        if job.spec.environment:
            job.now.state = j.SETS_UP
            job.now.message = f"its runtime environment is being set up ({what_of(job.spec.environment)}): see its log"
            self._tell(job)

    def _on_guard(self, job: Running) -> bool:
        guard = job.guard
        assert guard is not None and guard.stdout is not None
        while (part := guard.stdout.read(4096)) is not None:
            if not part:
                self._guard_ended(job, guard)
                return True
            job.said += part
            *lines, job.said = job.said.split(b"\n")
            for line in lines:
                self._hear(job, line.decode())
        return True

    def _hear(self, job: Running, line: str) -> None:
        what, _, number = line.partition(" ")
        if what == "pid":
            job.now.pid, job.now.state, job.now.message = int(number), j.RUNS, ""
            self._tell(job)
        elif what == "failed":
            job.now.message, job.now.setup_failed = json.loads(number), True
        elif what == "error":
            job.now.state, job.now.message = j.ROOM, number  # its environment is there, if it has one
        else:
            job.now.exit_code = int(number)

    def _guard_ended(self, job: Running, guard: subprocess.Popen[bytes]) -> None:
        assert guard.stdout is not None and guard.stdin is not None
        self.node.unwatch(guard.stdout.fileno())
        guard.stdout.close()
        guard.stdin.close()
        if guard.returncode is None:  # it has closed its output, so it ends; nobody may keep this loop waiting
            _kill_group(guard.pid)  # an installer that was set to work by a process that was killed is in its group
            guard.wait()
        job.guard = None
        code = job.now.exit_code
        if job.now.setup_failed:
            message = f"its runtime environment could not be set up: {job.now.message}"
        elif code is None and job.now.state == j.SETS_UP:
            job.now.setup_failed = not job.stopping
            how = "it was stopped" if job.stopping else "the process that did it was killed"
            message = "\n".join([f"{how} while its runtime environment was being set up", *job.log.last_lines()])
        elif code is None and job.now.message:
            message = f"it could not be started: {job.now.message}"
        elif code is None:
            _kill_group(job.now.pid)
            message = "its guard was killed, and the job with it"
        elif job.stopping:
            message = "it was stopped"
        elif code == 0:
            message = "it has finished"
        else:
            killed = f"was killed by signal {describe_signal(-code)}"
            how = killed if code < 0 else f"ended with exit code {describe_code(code)}"
            message = "\n".join([f"its entrypoint {how}", *job.log.last_lines()])
        self._over(job, code, message)

    def _over(self, job: Running, code: int | None, message: str) -> None:
        self._give_back(job)
        self.busy.pop(job.spec.id, None)
        job.fetch = None
        failed = job.now.setup_failed and not job.stopping
        job.now = j.HostedJob(job.spec.id, j.OVER, job.now.pid, code, message, job.stopping, failed)
        for path in job.folder.glob("*"):  # of a guard that was killed, or had not begun
            if path != job.log.path:
                _remove_path(path)
        self._tell(job)
        if job.dropped:
            self._remove(job)
        self._look_at = 0.0

    def _stop(self, job: Running) -> None:
        if job.now.state == j.OVER:
            return
        job.stopping = True
        if job.guard is None:
            self._over(job, None, "it was stopped before it had begun")
            return
        assert job.guard.stdin is not None
        try:
            job.guard.stdin.write(b"s")
        except BrokenPipeError:
            return  # it has just ended
        _end_setup(job)

    def _drop(self, job: Running) -> None:
        job.dropped = True
        self._stop(job)
        if job.guard is None:
            self._remove(job)

    def _remove(self, job: Running) -> None:
        self.by_id.pop(job.spec.id, None)
        shutil.rmtree(job.folder, ignore_errors=True)

    # ------------------------------------------------------------ logs

    def on_ask(self, client: Client, message: m.Ask) -> bool:
        """`Ask("job_log", {"id", "offset", "wait_s"?})` may be answered later; False: it is another question."""
        if message.what != "job_log":
            return False
        wanted: dict[str, Any] = message.argument
        job = self.by_id.get(str(wanted["id"]))
        if job is None:
            error = f"this node has no job {wanted['id']!r}"
            self.node.send(client, m.Answer(message.request, None, error))
            return True
        wait_s = min(float(wanted.get("wait_s", 0.0)), WAIT_S_MAX)
        follower = Follower(client, message.request, job, int(wanted["offset"]), time.monotonic() + wait_s)
        if not self._answer(follower, wait_s <= 0 or len(self._followers) >= FOLLOWERS_MAX):
            self._followers.append(follower)
        return True

    def _answer(self, follower: Follower, at_once: bool) -> bool:
        """Send what is new, if there is anything, or if it has to be now; whether that was done."""
        if follower.client.channel.closed:
            return True
        job = follower.job
        over = job.now.state == j.OVER  # before the log is read: then that is all of it
        try:
            data, offset = job.log.read(follower.offset)
        except OSError as error:
            self.node.send(follower.client, m.Answer(follower.request, None, f"the log cannot be read now: {error}"))
            return True
        if not (data or over or at_once):
            return False
        value = {"data": data, "offset": max(offset, follower.offset), "over": over and len(data) < PART_BYTES}
        self.node.send(follower.client, m.Answer(follower.request, value))
        return True

    # ------------------------------------------------------------ time and end

    def on_time(self, now: float) -> None:
        """Look whether there is more for those who follow logs, whether logs are too long, and whether the head has answered."""
        if self._followers and now >= self._look_at:
            self._look_at = now + LOOK_S
            self._followers = [each for each in self._followers if not self._answer(each, now >= each.until)]
        for job in list(self.busy.values()):
            if job.fetch is not None and now >= job.fetch.ask_at:
                job.fetch.ask()
            if job.guard is not None and now >= job.bound_at:
                job.bound_at = now + LOG_LOOK_S
                job.log.bound()

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        due = [job.fetch.ask_at for job in self.busy.values() if job.fetch is not None]
        due += [job.bound_at for job in self.busy.values() if job.guard is not None]
        if self._followers:
            due.append(self._look_at)
        return max(0.0, min(due) - now) if due else None

    def close(self) -> None:
        """The node ends: end all jobs. The guards see that nobody is there any more."""
        guards = [job.guard for job in self.busy.values() if job.guard is not None]
        for guard in guards:
            assert guard.stdin is not None
            guard.stdin.close()
        for job in self.busy.values():
            _end_setup(job)
        until = time.monotonic() + CLOSE_S
        for guard in guards:
            try:
                guard.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                guard.kill()
                guard.wait()


def _key(ident: str) -> bytes:
    """What the scheduler calls a job; actors' ids have 16 bytes, and no colon before them."""
    return b"job:" + ident.encode()


def _end_setup(job: Running) -> None:
    """End the process that sets an environment up, and what it has started. One that is a guard by now goes on."""
    if job.now.state == j.SETS_UP and job.guard is not None and job.guard.poll() is None:
        os.killpg(job.guard.pid, signal.SIGTERM)


def _remove_path(path: Path) -> None:
    """What the job has left there it may have made of any kind, and as it likes."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    except OSError as error:
        print(f"{path} cannot be removed: {error}", file=sys.stderr, flush=True)


def _kill_group(pid: int) -> None:
    """What is left of a group: of a guard, or of the entrypoint of one that was killed, and which has ended with it."""
    if pid:
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
