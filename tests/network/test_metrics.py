"""Metrics over a real network: this machine may read without a token, others only with it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from skate.wire.metrics import reading_token

from .conftest import PORT, Machine, Network

PROGRAM = """
import http.client, json, sys
for headers in json.loads(sys.argv[2]):
    connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[3]), timeout=10)
    connection.request("GET", sys.argv[4], headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    print(answer.status, "skate_node_info" in text, "targets" in text, answer.getheader("WWW-Authenticate"))
"""


def ask(machine: Machine, host: str, *headers: dict[str, str], path: str = "/metrics") -> list[str]:
    """What a program on that machine gets."""
    done = machine.program(PROGRAM, host, json.dumps(headers), str(PORT), path)
    out, errors = done.communicate(timeout=30)
    assert done.returncode == 0, errors
    return out.splitlines()


def test_from_elsewhere_only_with_the_reading_token(net: Network) -> None:
    head, other = net.add(1), net.machine()
    token = Path(os.environ["SKATE_TOKEN_PATH"]).read_text().strip()
    right = {"Authorization": f"Bearer {reading_token(token)}"}
    no = '401 False False Bearer realm="skate"'
    wrong = [{}, {"Host": "127.0.0.1"}, {"X-Forwarded-For": "127.0.0.1"}]
    wrong += [{"Authorization": f"Bearer {word}"} for word in (token, "x", "")]
    assert ask(other, head.host, *wrong) == [no] * len(wrong)
    assert ask(other, head.host, *wrong, path="/api/prometheus/sd") == [no] * len(wrong)
    assert ask(other, head.host, right) == ["200 True False None"]
    assert ask(other, head.host, right, path="/api/prometheus/sd") == ["200 False True None"]
    assert ask(head, head.host, {}) == [no]  # by its address on the network it is nobody special
    assert ask(head, head.host, right) == ["200 True False None"]
