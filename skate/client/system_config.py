"""`_system_config` and its environment variables: what a node is told about spilling, memory and its history, in Ray's words.

Each setting may stand in `_system_config`, or else in the environment, as `SKATE_<name>` or `RAY_<name>`.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from typing import Any

from ..wire.config import SystemConfig

_SETTINGS: dict[str, tuple[str, str, type, float, float]] = {
    "automatic_object_spilling_enabled": ("spill", "enabled", bool, 0, 1),
    "object_spilling_threshold": ("spill", "threshold", float, 0, 1),
    "min_spilling_size": ("spill", "min_spilling_size", int, 0, 1 << 50),
    "max_spilling_file_size_bytes": ("spill", "max_spilling_file_size_bytes", int, -1, 1 << 50),
    "object_spilling_quota_bytes": ("spill", "quota_bytes", int, 0, 1 << 60),
    "local_fs_capacity_threshold": ("spill", "capacity_threshold", float, 0, 1),
    "memory_usage_threshold": ("memory", "usage_threshold", float, 0, 1),
    "memory_monitor_refresh_ms": ("memory", "refresh_ms", int, 0, 1 << 31),
    "min_memory_free_bytes": ("memory", "min_free_bytes", int, -1, 1 << 60),
    "worker_memory_limit_bytes": ("memory", "limit_bytes", int, 0, 1 << 60),
    "history_enabled": ("history", "enabled", bool, 0, 1),
    "history_max_bytes": ("history", "max_bytes", int, 1 << 16, 1 << 50),
    "history_sessions_max": ("history", "sessions_max", int, 1, 1 << 20),
    "record_ref_creation_sites": ("sites", "enabled", bool, 0, 1),
    "task_oom_retries": ("memory", "task_oom_retries", int, -1, 1 << 31),
}
"""Ray's name (or one of our own): which part it belongs to, its field there, its type, the least and the most."""
_DIRECTORY = "object_spilling_directory"
_CONFIG = "object_spilling_config"


def known_names() -> list[str]:
    """All settings."""
    return sorted([*_SETTINGS, _CONFIG, _DIRECTORY])


def read_system_config(given: Any, directory: Any = None) -> SystemConfig:
    """The settings from `_system_config`, the environment and `object_spilling_directory`, checked.

    Args:
        given: a mapping of settings by name, or None.
        directory: the folder or URL to spill to; it counts more than `object_spilling_config`.

    Raises:
        ValueError: a setting is unknown, or out of its range; the message names those that there are.
        TypeError: a setting has another type.
    """
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"_system_config is a dict of settings, not {given!r}.")
    config = SystemConfig()
    settings = _from_environment() | dict(given or {})
    unknown = sorted(str(name) for name in settings if name not in known_names())
    if unknown:
        close = difflib.get_close_matches(unknown[0], known_names(), 1, 0.4)
        meant = f": did you mean {close[0]}?" if close else "."
        raise ValueError(
            f"_system_config has no setting {', '.join(unknown)}; there are {', '.join(known_names())}{meant}"
        )
    for name, value in settings.items():
        if name in _SETTINGS:
            part, field, kind, least, most = _SETTINGS[name]
            setattr(getattr(config, part), field, _number(name, value, kind, least, most))
    if config.spill.max_spilling_file_size_bytes == -1:
        config.spill.max_spilling_file_size_bytes = None
    if settings.get(_CONFIG):
        _read_spilling(config, settings[_CONFIG])
    directory = directory or settings.get(_DIRECTORY)
    if directory:
        config.spill.roots = _paths("object_spilling_directory", os.fspath(directory))
    return config


def _from_environment() -> dict[str, str]:
    found = {}
    for name in known_names():
        for prefix in ("SKATE_", "RAY_"):
            value = os.environ.get(prefix + name)
            if value:
                found[name] = value
                break
    return found


def _number(name: str, value: Any, kind: type, least: float, most: float) -> Any:
    if isinstance(value, str):
        try:
            value = json.loads(value.lower())
        except ValueError:
            raise TypeError(f"{name} is a {kind.__name__}, not {value!r}.") from None
    if kind is bool:
        if value not in (True, False):
            raise TypeError(f"{name} is True or False, not {value!r}.")
        return bool(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or (kind is int and value != int(value)):
        raise TypeError(f"{name} is a {kind.__name__}, not {value!r}.")
    if not least <= value <= most:
        raise ValueError(f"{name} is between {least:g} and {most:g}, not {value!r}.")
    return kind(value)


def _read_spilling(config: SystemConfig, text: Any) -> None:
    """`object_spilling_config`: JSON, as Ray has it, or what it stands for."""
    example = '{"type": "filesystem", "params": {"directory_path": "/tmp/spill"}}'
    try:
        found = json.loads(text) if isinstance(text, str) else text
        kind, params = found["type"], dict(found.get("params", {}))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{_CONFIG} {text!r}: it is JSON such as {example}.") from None
    if kind == "filesystem":
        roots = params.pop("directory_path", None)
    elif kind in ("smart_open", "fsspec"):
        roots = params.pop("uri", None) or params.pop("url", None)
    else:
        raise ValueError(f'{_CONFIG}: type {kind!r} is not known; there are "filesystem", "smart_open" and "fsspec".')
    if not roots:
        wanted = "directory_path" if kind == "filesystem" else "uri"
        raise ValueError(f"{_CONFIG} {text!r}: its params have no {wanted}.")
    config.spill.roots = _paths(_CONFIG, roots)
    size = params.pop("buffer_size", None)
    if size is not None:
        config.spill.buffer_size = _number("buffer_size", size, int, 4096, 1 << 30)
    if params:
        raise ValueError(f"{_CONFIG}: params {', '.join(sorted(params))} are not known.")


def _paths(name: str, roots: Any) -> list[str]:
    paths = [roots] if isinstance(roots, str) else roots
    if not isinstance(paths, list | tuple) or not paths or not all(isinstance(path, str) and path for path in paths):
        raise TypeError(f"{name}: a folder or a URL, or a list of them, not {roots!r}.")
    return [path if "://" in path else os.path.abspath(path) for path in paths]
