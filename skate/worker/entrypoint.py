"""The process that sets the runtime environment of a job's entrypoint up, and then becomes the job's guard.

It does so with what sets environments of workers up (`environment.py`), so both share what was installed: whoever comes second
finds it. What it prints, and the installer, is in the job's log. It executes the guard in its own place: so the node has one
process to watch, and the locks that it holds, which keep what was installed, are the job's until that ends.

On its standard output it says `failed REASON`, a string in JSON, if it cannot be done; else the guard goes on there. It ends with
the node, also if that is killed, and by SIGTERM, and then with it all that installers have started.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import msgspec

from ..exceptions import RuntimeEnvSetupError
from ..wire.environments import decode
from ..wire.jobs import SetUp
from .descendants import end_all
from .environment import Setup, set_up
from .zygote import end_with_parent, outlive_parent

REASON_CHARS_MAX = 8000
"""The head keeps it."""


def main() -> NoReturn:
    """Arguments: the file with a `SetUp`, `sys.path`, and the node's process id."""
    end_with_parent(int(sys.argv[3]))
    file = Path(sys.argv[1])
    wanted = msgspec.json.decode(file.read_bytes(), type=SetUp)
    file.unlink()
    said = os.dup(1)
    os.dup2(2, 1)  # what is printed is for the log
    try:
        setup = Setup(None, decode(wanted.environment), wanted.session_dir)
        _prepare(setup, wanted)
    except RuntimeEnvSetupError as error:
        _fail(said, error.error_message or str(error))
    except Exception as error:
        _fail(said, f"{type(error).__name__}: {error}")
    os.dup2(said, 1)
    for fd in setup.locks:
        os.set_inheritable(fd, True)
    outlive_parent()  # the guard sees its end by itself, and has more to do then
    os.execve(wanted.guard[0], wanted.guard, wanted.variables)


def _prepare(setup: Setup, wanted: SetUp) -> None:
    """Set up, and have the entrypoint find it."""
    place, command = set_up(setup, wanted.environment)
    if place.cwd:  # a copy of its own, as it may write there
        shutil.copytree(place.cwd, wanted.files, symlinks=True)
        place.paths.remove(place.cwd)
    place.show(wanted.variables)
    if command and not place.bin:
        _be_python(command, Path(wanted.folder, "python"), wanted.variables)


def _be_python(command: list[str], folder: Path, variables: dict[str, str]) -> None:
    """Have `python` be a command that starts another interpreter, perhaps with arguments."""
    program = shutil.which(command[0], path=variables.get("PATH"))
    if program is None:
        raise RuntimeEnvSetupError(f"its py_executable is not on this node: {command[0]}")
    program = os.path.abspath(program)
    beside = os.path.dirname(program)
    folder.mkdir()
    for name in ("python", "python3"):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {shlex.join([program, *command[1:]])} "$@"\n')
        script.chmod(0o700)
    if os.path.isfile(os.path.join(os.path.dirname(beside), "pyvenv.cfg")):
        variables["VIRTUAL_ENV"] = os.path.dirname(beside)
    variables["PATH"] = f"{folder}:{beside}:{variables['PATH']}"


def _fail(said: int, reason: str) -> NoReturn:
    if len(reason) > REASON_CHARS_MAX:
        half = REASON_CHARS_MAX // 2
        reason = f"{reason[:half]}\n...\n{reason[-half:]}"
    end_all()
    line = f"failed {json.dumps(reason)}\n".encode()
    while line:
        line = line[os.write(said, line) :]
    os._exit(1)
