"""Settings of datasets. One for the process; each dataset keeps those that it was made with."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

from ..api.arity import closest
from ..exceptions import UnsupportedError
from .of_ray import SETTINGS, NotInSkateError

MIB = 1 << 20


class Settings:
    """Fields that may be set; others are an error, which says why."""

    def __setattr__(self, name: str, value: Any) -> None:
        names = [each.name for each in fields(self)]  # type: ignore[arg-type]  # its subclasses are dataclasses
        if name not in names:
            raise self._unknown(name, names)
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        raise self._unknown(name, [each.name for each in fields(self)])  # type: ignore[arg-type]

    def _unknown(self, name: str, names: list[str]) -> AttributeError:
        what = f"{type(self).__name__} has no setting {name!r}."
        if name in SETTINGS:
            return NotInSkateError(f"{what} {SETTINGS[name]}")
        close = closest(name, names)
        return AttributeError(f"{what} " + (f"Did you mean {close!r}?" if close else f"There are {', '.join(names)}."))


@dataclass
class ExecutionResources(Settings):
    """Limits of an execution.

    Args:
        object_store_memory: bytes that its blocks may take before its sources have to wait.
        cpu, gpu, memory: known from Ray; leave them out.

    Raises:
        UnsupportedError: one of the others is given: bound an operator with `concurrency` instead.
    """

    cpu: float | None = None
    gpu: float | None = None
    object_store_memory: float | None = None
    memory: float | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("cpu", "gpu", "memory") and value is not None:
            raise UnsupportedError(f"ExecutionResources({name}=...): bound an operator with concurrency instead")
        super().__setattr__(name, value)

    @classmethod
    def for_limits(cls, **limits: float | None) -> ExecutionResources:
        """Limits; what is not named has none."""
        return cls(**limits)

    def copy(self, **changes: float | None) -> ExecutionResources:
        """These limits, but for some."""
        return replace(self, **changes)


@dataclass
class ExecutionOptions(Settings):
    """How executions use the cluster.

    Args:
        resource_limits: of each execution.
        preserve_order: rows keep their order. They always do, so either value is kept to.
    """

    resource_limits: ExecutionResources = field(default_factory=ExecutionResources)
    preserve_order: bool = False


def _shows_progress() -> bool:
    names = ("SKATE_DATA_DISABLE_PROGRESS_BARS", "RAY_DATA_DISABLE_PROGRESS_BARS")
    return not any(os.environ.get(name, "0") not in ("", "0") for name in names)


@dataclass
class DataContext(Settings):
    """How datasets are executed.

    Args:
        target_max_block_size: bytes that a block should not exceed by much.
        read_op_min_num_blocks: a source that can be cut is cut into at least so many blocks if a user's function follows.
        memory_share: the part of the object store that the blocks of one execution may take before its sources have to wait.
        inline_bytes: a dataset of one block up to this size is computed in the calling process, without tasks.
        local_bytes: a dataset of files of this machine, or of tables of the calling process, of up to this size is computed by
            threads of the calling process, if no function of a user is called; 0: by tasks.
        use_polars: sorts, joins and groups of such a dataset are computed by Polars, where its result is the same.
        shuffle_partitions: into how many parts shuffles, sorts, joins and aggregations cut; None follows from the bytes.
        broadcast_bytes: a side of a join up to this size goes to every block of the other side, which is not shuffled then.
        max_errored_blocks: how many blocks may fail before the execution does; -1: any number. What they had is left out.
        enable_progress_bars: show them on a terminal; the environment variable SKATE_DATA_DISABLE_PROGRESS_BARS=1 makes
            this False at first.
        seed: of random operations that were given none; None: another each time.
        execution_options: further limits.
        configs: values of users' own, for `get_config`.

    Raises:
        AttributeError: a setting is set that does not exist.

    Example:
        >>> from skate.data import DataContext
        >>> DataContext.get_current().target_max_block_size
        134217728
    """

    target_max_block_size: int = 128 * MIB
    read_op_min_num_blocks: int = 8
    memory_share: float = 0.4
    inline_bytes: int = 8 * MIB
    local_bytes: int = 512 * MIB
    use_polars: bool = True
    shuffle_partitions: int | None = None
    broadcast_bytes: int = 32 * MIB
    max_errored_blocks: int = 0
    enable_progress_bars: bool = field(default_factory=_shows_progress)
    seed: int | None = None
    execution_options: ExecutionOptions = field(default_factory=ExecutionOptions)
    configs: dict[str, Any] = field(default_factory=dict)

    _current: ClassVar[DataContext | None] = None

    @staticmethod
    def get_current() -> DataContext:
        """The settings of this process, to read and to change."""
        if DataContext._current is None:
            DataContext._current = DataContext()
        return DataContext._current

    def copy(self) -> DataContext:
        """As they are now."""
        options = replace(self.execution_options, resource_limits=replace(self.execution_options.resource_limits))
        return replace(self, execution_options=options, configs=dict(self.configs))

    def set_config(self, key: str, value: Any) -> None:
        """Keep a value under a name of one's own, which datasets that are made from now on have, too."""
        self.configs[key] = value

    def get_config(self, key: str, default: Any = None) -> Any:
        """The value of `set_config`."""
        return self.configs.get(key, default)

    def remove_config(self, key: str) -> None:
        """Forget it, if it is there."""
        self.configs.pop(key, None)
