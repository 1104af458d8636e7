"""A real Prometheus reads a cluster as docs/metrics.md says, and answers all that the dashboard for Grafana asks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration import scrape
from ports import free_port

import skate
from skate.cli.grafana import dashboard
from skate.client import dashboards, token
from skate.testing import eventually
from skate.util.metrics import Counter, Gauge, Histogram

from .conftest import Nodes, on

PROMETHEUS, PROMTOOL = shutil.which("prometheus") or "", shutil.which("promtool") or ""
pytestmark = pytest.mark.skipif(not PROMETHEUS or not PROMTOOL, reason="no Prometheus: apt-get install prometheus")
ODD = 'a "quoted" \\ word\nand another, é'
CONFIG = """
global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}
scrape_configs:
  - job_name: nodes
    authorization: {{credentials_file: {token}}}
    http_sd_configs:
      - {{url: "http://{head}/api/prometheus/sd", refresh_interval: 250ms, authorization: {{credentials_file: {token}}}}}
  - job_name: file
    file_sd_configs: [{{files: ["{file}"], refresh_interval: 250ms}}]
    relabel_configs: [{{target_label: job, replacement: file}}]
  - job_name: one-address
    honor_labels: true
    authorization: {{credentials_file: {token}}}
    static_configs: [{{targets: ["{dashboard}"]}}]
"""


class Prometheus:
    """A server of its own, of the nodes that there are."""

    def __init__(self, folder: Path, head: str, file: Path, shown: str) -> None:
        self.shown = shown
        secret = token.find()
        assert secret
        (folder / "token").write_text(token.reading_token(secret))
        words = CONFIG.format(token=folder / "token", head=head, file=file, dashboard=shown)
        (folder / "prometheus.yml").write_text(words)
        self.port = free_port()
        flags = (
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
        )
        self.log = folder / "prometheus.log"
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen([PROMETHEUS, *flags], stdout=out, stderr=out, cwd=folder)

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer; None as long as nobody answers."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:
                return None  # it is not ready yet
            raise AssertionError(f"{query}: {error.read().decode()}") from None
        except OSError:
            assert self.process.poll() is None, self.log.read_text()
            return None

    def series(self, question: str) -> list[dict[str, Any]]:
        """What there is now for a question of the dashboard."""
        words = question.replace("$__rate_interval", "10s").replace("$instance", ".*")
        return list((self.ask("query", query=words) or {"result": []})["result"])

    def targets(self, job: str) -> list[str]:
        """Whom it reads for a job, once each of them has answered."""
        found = (self.ask("targets") or {"activeTargets": []})["activeTargets"]
        mine = [each for each in found if each["labels"]["job"] == job]
        return [each["labels"]["instance"] for each in mine] if all(each["health"] == "up" for each in mine) else []

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def two(nodes: Nodes) -> tuple[Nodes, list[str]]:
    """Two nodes, and where they are."""
    started = [nodes.add(2), nodes.add(1, alice=4)]
    return nodes, [f"{node.host}:{node.port}" for node in started]


@pytest.fixture
def prometheus(two: tuple[Nodes, list[str]], tmp_path: Path) -> Iterator[Prometheus]:
    """It knows the cluster in all three ways."""
    nodes, where = two
    folder = nodes.started[0].folder
    found, process = dashboards.launch(dashboards.Settings(where[0], port=0), folder)
    shown = found.url.removeprefix("http://")
    try:
        server = Prometheus(tmp_path, where[0], Path(folder, "prometheus-sd.json"), shown)
        yield server
        server.end()
    finally:
        dashboards.end(process)


@skate.remote
def works(at: int) -> int:
    Counter("odd", 'What is "odd" \\ and\nlong.', ("word",)).set_default_tags({"word": ODD}).inc()
    Histogram("sizes", "How large.", boundaries=[1, 10], tag_keys=()).observe(at)
    return at


@skate.remote(max_retries=0)
def crashes() -> None:
    os._exit(3)


@skate.remote
class Holds:
    def __init__(self) -> None:
        self.gauge = Gauge("held", "Bytes.")

    def hold(self, data: bytes) -> int:
        self.gauge.set(len(data))
        return len(data)


@skate.remote
def large() -> bytes:
    return bytes(2_000_000)


def work() -> list[Any]:
    """Something of all that is plotted, again and again until the plots have it; what lives on is returned."""
    with pytest.raises(skate.exceptions.WorkerCrashedError):  # first, as what a process has not told is lost with it
        skate.get(crashes.options(**on("alice")).remote())
    actor = Holds.options(num_cpus=0, **on("alice")).remote()
    refs = [large.remote() for _ in range(3)]
    assert skate.get([actor.hold.remote(ref) for ref in refs]) == [2_000_000] * 3
    skate.get([works.remote(at) for at in range(20)])
    return [actor, *refs]


def test_a_real_prometheus_and_all_that_grafana_asks(prometheus: Prometheus, two: tuple[Nodes, list[str]]) -> None:
    nodes, where = two
    skate.init(address=nodes.address)
    held = work()
    for job, targets in (("skate", where), ("file", where), ("one-address", [prometheus.shown])):
        eventually(lambda job=job, targets=targets: set(prometheus.targets(job)) == set(targets), 20, f"all of {job}")
    held += work()  # a rate is of what has changed while somebody looks
    asks = {target["expr"]: panel["title"] for panel in dashboard()["panels"] for target in panel.get("targets", ())}
    left = dict(asks)

    def all_have_series() -> bool:
        for ask in [ask for ask in left if prometheus.series(ask)]:
            del left[ask]
        return not left

    eventually(all_have_series, 15, f"series for {left}")
    (failed,) = [ask for ask, title in asks.items() if title == "Tasks that failed"]
    eventually(lambda: [each for each in prometheus.series(failed) if float(each["value"][1]) > 0], 10)
    for job in ("skate", "one-address"):  # the same, either way
        ask = f'sum by (word) (ray_odd_total{{job="{job}"}})'
        eventually(lambda ask=ask: [each["value"][1] for each in prometheus.series(ask)] == ["40"], 10, ask)
    assert prometheus.ask("label/word/values") == [ODD]
    assert set(prometheus.ask("label/instance/values", **{"match[]": "skate_node_info"})) == set(where)
    for target in {*where, prometheus.shown}:
        assert check(target) <= {"ray_held label names should be written in 'snake_case' not 'camelCase'"}, "as Ray's"
    assert held
    nodes.kill(nodes.started[1])
    for job in ("skate", "file"):
        eventually(lambda job=job: prometheus.targets(job) == [where[0]], 15, "one has gone")


def check(target: str) -> set[str]:
    """What Prometheus' own tool has against the metrics of a target."""
    host, _, port = target.rpartition(":")
    status, text = scrape.fetch(host, int(port))
    assert status == 200, text
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True, timeout=20)
    return set((done.stdout + done.stderr).splitlines())
