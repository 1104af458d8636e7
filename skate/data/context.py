"""Settings of datasets. One for the process; each dataset keeps those that it was made with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

MIB = 1 << 20


@dataclass
class DataContext:
    """How datasets are executed.

    Args:
        target_max_block_size: bytes that a block should not exceed by much.
        read_op_min_num_blocks: a source that can be cut is cut into at least so many blocks if a user's function follows.
        memory_share: the part of the object store that the blocks of one execution may take before its sources have to wait.
        inline_bytes: a dataset of one block up to this size is computed in the calling process, without tasks.
        shuffle_partitions: into how many parts shuffles, sorts, joins and aggregations cut; None follows from the bytes.
        broadcast_bytes: a side of a join up to this size goes to every block of the other side, which is not shuffled then.
        max_errored_blocks: how many blocks may fail before the execution does; -1: any number. What they had is left out.
        enable_progress_bars: show them on a terminal.
        seed: of random operations that were given none; None: another each time.

    Example:
        >>> from skate.data import DataContext
        >>> DataContext.get_current().target_max_block_size
        134217728
    """

    target_max_block_size: int = 128 * MIB
    read_op_min_num_blocks: int = 8
    memory_share: float = 0.4
    inline_bytes: int = 8 * MIB
    shuffle_partitions: int | None = None
    broadcast_bytes: int = 32 * MIB
    max_errored_blocks: int = 0
    enable_progress_bars: bool = True
    seed: int | None = None

    _current: ClassVar[DataContext | None] = None

    @staticmethod
    def get_current() -> DataContext:
        """The settings of this process, to read and to change."""
        if DataContext._current is None:
            DataContext._current = DataContext()
        return DataContext._current

    def copy(self) -> DataContext:
        """As they are now."""
        return replace(self)
