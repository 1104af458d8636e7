"""Installed packages of an environment: a virtual environment on top of the node's own, built once per machine.

It sees all that the interpreter has which it is built on, so only what is missing there, or has another version, is installed.
What names it is what was asked for, and of whom; who asks for the same gets the same, for as long as the cache keeps it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..client.package_files import Busy
from ..exceptions import RuntimeEnvSetupError
from ..wire.environments import Install
from .zygote import prctl

if TYPE_CHECKING:
    from .environment import Setup

SAID_LINES = 40
"""Of an installer that fails, so many of its last lines are in the error."""
_PR_SET_PDEATHSIG = 1
_LAYER = "import os, site; list(map(site.addsitedir, filter(os.path.isdir, {paths!r})))\n"


def install(setup: Setup, command: list[str]) -> str:
    """The interpreter of a virtual environment that has what the environment wants installed.

    Args:
        setup: the environment.
        command: the interpreter to build it on.

    Raises:
        RuntimeEnvSetupError: an installer failed; the message has what it said.
    """
    environment = setup.environment
    tool, wanted = ("uv", environment.uv) if environment.uv is not None else ("pip", environment.pip)
    assert wanted is not None
    if len(command) != 1:
        raise RuntimeEnvSetupError(f"py_executable must be an interpreter if {tool} is to install for it: {command}")
    base = command if environment.py_executable else []  # the own one may be called `python` here, and `python3` there
    key = msgspec.json.encode([tool, wanted, base, sys.version, sys.prefix])
    name = f"venv-{hashlib.sha256(key).hexdigest()}"

    def build(path: Path) -> None:
        print(f"installing {', '.join(wanted.packages)}", flush=True)
        _run(setup, [*command, "-P", "-m", "venv", "--system-site-packages", "--without-pip", str(path)])
        _layer(path)
        _install(setup, tool, wanted, str(path / "bin" / "python"))
        print("installed", flush=True)

    if setup.cache.is_locked(name):
        print(f"waiting for another process here that installs {', '.join(wanted.packages)}", flush=True)
    try:
        path, fd = setup.cache.entry(name, build, setup.left_s())
    except Busy as error:
        raise RuntimeEnvSetupError(str(error)) from None
    setup.locks.append(fd)
    return str(path / "bin" / "python")


def _layer(path: Path) -> None:
    """Have it see what this interpreter sees: if that is of a virtual environment itself, `venv` would not."""
    site = next((path / "lib").glob("python*")) / "site-packages"
    paths = [each for each in sys.path if each.endswith(("site-packages", "dist-packages"))]
    (site / "_skate_layer.pth").write_text(_LAYER.format(paths=paths))


def _install(setup: Setup, tool: str, wanted: Install, python: str) -> None:
    if tool == "uv" or importlib.util.find_spec("pip") is None:
        uv = _find_uv(tool)
        _run(setup, [*uv, "pip", "install", "--python", python, *wanted.options, *wanted.packages])
        check = [*uv, "pip", "check", "--python", python]
    else:
        pip = [sys.executable, "-P", "-m", "pip", "--python", python, "--disable-pip-version-check", "--no-input"]
        _run(setup, [*pip, "install", *wanted.options, *_as_arguments(wanted.packages)])
        check = [*pip, "check"]
    if wanted.check:
        _run(setup, check)


def _as_arguments(lines: list[str]) -> list[str]:
    """Lines of a requirements file may be options."""
    return [word for line in lines for word in (shlex.split(line) if line.startswith("-") else [line])]


def _find_uv(asked: str) -> list[str]:
    beside = os.path.join(os.path.dirname(sys.executable), "uv")
    found = beside if os.access(beside, os.X_OK) else shutil.which("uv")
    if found is None:
        hint = "use pip instead" if asked == "uv" else "its Python has no pip, either"
        raise RuntimeEnvSetupError(f"there is no uv on this node: install it ({hint})")
    return [found]


def _run(setup: Setup, command: list[str]) -> None:
    """Run a command, show what it says, and keep the end of it for the error."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
    )  # fmt: skip
    said: deque[str] = deque(maxlen=SAID_LINES)
    try:
        with setup.in_time():
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line.rstrip())
                print(said[-1], flush=True)
            code = process.wait()
    except TimeoutError as error:
        process.kill()
        process.wait()
        lines = "\n".join(said)
        raise RuntimeEnvSetupError(f"{error}: `{shlex.join(command)}`\n{lines}") from None
    if code:
        lines = "\n".join(said)
        raise RuntimeEnvSetupError(f"`{shlex.join(command)}` has failed with code {code}:\n{lines}")
