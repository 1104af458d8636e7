"""What seeds have found, each as the shortest history that shows it."""

from __future__ import annotations

import pytest

from skate.client.refs import PENDING, VALUE
from skate.client.specs import group_request
from skate.wire.cluster import HEAD

from .scenes import Scene, staged


@staged
def test_a_connection_that_ends_after_its_node_was_given_up_keeps_nobody_busy(scene: Scene) -> None:
    scene.start(1, 1, 1)
    lost = scene.cluster.machines[3].node
    lost.freeze(60.0)
    scene.until(lambda: lost.number not in scene.cluster.head_node.members.nodes.heard)  # type: ignore[union-attr]
    lost.die("it was killed")
    scene.wait(1.0)
    before = scene.world.steps
    scene.wait(10.0)
    assert scene.world.steps - before < 1_000


@staged
def test_a_worker_that_is_of_no_use_is_not_leased_again_and_again(scene: Scene) -> None:
    """The client has work elsewhere only. Its own node gave it a worker, got it back, and gave it again."""
    scene.start(1, 1)
    refs = scene.tasks(2, 5.0)
    near, far = scene.cluster.machines[1].node, scene.cluster.machines[2].node
    scene.until(lambda: bool(near.node.scheduler.leases) and bool(far.node.scheduler.leases))
    worker = next(iter(near.zygote.workers.values()))
    worker.until = scene.world.now + 0.5  # the task here ends sooner than the one there
    worker.wake()
    scene.until(lambda: any(ref._state == VALUE for ref in refs))
    scene.wait(0.2)
    before = scene.world.steps
    scene.wait(2.0)
    assert scene.world.steps - before < 200
    assert not near.node.scheduler.leases


@staged
def test_who_is_gone_with_a_group_wants_no_workers_in_it(scene: Scene) -> None:
    scene.start(2)
    group = scene.do(lambda rt: rt.groups.create([{"CPU": 3.0}], "PACK", "", False, None))
    scene.tasks(5, 1.0, resources=group_request({"CPU": 1.0}, group, -1))
    scene.wait(1.0)
    scene.do(lambda rt: rt.groups.remove(group))
    scene.wait(1.0)
    demands = scene.cluster.machines[1].node.node.scheduler.demands
    assert demands and not any(demand.count for demand in demands.values())


@pytest.mark.parametrize("first", ["driver", "head"])
def test_an_actor_outlives_a_connection_of_its_creator_and_no_more(first: str) -> None:
    """Whoever hears first of the end of a connection: the new one says again what is held, and the old one held nothing else."""

    @staged
    def history(scene: Scene) -> None:
        scene.start(1, 1, drivers=(2,))
        actor = [scene.actor()]
        scene.succeeds(scene.call(actor[0]))
        scene.cut(HEAD, first)
        scene.wait(8.0)
        scene.succeeds(scene.call(actor[0]))
        known = next(iter(scene.head.actors.table.by_id.values()))
        assert known.restarts == 0
        scene.do(lambda rt: actor.clear())
        scene.until(lambda: known.state == "dead")
        scene.wait(6.0)
        assert not scene.head.directory.entries

    history()


@staged
def test_a_key_ends_with_its_lease(scene: Scene) -> None:
    """A worker that was leased to a client of another node dies before the client has dialled it."""
    scene.start(1, 1)
    refs = scene.tasks(2, 1.0)
    far = scene.cluster.machines[2].node
    scene.until(lambda: bool(far.node.abroad._keys))
    next(iter(far.zygote.workers.values())).end(9, "it was killed")
    scene.succeeds(*refs)
    assert not far.node.abroad._keys


@staged
def test_nothing_is_remembered_of_a_driver_that_was_told_of_other_nodes(scene: Scene) -> None:
    scene.start(1, 1)
    scene.tasks(9, 1.0)
    node = scene.cluster.machines[1].node.node
    scene.until(lambda: bool(node.abroad._told))
    scene.drivers[0].die("it was killed")
    scene.until(lambda: not node.jobs)
    assert not node.abroad._told


