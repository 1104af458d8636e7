"""Which job a part of an id means."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from skate.cli.jobs import _meant


def jobs(*idents: str) -> Any:
    return SimpleNamespace(list_jobs=lambda: [SimpleNamespace(submission_id=ident) for ident in idents])


def test_a_beginning_is_enough_but_not_any() -> None:
    one, two = jobs("nightly_1"), jobs("nightly_1", "nightly_2", "ab")
    assert _meant(one, "nightly") == "nightly_1" and _meant(two, "ab") == "ab"
    for short in ("", "n", "nig"):
        assert _meant(one, short) == short, "the cluster says that there is none"
    with pytest.raises(ValueError, match="nightly_1, nightly_2"):
        _meant(two, "nightly")
    many = jobs(*(f"skatesubmit_{number:02}" for number in range(50)))
    with pytest.raises(ValueError, match=r"skatesubmit_08, skatesubmit_09 and 40 more$"):
        _meant(many, "skatesub")
