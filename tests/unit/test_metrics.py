"""Metrics without processes: what users may say, what waits to be told, sums, the text format, the dashboard."""

from __future__ import annotations

import json
import pickle
import re
from typing import Any

import pytest
from hypothesis import given, strategies as st
from prometheus_client.parser import text_string_to_metric_families

from skate.cli.grafana import dashboard
from skate.client import metering
from skate.client.metering import PROCESS, Metering
from skate.node import exporter, figures, sums
from skate.node.discovery import Discovery, targets
from skate.node.exposition import Family, pieces
from skate.node.sums import Sums
from skate.util.metrics import Counter, Gauge, Histogram
from skate.wire import messages as m
from skate.wire.cluster import DEAD, NodeInfo
from skate.wire.metrics import COUNTER, GAUGE, HISTOGRAM, Counted, Metric, Series, reading_token

# ---------------------------------------------------------------- what users may say


def test_wrong_metrics_are_refused() -> None:
    for name in ("", "9lives", "a-b", "a b", 'a"b', None):
        with pytest.raises(ValueError, match="cannot be the name"):
            Counter(name)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="tuple of strings"):
        Gauge("unit_a", tag_keys="route")
    with pytest.raises(TypeError, match="must be strings"):
        Gauge("unit_a", tag_keys=(1,))  # type: ignore[arg-type]
    for key in ("le", "WorkerId", "__x", "a-b"):
        with pytest.raises(ValueError, match="cannot be a tag"):
            Gauge("unit_a", tag_keys=(key,))
    with pytest.raises(ValueError, match="twice"):
        Gauge("unit_a", tag_keys=("x", "x"))
    for boundaries in ([], None):
        with pytest.raises(ValueError, match="needs boundaries"):
            Histogram("unit_h", boundaries=boundaries)
    wrong: Any
    for wrong in (3, "1", ["a"]):
        with pytest.raises(TypeError, match=r"'unit_h': boundaries (is a list of|must be) numbers"):
            Histogram("unit_h", boundaries=wrong)
    with pytest.raises(TypeError, match="the description of metric 'unit_a' must be a string, not 3"):
        Gauge("unit_a", 3)  # type: ignore[arg-type]
    for boundaries in ([0, 1], [-1.0], [2, 1], [1, 1], [float("inf")], [float("nan")]):
        with pytest.raises(ValueError, match="above 0 and ascending"):
            Histogram("unit_h", boundaries=boundaries)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Counter("unit_t1"), lambda: Counter("unit_t1_total")),
        (Counter("unit_t2_total"), lambda: Counter("unit_t2")),
        (Gauge("unit_t3_total"), lambda: Counter("unit_t3")),
        (Histogram("unit_t4", boundaries=[1]), lambda: Gauge("unit_t4_sum")),
        (Counter("unit_t5_count_total"), lambda: Histogram("unit_t5_count_total", boundaries=[1])),
        (Gauge("unit_t6_bucket"), lambda: Histogram("unit_t6", boundaries=[1])),
    ],
)
def test_metrics_that_prometheus_could_not_tell_apart_are_refused(first: Any, second: Any) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match=r"could not tell|another metric"):
            second()
    assert type(first)(*first._arguments())._meter is first._meter


