"""Reading metrics in tests, as Prometheus does."""

from __future__ import annotations

import http.client

from prometheus_client.parser import text_string_to_metric_families

Read = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def fetch(host: str, port: int, path: str = "/metrics", **headers: str) -> tuple[int, str]:
    """Status and text."""
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def parse(text: str) -> Read:
    """Values by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(host: str, port: int) -> Read:
    """The metrics of a node."""
    status, text = fetch(host, port)
    assert status == 200, text
    return parse(text)


def value(found: Read, metric: str, /, **labels: str) -> float:
    """One value; 0 if it is not there."""
    return found.get((metric, tuple(sorted(labels.items()))), 0.0)
