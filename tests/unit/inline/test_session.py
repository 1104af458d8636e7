"""Starting and ending the inline runtime."""

from __future__ import annotations

import pytest

import skate
from skate.exceptions import UnsupportedError


def test_init_twice():
    with pytest.raises(RuntimeError, match="ignore_reinit_error"):
        skate.init(mode="inline")
    context = skate.init(mode="inline", ignore_reinit_error=True)
    assert context["node_id"] == skate.get_runtime_context().get_node_id()


def test_the_context_ends_the_session():
    skate.shutdown()
    assert not skate.is_initialized()
    with skate.init(mode="inline", namespace="n") as context:
        assert skate.is_initialized()
        assert dict(context) == context.address_info
        assert "skate version" in context._repr_html_()
        assert skate.get_runtime_context().namespace == "n"
    assert not skate.is_initialized()
    context.disconnect()
    skate.shutdown()


@pytest.mark.parametrize(
    "arguments, error, text",
    [
        ({"address": "127.0.0.1:1"}, ConnectionError, "127.0.0.1:1"),
        ({"address": "nowhere"}, ValueError, "HOST:PORT"),
        ({"address": "auto", "num_cpus": 2}, ValueError, "leave num_cpus"),
        ({"address": "auto"}, ConnectionError, "no running cluster"),
        ({"local_mode": True}, UnsupportedError, 'mode="inline"'),
        ({"mode": "threads"}, ValueError, "inline"),
        ({"include_dashboard": True, "mode": "inline"}, UnsupportedError, "include_dashboard"),
        ({"mode": "inline", "runtime_env": {"pip": ["x"]}}, UnsupportedError, "only env_vars"),
        ({"labels": {"a": "b c"}}, ValueError, "label a"),
        ({"num_cpu": 1}, TypeError, "num_cpus"),
        ({"num_cpus": 1.5}, ValueError, "whole"),
        ({"num_cpus": -1}, ValueError, "num_cpus"),
        ({"resources": {"CPU": 1}}, ValueError, "num_cpus"),
        ({"object_store_memory": 0}, ValueError, "above 0"),
        ({"namespace": ""}, TypeError, "namespace"),
        ({"_system_config": {"a": 1}}, ValueError, "min_spilling_size"),
    ],
)
def test_wrong_arguments_of_init(arguments, error, text):
    skate.shutdown()
    with pytest.raises(error, match=text):
        skate.init(**arguments)
    assert not skate.is_initialized()


def test_the_address_of_the_environment(monkeypatch):
    skate.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ConnectionError, match="RAY_ADDRESS"):
        skate.init()
    monkeypatch.setenv("RAY_ADDRESS", "local")
    skate.init(mode="inline")


def test_harmless_arguments_of_init():
    skate.shutdown()
    skate.init(mode="inline", include_dashboard=False, runtime_env={}, log_to_driver=False, _node_name="here")
    assert skate.nodes()[0]["NodeName"] == "here"
