"""What requests ask of the labels of nodes: the syntax, and which nodes it leaves."""

from __future__ import annotations

from typing import Any

import click
import pytest
from hypothesis import given, strategies as st

import skate
from skate.api.labels import add_labels, check_labels, parse_selector
from skate.cli.nodes import _labels, _labels_file
from skate.exceptions import TaskUnschedulableError, UnsupportedError
from skate.head import policy
from skate.node.resources import to_units
from skate.util.scheduling_strategies import DoesNotExist, Exists, In, NodeLabelSchedulingStrategy, NotIn
from skate.wire import labels as wire
from skate.wire.cluster import ALIVE, DEAD, NodeInfo

values = st.sampled_from(["a", "b", "c"])
names = st.sampled_from(["zone", "disk"])
node_labels = st.dictionaries(names, values)
conditions = st.tuples(st.sampled_from(["{}", "!{}", "in({})", "!in({})"]), values).map(
    lambda each: each[0].format(each[1])
)
selectors = st.dictionaries(names, conditions)


def node(no: int, labels: dict[str, str], state: str = ALIVE, cpus: int = 1) -> NodeInfo:
    amounts = to_units({"CPU": cpus})
    return NodeInfo(no, str(no), "", "", "", 1, amounts, dict(amounts), labels, state=state)


def request(options: dict[str, Any]) -> dict[str, int]:
    return to_units(add_labels({"CPU": 1.0}, options))


views = st.lists(
    st.tuples(node_labels, st.sampled_from([ALIVE, ALIVE, DEAD]), st.integers(0, 2)), min_size=1, max_size=4
).map(lambda found: {no: node(no, *each) for no, each in enumerate(found, 1)})


def holds(labels: dict[str, str], selector: dict[str, str]) -> bool:
    """The rule, said in another way."""
    for name, text in selector.items():
        values = text.removeprefix("!").removeprefix("in(").removesuffix(")").split(",")
        if text.startswith("!") == (labels.get(name) in values):
            return False
    return True


@given(views, selectors)
def test_only_nodes_with_the_labels_are_chosen(view: dict[int, NodeInfo], selector: dict[str, str]) -> None:
    wanted = request({"label_selector": selector})
    able = {no for no, each in view.items() if each.state == ALIVE and holds(each.labels, selector) and each.total}
    assert {each.no for each in policy.ranked(view, 1, wanted)} == able
    chosen = policy.place(view, 1, wanted)
    assert chosen in able if able else chosen is None
    assert set(policy.spread(view, 1, wanted, 10, 0)[0]) <= able
    assert {no for _, no, *_ in policy.elsewhere(view, 1, [(wanted, 3)])} <= able - {1}


@given(views, selectors, st.lists(selectors, max_size=2))
def test_the_first_alternative_that_can_be_met_counts(
    view: dict[int, NodeInfo], selector: dict[str, str], others: list[dict[str, str]]
) -> None:
    options = {"label_selector": selector, "fallback_strategy": [{"label_selector": each} for each in others]}
    wanted = request(options)
    able: set[int] = set()
    for each in (selector, *others):
        able = able or {
            no for no, info in view.items() if info.state == ALIVE and info.total and holds(info.labels, each)
        }
    assert {each.no for each in policy.ranked(view, 1, wanted)} == able
    assert {no for no in able if policy.belongs(view[no], view, wanted)} == able


def test_expressions() -> None:
    strategy = NodeLabelSchedulingStrategy(
        {"a": In("x", "y"), "b": NotIn("x"), "c": Exists(), "d": DoesNotExist()}, soft={"e": In("z")}
    )
    wish = wire.wish_of(wire.in_request(request({"scheduling_strategy": strategy})))
    assert len(wish) == 2 and wish[0][:4] == wish[1] and wish[0][4] == ("e", "in", ["z"])
    assert wire.meets({"a": "y", "c": "1"}, wish[1])
    for wrong in ({"c": "1"}, {"a": "x"}, {"a": "x", "b": "x", "c": "1"}, {"a": "x", "c": "1", "d": ""}):
        assert not wire.meets(wrong, wish[1])