def test_wrong_values_are_refused() -> None:
    counter = Counter("unit_wrong", tag_keys=("route",))
    for value in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="only grows"):
            counter.inc(value, {"route": "/"})
    with pytest.raises(TypeError, match="must be a number"):
        counter.inc("1", {"route": "/"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"needs a value for the tags \['route'\]"):
        counter.inc()
    with pytest.raises(ValueError, match="has no tag 'user'"):
        counter.inc(1, {"route": "/", "user": "x"})
    with pytest.raises(TypeError, match="must be a string"):
        counter.inc(1, {"route": 1})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="tags of metric 'unit_wrong' must be a dict of strings, not 3"):
        counter.inc(1, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="default_tags of metric 'unit_wrong' must be a dict"):
        counter.set_default_tags("x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="longer than"):
        counter.inc(1, {"route": "x" * 5000})
    with pytest.raises(ValueError, match="no text of Unicode"):
        counter.inc(1, {"route": "\udc80"})
    with pytest.raises(ValueError, match="larger than a float"):
        counter.inc(10**400, {"route": "/"})
    with pytest.raises(ValueError, match="has no tag"):
        counter.set_default_tags({"user": "x"})
    with pytest.raises(ValueError, match="another metric 'unit_wrong': a counter"):
        Gauge("unit_wrong")


def test_they_are_where_they_are_in_ray() -> None:
    import skate

    assert skate.util.metrics.Counter is Counter


def test_metrics_say_what_they_are_and_can_be_sent() -> None:
    histogram = Histogram("unit_sent", "How long.", [0.5, 2], ("a", "b")).set_default_tags({"a": "x"})
    copy = pickle.loads(pickle.dumps(histogram))
    assert copy.info == histogram.info
    assert copy.info == {
        "name": "unit_sent",
        "description": "How long.",
        "tag_keys": ("a", "b"),
        "default_tags": {"a": "x"},
        "boundaries": [0.5, 2.0],
    }
    assert copy._meter is histogram._meter is PROCESS.meter(HISTOGRAM, "unit_sent", "", ("a", "b"), (0.5, 2.0))
    Gauge("unit_none").set(None)
    assert not Gauge("unit_none")._meter.waits


# ---------------------------------------------------------------- what waits to be told


def test_what_was_told_is_not_told_again() -> None:
    process = Metering()
    woken: list[int] = []
    process.wake = lambda: woken.append(1)
    counter = process.meter(COUNTER, "c", "", ("k",))
    gauge = process.meter(GAUGE, "g", "", ())
    process.add(counter, ("x",), 2)
    process.add(counter, ("x",), 3)
    process.set(gauge, (), 7)
    process.tally("f")[m.DONE] += 2
    assert process.changed and len(woken) == 1
    (first,) = process.take()
    assert sorted((each.name, each.series) for each in first.metrics) == [
        ("c", [Series(["x"], 5.0)]),
        ("g", [Series([], 7.0)]),
    ]
    assert first.tasks == {"f": [2, 0, 0, 0]}
    assert not process.changed and process.take() == []
    process.tally("f")[m.FAILED] += 1
    process.crashed("f")
    process.tally("f")[m.END] += 1
    process.add(counter, ("y",), 1)
    (second,) = process.take()
    assert second.metrics[0].series == [Series(["y"], 1.0)] and second.tasks == {"f": [1, 1, 0, 1]} and len(woken) == 2
    process.again()  # a new node knows no gauge
    (third,) = process.take()
    assert [(each.name, each.series) for each in third.metrics] == [("g", [Series([], 7.0)])]


def test_what_waits_is_bounded_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "SERIES_MAX", 10)
    monkeypatch.setattr(metering, "NAMES_MAX", 3)
    monkeypatch.setattr(metering, "METRICS_MAX", 2)
    monkeypatch.setattr(metering, "PER_MESSAGE", 4)
    process = Metering()
    counter = process.meter(COUNTER, "c", "", ("k",))
    gauge = process.meter(GAUGE, "g", "", ("k",))
    for i in range(15):
        process.add(counter, (str(i),), 1)
        process.set(gauge, (str(i),), i)
        process.tally(f"f{i}")[m.DONE] += 1
    with pytest.raises(ValueError, match="2 metrics already"):
        process.meter(COUNTER, "d", "", ())
    told = process.take()
    assert all(sum(len(metric.series) for metric in each.metrics) <= 4 for each in told)
    assert sum(len(metric.series) for each in told for metric in each.metrics) == 20
    assert [each.dropped for each in told if each.dropped] == [10]
    (tasks,) = [each.tasks for each in told if each.tasks]
    assert tasks == {**{f"f{i}": [1, 0, 0, 0] for i in range(3)}, metering.OTHER: [12, 0, 0, 0]}


def test_a_forked_process_tells_nothing_of_its_parent() -> None:
    process = Metering()
    counter = process.meter(COUNTER, "c", "", ())
    process.add(counter, (), 2)
    process.tally("f")[m.DONE] += 1
    process.forget()
    assert not process.changed and process.take() == []
    process.add(counter, (), 1)
    assert process.take()[0].metrics[0].series == [Series([], 1.0)]


# ---------------------------------------------------------------- sums


