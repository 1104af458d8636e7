"""Where objects are made, in the user's program: for whoever asks what fills the memory.

What fills the memory is worth a note: for a large value that was put, the code object and the place in it; for a result in shared
memory, its function. To look at a frame takes 150 ns, half a percent of a put of `NOTED_BYTES_MIN`; it becomes a text only when
somebody is told of the object. A call takes 3 microseconds in all, so where a task was called, or a smaller value put, is only
noted if `record_ref_creation_sites` is set. The text then travels with the task: its result is made known where it is made.

A site that is not known is "".
"""

from __future__ import annotations

import os
import sys
from types import CodeType
from typing import TYPE_CHECKING, Any

from .refs import SHARED
from .submitter import TaskRecord

if TYPE_CHECKING:
    from .refs import ObjectRef

Place = tuple[CodeType, int]
"""A code object, and how far in it a frame was."""

_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
NOTED_BYTES_MIN = 1 << 19
"""Where a value of this size was put is always noted."""
TEXTS_MAX = 4096
"""So many lines of a program are remembered as texts; then it begins anew."""
_texts: dict[tuple[int, int], tuple[CodeType, str]] = {}
"""By the identity of the code object, which is kept so that no other gets it: to hash one takes longer than to write the text."""


def here(depth: int) -> Place:
    """The innermost frame of the user's program. The one at this depth, as the caller counts, is the first that may be it."""
    frame = sys._getframe(depth + 1)
    code = frame.f_code
    while code.co_filename.startswith(_OURS) and frame.f_back is not None:
        frame = frame.f_back
        code = frame.f_code
    return code, frame.f_lasti


def text(place: Place) -> str:
    """A place for people: file, line and function."""
    code, at = place
    key = id(code), at
    found = _texts.get(key)
    if found is None:
        line = next((line for start, end, line in code.co_lines() if start <= at < end and line), code.co_firstlineno)
        if len(_texts) >= TEXTS_MAX:
            _texts.clear()
        found = _texts[key] = code, f"{code.co_filename}:{line} in {code.co_qualname}"
    return found[1]


def of_function(name: str, function: Any) -> str:
    """The site of what a function returns: where that is defined."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    where = f" ({code.co_filename}:{code.co_firstlineno})" if isinstance(code, CodeType) else ""
    return f"result of {name}{where}"


def of_block(made: Place | str) -> str:
    """The site of a block."""
    return made if isinstance(made, str) else f"put at {text(made)}"


def of_ref(ref: ObjectRef[Any]) -> str:
    """The site of what a reference stands for, as far as this process knows it."""
    noted: str = getattr(ref, "_site", "")
    if noted:
        return noted
    if ref._state == SHARED:
        return of_block(ref._value.made)
    task = ref._task
    return f"result of {name_of(task)}" if isinstance(task, TaskRecord) else ""


def name_of(task: TaskRecord) -> str:
    """What a task or call is called."""
    name: str = task.function.options.name
    owner: str = getattr(task.worker, "class_name", "")
    return f"{owner}.{name}" if owner else name


def refs_of(task: TaskRecord) -> list[ObjectRef[Any]]:
    """The references that `.remote()` has returned."""
    ref = task.ref
    return [] if ref is None else ref if isinstance(ref, list) else [ref]


def note_call(task: TaskRecord) -> None:
    """Note where a task is called: in `submit` of tasks, or `call` of actors."""
    site = f"result of {name_of(task)}, called at {text(here(3))}"
    for ref in refs_of(task):
        ref._site = site


def note_put(ref: ObjectRef[Any]) -> None:
    """Note where a small value is put: in `put` of objects."""
    ref._site = f"put at {text(here(3))}"


def of_task(task: TaskRecord) -> str:
    """What was noted of a call."""
    refs = refs_of(task)
    noted: str = getattr(refs[0], "_site", "") if refs else ""
    return noted
