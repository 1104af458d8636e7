"""What a runtime environment is while it travels: one text, which everybody compares, and only the process that sets it up reads.

The text is JSON with sorted keys, so equal environments are equal texts. It holds what was asked for, no more: what is missing is
inherited. "" is the environment of whoever asks for none: the driver's own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

TEXT_BYTES_MAX = 64 * 1024
"""It travels with every demand for workers."""
INSTALLERS = ("pip", "uv")
AT_ENTRYPOINT = ("working_dir", "py_modules", *INSTALLERS, "py_executable")
"""What a node sets up for the entrypoint of a job; folders that were packed come another way, and variables need no time."""
AT_START = ("LD_", "PYTHON", "MALLOC_", "GLIBC_")
"""How variables begin that count only for a process that starts with them."""
PACKAGE = "package://"
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_WHAT_CHARS = 200


class Install(Struct, frozen=True):
    """Python packages to install."""

    packages: list[str]
    options: list[str] = []
    """Of the installer's command."""
    check: bool = False
    """Whether what is installed must be consistent."""


class Environment(Struct, frozen=True, forbid_unknown_fields=True):
    """An environment, in the form of its text."""

    env_vars: dict[str, str] = field(default_factory=dict)
    working_dir: str = ""
    """A URI; `package://HASH@NODE` is one that was packed by a program on that node."""
    py_modules: list[str] = field(default_factory=list)
    """URIs."""
    pip: Install | None = None
    uv: Install | None = None
    py_executable: str = ""
    hook: str = ""
    """What each worker calls first: "module.function", or a pickle in Base64 after "pickle:"."""
    imports: list[str] = field(default_factory=list)
    """Modules that are imported once on a node, for all workers to have from the start."""
    timeout_s: float = 600.0
    """How long setting up may take; -1: without limit."""
    eager: bool = True
    """Set up when the job begins, rather than for its first task."""

    @property
    def starts_anew(self) -> bool:
        """Whether its workers need an interpreter that was started in it."""
        at_start = any(name.startswith(AT_START) for name in self.env_vars)
        return bool(self.pip or self.uv or self.py_executable or at_start)


def encode(given: Mapping[str, Any]) -> str:
    """The text of an environment; "" for one that asks for nothing."""
    given = {name: value for name, value in given.items() if value not in ("", None, {}, [])}
    return msgspec.json.encode(given, order="sorted").decode() if given else ""


def given_in(text: str) -> dict[str, Any]:
    """What an environment asks for, by name."""
    found: dict[str, Any] = msgspec.json.decode(text) if text else {}
    return found


def decode(text: str) -> Environment:
    """An environment, with its defaults."""
    return msgspec.json.decode(text or "{}", type=Environment)


def expand(variables: Mapping[str, str], of: Mapping[str, str]) -> dict[str, str]:
    """Variables, with those that they name as `${NAME}` put in.

    Example:
        >>> expand({"A": "${HOME}/a${NOWHERE}"}, {"HOME": "/home"})
        {'A': '/home/a'}
    """
    return {name: _VARIABLE.sub(lambda found: of.get(found[1], ""), value) for name, value in variables.items()}


def what(text: str) -> str:
    """What setting an environment up takes time for, for people.

    Example:
        >>> what('{"env_vars":{"A":"1"},"pip":{"packages":["numpy","polars"]}}')
        'pip: numpy, polars'
    """
    environment = decode(text)
    said = [f"{name}: {', '.join(each.packages)}" for name in INSTALLERS if (each := getattr(environment, name))]
    if environment.py_executable:
        said.append(f"py_executable: {environment.py_executable}")
    if environment.working_dir:
        said.append("working_dir")
    if environment.py_modules:
        said.append("py_modules")
    if environment.imports:
        said.append(f"imports: {', '.join(environment.imports)}")
    return ("; ".join(said) or "env_vars")[:_WHAT_CHARS]


def merge(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """What a child's environment is: the parent's, but for what the child asks for itself. Only variables and imports
    are merged.

    Example:
        >>> merge({"env_vars": {"A": "1"}, "pip": ["x"]}, {"env_vars": {"B": "2"}, "uv": ["y"]})
        {'env_vars': {'A': '1', 'B': '2'}, 'uv': ['y']}
    """
    kept = dict(parent)
    if any(
        name in child for name in INSTALLERS
    ):  # another set of packages replaces the parent's, whoever installs them
        kept = {name: value for name, value in kept.items() if name not in INSTALLERS}
    merged = {**kept, **child}
    if "env_vars" in kept and "env_vars" in child:
        merged["env_vars"] = {**kept["env_vars"], **child["env_vars"]}
    if "imports" in kept and "imports" in child:
        merged["imports"] = list(dict.fromkeys([*kept["imports"], *child["imports"]]))
    return merged


def crew(job: str, text: str) -> str:
    """Whom a worker is for: a job, or its tasks in one environment."""
    return f"{job}/{hashlib.sha256(text.encode()).hexdigest()[:16]}" if text else job


def job_of(crew: str) -> str:
    """The job of a crew."""
    return crew.partition("/")[0]