def read(sums: Sums) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What Prometheus reads."""
    text = "".join(pieces(sums.families()))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def told(kind: str, name: str, *series: Series, keys: tuple[str, ...] = (), bounds: tuple[float, ...] = ()) -> Counted:
    return Counted([Metric(kind, name, "What it is.", list(keys), list(bounds), list(series))])


def test_counters_add_up_and_gauges_end_with_their_process() -> None:
    node = Sums()
    for source in ("a", "b"):
        node.add(source, told(COUNTER, "c", Series(["x"], 2.0), keys=("k",)))
        node.add(source, told(GAUGE, "g", Series([], 3.0)))
        node.add(source, told(HISTOGRAM, "h", Series([], 4.5, [1, 0, 2]), bounds=(0.1, 1.0)))
    node.validate()
    assert read(node) == {
        ("ray_c_total", (("k", "x"),)): 4.0,
        ("ray_g", (("WorkerId", "a"),)): 3.0,
        ("ray_g", (("WorkerId", "b"),)): 3.0,
        ("ray_h_bucket", (("le", "0.1"),)): 2.0,
        ("ray_h_bucket", (("le", "1.0"),)): 2.0,
        ("ray_h_bucket", (("le", "+Inf"),)): 6.0,
        ("ray_h_sum", ()): 9.0,
        ("ray_h_count", ()): 6.0,
    }
    node.gone("a")
    node.gone("never seen")
    node.validate()
    assert ("ray_g", (("WorkerId", "a"),)) not in read(node) and read(node)["ray_c_total", (("k", "x"),)] == 4.0


def test_what_does_not_fit_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "SERIES_MAX", 3)
    node = Sums()
    node.add("a", told(COUNTER, "c", *(Series([str(i)], 1.0) for i in range(5)), keys=("k",)))
    assert (node.series, node.dropped) == (3, 2)
    for wrong in (
        told(GAUGE, "c", Series([], 1.0)),
        told("summary", "s", Series([], 1.0)),
        told(COUNTER, "x 1\nfaked", Series([], 1.0)),
        told(COUNTER, "d", Series(["1"], 1.0), keys=('k="1"} 1\nfaked{k',)),
        told(COUNTER, "d", Series(["1", "2"], 1.0), keys=("k",)),
        told(HISTOGRAM, "h", Series([], 1.0, [1]), bounds=(1.0,)),
        told(HISTOGRAM, "h", Series([], 1.0, [1, 1, 1]), bounds=(2.0, 1.0)),
        told(HISTOGRAM, "h", Series([], 1.0, [1, -1]), bounds=(1.0,)),
        told(COUNTER, "d", Series([], -1.0)),
        told(COUNTER, "d", Series(["1"], 1.0), keys=("le",)),
        told(COUNTER, "d", Series(["1", "2"], 1.0), keys=("k", "k")),
        told(GAUGE, "c_total", Series([], 1.0)),
    ):
        before = node.dropped
        node.add("a", wrong)
        assert node.dropped == before + 1
    node.validate()
    assert set(node.metrics) == {"c"}
    for number in range(5):
        node.add("b", told(GAUGE, f"g{number}", Series([], 1.0)))
    node.validate()
    assert set(node.metrics) == {"c", "g0", "g1"}


@given(st.text(max_size=30), st.text(max_size=30), st.floats(), st.lists(st.floats(1e-9, 1e9), min_size=1, unique=True))
def test_the_text_says_what_was_told(value: str, help: str, number: float, bounds: list[float]) -> None:
    value, help = (text.encode("utf-8", "replace").decode() for text in (value, help))
    bounds.sort()
    counts = [1] * (len(bounds) + 1)
    node = Sums()
    node.add("p", Counted([Metric(GAUGE, "g", help, ["k"], [], [Series([value], number)])]))
    node.add("p", told(HISTOGRAM, "h", Series([], 1.0, counts), bounds=tuple(bounds)))
    found = read(node)
    (seen,) = [seen for (name, labels), seen in found.items() if name == "ray_g" and dict(labels).get("k", "") == value]
    assert seen == number or (seen != seen and number != number)
    upper = sorted(
        (float(dict(labels)["le"]), count) for (name, labels), count in found.items() if name == "ray_h_bucket"
    )
    assert upper == [(bound, at + 1) for at, bound in enumerate([*bounds, float("inf")])]


KINDS = st.sampled_from([COUNTER, GAUGE, HISTOGRAM])
NAMES = st.sampled_from(
    ["x", "x_total", "x_sum", "x_count", "x_bucket", "x_total_total", "x_sum_bucket", "total", "_total"]
)
TAGS = st.lists(st.sampled_from(["a", "b", "le", "WorkerId", "quantile", "__name__"]), max_size=3)
TEXTS = st.one_of(st.sampled_from(["", "1", "+Inf", 'a"b', "a\nb", "a\\", "a\r"]), st.text(max_size=5)).filter(
    lambda text: text.encode(errors="replace").decode() == text
)


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, Metric]:
    keys = draw(TAGS)
    kind = draw(KINDS)
    bounds = draw(st.sampled_from([[], [1.0], [1.0, 2.0], [2.0, 1.0], [float("nan")]])) if kind == HISTOGRAM else []
    counts = [draw(st.integers(-1, 3)) for _ in range(len(bounds) + 1)] if kind == HISTOGRAM else []
    series = Series([draw(TEXTS) for _ in keys], draw(st.floats()), counts)
    return draw(st.sampled_from(["p", "q"])), Metric(kind, draw(NAMES), draw(TEXTS), keys, bounds, [series])


@given(st.lists(messages(), max_size=12))
def test_whatever_is_told_prometheus_can_read_it(told: list[tuple[str, Metric]]) -> None:
    node = Sums()
    for source, metric in told:
        node.add(source, Counted([metric]))
        node.validate()
    text = "".join(pieces(node.families()))
    families = list(text_string_to_metric_families(text))
    kinds = re.findall("^# TYPE (.*) (.*)$", text, re.MULTILINE)
    assert len({name for name, _ in kinds}) == len(kinds) == len(families), "each family is there once"
    assert [family.type for family in families] == [kind for _, kind in kinds], "no sample is outside of its family"
    samples = [(each.name, *sorted(pair for pair in each.labels.items() if pair[1]))
               for family in families for each in family.samples]  # fmt: skip
    assert len(set(samples)) == len(samples), "each series is there once"
    for family in families:
        if family.type == HISTOGRAM:
            counts = [each.value for each in family.samples if each.name.endswith(("_bucket", "_count"))]
            assert all(count >= 0 for count in counts)


def test_a_long_text_comes_in_pieces() -> None:
    family = Family("x", "gauge", "Many.", (("", (("i", str(i)),), i) for i in range(1000)))
    found = list(pieces([family, Family("none", "gauge", "", ())]))
    assert [piece.count("\nx{") + piece.startswith("x{") for piece in found] == [200] * 5
    assert "".join(found).count("# TYPE") == 1


# ---------------------------------------------------------------- who may read, and where


@pytest.mark.parametrize(
    ("address", "local"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("10.0.0.1", False),
     ("::ffff:10.0.0.1", False), ("", False), ("localhost", False)],
)  # fmt: skip
def test_what_is_this_machine(address: str, local: bool) -> None:
    assert exporter._is_loopback(address) is local


@pytest.mark.parametrize(
    ("host", "plain"),
    [("127.0.0.1:80", True), ("[::1]:80", True), ("localhost", True), ("localhost:9", True), ("", True),
     ("evil.example:80", False), ("localhost.evil.example", False), ("127.0.0.1.evil.example", False)],
)  # fmt: skip
def test_a_page_of_a_strange_name_is_refused(host: str, plain: bool) -> None:
    assert exporter._is_plain_host(host) is plain


def test_the_reading_token_depends_on_the_clusters() -> None:
    assert reading_token("a") == reading_token("a") != reading_token("b")
    assert re.fullmatch("[0-9a-f]{64}", reading_token("a"))


def test_the_file_of_service_discovery_is_kept_current(tmp_path: Any) -> None:
    nodes = [NodeInfo(no, str(no), f"n{no}", "", host, 7000, {}, {}) for no, host in ((1, "10.0.0.1"), (2, "fd00::2"))]
    discovery = Discovery(tmp_path)
    discovery.update(nodes)
    path = tmp_path / "prometheus-sd.json"
    found = json.loads(path.read_text())
    assert found == targets(nodes)
    assert [each["targets"] for each in found] == [["10.0.0.1:7000"], ["[fd00::2]:7000"]]
    assert all(isinstance(value, str) for each in found for value in each["labels"].values())
    path.unlink()
    discovery.update(nodes)
    assert not path.exists()  # nothing has changed: nothing is written
    nodes[0].state = DEAD
    discovery.update(nodes)
    assert [each["targets"] for each in json.loads(path.read_text())] == [["[fd00::2]:7000"]]
    assert [each.name for each in tmp_path.iterdir()] == ["prometheus-sd.json"]


# ---------------------------------------------------------------- the dashboard


def test_the_dashboard_is_what_grafana_expects() -> None:
    board = json.loads(json.dumps(dashboard()))
    assert board["schemaVersion"] >= 36 and board["title"] and board["uid"]
    variables = {each["name"]: each["type"] for each in board["templating"]["list"]}
    assert variables == {"datasource": "datasource", "instance": "query"}
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert panel["type"] in ("row", "timeseries") and at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, f"{panel['title']} lies on another"
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["refId"] and target["datasource"]["uid"] == "${datasource}"
        assert panel["type"] == "row" or panel["targets"]


def test_the_dashboard_asks_only_for_what_there_is() -> None:
    asked: set[str] = set()
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            names = set(re.findall(r"\bskate_\w+", target["expr"]))
            assert names, target
            asked |= names
            text = target["expr"]
            assert text.count("(") == text.count(")") and text.count("{") == text.count("}")
            for name in names:
                assert (figures.SYSTEM[name][0] == COUNTER) == (f"rate({name}" in text), text
    assert not asked - set(figures.SYSTEM)
    assert all(name.endswith("_total") == (kind == COUNTER) for name, (kind, _, _) in figures.SYSTEM.items())