def test_a_strategy_and_a_selector_both_count() -> None:
    wanted = request({"scheduling_strategy": NodeLabelSchedulingStrategy({"a": In("x")}), "label_selector": {"b": "y"}})
    (wish,) = wire.wish_of(wire.in_request(wanted))
    assert wire.meets({"a": "x", "b": "y"}, wish)
    assert not wire.meets({"a": "x"}, wish) and not wire.meets({"b": "y"}, wish)


def test_requests_in_words() -> None:
    found = add_labels({"CPU": 2.0}, {"label_selector": {"zone": "!in(a,b)"}})
    assert wire.describe(found) == "2 CPU, a node with labels {zone !in (a, b)}"
    assert wire.describe({}) == "nothing"


@pytest.mark.parametrize(
    "selector", [{"zone": ""}, {"zone": "in()"}, {"zone": "!"}, {"zone": "in(a"}, {"zone": "a,b"}, {"": "a"}, {"x y": "a"},
                 {"zone": "a b"}, {"zone": "!!a"}, {"a/b/c": "x"}, {"zone": "x" * 64}],
)  # fmt: skip
def test_wrong_selectors(selector: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="label"):
        parse_selector("label_selector", selector)
    with pytest.raises(ValueError, match="label"):
        skate.remote(label_selector=selector)(lambda: None)


@pytest.mark.parametrize(
    "options", [{"label_selector": ["zone"]}, {"label_selector": {"zone": 1}}, {"fallback_strategy": {}},
                {"scheduling_strategy": NodeLabelSchedulingStrategy({"zone": "a"})}],
)  # fmt: skip
def test_wrong_types(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        skate.remote(**options)(lambda: None)


def test_wrong_fallbacks() -> None:
    with pytest.raises(ValueError, match="label_selector"):
        skate.remote(fallback_strategy=[{"memory": 1}])(lambda: None)
    with pytest.raises(UnsupportedError):
        skate.remote(_labels={"a": "b"})(lambda: None)


def test_labels_of_the_command_line(tmp_path: Any) -> None:
    expected = {"zone": "a", "example.com/disk": "ssd"}
    assert _labels("--labels", "zone=a, example.com/disk=ssd") == expected
    assert _labels("--labels", '{"zone": "a", "example.com/disk": "ssd"}') == expected
    assert _labels("--labels", "") == {}
    (tmp_path / "labels").write_text('# of this node\nzone: a\nexample.com/disk: "ssd"\n')
    assert _labels_file(str(tmp_path / "labels")) == expected
    for wrong in ("zone", "zone=a b", "x y=a", '{"zone": 1}', "[]"):
        with pytest.raises(click.UsageError, match="label"):
            _labels("--labels", wrong)
    with pytest.raises(click.UsageError, match="--labels-file"):
        _labels_file(str(tmp_path / "nothing"))


def test_labels_of_a_node_are_checked() -> None:
    with pytest.raises(TypeError):
        check_labels("labels", {"a": 1})
    with pytest.raises(ValueError, match="no value"):
        skate.init(mode="inline", labels={"zone": "a b"})


def test_an_inline_session_has_labels() -> None:
    skate.init(mode="inline", labels={"zone": "a"})
    try:
        zone = skate.remote(lambda: skate.get_runtime_context().get_node_labels()["zone"])
        assert skate.get(zone.options(label_selector={"zone": "a"}).remote()) == "a"
        with pytest.raises(TaskUnschedulableError, match="labels"):
            zone.options(label_selector={"zone": "b"}).remote()
    finally:
        skate.shutdown()


def test_a_scheduler_without_such_labels_gives_nothing() -> None:
    from skate.node.resources import Pool
    from skate.node.scheduler import Scheduler

    scheduler = Scheduler(Pool({"CPU": 2.0}))
    wanted = request({"label_selector": {"zone": "a"}})
    scheduler.worker_idle(1, "job")
    scheduler.want(b"a", "job", 0, wanted, 1, 0)
    assert not scheduler.decide()[0]
    scheduler.met = {wire.in_request(wanted)}
    (lease,) = scheduler.decide()[0]
    assert lease.amounts == to_units({"CPU": 1})
    scheduler.validate()
    scheduler.release(1)
    scheduler.validate()
    assert scheduler.pool.free == scheduler.pool.total
