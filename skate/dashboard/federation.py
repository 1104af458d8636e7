"""The metrics of all nodes as those of one address, for a Prometheus that reads the dashboard in place of each node.

A family is named once, whoever has series of it, and each series gets the labels of its node: the same that Prometheus gives it
when it finds the nodes itself, so the same questions and plots are right for both.

Pure. What is read is what `node/exposition.py` writes, so a line is a comment, or a name, labels in braces if there are any,
and a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ANSWERS = "skate_node_answers"
OWN = frozenset(("instance", "skate_node", "skate_node_no"))
"""The labels that say of which node a series is."""
_LABEL = re.compile(r'(\w+)="(?:[^"\\]|\\.)*"')


class Scraped(NamedTuple):
    """What one node has answered."""

    instance: str
    """Where it is found, host:port, or its name."""
    name: str
    no: int
    text: str | None
    """Its metrics; None: it does not answer."""


def merged(nodes: Iterable[Scraped]) -> str:
    """The metrics of all these nodes.

    Example:
        >>> one = "# TYPE a counter\\na 1\\na{b=\\"c\\"} 2\\n"
        >>> print(merged([Scraped("h:1", "n", 1, one), Scraped("h:2", "m", 2, None)]), end="")
        # TYPE a counter
        a{instance="h:1",skate_node="n",skate_node_no="1"} 1
        a{instance="h:1",skate_node="n",skate_node_no="1",b="c"} 2
        # HELP skate_node_answers Whether this node has answered.
        # TYPE skate_node_answers gauge
        skate_node_answers{instance="h:1",skate_node="n",skate_node_no="1"} 1
        skate_node_answers{instance="h:2",skate_node="m",skate_node_no="2"} 0
    """
    heads: dict[str, list[str]] = {}
    """Of each family: what is said of it, by the first who has it."""
    series: dict[str, list[str]] = {}
    answers = [f"# HELP {ANSWERS} Whether this node has answered.\n# TYPE {ANSWERS} gauge\n"]
    for node in nodes:
        mine = ",".join(
            f'{key}="{_quote(value)}"'
            for key, value in (("instance", node.instance), ("skate_node", node.name), ("skate_node_no", str(node.no)))
        )
        answers.append(f"{ANSWERS}{{{mine}}} {int(node.text is not None)}\n")
        family, first = "", False
        for line in (node.text or "").split("\n"):  # not splitlines(): other ends of lines are within values
            if line.startswith("#"):
                name = line.split(" ", 3)[2]
                if name != family:
                    family, first = name, name not in heads
                    heads.setdefault(name, [])
                    series.setdefault(name, [])
                if first:
                    heads[name].append(line + "\n")
            elif line:
                series[family].append(_labelled(line, mine))
    return "".join(part for name in heads for part in (*heads[name], *series[name])) + "".join(answers)


def _labelled(line: str, labels: str) -> str:
    """A series with more labels. Its own of these names are called as Prometheus would call them."""
    name, brace, rest = line.partition("{")
    if brace:
        rest = _LABEL.sub(lambda found: ("exported_" if found[1] in OWN else "") + found[0], rest)
        return f"{name}{{{labels},{rest}\n"
    name, _, value = line.partition(" ")
    return f"{name}{{{labels}}} {value}\n"


def _quote(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
