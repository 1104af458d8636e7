"""`_system_config`, the environment, and the words of Ray for spilling."""

from __future__ import annotations

import json
from typing import Any

import pytest

from skate.client.system_config import known_names, read_system_config


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in known_names():
        for prefix in ("SKATE_", "RAY_"):
            monkeypatch.delenv(prefix + name, raising=False)


def test_the_defaults_are_those_of_ray() -> None:
    config = read_system_config(None)
    assert config.spill.enabled and config.spill.threshold == 0.8 and config.spill.min_spilling_size == 100 << 20
    assert config.memory.usage_threshold == 0.95 and config.memory.refresh_ms == 250
    assert config.memory.task_oom_retries == -1 and config.spill.capacity_threshold == 0.95
    assert config.spill.roots == []


def test_spilling_to_folders_and_urls() -> None:
    one = {"type": "filesystem", "params": {"directory_path": "/tmp/spill", "buffer_size": 100_000}}
    config = read_system_config({"object_spilling_config": json.dumps(one)})
    assert config.spill.roots == ["/tmp/spill"] and config.spill.buffer_size == 100_000
    several = {"type": "filesystem", "params": {"directory_path": ["/a", "/b"]}}
    assert read_system_config({"object_spilling_config": json.dumps(several)}).spill.roots == ["/a", "/b"]
    for kind in ("smart_open", "fsspec"):
        remote = {"type": kind, "params": {"uri": "s3://bucket/path"}}
        assert read_system_config({"object_spilling_config": json.dumps(remote)}).spill.roots == ["s3://bucket/path"]
    assert read_system_config({"object_spilling_config": json.dumps(one)}, "/c").spill.roots == ["/c"]


def test_the_environment_counts_less_than_the_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.7")
    monkeypatch.setenv("RAY_task_oom_retries", "3")
    monkeypatch.setenv("SKATE_task_oom_retries", "4")
    monkeypatch.setenv("RAY_automatic_object_spilling_enabled", "false")
    monkeypatch.setenv("RAY_object_spilling_directory", "/from/env")
    config = read_system_config({"memory_usage_threshold": 0.6})
    assert config.memory.usage_threshold == 0.6 and config.memory.task_oom_retries == 4
    assert config.spill.enabled is False and config.spill.roots == ["/from/env"]


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"min_spiling_size": 1}, ValueError, "min_spiling_size; there are .*min_spilling_size"),
        ({"object_spilling_threshold": 1.5}, ValueError, "between 0 and 1"),
        ({"min_spilling_size": "much"}, TypeError, "min_spilling_size is a int"),
        ({"min_spilling_size": 1.5}, TypeError, "min_spilling_size"),
        ({"automatic_object_spilling_enabled": "maybe"}, TypeError, "automatic_object_spilling_enabled"),
        ({"object_spilling_config": "/tmp/x"}, ValueError, "filesystem"),
        ({"object_spilling_config": '{"type": "tape", "params": {}}'}, ValueError, "tape"),
        ({"object_spilling_config": '{"type": "filesystem", "params": {}}'}, ValueError, "directory_path"),
        (
            {"object_spilling_config": {"type": "filesystem", "params": {"directory_path": "/x", "a": 1}}},
            ValueError,
            "a",
        ),
        ([1], TypeError, "_system_config"),
    ],
)
def test_what_is_wrong_is_refused_with_what_there_is(given: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        read_system_config(given)
