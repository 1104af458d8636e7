"""Runtime environments, under the names of Ray's module."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .api.environments import INSTALLER_OPTIONS, read_environment

__all__ = ["RuntimeEnv", "RuntimeEnvConfig"]


class RuntimeEnvConfig(dict[str, Any]):
    """How an environment is set up.

    Args:
        setup_timeout_seconds: how long setting up may take; -1: without limit.
        eager_install: set up when the job begins, rather than for its first task.
    """

    def __init__(self, setup_timeout_seconds: float = 600, eager_install: bool = True) -> None:
        super().__init__(setup_timeout_seconds=setup_timeout_seconds, eager_install=eager_install)
        read_environment({"config": self})


class RuntimeEnv(dict[str, Any]):
    """What tasks and actors run in: a dict whose content was checked. See docs/runtime-env.md for what may be in it.

    Raises:
        TypeError, ValueError: a value that cannot be used.
        UnsupportedError: something of Ray's environments that skate does not have.

    Example:
        >>> RuntimeEnv(env_vars={"MODE": "test"})
        {'env_vars': {'MODE': 'test'}}
    """

    def __init__(
        self,
        *,
        env_vars: Mapping[str, str] | None = None,
        working_dir: Any = None,
        py_modules: Any = None,
        pip: Any = None,
        uv: Any = None,
        py_executable: str | None = None,
        excludes: Any = None,
        worker_process_setup_hook: Any = None,
        config: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> None:
        given = {
            "env_vars": env_vars, "working_dir": working_dir, "py_modules": py_modules, "pip": pip, "uv": uv,
            "py_executable": py_executable, "excludes": excludes, "worker_process_setup_hook": worker_process_setup_hook,
            "config": config, **others,
        }  # fmt: skip
        super().__init__({name: value for name, value in given.items() if value is not None})
        read_environment(self)

    def __setitem__(self, name: str, value: Any) -> None:
        read_environment({**self, name: value})
        super().__setitem__(name, value)

    set = __setitem__

    def to_dict(self) -> dict[str, Any]:
        """A plain dict."""
        return dict(self)

    def serialize(self) -> str:
        """As text, which `deserialize` reads; folders as paths."""
        return read_environment(self)

    @classmethod
    def deserialize(cls, text: str) -> RuntimeEnv:
        """From text, as `serialize` or `get_runtime_context().get_runtime_env_string()` give it."""
        given: dict[str, Any] = json.loads(text)
        config = {"setup_timeout_seconds": given.pop("timeout_s", None), "eager_install": given.pop("eager", None)}
        hook = given.pop("hook", None)
        for tool, (options, check) in INSTALLER_OPTIONS.items():
            if tool in given:
                found = given[tool]
                given[tool] = {"packages": found["packages"], options: found["options"], check: found["check"]}
        config = {name: value for name, value in config.items() if value is not None}
        return cls(**given, worker_process_setup_hook=hook, config=config or None)
