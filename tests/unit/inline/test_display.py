"""What notebooks show of references, functions, actors and the cluster."""

from __future__ import annotations

import skate
from skate.api.overview import Overview
from skate.client.display import Bar, facts, grid

NODE = {
    "No": 2,
    "NodeName": "<b>",
    "NodeManagerAddress": "10.0.0.2",
    "NodeManagerPort": 6379,
    "Alive": True,
    "State": "draining",
    "Resources": {"CPU": 4.0, "memory": 2e9, "node:10.0.0.2": 1.0},
    "Free": {"CPU": 1.5},
    "Store": {"used": 3_000_000, "total": 10_000_000, "spilled": 5_000_000},
}
STATE = {
    "head": "10.0.0.1:6379",
    "nodes": [NODE],
    "demand": [{"count": 3, "wants": "GPU: 1", "reason": "no node has <that> much"}],
    "groups": [{"name": "", "id": "0123456789abcdef", "state": "PENDING", "reason": "2 CPU are missing"}],
    "jobs": [{"id": "nightly", "reason": "its runtime environment is being set up"}],
    "failures": [{"text": "node 3 was lost"}, {"text": "node 3 was lost"}],
}


@skate.remote(max_retries=2)
def works(x):
    """Does <it>."""
    return x


@skate.remote
class Shows:
    def method(self):
        return 1

    def _repr_png_(self):
        return b""


def test_text_is_escaped_and_headings_are_marked():
    html = facts("<title>", {"<name>": "<value>"}) + grid("t", ["<h>"], [("<a>", "<cell>"), ("c", Bar(0.5))])
    for text in ("title", "name", "value", "h", "a", "cell"):
        assert f"&lt;{text}&gt;" in html and f">{f'<{text}>'}" not in html
    assert html.count("<caption") == 2 and html.count('scope="row"') == 3 and html.count('scope="col"') == 1
    assert '<progress max="1" value="0.500" aria-label="50% done"></progress> 50%' in html


def test_the_overview_in_words_and_as_a_table():
    overview = Overview(STATE)
    assert repr(overview).splitlines() == [
        "cluster 10.0.0.1:6379 of 1 node",
        "  2  <b>  10.0.0.2:6379  draining  2.5/4 CPU, 2000/2000 MB memory, 3/10 MB objects, 5 MB on disk",
        "waiting: 3 x (GPU: 1): no node has <that> much",
        "placement group 01234567 is PENDING: 2 CPU are missing",
        "job nightly: its runtime environment is being set up",
        "failed: node 3 was lost (2 times)",
    ]
    html = overview._repr_html_()
    assert "&lt;b&gt;" in html and "no node has &lt;that&gt; much</li>" in html


def test_what_inline_mode_shows():
    actor = Shows.remote()
    assert "alive" in actor._repr_html_() and "method" in actor._repr_html_()
    assert "done" in works.remote(1)._repr_html_()
    assert "Does &lt;it&gt;." in works._repr_html_() and "max_retries=2" in works._repr_html_()
    assert repr(skate.cluster()).startswith("cluster of 1 node\n") and "/4 CPU" in repr(skate.cluster())


def test_notebooks_do_not_call_what_is_for_instances():
    assert "Shows.remote(...)" in Shows._repr_html_()
    assert not hasattr(Shows, "_repr_png_") and not hasattr(Shows, "_ipython_display_")
