"""References that are pickled by other means than skate's own serializer, which keeps count of them.

The pickle then says only which object it is. Where skate asks for such a pickle, as for an exception with a reference in it, the
references are collected, and travel beside it. What a program pickles by itself may be unpickled by anybody at any time:
such an object is kept until the session ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..exceptions import RaySystemError
from .refs import ObjectRef

if TYPE_CHECKING:
    from .runtime import ClientRuntime

T = TypeVar("T")


class Pins:
    """The references of one client that were pickled by other means."""

    def __init__(self, runtime: ClientRuntime) -> None:
        self.runtime = runtime
        self._pinned: dict[bytes, ObjectRef[Any]] = {}
        self._local = threading.local()

    def reduce(self, ref: ObjectRef[Any]) -> tuple[Any, ...]:
        """See `Runtime.reduce_ref`."""
        collected: list[ObjectRef[Any]] | None = getattr(self._local, "collected", None)
        with self.runtime.lock:
            ident = self.runtime.objects.publish(ref)
            if collected is None:
                self._pinned[ident] = ref
            else:
                collected.append(ref)
        return restore_reference, (ident,)

    def collect(self, make: Callable[[], T]) -> tuple[T, list[ObjectRef[Any]]]:
        """What `make` makes, and the references that it pickles: the caller looks after these."""
        collected = self._local.collected = []
        try:
            return make(), list(dict.fromkeys(collected))
        finally:
            self._local.collected = None

    def clear(self) -> None:
        """The session has ended."""
        self._pinned.clear()


def restore_reference(ident: bytes) -> ObjectRef[Any]:
    """Unpickle a reference that was pickled outside of skate."""
    from . import current

    runtime: Any = current.runtime
    if runtime is None:
        raise RaySystemError("an ObjectRef can only be unpickled in a process that is connected to skate")
    with runtime.lock:
        ref: ObjectRef[Any] = runtime.objects.adopt(ident)
    return ref
