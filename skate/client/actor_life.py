"""What becomes of an actor's calls when its process ends, is killed, or comes back.

A caller whose actor may be restarted keeps a duplicate of the actor's end of the channel: a call that the dead process had
never read is sent again without any risk, whatever `max_task_retries` says.

The connection to an actor on another node ends before anybody knows why. Calls that are not made again wait for that, so that
they raise it: for a moment if the process has died, and at most `UNREACHABLE_S`.
"""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from ..exceptions import ActorDiedError, ActorUnavailableError, RuntimeEnvSetupError
from ..wire import messages as m
from ..wire.tls import CLOSED, SAID
from .actor_client import ACTOR_ALIVE, ACTOR_DEAD, ACTOR_KILLED, ACTOR_PENDING, ACTOR_RESTARTING, ActorClient
from .errors import unpack_error
from .pipe import FarPipe
from .refs import ObjectRef
from .submitter import TaskRecord, cancellation

if TYPE_CHECKING:
    from .actors import Actors
    from .runtime import ClientRuntime


REACH_AGAIN_S = 0.2
"""The pause before an actor is dialled again that could not be reached."""
DEATH_KNOWN_S = 1.0
"""After a process has died its connections may still be accepted, until its node has noticed; for less than this."""
UNREACHABLE_S = 5.0
"""How long calls of an actor wait when the node that it lives on cannot be reached. An attempt may take as long."""


