"""F24: control messages that are too large. Each test has a cluster of its own: what it may lose is the connection."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import skate
from skate.exceptions import RayError

from .conftest import check_health

MESSAGE_BYTES_MAX = 300 << 20
"""More than any message may have."""


def test_f24_a_large_name_does_not_come_back_as_a_large_error(start: Callable[..., str]) -> None:
    start()
    check_health()
    with pytest.raises(ValueError, match="there is no actor named") as caught:
        skate.get_actor("x" * (10 << 20))
    assert len(str(caught.value)) < 10_000
    check_health()


def test_f24_an_oversized_request_is_refused_by_its_sender(start: Callable[..., str]) -> None:
    start()
    check_health()
    with pytest.raises((ValueError, RayError)) as caught:
        skate.get_actor("x" * MESSAGE_BYTES_MAX)
    assert len(str(caught.value)) < 10_000
    assert skate.is_initialized()
    check_health()


def test_f24_an_oversized_request_of_a_worker_is_refused_there(start: Callable[..., str]) -> None:
    start()

    @skate.remote(max_retries=0)
    def asks() -> str:
        try:
            skate.get_actor("x" * MESSAGE_BYTES_MAX)
        except (ValueError, RayError) as error:
            return f"{type(error).__name__}, {len(str(error)) < 10_000}"
        return "no error"

    assert skate.get(asks.remote(), timeout=20).endswith("True")
    check_health()
