"""Metrics of a cluster: every node's one port serves its own, and the head says where they are."""

from __future__ import annotations

import http.client
import json
import os
from pathlib import Path

import pytest
from integration import scrape
from integration.scrape import value
from ports import free_port

import skate
from skate.client import observing, sessions, state
from skate.client.init_options import InitOptions
from skate.testing import eventually
from skate.util.metrics import Counter
from skate.wire.metrics import reading_token

from .conftest import HOST, Nodes, on


@skate.remote
def count(name: str) -> None:
    Counter(name).inc()


@skate.remote
def answer(x: int) -> int:
    return x


@skate.remote(max_retries=0)
def crash() -> None:
    os._exit(3)


@skate.remote
class Counting:
    def count(self, name: str) -> None:
        Counter(name).inc()


def at(node: sessions.Session) -> scrape.Read:
    return scrape.read(node.host, node.port)


def test_each_node_says_what_ran_on_it(nodes: Nodes) -> None:
    head, alice, ming = nodes.add(2), nodes.add(2, alice=2), nodes.add(1, ming=1)
    skate.init(address=nodes.address)
    skate.get([count.options(**on("alice")).remote("cluster_a") for _ in range(30)])
    skate.get([count.options(**on("ming")).remote("cluster_a") for _ in range(3)])
    actor = Counting.options(**on("ming")).remote()
    skate.get(actor.count.remote("cluster_a"))
    eventually(lambda: value(at(alice), "ray_cluster_a_total") == 30)
    eventually(lambda: value(at(ming), "ray_cluster_a_total") == 4)
    assert value(at(head), "ray_cluster_a_total") == 0
    assert value(at(alice), "skate_tasks_total", name="count", outcome="finished") == 30
    assert value(at(ming), "skate_actors", state="alive") == 1
    assert [value(at(node), "skate_drivers") for node in (head, alice, ming)] == [1, 0, 0], "it is attached to one"
    eventually(lambda: value(at(head), "skate_cluster_actors", state="alive") == 1, 10)
    assert value(at(head), "skate_cluster_nodes", state="alive") == 3
    assert not [key for key in at(ming) if key[0] == "skate_cluster_nodes"]
    assert value(at(head), "skate_loop_rounds_total", process="head") > 0
    assert value(at(ming), "skate_resource_limit", resource="ming") == 1
    make = skate.remote(lambda: bytes(2_000_000)).options(**on("alice"))
    size = skate.remote(len).options(**on("ming"))
    before = value(at(ming), "skate_transfer_bytes_total", direction="received")
    assert skate.get(size.remote(make.remote())) == 2_000_000
    eventually(lambda: value(at(ming), "skate_transfer_bytes_total", direction="received") >= before + 2_000_000)
    eventually(lambda: value(at(alice), "skate_transfer_bytes_total", direction="sent") >= 2_000_000)


def test_a_crash_on_another_node_is_a_crash(nodes: Nodes) -> None:
    """Its caller is on another machine, and hears that the connection has ended before the node that it was on can say why."""
    head, other = nodes.add(1), nodes.add(1, alice=1)
    skate.init(address=nodes.address)
    with pytest.raises(skate.exceptions.WorkerCrashedError, match="code 3"):
        skate.get(crash.options(**on("alice")).remote())
    assert value(at(other), "skate_worker_deaths_total", cause="crashed") == 1
    assert value(at(other), "skate_worker_deaths_total", cause="asked to") == 0
    eventually(lambda: value(at(head), "skate_tasks_total", name="crash", outcome="crashed") == 1)
    events, _ = state.events(observing.require(), {}, 100)
    assert any("code 3" in str(event) for event in events), events


def targets(nodes: list[sessions.Session]) -> list[str]:
    return sorted(f"{node.host}:{node.port}" for node in nodes)


def found_in(text: str) -> list[str]:
    return sorted(target for group in json.loads(text) for target in group["targets"])


def test_the_file_for_prometheus_follows_the_nodes(nodes: Nodes) -> None:
    head = nodes.add(1)
    path = Path(head.folder, "prometheus-sd.json")
    assert found_in(path.read_text()) == targets([head])
    other = nodes.add(1)
    eventually(lambda: found_in(path.read_text()) == targets([head, other]))
    status, text = scrape.fetch(other.host, other.port, "/api/prometheus/sd")
    assert (status, found_in(text)) == (200, targets([head, other]))
    nodes.kill(other)
    eventually(lambda: found_in(path.read_text()) == targets([head]), 10)
    assert value(at(head), "skate_cluster_nodes", state="dead") == 1


def test_a_program_that_ends_takes_nothing_along(nodes: Nodes) -> None:
    head = nodes.add(2)
    for _ in range(3):  # its workers have told something just before, and are ended with it
        skate.init(address=nodes.address)
        Counter("farewell").inc()
        skate.get([count.remote("farewell") for _ in range(9)])
        skate.shutdown()
    found = at(head)
    assert value(found, "ray_farewell_total") == 30
    assert value(found, "skate_drivers") == 0


def test_what_workers_that_only_answer_have_counted_is_heard_too(nodes: Nodes) -> None:
    head = nodes.add(2)
    for _ in range(3):
        skate.init(address=nodes.address)
        for number in range(20):
            skate.get(answer.remote(number))
        skate.shutdown()
    assert value(at(head), "skate_tasks_total", name="answer", outcome="finished") == 60


def test_the_port_is_still_the_nodes(nodes: Nodes, home: Path) -> None:
    """Whoever knows the token and speaks HTTP; who speaks neither is refused, and counted."""
    head = nodes.add(1)
    token = (home / "token").read_text().strip()
    assert scrape.fetch(HOST, head.port, Authorization=f"Bearer {reading_token(token)}")[0] == 200
    assert scrape.fetch(HOST, head.port, Host="evil.example", Authorization=f"Bearer {reading_token(token)}")[0] == 200
    for wrong in (token, "", reading_token("another"), "\xff"):
        status, text = scrape.fetch(HOST, head.port, Authorization=f"Bearer {wrong}")
        assert status == 401 and token not in text
    answer = ask(HOST, head.port, "POST")
    assert (answer.status, answer.getheader("Allow")) == (405, "GET, HEAD")
    with pytest.raises((http.client.BadStatusLine, ConnectionError)):
        ask(HOST, head.port, "NONSENSE")
    eventually(lambda: value(at(head), "skate_connections_refused_total") >= 1)


def ask(host: str, port: int, method: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, "/metrics", body=b"x")
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


def test_metrics_may_have_a_port_of_their_own(nodes: Nodes) -> None:
    port = free_port()
    wish = sessions.Wish(True, HOST, metrics_port=port)
    nodes.started.append(sessions.start_node(InitOptions(num_cpus=1, object_store_memory=100 << 20), wish))
    assert value(scrape.read(HOST, port), "skate_resource_limit", resource="CPU") == 1
    with pytest.raises(skate.exceptions.RaySystemError, match=f"the metrics port {port} of {HOST} cannot be had"):
        sessions.start_node(InitOptions(num_cpus=1, object_store_memory=100 << 20), wish)
