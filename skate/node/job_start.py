"""What a job's entrypoint starts with: its folder and its environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..wire.environments import expand
from ..wire.jobs import PACKAGE, JobSpec, SetUp
from . import job_guard
from .job_files import zip_of

if TYPE_CHECKING:
    from .service import Node


_BOOT = "import sys; sys.path[:] = sys.argv[2].split('\\n'); from skate.worker.entrypoint import main; main()"


def _packages(spec: JobSpec, folder: Path) -> tuple[str, Path, list[tuple[str, Path]]]:
    """What a job brings along: the package of its working directory ("": none), where that is to be, the same of its modules."""
    named = spec.runtime_env.get("working_dir") or ""
    modules = []
    for number, name in enumerate(spec.runtime_env.get("py_modules") or []):
        if not name.startswith(PACKAGE):
            continue  # a URI: it is brought when the environment is set up
        package, _, module = name.removeprefix(PACKAGE).partition("/")
        modules.append((package, folder / "modules" / str(number) / module))
    return named.removeprefix(PACKAGE) if named.startswith(PACKAGE) else "", files_of(folder), modules


def files_of(folder: Path) -> Path:
    """Where the working directory of a job is that it has brought along."""
    return folder / "files"


def working_dir(spec: JobSpec, folder: Path) -> Path:
    """Where the entrypoint begins: in the folder that it has brought along, or at home."""
    return files_of(folder) if spec.runtime_env.get("working_dir") else Path.home()


def unpacking(spec: JobSpec, folder: Path) -> list[str]:
    """Zip files, and where they are to be unpacked, in turn."""
    package, files, modules = _packages(spec, folder)
    pairs = [(package, files)] if package else []
    pairs += [(each, path.parent) for each, path in modules]
    return [str(word) for each, path in pairs for word in (zip_of(folder, each), path)]


def _config(spec: JobSpec, folder: Path) -> dict[str, object]:
    """What `init()` in the entrypoint goes by: folders are those of this machine, from which it packs them for others."""
    package, files, modules = _packages(spec, folder)
    given = dict(spec.runtime_env)
    if package:
        given["working_dir"] = str(files)
    if modules:
        paths = iter(str(path) for _, path in modules)
        given["py_modules"] = [next(paths) if each.startswith(PACKAGE) else each for each in given["py_modules"]]
    return {"runtime_env": given, "metadata": spec.metadata}


def how_to_start(node: Node, spec: JobSpec, folder: Path, gpus: list[int]) -> tuple[list[str], dict[str, str] | None]:
    """The command that starts the guard of a job, and its variables; None: this process's own.

    If there is an environment to set up, it is a command that does so first, and then becomes the guard (`worker/entrypoint.py`).
    """
    arguments = [str(folder), str(working_dir(spec, folder)), spec.entrypoint, *unpacking(spec, folder)]
    guard = [sys.executable, "-I", "-S", job_guard.__file__, *arguments]
    variables = environment(node, spec, folder, gpus)
    if not spec.environment:
        return guard, variables
    session, files = str(node.session_dir), str(files_of(folder))
    file = folder / "setup"
    file.touch(0o600)
    file.write_bytes(msgspec.json.encode(SetUp(spec.environment, session, str(folder), files, variables, guard)))
    path = "\n".join(entry or os.getcwd() for entry in sys.path)
    return [sys.executable, "-c", _BOOT, str(file), path, str(os.getpid())], None


def environment(node: Node, spec: JobSpec, folder: Path, gpus: list[int]) -> dict[str, str]:
    """The environment of an entrypoint: `init()` in it attaches to this node, and `python` is the cluster's."""
    cluster = node.cluster
    assert cluster is not None
    address = f"{cluster.info.host}:{cluster.info.port}"
    found = {
        **os.environ,
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "SKATE_ADDRESS": address,
        "RAY_ADDRESS": address,
        "SKATE_JOB_ID": spec.id,
        "SKATE_JOB_CONFIG": msgspec.json.encode(_config(spec, folder)).decode(),
        "SKATE_TEMP_DIR": str(node.session_dir.parent.parent),
    }
    if "GPU" in node.total:
        found["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
    found.update(expand(spec.runtime_env.get("env_vars") or {}, os.environ))
    _, _, modules = _packages(spec, folder)
    paths = [*(str(path.parent) for _, path in modules), found.get("PYTHONPATH", "")]
    if modules:
        found["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return found
