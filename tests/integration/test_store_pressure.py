"""More data than the store holds, at one time and over time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import skate


def test_more_results_than_the_store_holds(start: Callable[..., str]) -> None:
    start(object_store_memory=1 << 30)

    @skate.remote
    def make(i: int) -> np.ndarray:
        return np.full(50 << 20, i, np.uint8)

    waiting = [make.remote(i) for i in range(100)]
    seen = set()
    while waiting:
        done, waiting = skate.wait(waiting, timeout=20)
        assert done, skate.why(waiting[0])
        seen.update(int(skate.get(ref)[-1]) for ref in done)
        del done
    assert seen == set(range(100))