@staged
def test_a_node_that_has_joined_knows_the_cluster(scene: Scene) -> None:
    """Its starter is told that it is ready, and a driver may ask at once which nodes there are."""
    first = scene.cluster.start_node(1, 1)
    second = scene.cluster.start_node(2, 1)
    assert first.number in first.node.view
    assert {first.number, second.number} <= set(second.node.view)


@staged
def test_an_actor_that_cannot_be_reached_for_a_while_is_called_all_the_same(scene: Scene) -> None:
    """Its node and the caller's do not reach each other; the head reaches both, so that it has nothing to say."""
    scene.start(1, 1, 1, drivers=(2,))
    actor = scene.actor(node_id=scene.cluster.machines[3].node.node.node_id)
    route = scene.cluster.routes[frozenset((2, 3))]
    scene.cluster.part(route, 7.0)
    call = scene.call(actor)
    scene.wait(6.0)
    assert call._state == PENDING
    scene.succeeds(call)


@staged
def test_no_worker_stays_that_was_started_for_an_actor_that_ended_before(scene: Scene) -> None:
    """Nothing else of its job is on that node, so nobody would tell it when the job ends."""
    scene.start(1, 1)
    run = scene.cluster.machines[2].node
    node = run.node
    actor = [scene.actor(node_id=node.node_id)]
    scene.until(lambda: bool(node.actors.hosted))
    run.zygote.freeze(0.5)  # meanwhile a group takes what the actor needs to be placed
    scene.do(lambda rt: rt.groups.create([{"CPU": 1.0}] * 2, "STRICT_SPREAD", "", False, None))
    scene.until(lambda: any(node.scheduler.idle.values()))
    scene.do(lambda rt: rt.kill(actor.pop(), True))
    scene.wait(2.0)
    assert not node.actors.hosted
    assert not node.workers


@pytest.mark.parametrize("where", ["SPREAD", ""])
def test_a_node_that_was_asked_for_workers_and_cut_off_is_asked_again(where: str) -> None:
    """It lives, and so is not on the lists of the dead; what had been asked of it was forgotten with the connection."""

    @staged
    def history(scene: Scene) -> None:
        scene.start(2, 1, drivers=(2, 1))
        scene.tasks(1, 3.0, resources={"CPU": 2.0}, driver=1)
        scene.wait(0.5)
        refs = scene.tasks(1, 0.1, resources={"CPU": 2.0}, node_id=where)
        node = scene.cluster.machines[1].node.node
        scene.until(lambda: len(node.scheduler.demands) == 2)
        scene.cut(1, "head", 0.1)
        scene.succeeds(*refs)

    history()


@staged
def test_a_task_for_a_node_that_its_own_has_not_heard_of_waits_for_the_head(scene: Scene) -> None:
    """The head has told of a new node, but the way from there to the driver's is cut for a moment."""
    scene.start(1, 1, drivers=(2,))
    scene.cluster.part(scene.cluster.routes[frozenset((1, 2))], 0.6)
    joined = scene.cluster.start_node(3, 1)
    near = scene.cluster.machines[2].node.node
    assert joined.number not in near.view
    refs = scene.tasks(2, 0.1, node_id=joined.node.node_id)
    scene.succeeds(*refs)
    assert not near.abroad._doubted


@staged
def test_a_task_for_a_node_that_nobody_knows_fails_once_the_head_has_said_so(scene: Scene) -> None:
    scene.start(1, 1, drivers=(2,))
    refs = scene.tasks(1, 0.1, node_id="f" * 32)
    scene.until(lambda: refs[0]._state not in (PENDING, VALUE), 2.0)
    scene.cut(HEAD, "head")  # its process lives, and is asked again by another connection
    scene.cluster.head.die("it was killed")  # type: ignore[union-attr]
    refs = scene.tasks(1, 0.1, node_id="e" * 32)
    scene.wait(0.05)
    assert refs[0]._state == PENDING, "there is no head that could say it"
    scene.until(lambda: refs[0]._state not in (PENDING, VALUE))
