"""The metrics of all nodes on one page."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from skate.dashboard.federation import Scraped, merged

TEXT = """# HELP hits_total Hits.
# TYPE hits_total counter
hits_total{instance="mine \\"a=\\\\",skate_node="x",where="instance=\\"no\\""} 3
hits_total 4
"""


def test_labels_of_users_give_way_to_those_of_the_node() -> None:
    page = merged([Scraped("h:1", "n", 1, TEXT)])
    (hits,) = [family for family in text_string_to_metric_families(page) if family.name == "hits"]
    first, second = (sample.labels for sample in hits.samples)
    assert second == {"instance": "h:1", "skate_node": "n", "skate_node_no": "1"}
    own = {"exported_instance": 'mine "a=\\', "exported_skate_node": "x", "where": 'instance="no"'}
    assert first == {**second, **own}
    assert page.count('{instance="h:1"') == 3 and ',instance="' not in page
