"""Runtime environments on one machine, as users ask for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import skate
from skate.client import current
from skate.exceptions import RuntimeEnvSetupError
from skate.testing import eventually

from .wheels import make_wheel


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    skate.shutdown()
    folder = tmp_path_factory.mktemp("t")
    skate.init("local", num_cpus=2, runtime_env={"env_vars": {"OF_JOB": "1"}}, _temp_dir=str(folder))
    runtime: Any = current.runtime
    node = psutil.Process(runtime.node_process.pid)
    yield
    processes = [node, *node.children(recursive=True)]
    skate.shutdown()
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert not alive, f"left over: {alive}"


pytestmark = pytest.mark.usefixtures("session")


@skate.remote
def variables(*names: str) -> list[str | None]:
    return [os.environ.get(name) for name in names]


@skate.remote
def run(code: str) -> Any:
    """What an expression is, where the workers are."""
    return eval(code, {"os": os, "sys": sys, "imported": __import__})


@skate.remote
class Actor:
    def run(self, code: str) -> Any:
        return eval(code, {"os": os, "sys": sys, "imported": __import__})

    def pid(self) -> int:
        return os.getpid()

    def child(self, *names: str) -> list[str | None]:
        return skate.get(variables.remote(*names))


def env(**fields: Any) -> dict[str, Any]:
    return {"runtime_env": fields}


def test_variables_of_job_task_and_actor_are_inherited_and_merged() -> None:
    assert skate.get(variables.remote("OF_JOB", "MINE")) == ["1", None]
    mine = variables.options(**env(env_vars={"MINE": "${PATH}${NOT_THERE}2"}))
    assert skate.get(mine.remote("OF_JOB", "MINE")) == ["1", os.environ["PATH"] + "2"]
    actor = Actor.options(**env(env_vars={"OF_JOB": "3"})).remote()
    assert skate.get(actor.child.remote("OF_JOB", "MINE")) == ["3", None]
    assert skate.get(actor.run.remote("os.environ['OF_JOB']")) == "3"


def test_workers_of_one_environment_are_never_given_to_another() -> None:
    environments = [{}, env(env_vars={"OF_JOB": "2"}), env(env_vars={"OF_JOB": "3"})]
    seen: dict[int, set[str]] = {}
    refs = [run.options(**environments[i % 3]).remote("os.getpid(), os.environ['OF_JOB']") for i in range(60)]
    for pid, value in skate.get(refs):
        seen.setdefault(pid, set()).add(value)
    assert all(len(values) == 1 for values in seen.values()) and {v for s in seen.values() for v in s} == {
        "1",
        "2",
        "3",
    }


def test_what_a_task_runs_in_is_in_its_context() -> None:
    @skate.remote
    def context() -> Any:
        found = skate.get_runtime_context().runtime_env
        return dict(found), skate.get(variables.options(runtime_env=found).remote("A"))

    assert skate.get_runtime_context().runtime_env == {"env_vars": {"OF_JOB": "1"}}
    mine = context.options(**env(env_vars={"A": "1"}))
    assert skate.get(mine.remote()) == ({"env_vars": {"A": "1", "OF_JOB": "1"}}, ["1"])


def test_a_folder_to_work_in_and_modules(tmp_path: Path) -> None:
    work, module = tmp_path / "work", tmp_path / "spam_module"
    work.mkdir()
    module.mkdir()
    (work / "spam_here.py").write_text("NAME = 'here'")
    (work / "data.txt").write_text("data")
    (work / "skip.log").write_text("")
    (module / "__init__.py").write_text("from .inner import NAME")
    (module / "inner.py").write_text("NAME = 'module'")
    wanted = env(working_dir=str(work), py_modules=[str(module)], excludes=["*.log"])
    code = "sorted(os.listdir()), imported('spam_here').NAME, imported('spam_module').NAME"
    assert skate.get(run.options(**wanted).remote(code)) == (["data.txt", "spam_here.py"], "here", "module")
    actor = Actor.options(**wanted, max_restarts=1).remote()
    assert skate.get(actor.run.remote("imported('spam_module').NAME")) == "module"
    pid = skate.get(actor.pid.remote())
    os.kill(pid, signal.SIGKILL)
    eventually(
        lambda: skate.get(Actor.options(name="x", get_if_exists=True).remote().pid.remote()), 10, "there is room"
    )
    again = eventually(lambda: _answer(actor, "imported('spam_module').NAME, os.getpid()"), 10, "the actor is back")
    assert again[0] == "module" and again[1] != pid
    child = "imported('subprocess').check_output([sys.executable, '-c', 'import spam_here; print(spam_here.NAME)'])"
    assert skate.get(run.options(**wanted).remote(child)) == b"here\n"


def _answer(actor: Any, code: str) -> Any:
    try:
        return skate.get(actor.run.remote(code))
    except skate.exceptions.ActorUnavailableError:
        return None


def test_zips_local_and_by_uri(tmp_path: Path) -> None:
    archive = tmp_path / "work.zip"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("project/spam_zip.py", "NAME = 'zip'")
    code = "sorted(os.listdir())"
    assert skate.get(run.options(**env(working_dir=str(archive))).remote(code)) == ["project"]
    uri = archive.as_uri()
    assert skate.get(run.options(**env(working_dir=uri)).remote(code)) == ["spam_zip.py"]
    assert skate.get(run.options(**env(py_modules=[uri])).remote("imported('spam_zip').NAME")) == "zip"
    with pytest.raises(RuntimeEnvSetupError, match=r"nothing\.zip cannot be used: .*No such file"):
        skate.get(run.options(**env(working_dir=(tmp_path / "nothing.zip").as_uri())).remote(code))


def test_each_worker_calls_the_hook_first() -> None:
    def hook() -> None:
        os.environ["HOOKED"] = str(os.getpid())

    assert skate.get(
        run.options(**env(worker_process_setup_hook=hook)).remote("os.environ['HOOKED'] == str(os.getpid())")
    )

    def fails() -> None:
        raise ValueError("no hook today")

    with pytest.raises(RuntimeEnvSetupError, match="worker_process_setup_hook raised ValueError: no hook today"):
        skate.get(run.options(**env(worker_process_setup_hook=fails)).remote("1"), timeout=20)


def test_variables_that_count_at_the_start_of_a_process() -> None:
    wanted = env(env_vars={"PYTHONHASHSEED": "7"})
    seen = {skate.get(run.options(**wanted).remote("hash('skate'), os.getpid()"))[0] for _ in range(3)}
    code = "print(hash('skate'))"
    plain = subprocess.check_output([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": "7"})
    assert seen == {int(plain)}


def test_pip_installs_once_for_tasks_and_actors(tmp_path: Path) -> None:
    make_wheel(tmp_path, "spam_pip", "1.5")
    options = ["--no-index", "--find-links", str(tmp_path)]
    wanted = env(pip={"packages": ["spam_pip==1.5"], "pip_install_options": options, "pip_check": False})
    code = "imported('spam_pip').VERSION, imported('skate').__version__, sys.prefix, imported('numpy').__name__"
    version, ours, prefix, _ = skate.get(run.options(**wanted).remote(code), timeout=60)
    assert (version, ours) == ("1.5", skate.__version__) and "venv-" in prefix
    actor = Actor.options(**wanted).remote()
    assert skate.get(actor.run.remote("sys.prefix"), timeout=60) == prefix
    said = "imported('subprocess').check_output('spam_pip-say')"
    assert skate.get(actor.run.remote(said)) == b"1.5\n"
    with pytest.raises(ImportError):
        skate.get(run.remote("imported('spam_pip')"))


def test_files_of_the_folder_that_a_program_runs_in_do_not_mislead_pip(tmp_path: Path) -> None:
    make_wheel(tmp_path, "spam_cwd", "1.0")
    folder, program = tmp_path / "cwd", tmp_path / "program.py"
    folder.mkdir()
    for name in ("logging.py", "re.py"):
        (folder / name).write_text("raise SystemExit('this is not the library')\n")
    options = ["--no-index", "--find-links", str(tmp_path)]
    wanted = {"pip": {"packages": ["spam_cwd"], "pip_install_options": options, "pip_check": False}}
    program.write_text(f"""
