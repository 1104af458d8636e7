"""How long the first task in a runtime environment takes, by what the environment asks for.

    python -m benchmarks.environments

"first": nothing of it is on this machine. "again": as in the next program, which finds there what this one has left.
The installed package is a wheel of one module, made here, so that no network is measured.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import skate

ROUNDS = 5
FILES = 100


@skate.remote
def nothing() -> None:
    """A task."""


def make_wheel(folder: Path) -> None:
    """A wheel with one module."""
    info = "bench_wheel-1.0.dist-info"
    with zipfile.ZipFile(folder / "bench_wheel-1.0-py3-none-any.whl", "w") as out:
        out.writestr("bench_wheel.py", "")
        out.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: bench_wheel\nVersion: 1.0\n")
        out.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        out.writestr(f"{info}/RECORD", "")


def environments(folder: Path) -> dict[str, dict[str, Any]]:
    """What is measured."""
    work = folder / "work"
    work.mkdir()
    for number in range(FILES):
        (work / f"file{number}.py").write_text("x = 1\n" * 1000)
    make_wheel(folder)
    options = ["--no-index", "--find-links", str(folder)]
    return {
        "none": {},
        "env_vars": {"env_vars": {"A": "1"}},
        f"working_dir, {FILES} files": {"working_dir": str(work)},
        "env_vars that start an interpreter": {"env_vars": {"PYTHONHASHSEED": "1"}},
        "pip": {"pip": {"packages": ["bench_wheel"], "pip_install_options": options}},
    }


def first_task(environment: dict[str, Any], temp_dir: str) -> float:
    """Seconds from `.remote()` to the answer, in a program that has run other tasks."""
    with skate.init("local", num_cpus=1, _temp_dir=temp_dir, log_to_driver=False):
        skate.get([nothing.remote() for _ in range(10)])
        time.sleep(0.3)  # the first zygote is warm
        task = nothing.options(runtime_env=environment)
        started = time.perf_counter()
        skate.get(task.remote())
        return time.perf_counter() - started


def main() -> None:
    """Print a table."""
    folder = Path(tempfile.mkdtemp(prefix="b"))
    print(f"{'environment':36} {'first':>10} {'again (median of ' + str(ROUNDS) + ')':>24}")
    try:
        for name, environment in environments(folder).items():
            first = first_task(environment, str(folder / "t"))
            again = statistics.median(first_task(environment, str(folder / "t")) for _ in range(ROUNDS))
            print(f"{name:36} {first * 1e3:8.1f} ms {again * 1e3:21.1f} ms", flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
