"""`skate run` beside `python`: the same program must see, print and return the same under both."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

LIMIT_S = 40

SEES = """
import sys
print(sys.argv, sys.path[0], __file__, __name__, __package__, __spec__ and __spec__.name)
"""


def command(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, check=False, text=True, timeout=LIMIT_S, cwd=cwd)


def python(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return command(sys.executable, *arguments, cwd=cwd)


def skate(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return command(sys.executable, "-m", "skate.cli", *arguments, cwd=cwd)


def same(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run under both; they must not differ."""
    ours, theirs = skate("run", *arguments, cwd=cwd), python(*arguments, cwd=cwd)
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
    return ours


def test_help_is_quick() -> None:
    """What `--help` may take beyond a bare start of Python. The best of some tries: the machine is shared."""

    def best(*arguments: str) -> float:
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            assert python(*arguments).returncode == 0
            times.append(time.perf_counter() - begin)
        return min(times)

    assert best("-m", "skate.cli", "--help") - best("-c", "pass") < 0.15


def test_version() -> None:
    from skate import __version__

    assert skate("--version").stdout == f"skate {__version__}\n"


def test_a_script_sees_what_it_sees_under_python(tmp_path: Path) -> None:
    folder = tmp_path / "place"
    folder.mkdir()
    (folder / "program.py").write_text(SEES)
    assert "'--help'" in same("place/program.py", "a", "--help", "-m", "--", cwd=tmp_path).stdout


def test_a_module_sees_what_it_sees_under_python(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (tmp_path / "single.py").write_text(SEES)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(SEES)
    same("-m", "single", "-x", cwd=tmp_path)
    same("-m", "package", cwd=tmp_path)


def test_a_folder_and_a_zip_file_run_their_main(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "__main__.py").write_text("import helper\nprint(helper.WORD, __name__)")
    (folder / "helper.py").write_text("WORD = 'found'")
    with zipfile.ZipFile(tmp_path / "packed.pyz", "w") as packed:
        for file in folder.glob("*.py"):
            packed.write(file, file.name)
    assert same("folder", "-v", cwd=tmp_path).stdout == "found __main__\n"
    assert same("packed.pyz", cwd=tmp_path).stdout == "found __main__\n"


@pytest.mark.parametrize(
    "ending",
    [
        "pass",
        "import sys; sys.exit(7)",
        "import sys; sys.exit('said')",
        "raise SystemExit",
        "def f():\n    raise ValueError('bad')\nf()",
        "import threading\nthreading.Thread(target=lambda: print(__name__)).start()",
        "import atexit\natexit.register(lambda: print(__name__))",
        "x = (",
        "raise KeyError('k') from OSError('o')",
    ],
)
def test_a_program_ends_as_under_python(tmp_path: Path, ending: str) -> None:
    (tmp_path / "program.py").write_text(ending)
    same("program.py", cwd=tmp_path)


def test_import_ray_means_skate_in_driver_and_workers(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import ray\n"
        "from ray.exceptions import RayTaskError\n"
        "@ray.remote\n"
        "def name():\n"
        "    import ray.util\n"
        "    return ray.__name__\n"
        "print(ray.__name__, ray.get(name.remote()))\n"
    )
    done = skate("run", "program.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "skate skate\n"), done.stderr


def test_what_is_missing_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, says in (
        (["gone.py"], "there is no file 'gone.py'"),
        (["-m", "gone"], "there is no module 'gone'"),
        (["-m", "gone.deeper"], "there is no module 'gone.deeper'"),
        (["empty"], "'empty' has no __main__.py"),
    ):
        done = skate("run", *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith(f"Error: {says}") and done.stderr.count("\n") == 1, done.stderr


def test_a_missing_import_inside_a_module_is_the_modules_own_error(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("import not_to_be_found")
    (package / "__main__.py").write_text("")
    done = skate("run", "-m", "package", cwd=tmp_path)
    assert done.returncode == 1
    assert "No module named 'not_to_be_found'" in done.stderr
    assert "cli/run.py" not in done.stderr


def test_ctrl_c_ends_with_130(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import ray, time\n"
        "@ray.remote\n"
        "def forever():\n"
        "    time.sleep(600)\n"
        "ref = forever.remote()\n"
        "print('waits', flush=True)\n"
        "ray.get(ref)\n"
    )
    arguments = [sys.executable, "-m", "skate.cli", "run", "program.py"]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "waits\n"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=LIMIT_S)
        finally:
            process.kill()
    assert process.returncode == 130
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_storage_is_for_the_head_and_without_a_password() -> None:
    done = skate("start", "--address", "127.0.0.1:1", "--storage", "x.db")
    assert done.returncode == 2 and "--storage is for the head" in done.stderr
    done = skate("start", "--head", "--storage", "redis://:secret@127.0.0.1")
    assert done.returncode == 2 and "set SKATE_STORAGE instead" in done.stderr
