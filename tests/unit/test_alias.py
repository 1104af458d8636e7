"""`install_as_ray`: one set of module objects under two names. Run in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def run(code: str) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr


def test_modules_are_the_very_same():
    run(
        """
        import skate
        skate.install_as_ray()
        skate.install_as_ray()
        import ray
        assert ray is skate
        import ray.util.queue, skate.util.queue
        assert ray.util.queue is skate.util.queue
        from ray.util import ActorPool, inspect_serializability
        assert ActorPool is skate.util.ActorPool
        import ray.exceptions
        assert ray.exceptions.RayTaskError is skate.exceptions.TaskError
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
        import skate.util.scheduling_strategies as own
        assert own.NodeAffinitySchedulingStrategy is NodeAffinitySchedulingStrategy
        from ray.actor import ActorHandle
        from ray.remote_function import RemoteFunction
        from ray.runtime_context import get_runtime_context
        assert ray.get_runtime_context is get_runtime_context
        assert skate.__name__ == "skate" and skate.util.queue.__spec__.name == "skate.util.queue"
        assert ActorHandle.__module__ == "skate.api.actors"
        """
    )


def test_what_skate_does_not_have():
    run(
        """
        import skate
        skate.install_as_ray()
        try:
            import ray.no_such_thing
        except ModuleNotFoundError as error:
            assert "skate.no_such_thing" in str(error), error
        else:
            raise AssertionError
        import skate.exceptions
        assert "no_such" not in dir(skate)
        """
    )


def test_a_ray_that_is_loaded_already(tmp_path):
    run(
        """
        import sys, types
        sys.modules["ray"] = types.ModuleType("ray")
        import skate
        try:
            skate.install_as_ray()
        except ImportError as error:
            assert "already" in str(error)
        else:
            raise AssertionError
        """
    )


def test_a_ray_program():
    run(
        """
        import skate
        skate.install_as_ray()
        import ray
        ray.init(mode="inline")

        @ray.remote
        def f(x):
            return x + 1

        assert ray.get(f.remote(1)) == 2
        assert ray.is_initialized()
        ray.shutdown()
        """
    )


def test_importing_skate_is_cheap():
    run(
        """
        import sys
        import skate
        heavy = {"asyncio", "concurrent.futures", "logging", "cloudpickle", "numpy", "socket"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
        for name in skate.__all__:
            getattr(skate, name)
        """
    )
