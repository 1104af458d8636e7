"""Arguments that were brought here one after the other, and are gone when the last has come."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from skate.client.errors import pack_error, unpack_error
from skate.client.serialization import serialize
from skate.exceptions import ObjectLostError
from skate.wire import messages as m
from skate.worker.execute import ArgumentsLost, Received, arguments

LOST = "the node that had it is gone"


class Store:
    """All that is to be read is lost when it is read."""

    def localize(self, values: list[m.Value], blocks: list[Any]) -> list[m.Value]:
        return values

    def load_value(self, value: m.Value, blocks: list[Any] | None = None) -> Any:
        raise ObjectLostError(value.id.hex(), LOST)


def run(value: m.Value, received: Received | None) -> Any:
    worker: Any = SimpleNamespace(runtime=SimpleNamespace(objects=Store()))
    body = serialize(((None,), {})).to_bytes()
    return arguments(worker, None, m.Task(1, 0, body, [m.Dependency(0, value)]), received)


def test_an_argument_that_is_lost_after_it_was_here_is_missing_as_any_other() -> None:
    with pytest.raises(ArgumentsLost) as caught:
        run(m.Value(m.SHARED, b"", b"an object", 64, 100), Received())
    assert [value.id for value in caught.value.values] == [b"an object"]
    assert LOST in str(unpack_error(caught.value.data))


def test_an_argument_whose_task_has_failed_with_a_loss_is_no_missing_one() -> None:
    error = pack_error(ObjectLostError("00", LOST), function_name="", pid=0, task_id="")
    with pytest.raises(ObjectLostError):
        run(m.Value(m.ERROR, error), Received())
