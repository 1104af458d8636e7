"""Find out what in a value cannot be sent to a task."""

from __future__ import annotations

from typing import Any, NamedTuple, TextIO

from ..client.culprit import find_culprits


class FailureTuple(NamedTuple):
    """A part that cannot be pickled.

    Attributes:
        obj: the part.
        name: how it is reached, the last step of the path.
        parent: what it is in.
        path: all steps from the value to the part.
    """

    obj: Any
    name: str
    parent: Any
    path: tuple[str, ...]

    def __hash__(self) -> int:
        return hash((id(self.obj), self.path))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FailureTuple) and self.obj is other.obj and self.path == other.path

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        return f"FailureTuple({' -> '.join(self.path)} [{type(self.obj).__name__}])"


def inspect_serializability(
    base_obj: Any, name: str | None = None, depth: int = 3, print_file: TextIO | None = None
) -> tuple[bool, set[FailureTuple]]:
    """Check whether a value can be sent to a task, and print what in it cannot.

    Args:
        base_obj: the value.
        name: what to call it in the report; None is its own name.
        depth: how many parts that cannot be pickled to look for.
        print_file: where the report goes; None is standard output.

    Returns:
        (True, empty set), or False and the parts that cannot be pickled.

    Example:
        >>> import io, threading
        >>> ok, failures = inspect_serializability({"lock": threading.Lock()}, print_file=io.StringIO())
        >>> ok, [failure.name for failure in failures]
        (False, ["['lock']"])
    """
    culprits = find_culprits(base_obj, max(1, depth))
    title = name or getattr(base_obj, "__name__", None) or type(base_obj).__name__
    if not culprits:
        print(f"{title}: can be serialized.", file=print_file)
        return True, set()
    print(f"{title}: cannot be serialized, because of:", file=print_file)
    failures = set()
    for culprit in culprits:
        print(f"    {culprit}: {type(culprit.error).__name__}: {culprit.error}", file=print_file)
        path = (title, *culprit.path[1:])
        failures.add(FailureTuple(culprit.part, path[-1], culprit.parent, path))
    return False, failures
