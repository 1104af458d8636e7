"""Placement groups as one client sees them: those that it has made, removed, or uses.

The head says how each of them stands, at once and whenever that changes. What runs in a group that was removed fails; what
waits for it to be ready goes on when it is.

INV-1: a group in `_states` is watched: the head tells this client of its changes, also one that was started again (`again`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..exceptions import RaySystemError, TaskPlacementGroupRemoved
from ..wire import groups as g
from .refs import ERROR, PENDING, VALUE, ObjectRef
from .serialization import serialize

if TYPE_CHECKING:
    from .runtime import ClientRuntime
    from .submitter import Shape


class Group:
    """One placement group."""

    def __init__(self, request: g.CreateGroup | None) -> None:
        self.request = request
        """Of a group that was made here, until the head has heard of it."""
        self.state = g.PENDING
        self.reason = ""
        self.removing = False
        self.ready: list[tuple[ObjectRef[Any], bytes]] = []
        """References that are to have a value when it is ready."""


class GroupWait:
    """What a reference waits for that `ready()` has returned."""

    worker = None

    def __init__(self, ident: bytes, group: Group) -> None:
        self.ident = ident
        self.group = group

    def why(self) -> str:
        """In words."""
        state, reason = self.group.state, self.group.reason
        return f"placement group {self.ident.hex()} is {state}" + (f": {reason}" if reason else "")


class Groups:
    """The placement groups that one client knows."""

    def __init__(self, runtime: ClientRuntime) -> None:
        self.runtime = runtime
        self._states: dict[bytes, Group] = {}

    # ------------------------------------------------------------ the API's side

    def create(
        self,
        bundles: list[dict[str, float]],
        strategy: str,
        name: str,
        detached: bool,
        selectors: list[dict[str, str]] | None,
    ) -> str:
        """Ask for a group; its id, in hexadecimal."""
        runtime = self.runtime
        with runtime.lock:
            runtime.check_open()
            ident = runtime.new_actor_id()
            request = g.CreateGroup(ident, bundles, strategy, name, runtime.namespace, detached, selectors)
            self._states[ident] = Group(request)
            runtime.links.head.send(request)
        return ident.hex()

    def ready(self, group: str, handle: Any) -> ObjectRef[Any]:
        """A reference that has `handle` as its value when the group is ready."""
        runtime = self.runtime
        ident = bytes.fromhex(group)
        value = serialize(handle).to_bytes()
        with runtime.lock:
            runtime.check_open()
            ref: ObjectRef[Any] = ObjectRef(runtime, runtime.next_id(), PENDING)
            state = self._watch(ident)
            ref._task = GroupWait(ident, state)
            state.ready.append((ref, value))
            self._settle(ident, state)
        return ref

    def remove(self, group: str) -> None:
        """Give its resources back, and end what runs in it."""
        runtime = self.runtime
        ident = bytes.fromhex(group)
        with runtime.lock:
            runtime.check_open()
            state = self._states.setdefault(ident, Group(None))
            state.removing = True
            runtime.links.head.send(g.RemoveGroup(ident))

    def table(self) -> list[dict[str, Any]]:
        """All groups of the cluster."""
        found: list[dict[str, Any]] = self.runtime.links.head.ask("groups")
        return found

    # ------------------------------------------------------------ the runtime's side

    def watch(self, shape: Shape) -> None:
        """Tasks of a shape are submitted, which may be for a group. Needs the lock."""
        group, _ = g.group_of(shape.resources)
        if group:
            ident = bytes.fromhex(group)
            state = self._watch(ident)
            if state.state == g.REMOVED:
                shape.failed = _removed(ident)

    def _watch(self, ident: bytes) -> Group:
        state = self._states.get(ident)
        if state is None:
            state = self._states[ident] = Group(None)
            self.runtime.links.head.send(g.WatchGroup(ident))
        return state

    def changed(self, message: g.GroupChanged) -> None:
        """The head says how a group stands. Needs the lock."""
        state = self._states.setdefault(message.id, Group(None))
        state.request = None
        state.state, state.reason = message.state, message.reason
        self._settle(message.id, state)
        if message.state == g.REMOVED:
            for shape in self.runtime.tasks.submitter.by_no:
                if g.group_of(shape.resources)[0] == message.id.hex():
                    self.runtime.tasks.fail_shape(shape, _removed(message.id))
            del self._states[message.id]  # whoever asks again hears it again

    def _settle(self, ident: bytes, state: Group) -> None:
        if state.state not in (g.CREATED, g.REMOVED):
            return
        ready, state.ready = state.ready, []
        for ref, value in ready:
            if state.state == g.CREATED:
                ref._value, ref._state = value, VALUE
            else:
                why = f": {state.reason}" if state.reason else ""
                error = RaySystemError(f"placement group {ident.hex()} will never be ready: it was removed{why}")
                ref._value, ref._state = error, ERROR
            self.runtime.objects.finish(ref)

    def state_of(self, resources: Any) -> tuple[str, str]:
        """State and reason of the group that a request is for; ("", "") if it is for none."""
        group, _ = g.group_of(resources)
        state = self._states.get(bytes.fromhex(group)) if group else None
        return (state.state, state.reason) if state is not None else ("", "")

    def again(self) -> list[Any]:
        """What a head has to hear that was started again."""
        out: list[Any] = []
        for ident, state in self._states.items():
            if state.request is not None:
                out.append(state.request)
            elif state.state != g.REMOVED:
                out.append(g.WatchGroup(ident))
            if state.removing and state.state != g.REMOVED:
                out.append(g.RemoveGroup(ident))
        return out


def _removed(ident: bytes) -> Exception:
    return TaskPlacementGroupRemoved(f"The task was not run to its end: placement group {ident.hex()} was removed.")
