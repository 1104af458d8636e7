"""The option `runtime_env`: what may stand in it, checked where it is given, and as the text that travels.

Nothing is packed here: folders stay paths until the environment is used for the first time (`client/environments.py`).
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NoReturn

from ..client.environments import PACKAGE, TEXT_BYTES_MAX, encode
from ..exceptions import UnsupportedError
from .arity import closest

SCHEMES = ("file", "http", "https", "s3", "gs", "gcs", "abfss", "az", "hdfs")
UNSUPPORTED = {
    "conda": "use pip, uv, or py_executable with the Python of an environment that exists",
    "container": "start the nodes in the container: see docs/containers.md",
    "image_uri": "start the nodes in the container: see docs/containers.md",
    "java_jars": "skate runs Python only",
    "nsight": "start a profiler with py_executable",
    "rocprof_sys": "start a profiler with py_executable",
    "mpi": "skate does not start MPI",
}
"""What Ray's environments have and skate's have not, and what to do instead."""

_PACKAGE_URI = re.compile(re.escape(PACKAGE) + r"[0-9a-f]{64}@\d+")

INSTALLER_OPTIONS = {"pip": ("pip_install_options", "pip_check"), "uv": ("uv_pip_install_options", "uv_check")}
"""The keys beside `packages` for each installer: options of its command, and whether it checks afterwards."""


def _fail(name: str, value: Any, wanted: str, kind: type[Exception] = TypeError) -> NoReturn:
    raise kind(f"runtime_env[{name!r}] must be {wanted}, not {value!r}.")


def _env_vars(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for pair in value.items() for each in pair):
        _fail("env_vars", value, "a dict from name to string")
    for name, text in value.items():
        if not name or "=" in name or "\0" in name + text:
            _fail("env_vars", name, "a dict whose keys are names of variables", ValueError)
    return dict(value)


def _texts(name: str, value: Any) -> list[str]:
    if isinstance(value, str) or not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
        _fail(name, value, "a list of strings")
    return list(value)


def _location(name: str, value: Any) -> str:
    """A path, absolute, or a URI."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or not value:
        _fail(name, value, "a path or a URI")
    if value.startswith(PACKAGE):
        if not _PACKAGE_URI.fullmatch(value):
            _fail(name, value, "a path or a URI, or what a runtime context gives", ValueError)
        return str(value)
    scheme, separator, _ = value.partition("://")
    if separator:
        if scheme not in SCHEMES:
            _fail(name, value, f"a path, or a URI that begins with one of {', '.join(SCHEMES)}", ValueError)
        if not value.endswith((".zip", ".whl")):
            _fail(name, value, "a folder, or a .zip or .whl: other files are not unpacked", ValueError)
        return str(value)
    path = os.path.abspath(os.path.expanduser(value))
    if not os.path.exists(path):
        raise ValueError(f"runtime_env[{name!r}]: there is no folder or file {value!r}.")
    if name == "working_dir" and not os.path.isdir(path) and not path.endswith(".zip"):
        _fail(name, value, "a folder or a .zip", ValueError)
    return path


def _modules(value: Any) -> list[str]:
    if isinstance(value, (str, os.PathLike)) or not isinstance(value, (list, tuple)):
        _fail("py_modules", value, "a list of paths, URIs or modules")
    return [_location("py_modules", _path_of(each) if isinstance(each, ModuleType) else each) for each in value]


def _path_of(module: ModuleType) -> str:
    paths = list(getattr(module, "__path__", ()))
    if len(paths) == 1:
        return str(paths[0])
    file = getattr(module, "__file__", None)
    if not file:
        raise ValueError(f"runtime_env['py_modules']: the module {module.__name__} has no file.")
    return str(file)


def requirements_in(name: str, path: str) -> list[str]:
    """The lines of a requirements file, without comments.

    Raises:
        ValueError: it cannot be read.
        UnsupportedError: it names another file.
    """
    try:
        with open(path) as file:
            lines = [line.strip() for line in file]
    except OSError as error:
        raise ValueError(f"runtime_env[{name!r}]: the requirements file {path!r} cannot be read: {error}") from None
    found = [line.split(" #")[0].strip() for line in lines if line and not line.startswith("#")]
    inner = [line for line in found if line.startswith(("-r", "-c", "--requirement", "--constraint"))]
    if inner:
        raise UnsupportedError(f"runtime_env[{name!r}]: {inner[0]!r} in {path} names another file: write it out.")
    return found


