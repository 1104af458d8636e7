"""Who waits for the view of a node to be as new as the head: beats that are under way, lost, late, and asked for meanwhile."""

from __future__ import annotations

from skate.node.fresh import Fresh


class Asking:
    """Somebody who asks, and what was sent and said."""

    def __init__(self) -> None:
        self.sent: list[float] = []
        self.heard: list[str] = []
        self.fresh = Fresh(self.sent.append)

    def ask(self, name: str, now: float, patience: float = 5.0) -> None:
        self.fresh.ask(lambda: self.heard.append(name), now, now + patience)


def test_who_asks_while_a_beat_is_under_way_waits_for_the_next() -> None:
    asking = Asking()
    asking.ask("a", 1.0)
    asking.ask("b", 1.1)
    asking.ask("c", 1.2)
    assert asking.sent == [1.0] and not asking.heard, "what the head knew at 1.0 says nothing of 1.1"
    asking.fresh.came_back(1.0, 1.3)
    assert asking.heard == ["a"] and asking.sent == [1.0, 1.3]
    asking.fresh.came_back(1.3, 1.4)
    assert asking.heard == ["a", "b", "c"] and asking.sent == [1.0, 1.3]
    assert asking.fresh.next_due() is None


def test_a_beat_that_went_with_its_connection_is_sent_again_and_the_old_one_counts_no_more() -> None:
    asking = Asking()
    asking.fresh.connected(0.5)
    assert not asking.sent, "nobody waits"
    asking.ask("a", 1.0)
    asking.fresh.connected(2.0)
    assert asking.sent == [1.0, 2.0]
    asking.fresh.came_back(1.0, 2.1)
    assert not asking.heard
    asking.fresh.came_back(2.0, 2.2)
    assert asking.heard == ["a"]


def test_nobody_waits_for_longer_than_he_wants_to() -> None:
    asking = Asking()
    asking.ask("patient", 1.0)
    asking.ask("hasty", 1.0, patience=1.0)
    assert asking.fresh.next_due() == 2.0
    asking.fresh.on_time(1.9)
    assert not asking.heard
    asking.fresh.on_time(2.0)
    assert asking.heard == ["hasty"] and asking.fresh.next_due() == 6.0
    asking.fresh.came_back(1.0, 3.0)
    assert asking.heard == ["hasty", "patient"]


def test_who_is_answered_may_ask_anew() -> None:
    asking = Asking()
    asking.fresh.ask(lambda: asking.ask("again", 2.0), 1.0, 9.0)
    asking.fresh.came_back(1.0, 2.0)
    asking.fresh.came_back(2.0, 3.0)
    assert asking.heard == ["again"] and asking.sent == [1.0, 2.0]
