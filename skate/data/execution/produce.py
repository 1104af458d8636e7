"""What a worker does for a task: its blocks, and what there is to know of each."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from .. import block as blocks
from ..block import Block, BlockMeta
from ..functions import HERE, sized
from .operators import Task, Work
from .stats import Cost

RELEASE_BYTES = 32 << 20
"""A task that has made so much gives the memory that Arrow keeps for later back to the system."""


class Place(NamedTuple):
    """Where a task runs.

    Args:
        cpu: the clock of the processor's time: that of the process, or of the thread if others run tasks, too.
        compact: what is done to each block; see INV-1 of `block.py`.
        releases: memory is given back to the system after a task. In threads, others would have to get it anew.
    """

    cpu: Callable[[], float] = time.process_time
    compact: Callable[[Block], Block] = blocks.compact
    releases: bool = True


WORKER = Place()


class Made(NamedTuple):
    """What comes along with a block."""

    meta: BlockMeta
    cost: Cost


class PartsMade(NamedTuple):
    """What is known of blocks that have the same columns. There may be very many of them: they share what they can."""

    rows: list[int]
    sizes: list[int]
    schema: pa.Schema
    files: tuple[str, ...]

    def metas(self) -> list[BlockMeta]:
        """Of each block."""
        return [
            BlockMeta(rows, size, self.schema, self.files) for rows, size in zip(self.rows, self.sizes, strict=True)
        ]


class Meter:
    """Tells what has been used since it was asked last.

    Args:
        cpu: the clock of the processor's time: that of the process, or of the thread if others run tasks, too.
    """

    def __init__(self, cpu: Callable[[], float]) -> None:
        self._cpu = cpu
        self._before = time.perf_counter(), cpu()

    def read(self) -> Cost:
        """What this process has used since."""
        now = time.perf_counter(), self._cpu()
        before, self._before = self._before, now
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        return Cost(now[0] - before[0], now[1] - before[1], peak)

    def skip(self) -> None:
        """What was used since is not this task's."""
        self._before = time.perf_counter(), self._cpu()


class Apart(NamedTuple):
    """Inputs of a task that are too large for the store to have all of them in memory: references to them."""

    refs: list[Any]


def _present(inputs: Sequence[Any]) -> Sequence[Any]:
    """The inputs as tables. Of those that are `Apart` the store has to hold one at a time only: the process copies them."""
    if len(inputs) != 1 or not isinstance(inputs[0], Apart):
        return inputs
    from ...api.objects import get

    return [blocks.copied(get(ref)) for ref in inputs[0].refs]


def produce(
    work: Work, extra: Any, files: tuple[str, ...], inputs: Sequence[Any], place: Place = WORKER
) -> Iterator[Any]:
    """Run a task: its blocks, each followed by what there is to know of it."""
    HERE.files = files
    meter = Meter(place.cpu)
    made_bytes = 0
    for made in sized(iter(work.run(extra, *_present(inputs))), work.target_bytes):
        block = place.compact(made)
        meta = blocks.meta_of(block, HERE.files)
        made_bytes += meta.size_bytes
        cost = meter.read()
        yield block
        del made, block  # the consumer may take its time
        yield Made(meta, cost)
        meter.skip()
    if place.releases and made_bytes >= RELEASE_BYTES:
        pa.default_memory_pool().release_unused()


def produce_parts(
    work: Work, extra: Any, files: tuple[str, ...], inputs: Sequence[Any], place: Place = WORKER
) -> list[Any]:
    """Run a task that makes a known number of blocks; what there is to know of them, `PartsMade`, comes last."""
    HERE.files = files
    meter = Meter(place.cpu)
    parts = [place.compact(part) for part in work.run(extra, *_present(inputs))]
    made = PartsMade([part.num_rows for part in parts], [part.nbytes for part in parts], parts[0].schema, files)
    if place.releases and sum(made.sizes) >= RELEASE_BYTES:
        pa.default_memory_pool().release_unused()
    return [*parts, (made, meter.read())]


def files_of(task: Task) -> tuple[str, ...]:
    """Where the rows of a task come from: for errors."""
    found: dict[str, None] = {}
    for bundle in task.inputs:
        found.update(dict.fromkeys(bundle.meta.files[:4]))
    return tuple(found)[:4]
