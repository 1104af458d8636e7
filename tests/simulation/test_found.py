"""What seeds have found, each as the shortest history that shows it."""

from __future__ import annotations

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
