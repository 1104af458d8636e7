"""Recipes: how long they are kept, how many bytes they take, and what is emptied first."""

from __future__ import annotations

from hypothesis import given, strategies as st

from skate.client.lineage import RECORD_BYTES, Input, Lineage, Recipe
from skate.client.submitter import TaskRecord


class Ref:
    """Stands for a reference."""


def recipe(body: bytes = b"", inputs: list[Input] | None = None, retries: int = 3) -> Recipe:
    task = TaskRecord(1, None, body, None)
    task.retries_left = retries
    return Recipe(task, [b"id"], inputs or [])


def test_a_recipe_ends_with_the_last_that_needs_it() -> None:
    lineage = Lineage(1 << 20)
    first = recipe(b"x" * 100)
    lineage.keep(first)
    second = recipe(inputs=[Input(0, b"first", Ref(), first, None)])
    lineage.keep(second)
    lineage.publish(b"second", second)
    del first, second
    lineage.settle()
    assert lineage.used == 2 * RECORD_BYTES + 100
    lineage.forget([b"second", b"unknown"])
    lineage.settle()
    assert lineage.used == 0


def test_the_oldest_is_emptied_first() -> None:
    lineage = Lineage(10_000)
    recipes = [recipe(bytes(3_000)) for _ in range(4)]
    for each in recipes:
        lineage.keep(each)
    assert [bool(each.why_not()) for each in recipes] == [True, True, False, False]
    assert "10000 bytes" in recipes[0].why_not() and not recipes[0].body
    assert lineage.used <= 10_000


def test_what_is_alone_too_large_is_kept_until_the_next() -> None:
    lineage = Lineage(1_000)
    large = recipe(bytes(5_000))
    lineage.keep(large)
    assert not large.why_not()
    small = recipe()
    lineage.keep(small)
    assert large.why_not() == "" or small.why_not() == ""


def test_attempts_are_charged() -> None:
    each = recipe(retries=1)
    rerun = each.begin(7)
    assert (rerun.seq, rerun.attempt, rerun.retries_left) == (7, 1, 0)
    each.ended(rerun)
    assert "no retries" in each.why_not()
    assert recipe(retries=-1).begin(1).retries_left == -1


def test_the_loss_of_a_node_is_charged_once() -> None:
    each = recipe(retries=2)
    for node, left in [(7, 1), (7, 1), (8, 0), (7, 0)]:
        rerun = each.begin(1, node)
        assert (rerun.node, rerun.retries_left) == (node, left)
        each.ended(rerun)
    assert not each.why_not(8) and "no retries" in each.why_not(9) and "no retries" in each.why_not()


def test_without_retries_nothing_is_kept() -> None:
    each = recipe(b"x" * 1000, retries=0)
    assert each.body == b"" and each.size == RECORD_BYTES


@given(st.lists(st.tuples(st.integers(0, 2_000), st.booleans()), max_size=60))
def test_what_is_used_is_what_is_kept(events: list[tuple[int, bool]]) -> None:
    lineage = Lineage(6_000)
    alive: list[Recipe] = []
    for size, drops in events:
        each = recipe(bytes(size), [Input(0, b"i", Ref(), alive[-1], None)] if alive and size % 2 else None)
        lineage.keep(each)
        alive.append(each)
        del each
        if drops:
            del alive[0]
        lineage.settle()
        assert lineage.used <= max(6_000, alive[-1].size if alive else 0)
    alive.clear()
    lineage.settle()
    assert lineage.used == 0
