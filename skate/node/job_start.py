"""What a job's entrypoint starts with: its folder and its environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..wire.jobs import PACKAGE, JobSpec
from .job_files import zip_of

if TYPE_CHECKING:
    from .service import Node


def _packages(spec: JobSpec, folder: Path) -> tuple[str, Path, list[tuple[str, Path]]]:
    """What a job brings along: the package of its working directory ("": none), where that is to be, the same of its modules."""
    named = spec.runtime_env.get("working_dir", "")
    modules = []
    for number, name in enumerate(spec.runtime_env.get("py_modules", ())):
        package, _, module = name.removeprefix(PACKAGE).partition("/")
        modules.append((package, folder / "modules" / str(number) / module))
    return named.removeprefix(PACKAGE), folder / "files", modules


def working_dir(spec: JobSpec, folder: Path) -> Path:
    """Where the entrypoint begins: in the folder that it has brought along, or at home."""
    package, files, _ = _packages(spec, folder)
    return files if package else Path.home()


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
        given["py_modules"] = [str(path) for _, path in modules]
    return {"runtime_env": given, "metadata": spec.metadata}


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
    found.update(spec.runtime_env.get("env_vars", {}))
    _, _, modules = _packages(spec, folder)
    paths = [*(str(path.parent) for _, path in modules), found.get("PYTHONPATH", "")]
    if modules:
        found["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return found
