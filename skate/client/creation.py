"""Making an actor: from `Class.remote(...)` to the message that has the node start its process.

The message waits until every argument has a value. The caller's end of the actor's channel is made here and travels with the
message, so that calls can be sent before the process exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..exceptions import ActorAlreadyExistsError
from ..wire import messages as m
from ..wire.groups import group_of, request
from .actor_client import ACTOR_DEAD, ActorClient, Method
from .arguments import EMPTY_BODY, Code, pack_arguments
from .objects import Held
from .refs import ERROR, REMOTE, VALUE, ObjectRef
from .serialization import serialize
from .specs import ActorOptions, ActorSpec, MethodOptions, in_request
from .submitter import TaskRecord

if TYPE_CHECKING:
    from .actors import Actors
    from .runtime import ClientRuntime


def _needed(options: ActorOptions) -> dict[str, float]:
    """What an actor needs to be placed: what it holds, if that is anything, and a node with these labels."""
    if not options.resources:
        return dict(options.placement)
    wish = in_request(options.placement)
    return {**options.resources, **({wish: options.placement[wish]} if wish else {})}


class Creation:
    """Makes the actors of one client."""

    def __init__(self, runtime: ClientRuntime, actors: Actors) -> None:
        self.runtime = runtime
        self.actors = actors

    def create(self, spec: ActorSpec, args: Any, kwargs: Any, meta: bytes) -> tuple[ObjectRef[Any], bytes]:
        """See `Runtime.create_actor`."""
        runtime = self.runtime
        options = spec.options
        needed = _needed(options)
        exported = spec.exported
        if exported is None or exported[0] is not runtime:
            exported = spec.exported = (runtime, Code(serialize(spec.cls), runtime))
        code = exported[1]
        env = runtime.environments.of(options.env)
        record = TaskRecord(0, Method(0, MethodOptions("__init__")), EMPTY_BODY, None)
        pack_arguments(runtime, record, args, kwargs)
        with runtime.lock:
            runtime.settle()
            ident = runtime.new_actor_id()
            record.seq = int.from_bytes(ident[8:], "big")
            actor = ActorClient(ident, options.class_name, options.max_pending_calls)
            request = self._message(actor, spec, code, env, meta)
            ref: ObjectRef[Any] = ObjectRef(runtime, ident, REMOTE)
            slot = runtime.links.head.open_request() if options.name else None
            if slot is not None:
                request.request = slot.number
            runtime.objects.known[ident] = ref
            ref._hold = Held(runtime, ident)
            ref._task = actor
            self.actors.by_id[ident] = actor
            actor.creating = (request, record)
            actor.placement = needed
            self.when_ready(record, lambda: self._send(actor))
        if slot is not None:
            return self._settle_name(runtime.links.head.wait_request(slot), ref, actor, meta, options.name)
        return ref, meta

    def _settle_name(
        self, found: m.FoundActor, ref: ObjectRef[Any], actor: ActorClient, meta: bytes, name: str
    ) -> tuple[ObjectRef[Any], bytes]:
        if found.created:
            return ref, meta
        with self.runtime.lock:
            self.actors.by_id.pop(actor.id, None)
            ref._hold = None
            if actor.channel is not None:
                self.actors.disconnect(actor)
            if found.error:
                raise ActorAlreadyExistsError(found.error)
            return self.runtime.objects.adopt(found.id), found.meta

    def _message(self, actor: ActorClient, spec: ActorSpec, code: Code, env: str, meta: bytes) -> m.CreateActor:
        options = spec.options
        runtime = self.runtime
        resources, placement = options.resources, _needed(options)
        capture = runtime.tasks.capture
        if group_of(resources)[0]:
            placement = dict(options.placement)
        elif capture and not options.node_id:
            resources, placement = request(resources, capture, -1, True), request(placement, capture, -1, True)
        if code.block is not None:
            runtime.grants.lend(code.block)
        return m.CreateActor(
            actor.id,
            m.Definition(0, code.hash, placeless(code.value(runtime)), options.class_name, 1),
            m.Value(m.INLINE),
            None,
            meta,
            options.name,
            options.namespace or runtime.namespace,
            options.class_name,
            options.detached,
            dict(resources),
            dict(placement),
            options.max_restarts,
            options.max_concurrency,
            dict(options.concurrency_groups),
            options.is_async,
            options.get_if_exists,
            0,
            node_id=options.node_id,
            node_soft=options.node_soft,
            env=env,
        )

    def when_ready(self, record: TaskRecord, then: Any) -> None:
        """Go on when every reference among the arguments has a value; publish those nested in them."""
        runtime = self.runtime
        for ref in record.refs or ():
            runtime.objects.publish(ref)

        def one_less(_: object) -> None:
            record.missing -= 1
            if not record.missing:
                then()

        for _, ref in record.dependencies or ():
            if ref._state < VALUE:
                record.missing += 1
                runtime.when_done(ref, one_less)
        if not record.missing:
            then()

    def _send(self, actor: ActorClient) -> None:
        """The arguments are there. The node keeps them as long as it may have to start the actor again."""
        if actor.creating is None:
            return  # it was abandoned meanwhile
        runtime = self.runtime
        request, record = actor.creating
        objects = runtime.objects
        depends: list[bytes] = []
        for _, ref in record.dependencies or ():
            if ref._state == ERROR:
                actor.error = objects.to_value(ref).data
                self.abandon(actor, "an argument of it failed")
                return
            depends.append(objects.publish(ref))
        request.dependencies = [
            m.Dependency(where, placeless(objects.to_value(ref))) for where, ref in record.dependencies or ()
        ]
        nested = [objects.publish(ref) for ref in record.refs or ()]
        depends.extend(nested)
        if record.shared is not None:
            block = record.shared
            runtime.grants.lend(block)
            depends.append(block.id)
            request.body = placeless(runtime.grants.value(block, nested or None))
        else:
            request.body = m.Value(m.INLINE, record.body, b"", 0, 0, nested or None)
        code = request.definition.code
        if code is not None:
            depends.extend(code.refs or ())
            if code.id:
                depends.append(code.id)
        request.depends = depends
        if runtime.links.clustered:  # where it will live is not known yet
            runtime.links.head.send(request)
        else:
            theirs = self.actors.open(actor, keep=request.max_restarts != 0)
            runtime.send(request, [theirs.fileno()])
            theirs.close()
        actor.creating = None
        self.actors.flush(actor)

    def abandon(self, actor: ActorClient, reason: str) -> None:
        """An actor ends before the node has heard of it. Needs the lock."""
        request, _ = actor.creating
        actor.creating = None
        actor.state = ACTOR_DEAD
        actor.death = m.Death(reason, intended=True)
        self.runtime.links.head.answer(m.FoundActor(request.request, actor.id, request.meta, created=True))
        self.actors.life.fail_all(actor)


def placeless(value: m.Value) -> m.Value:
    """A value that is kept for long: where its bytes are then, the node will know."""
    value.offset = 0
    return value
