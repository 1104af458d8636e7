"""Chains of reasons and deadlocks, of small worlds that are written down here, and of drawn ones."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

from skate.client.chains import Chain, Key, Reason, explore, stuck_in
from skate.client.why import of_runtime


class World:
    """`waits["a"]` is what a waits for; `any_of`: who needs only one of it."""

    def __init__(self, waits: dict[str, str], any_of: str = "", moves: str = "") -> None:
        self.waits = waits
        self.any_of = any_of
        self.moves = moves
        self.asked: list[str] = []

    def why(self, key: Key) -> Reason:
        name = key[1]
        self.asked.append(name)
        after = [("task", each) for each in self.waits.get(name, "")]
        return Reason(key, name, f"{name} waits", after, name in self.any_of, name in self.moves)

    def chain(self, most: int = 40, seconds: int = 1000) -> Chain:
        return explore(("task", "a"), self.why, lambda: len(self.asked) < seconds, most)


def names(chain: Chain) -> str:
    return "".join(reason.subject for reason in chain.reasons)


def test_a_chain_ends_where_something_waits_for_nothing() -> None:
    chain = World({"a": "b", "b": "c"}).chain()
    assert names(chain) == "abc" and not chain.circle
    assert str(chain) == "a waits -> b waits -> c waits"


def test_a_circle_is_a_deadlock_with_its_members() -> None:
    chain = World({"a": "b", "b": "c", "c": "b"}).chain()
    assert chain.circle == ["b", "c"]
    assert str(chain) == (
        "DEADLOCK: b waits for c waits for b: none of them can go on until one is cancelled or killed; "
        "in detail: a waits -> b waits -> c waits"
    )


def test_who_waits_for_itself() -> None:
    assert World({"a": "a"}).chain().circle == ["a"]


def test_the_way_out_is_seen() -> None:
    """One of two who hold a resource can go on, or whoever waits gives up by itself."""
    assert not World({"a": "bc", "b": "a"}, any_of="a").chain().circle
    assert not World({"a": "b", "b": "a"}, moves="b").chain().circle
    chain = World({"a": "bc", "b": "a", "c": "a"}, any_of="a").chain()
    assert chain.circle == ["a", "b"]


def test_the_part_that_is_stuck_is_shown() -> None:
    chain = World({"a": "bc", "b": "", "c": "dc"}).chain()
    assert names(chain) == "ac" and chain.circle == ["c"]


def test_an_object_and_its_task_are_one() -> None:
    def why(key: Key) -> Reason:
        other = {"1": "2", "2": "1"}[key[1]]
        return Reason(("task", key[1]), key[1], "", [("object", other)])

    assert explore(("object", "1"), why, lambda: True).circle == ["1", "2"]


def test_what_is_done_is_not_waited_for() -> None:
    def why(key: Key) -> Reason:
        return Reason(key, key[1], key[1], [("task", "b"), ("task", "c")] if key[1] == "a" else [], done=key[1] == "b")

    assert names(explore(("task", "a"), why, lambda: True)) == "ac"


def test_steps_and_time_are_bounded_and_it_says_so() -> None:
    world = World({chr(at): chr(at + 1) for at in range(ord("a"), ord("z"))})
    chain = world.chain(most=3)
    assert world.asked == ["a", "b", "c"] and str(chain).endswith("[no more than 3 steps are followed]")
    assert str(World({"a": "b", "b": "a"}).chain(seconds=1)).endswith("a waits -> [there was no time to ask on]")
    assert str(World({}).chain(seconds=0)) == "[there was no time to ask on]"


def test_of_a_long_chain_both_ends_are_shown() -> None:
    chain = Chain([Reason(("task", str(at)), "", f"step {at}") for at in range(40)], unsaid="no more")
    first, last = "step 0 -> step 1 -> step 2", "step 37 -> step 38 -> step 39"
    assert str(chain) == f"{first} -> (34 more steps) -> {last} -> [no more]"
    assert "more" not in str(Chain(chain.reasons[:9])), "it would not become shorter"


def test_exactly_those_are_stuck_that_no_order_of_ends_frees() -> None:
    for seed in range(300):
        draw = random.Random(seed)
        keys = [("task", str(number)) for number in range(draw.randint(1, 9))]
        found = {
            key: Reason(
                key,
                "",
                "",
                draw.sample(keys, draw.randint(0, min(3, len(keys)))),
                draw.random() < 0.4,
                draw.random() < 0.1,
            )
            for key in keys
        }
        left = set(keys)
        while True:  # let end whatever can, one after the other
            able = [
                key
                for key in left
                if found[key].moves
                or not found[key].next
                or (any if found[key].any else all)(each not in left for each in found[key].next)
            ]
            if not able:
                break
            left.discard(draw.choice(able))
        assert stuck_in(found) == left, f"seed {seed}"


def test_after_the_end_of_skate_nobody_is_asked() -> None:
    runtime: Any = SimpleNamespace(closed=True, node_no=0)
    assert "skate was shut down" in of_runtime(runtime, "ab" * 24, 1.0)