def _installer(name: str) -> Callable[[Any], dict[str, Any]]:
    options, check = INSTALLER_OPTIONS[name]

    def read(value: Any) -> dict[str, Any]:
        if isinstance(value, str):
            value = {"packages": requirements_in(name, value)}
        elif isinstance(value, (list, tuple)):
            value = {"packages": value}
        if not isinstance(value, Mapping):
            _fail(name, value, "a list of requirements, the path of a requirements file, or a dict")
        for key in value:
            if key == f"{name}_version":
                raise UnsupportedError(
                    f"runtime_env[{name!r}][{key!r}] is not supported: nodes use the {name} they have."
                )
            if key not in ("packages", options, check):
                _fail(name, key, f"a dict with the keys 'packages', {options!r} and {check!r}", ValueError)
        packages = value.get("packages", [])
        if isinstance(packages, str):
            packages = requirements_in(name, packages)
        if not isinstance(value.get(check, False), bool):
            _fail(f"{name}.{check}", value[check], "True or False")
        found = {"packages": _texts(name, packages), "options": _texts(name, value.get(options, []))}
        return {**found, "check": value.get(check, False)} if found["packages"] else {}

    return read


def _py_executable(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        _fail("py_executable", value, "the command that starts Python")
    return str(value)


def _hook(value: Any) -> str:
    if isinstance(value, str):
        if value.startswith("pickle:"):
            return value  # it was a function in the process that this one inherits from
        if "." not in value.strip("."):
            _fail("worker_process_setup_hook", value, 'a function, or "module.function"', ValueError)
        return value
    if not callable(value):
        _fail("worker_process_setup_hook", value, 'a function, or "module.function"')
    import cloudpickle

    return "pickle:" + base64.b64encode(cloudpickle.dumps(value)).decode()


_READERS: dict[str, Callable[[Any], Any]] = {
    "env_vars": _env_vars,
    "working_dir": lambda value: _location("working_dir", value),
    "py_modules": _modules,
    "pip": _installer("pip"),
    "uv": _installer("uv"),
    "py_executable": _py_executable,
    "imports": lambda value: _texts("imports", value),
}


def _config(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        _fail("config", value, "a dict or a RuntimeEnvConfig")
    unknown = set(value) - {"setup_timeout_seconds", "eager_install"}
    if unknown:
        _fail("config", unknown.pop(), "a dict with the keys 'setup_timeout_seconds' and 'eager_install'", ValueError)
    timeout, eager = value.get("setup_timeout_seconds", 600), value.get("eager_install", True)
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        _fail("config.setup_timeout_seconds", timeout, "a number of seconds")
    if timeout <= 0 and timeout != -1:
        _fail("config.setup_timeout_seconds", timeout, "above 0, or -1 for no limit", ValueError)
    if not isinstance(eager, bool):
        _fail("config.eager_install", eager, "True or False")
    return {"timeout_s": float(timeout), "eager": eager}


def read_environment(value: Any) -> str:
    """Check a runtime environment; its text, with folders as absolute paths. "" if there is nothing in it.

    Raises:
        TypeError: a value of the wrong type.
        ValueError: an unknown name, a value that cannot be used, or a file that is not there.
        UnsupportedError: something of Ray's environments that skate does not have.

    Example:
        >>> read_environment({"env_vars": {"A": "1"}})
        '{"env_vars":{"A":"1"}}'
    """
    if value is None:
        return ""
    if not isinstance(value, Mapping):
        raise TypeError(f"runtime_env must be a dict or a RuntimeEnv, not {value!r}.")
    found: dict[str, Any] = {}
    for name, each in value.items():
        if name in UNSUPPORTED and each is not None:
            raise UnsupportedError(f"runtime_env[{name!r}] is not supported: {UNSUPPORTED[name]}.")
        if name in _READERS:
            found[name] = None if each is None else _READERS[name](each)
        elif name == "worker_process_setup_hook":
            found["hook"] = None if each is None else _hook(each)
        elif name == "config":
            found.update({} if each is None else _config(each))
        elif name == "excludes":
            found[name] = None if each is None else _texts(name, each)
        elif name not in UNSUPPORTED:
            known = [*_READERS, "excludes", "worker_process_setup_hook", "config"]
            close = closest(str(name), known)
            hint = f" Did you mean {close!r}?" if close else ""
            raise ValueError(f"runtime_env has no {name!r}.{hint} It may have: {', '.join(known)}.")
    if found.get("pip") and found.get("uv"):
        raise ValueError("runtime_env has both 'pip' and 'uv': choose one of them.")
    text = encode(found)
    if len(text) > TEXT_BYTES_MAX:
        raise ValueError(f"runtime_env has {len(text)} bytes as JSON; the most is {TEXT_BYTES_MAX}.")
    return text