class ActorLife:
    """Follows the states of the actors that one client calls."""

    def __init__(self, runtime: ClientRuntime, actors: Actors) -> None:
        self.runtime = runtime
        self.actors = actors

    def killed(self, ref: ObjectRef[Any]) -> None:
        """What is called from now on must not reach the process that is about to be killed. Needs the lock."""
        actor = self.actors.client(ref)
        if actor.creating is not None:
            self.actors.creation.abandon(actor, "it was killed by skate.kill before it had started")
        elif actor.state in (ACTOR_PENDING, ACTOR_ALIVE):
            self.actors.flush(actor)
            actor.state = ACTOR_KILLED

    def changed(self, message: m.ActorChanged) -> None:
        """The node tells of a new state."""
        actor = self.actors.by_id.get(message.id)
        if actor is None:
            return
        if actor.fresh:
            actor.fresh = False
            actor.restarts = message.restarts
        if message.state == ACTOR_ALIVE:
            if actor.state == ACTOR_KILLED and message.restarts == actor.restarts:
                return  # said before the node had heard of the kill
            actor.state = ACTOR_ALIVE
            if actor.pid != message.pid:
                if actor.pid:
                    self.runtime.recording.send()
                actor.pid = message.pid
            if message.restarts > actor.restarts:
                actor.restarts = message.restarts
                self._reconnect(actor, message.node)
            elif self.runtime.links.clustered:
                self.actors.reach(actor, message.node)
            return
        if message.state not in (ACTOR_DEAD, ACTOR_RESTARTING):
            actor.state = message.state
            return
        self.actors.read(actor, 1 << 20)
        actor.death = message.death
        actor.error = message.error
        actor.state = message.state
        actor.trouble = ""
        if message.state == ACTOR_RESTARTING:
            self._interrupted(actor)
        else:
            self.actors.disconnect(actor)
            self.fail_all(actor)

    def _reconnect(self, actor: ActorClient, node: int) -> None:
        self._interrupted(actor)
        if self.runtime.links.clustered:
            self.actors.reach(actor, node)
            return
        self.actors.connect(actor)
        self.actors.flush(actor)

    def cut_off(self, actor: ActorClient) -> None:
        """The connection to an actor on another node has ended: ask the head what has become of it. Needs the lock."""
        self._interrupted(actor, explained=False)
        self.actors.connect(actor)
        self._give_up_in(UNREACHABLE_S, actor)

    def reached(self, actor: ActorClient) -> None:
        """There is a connection again: if its process has not just died, only the one before has ended. Needs the lock."""
        self._give_up_in(DEATH_KNOWN_S, actor)

    def _give_up_in(self, seconds: float, actor: ActorClient) -> None:
        if actor.doubtful:
            self.runtime.tasks.retries.later(seconds, partial(self._give_up, actor, set(actor.doubtful)))

    def _give_up(self, actor: ActorClient, calls: set[int]) -> None:
        """Nobody has said that the process has died: only the connection that these calls were sent by is known to have ended."""
        for seq in calls & actor.doubtful:
            actor.doubtful.discard(seq)
            task = actor.inflight.pop(seq, None)
            if task is not None:
                self.fail(actor, task, sent=True)

    def unreachable(self, actor: ActorClient, restarts: int, error: str) -> None:
        """The node that it lives on could not be dialled. If that is gone, or the actor is, the head will say; if not, it is
        tried again. Calls wait, for a while: each such while costs those that have it a retry, and ends the others. Needs the
        lock. If it lives and there cannot be TLS with it, they do not wait."""
        if actor.channel is not None or actor.state != ACTOR_ALIVE or actor.restarts != restarts:
            return
        now = time.monotonic()
        actor.trouble = error
        refused = SAID in error and not error.endswith(CLOSED)
        if refused or now - actor.trouble_since > UNREACHABLE_S:
            actor.trouble_since = now
            queue, actor.queue = actor.queue, deque()
            for task in queue:
                if task.retries_left and not task.cancelled:
                    task.retries_left -= task.retries_left > 0
                    actor.queue.append(task)
                else:
                    self.fail(actor, task)

        def again() -> None:
            same = actor.restarts == restarts and self.actors.by_id.get(actor.id) is actor
            if same and actor.channel is None and actor.state == ACTOR_ALIVE:
                self.actors.connect(actor)

        self.runtime.tasks.retries.later(REACH_AGAIN_S, again)

    def _interrupted(self, actor: ActorClient, explained: bool = True) -> None:
        """The process is gone and another will come: calls that it had not read wait for that one. `explained`: it is known
        why, so calls that are not made again fail."""
        channel = actor.channel
        if channel is None and not actor.doubtful:
            return
        unread: set[int] = set()
        if isinstance(channel, FarPipe) and not channel.greeted:
            unread.update(actor.inflight.keys() - actor.doubtful)
        elif channel is not None and channel.reader_end is not None:
            for raw in channel.take_unread(dead=True):
                batch = m.decode_batch(raw)
                if type(batch) is m.Batch:
                    unread.update(task.seq for task in batch.tasks)
        self.actors.disconnect(actor)
        inflight, actor.inflight = actor.inflight, {}
        actor.doubtful.clear()
        again = []
        for seq, task in inflight.items():
            if seq in unread:
                again.append(task)
            elif task.retries_left:
                task.retries_left -= task.retries_left > 0
                self.actors.again(actor, task)
                again.append(task)
            elif explained:
                self.fail(actor, task, sent=True)
            else:
                actor.inflight[seq] = task
                actor.doubtful.add(seq)
        actor.queue.extendleft(reversed(again))

    def fail_all(self, actor: ActorClient) -> None:
        """No call of the actor will be answered any more. Needs the lock."""
        self.actors.dirty.pop(actor, None)
        tasks = [*actor.inflight.values(), *actor.queue]
        actor.inflight = {}
        actor.doubtful.clear()
        actor.queue.clear()
        for task in tasks:
            self.fail(actor, task)

    def fail(self, actor: ActorClient, task: TaskRecord, sent: bool = False) -> None:
        """A call will not be answered any more; `sent`: it may have run."""
        task.worker = actor
        if task.cancelled:
            self.runtime.tasks.fail(task, cancellation(task, self.runtime.task_id_of_seq(task.seq)))
            return
        self.runtime.tasks.fail(task, self.death_error(actor, task.attempt, sent))

    def death_error(self, actor: ActorClient, attempt: int = 0, sent: bool = True) -> Exception:
        """What a call to an actor that is dead, or died meanwhile, raises; `attempt`: how often it was made before."""
        name = actor.class_name or "actor"
        ident = actor.id.hex()
        death = actor.death
        if actor.state == ACTOR_RESTARTING:
            reason = death.reason if death else "its process died"
            more = "The call may or may not have run; set max_task_retries to have such calls made again."
            if attempt:
                more = f"It has died in each of {attempt + 1} attempts at the call, which has no more max_task_retries."
            return ActorUnavailableError(f"Actor {name} ({ident}) is being restarted: {reason}. {more}", ident)
        if actor.trouble and not sent:
            return ActorUnavailableError(
                f"Actor {name} ({ident}) lives, but {actor.trouble}. The call has not run.", ident
            )
        if actor.error:
            error = unpack_error(actor.error)
            if isinstance(error, RuntimeEnvSetupError):
                return error
            return ActorDiedError(error, actor_id=ident, class_name=name)
        if death is None or actor.state == ACTOR_ALIVE:  # it may be the death of the process before
            return ActorUnavailableError(
                f"The connection to actor {name} ({ident}) has ended; whether it lives is not known yet. The call may or may not "
                "have run; set max_task_retries to have such calls made again.",
                ident,
            )
        died = ActorDiedError(
            death.reason,
            actor_id=ident,
            class_name=name,
            memory_bytes=None if death.intended else death.memory_bytes or None,
            last_output=None if death.intended else death.last_lines,
        )
        died.exit_signal = death.signal or None  # the reason names them already
        died.exit_code = death.exit_code
        return died
