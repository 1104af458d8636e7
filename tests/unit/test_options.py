"""The table of options: names, types, ranges, defaults."""

from __future__ import annotations

import pytest

from skate.api.options import build_actor_options, build_method_options, build_task_options
from skate.client.specs import DYNAMIC, STREAMING
from skate.exceptions import UnsupportedError
from skate.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)


def task(**options):
    return build_task_options(options, "f", False)


def actor(is_async=False, **options):
    return build_actor_options(options, "C", is_async)


def test_defaults_of_tasks():
    options = task()
    assert options.name == "f"
    assert options.resources == {"CPU": 1.0}
    assert (options.num_returns, options.max_retries, options.retry_exceptions, options.max_calls) == (1, 3, (), 0)


def test_defaults_of_actors():
    options = actor()
    assert options.resources == {}
    assert options.placement == {"CPU": 1.0}
    assert (options.max_restarts, options.max_concurrency, options.max_pending_calls) == (0, 1, -1)
    assert not options.detached
    assert actor(is_async=True).max_concurrency == 1000


def test_an_actor_with_num_cpus_holds_them():
    options = actor(num_cpus=2, num_gpus=1)
    assert options.resources == options.placement == {"CPU": 2.0, "GPU": 1.0}
    assert actor(num_cpus=0).placement == {}


def test_resources_are_merged_and_rounded():
    options = task(num_cpus=0.5, num_gpus=2, memory=100, resources={"x": 0.33333}, accelerator_type="H100")
    assert options.resources == {"CPU": 0.5, "GPU": 2, "memory": 100, "x": 0.3333, "accelerator_type:H100": 0.001}
    assert task(num_cpus=0).resources == {}
    assert options.max_calls == 1  # a GPU's memory is only freed by the end of its process


def test_num_returns():
    assert build_task_options({}, "g", True).num_returns == STREAMING
    assert build_task_options({"num_returns": "dynamic"}, "g", True).num_returns == DYNAMIC
    assert build_task_options({"num_returns": 3}, "g", True).num_returns == 3
    assert task(num_returns=0).num_returns == 0
    assert task(num_returns="streaming").num_returns == STREAMING  # it may return a generator that it has not made


def test_retry_exceptions():
    assert task(retry_exceptions=True).retry_exceptions == (Exception,)
    assert task(retry_exceptions=[KeyError]).retry_exceptions == (KeyError,)


def test_max_retries_from_the_environment(monkeypatch):
    monkeypatch.setenv("RAY_TASK_MAX_RETRIES", "7")
    assert task().max_retries == 7
    assert task(max_retries=0).max_retries == 0
    monkeypatch.setenv("RAY_TASK_MAX_RETRIES", "many")
    with pytest.raises(ValueError, match="RAY_TASK_MAX_RETRIES"):
        task()


def test_node_affinity():
    options = task(scheduling_strategy=NodeAffinitySchedulingStrategy("ab", soft=True))
    assert (options.node_id, options.node_soft) == ("ab", True)
    assert task(scheduling_strategy="SPREAD").node_id == "SPREAD"
    assert task(scheduling_strategy="DEFAULT").node_id == ""


@pytest.mark.parametrize(
    "options, kind, text",
    [
        ({"num_cpu": 1}, ValueError, "Did you mean 'num_cpus'"),
        ({"max_restarts": 1}, ValueError, "option of actors"),
        ({"num_cpus": -1}, ValueError, "zero or more"),
        ({"num_cpus": "1"}, TypeError, "a number"),
        ({"num_cpus": True}, TypeError, "a number"),
        ({"num_cpus": float("nan")}, ValueError, "finite"),
        ({"num_cpus": 1e-5}, ValueError, "smallest"),
        ({"num_gpus": 1.5}, ValueError, "whole number"),
        ({"resources": {"CPU": 1}}, ValueError, "num_cpus"),
        ({"resources": {"GPU": 1}}, ValueError, "num_gpus"),
        ({"resources": ["x"]}, TypeError, "dict"),
        ({"resources": {"x": None}}, TypeError, "a number"),
        ({"num_returns": -1}, ValueError, "0 or more"),
        ({"num_returns": "two"}, ValueError, "streaming"),
        ({"num_returns": 1.5}, TypeError, "an int"),
        ({"max_retries": -2}, ValueError, "-1 means"),
        ({"retry_exceptions": [1]}, ValueError, "exception classes"),
        ({"name": 3}, TypeError, "a string"),
        ({"name": ""}, ValueError, "not empty"),
        ({"scheduling_strategy": "FAST"}, ValueError, "DEFAULT"),
        ({"_generator_backpressure_num_objects": 0}, ValueError, "1 or more"),
        ({"runtime_env": {"conda": "x"}}, UnsupportedError, "conda"),
        ({"scheduling_strategy": PlacementGroupSchedulingStrategy(None)}, TypeError, "a placement group"),
        ({"scheduling_strategy": NodeLabelSchedulingStrategy({"a": "b"})}, TypeError, "Exists"),
        ({"label_selector": {"a": "!"}}, ValueError, "condition"),
        ({"placement_group": object()}, NotImplementedError, "PlacementGroupSchedulingStrategy"),
    ],
)
def test_wrong_options_of_tasks(options, kind, text):
    with pytest.raises(kind, match=text):
        task(**options)


@pytest.mark.parametrize(
    "options, kind, text",
    [
        ({"num_returns": 1}, ValueError, "option of tasks and actor methods"),
        ({"lifetime": "forever"}, ValueError, "detached"),
        ({"get_if_exists": True}, ValueError, "needs the option name"),
        ({"max_concurrency": 0}, ValueError, "1 or more"),
        ({"concurrency_groups": {"io": 0}}, ValueError, "1 or more"),
        ({"concurrency_groups": ["io"]}, TypeError, "dict"),
        ({"enable_tensor_transport": True}, UnsupportedError, "devices"),
    ],
)
def test_wrong_options_of_actors(options, kind, text):
    with pytest.raises(kind, match=text):
        actor(**options)


def test_harmless_values_of_what_is_not_supported():
    task(runtime_env={}, label_selector=None, placement_group="default", fallback_strategy=[])
    actor(runtime_env=None, enable_tensor_transport=False, allow_out_of_order_execution=True)


def test_methods():
    options = build_method_options({"num_returns": 2, "concurrency_group": "io"}, "m", False, 5)
    assert (options.num_returns, options.max_task_retries, options.concurrency_group) == (2, 5, "io")
    with pytest.raises(ValueError, match="not an option of actor methods"):
        build_method_options({"num_cpus": 1}, "m", False, 0)
