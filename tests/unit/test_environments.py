"""What may stand in `runtime_env`, and what a child's is, given its parent's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import skate
import skate.client.environments as environments_file
from skate.api.environments import read_environment
from skate.client.environments import Environments
from skate.client.package_files import Cache
from skate.client.packages import pack
from skate.exceptions import UnsupportedError
from skate.runtime_env import RuntimeEnv, RuntimeEnvConfig
from skate.wire.environments import crew, decode, encode, job_of, merge


@pytest.mark.parametrize(
    ("given", "kind", "match"),
    [
        ("x", TypeError, "must be a dict"),
        ({"env_var": {}}, ValueError, "Did you mean 'env_vars'"),
        ({"env_vars": {"A": 1}}, TypeError, "from name to string"),
        ({"env_vars": {"A=B": "1"}}, ValueError, "names of variables"),
        ({"working_dir": "/there/is/no/such"}, ValueError, "no folder or file"),
        ({"working_dir": __file__}, ValueError, "a folder or a .zip"),
        ({"working_dir": "ftp://host/x.zip"}, ValueError, "begins with one of"),
        ({"working_dir": "https://host/x.tar"}, ValueError, ".zip or .whl"),
        ({"working_dir": "package://../../x@0"}, ValueError, "runtime context"),
        ({"py_modules": "/tmp"}, TypeError, "a list of paths"),
        ({"pip": 5}, TypeError, "requirements"),
        ({"pip": "/there/is/no/such.txt"}, ValueError, "cannot be read"),
        ({"pip": {"packages": ["x"], "pip_version": "==22"}}, UnsupportedError, "pip_version"),
        ({"pip": {"pakages": ["x"]}}, ValueError, "keys 'packages'"),
        ({"pip": {"packages": ["x"], "pip_check": "yes"}}, TypeError, "True or False"),
        ({"pip": ["x"], "uv": ["x"]}, ValueError, "choose one"),
        ({"uv": {"packages": [1]}}, TypeError, "a list of strings"),
        ({"py_executable": ""}, TypeError, "starts Python"),
        ({"worker_process_setup_hook": "name"}, ValueError, "module.function"),
        ({"worker_process_setup_hook": 5}, TypeError, "a function"),
        ({"excludes": "*.log"}, TypeError, "a list of strings"),
        ({"config": {"setup_timeout_seconds": 0}}, ValueError, "above 0, or -1"),
        ({"config": {"setup_timeout": 1}}, ValueError, "setup_timeout_seconds"),
        ({"config": {"eager_install": 1}}, TypeError, "True or False"),
        ({"conda": "base"}, UnsupportedError, "use pip, uv"),
        ({"container": {}}, UnsupportedError, "docs/containers.md"),
        ({"image_uri": "x"}, UnsupportedError, "docs/containers.md"),
        ({"env_vars": {"A": "x" * 70_000}}, ValueError, "the most is"),
    ],
)
def test_what_is_wrong_is_an_error_at_the_call(given: Any, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        read_environment(given)
    function = skate.remote(lambda: None)
    with pytest.raises(kind, match=match):
        function.options(runtime_env=given)


def test_nothing_asked_for_is_no_environment() -> None:
    assert read_environment(None) == read_environment({}) == read_environment({"env_vars": {}, "pip": []}) == ""


def test_equal_environments_are_equal_texts(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# what is needed\nnumpy>=1  # for arrays\n\n--no-index\n")
    one = read_environment({"pip": str(requirements), "env_vars": {"B": "2", "A": "1"}})
    two = read_environment({"env_vars": {"A": "1", "B": "2"}, "pip": {"packages": ["numpy>=1", "--no-index"]}})
    assert one == two
    assert decode(one).starts_anew


@pytest.mark.parametrize(
    ("given", "anew"),
    [
        ({"env_vars": {"A": "1"}}, False),
        ({"env_vars": {"LD_LIBRARY_PATH": "/x"}}, True),
        ({"working_dir": "."}, False),
        ({"uv": ["x"]}, True),
        ({"py_executable": "python3"}, True),
    ],
)
def test_which_environments_need_an_interpreter_of_their_own(given: dict[str, Any], anew: bool) -> None:
    assert decode(read_environment(given)).starts_anew == anew


def test_a_child_overrides_and_only_variables_are_merged() -> None:
    parent = {
        "env_vars": {"A": "1", "B": "1"},
        "py_modules": ["x", "y"],
        "working_dir": "w",
        "pip": {"packages": ["p"]},
    }
    child = {"env_vars": {"B": "2"}, "py_modules": ["z"], "uv": {"packages": ["u"]}}
    merged = {"env_vars": {"A": "1", "B": "2"}, "py_modules": ["z"], "working_dir": "w", "uv": {"packages": ["u"]}}
    assert merge(parent, child) == merged
    assert merge(parent, {}) == parent and merge({}, child) == child
    assert parent["env_vars"] == {"A": "1", "B": "1"}


def test_a_crew_is_a_job_in_an_environment() -> None:
    text = encode({"env_vars": {"A": "1"}})
    assert crew("job", "") == "job" == job_of("job") == job_of(crew("job", text))
    assert len({crew("job", text), crew("job", ""), crew("other", text)}) == 3


def test_the_class_checks_and_is_a_dict() -> None:
    env = RuntimeEnv(env_vars={"A": "1"}, pip=["x"], config=RuntimeEnvConfig(setup_timeout_seconds=5))
    assert env["env_vars"] == {"A": "1"} and env.to_dict()["pip"] == ["x"]
    again = RuntimeEnv.deserialize(env.serialize())
    assert again.serialize() == env.serialize()
    assert again["config"] == {"setup_timeout_seconds": 5.0, "eager_install": True}
    with pytest.raises(ValueError, match="env_vars"):
        RuntimeEnv(env_var={})
    with pytest.raises(TypeError, match="from name to string"):
        env["env_vars"] = {"A": 1}
    assert env["env_vars"] == {"A": "1"}


def of(folder: Path, own: str = "") -> Environments:
    session = folder / "session"
    session.mkdir(exist_ok=True)
    told: list[tuple[str, str]] = []
    runtime: Any = SimpleNamespace(
        welcome=SimpleNamespace(session_dir=str(session)), node_no=3, told=told, ask=lambda *what: told.append(what)
    )
    environments = Environments(runtime)
    environments.own = own
    return environments


def test_folders_become_packages_that_stay_while_the_program_lives(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "a.py").write_text("A = 1")
    (code / "a.log").write_text("")
    asked = read_environment({"working_dir": str(code), "py_modules": [str(code)], "excludes": ["*.log"]})
    environments = of(tmp_path, '{"env_vars":{"A":"1"}}')
    found = json.loads(environments.of(asked))
    expected = pack(code, ["*.log"]).hash, pack(code, ["*.log"], inside="code").hash
    assert (found["working_dir"], *found["py_modules"]) == tuple(f"package://{each}@3" for each in expected)
    assert environments.runtime.told == [("keep_package", each) for each in expected]
    assert found["env_vars"] == {"A": "1"} and "excludes" not in found
    assert environments.of(asked) == environments.of(asked)

    cache = Cache.of_session(str(tmp_path / "session"))
    cache.bytes_max = 0
    cache.entry("other", lambda path: path.mkdir())
    assert cache.zip_of(expected[0]).exists()
    environments.close()
    cache.entry("another", lambda path: path.mkdir())
    assert not cache.zip_of(expected[0]).exists()


def test_a_program_with_ever_new_environments_keeps_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments_file, "PACKAGES_MAX", 3)
    monkeypatch.setattr(environments_file, "TEXTS_MAX", 5)
    environments = of(tmp_path)

    def use(name: str) -> str:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "a.py").write_text(name)
        uri: str = json.loads(environments.of(read_environment({"working_dir": str(folder)})))["working_dir"]
        return uri.removeprefix("package://").partition("@")[0]

    before = len(os.listdir("/proc/self/fd"))
    environments.own = environments.of(read_environment({"working_dir": str(tmp_path / "session")}))
    own = json.loads(environments.own)["working_dir"].removeprefix("package://").partition("@")[0]
    hot = use("hot")
    for number in range(20):
        use(f"other{number}")
        assert use("hot") == hot
    for number in range(20):
        environments.of(read_environment({"env_vars": {"A": str(number)}}))
    assert use("hot") == hot
    half = {"working_dir": str(tmp_path / "session"), "py_modules": [str(tmp_path / "other1"), str(tmp_path / "gone")]}
    for _ in range(5):
        with pytest.raises(ValueError, match="no folder or file"):
            environments.of(encode(half))
    assert len(os.listdir("/proc/self/fd")) - before <= 4
    cache = Cache.of_session(str(tmp_path / "session"))
    cache.bytes_max = 0
    cache.entry("other", lambda path: path.mkdir())
    assert cache.zip_of(own).exists() and cache.zip_of(hot).exists(), "what is in use stays"
    first = pack(tmp_path / "other0").hash
    assert not cache.zip_of(first).exists()
    assert use("other0") == first and cache.zip_of(first).exists()
    environments.close()
    assert len(os.listdir("/proc/self/fd")) - before <= 1