import skate
skate.init(num_cpus=1, _temp_dir={str(tmp_path / "t")!r})
@skate.remote(runtime_env={wanted!r})
def version():
    import spam_cwd
    return spam_cwd.VERSION
print(skate.get(version.remote(), timeout=60))
""")
    done = subprocess.run([sys.executable, program], cwd=folder, capture_output=True, text=True, timeout=80)
    assert done.stdout.splitlines()[-1:] == ["1.0"], done.stderr


def test_uv_installs(tmp_path: Path) -> None:
    make_wheel(tmp_path, "spam_uv", "2.0")
    options = ["--no-index", "--find-links", str(tmp_path), "--no-config"]
    wanted = env(uv={"packages": ["spam_uv"], "uv_pip_install_options": options, "uv_check": True})
    code = "imported('spam_uv').VERSION, imported('skate').__version__"
    assert skate.get(run.options(**wanted).remote(code), timeout=60) == ("2.0", skate.__version__)


def test_what_cannot_be_installed_fails_what_needs_it_and_nothing_else(tmp_path: Path) -> None:
    wanted = env(pip={"packages": ["spam_nowhere"], "pip_install_options": ["--no-index"]})
    task, actor = run.options(**wanted).remote("1"), Actor.options(**wanted).remote()
    assert skate.get(run.remote("1")) == 1
    with pytest.raises(RuntimeEnvSetupError, match=r"pip.* has failed with code 1:(.|\n)*spam_nowhere"):
        skate.get(task, timeout=60)
    with pytest.raises(RuntimeEnvSetupError, match="spam_nowhere"):
        skate.get(actor.run.remote("1"), timeout=60)
    assert skate.get(run.remote("2")) == 2


def test_setting_up_has_a_limit(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nsleep 100\n")
    slow.chmod(0o755)
    wanted = env(py_executable=str(slow), pip=["x"], config={"setup_timeout_seconds": 0.5})
    with pytest.raises(RuntimeEnvSetupError, match=r"set up: .*longer than 0\.5 s.*slow .*venv") as failed:
        skate.get(run.options(**wanted).remote("1"), timeout=20)
    assert "has failed" not in str(failed.value)


def test_another_interpreter(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nBY=wrapper exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    assert skate.get(
        run.options(**env(py_executable=f"{python} -X dev")).remote("os.environ['BY'], sys.flags.dev_mode")
    ) == (
        "wrapper",
        True,
    )
    python.write_text("#!/bin/sh\necho this is no Python >&2\nexit 3\n")
    with pytest.raises(RuntimeEnvSetupError, match="this is no Python"):
        skate.get(run.options(**env(py_executable=str(python))).remote("1"), timeout=20)
    with pytest.raises(RuntimeEnvSetupError, match="`false`, which must be a Python"):
        skate.get(run.options(**env(py_executable="false")).remote("1"), timeout=20)
    with pytest.raises(RuntimeEnvSetupError, match="cannot be executed"):
        skate.get(run.options(**env(py_executable="/there/is/no/python")).remote("1"), timeout=20)


def test_what_is_imported_once_is_there_in_all_workers(tmp_path: Path) -> None:
    (tmp_path / "heavy.py").write_text("import os\nBY = os.getpid()\n")
    wanted = env(imports=["heavy"], py_modules=[str(tmp_path / "heavy.py")])
    code = "os.getppid(), sys.modules['heavy'].BY, os.getpid()"
    parent, by, pid = skate.get(run.options(**wanted).remote(code))
    assert parent == by != pid
    assert skate.get(Actor.options(**wanted).remote().run.remote(code))[:2] == (parent, by)
    anew = env(imports=["heavy"], py_modules=[str(tmp_path / "heavy.py")], py_executable=sys.executable)
    assert skate.get(run.options(**anew).remote("sys.modules['heavy'].BY == os.getppid()")) is True


def test_what_cannot_be_imported_fails_what_needs_it(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text("import time\ntime.sleep(100)\n")
    with pytest.raises(RuntimeEnvSetupError, match="there_is_none cannot be imported: ModuleNotFoundError"):
        skate.get(run.options(**env(imports=["there_is_none"])).remote("1"), timeout=20)
    endless = env(imports=["endless"], py_modules=[str(tmp_path / "endless.py")], config={"setup_timeout_seconds": 0.5})
    with pytest.raises(RuntimeEnvSetupError, match=r"endless cannot be imported: .* longer than 0\.5 s"):
        skate.get(run.options(**endless).remote("1"), timeout=20)


def test_the_end_of_what_an_environment_was_set_up_in() -> None:
    wanted = env(env_vars={"A": "zygote"})
    pid, parent = skate.get(run.options(**wanted).remote("os.getpid(), os.getppid()"))
    os.kill(parent, signal.SIGKILL)
    eventually(lambda: not psutil.pid_exists(pid), 5, "its worker is gone")
    assert skate.get(run.options(**wanted).remote("os.environ['A']"), timeout=10) == "zygote"
