"""Spans of OpenTelemetry for tasks and calls of actors: one where they are submitted, and one where they run.

A function of the user's sets OpenTelemetry up. It is called once in the driver, and once in each worker that gets a task with a
span: its name travels with the task, beside the context in which the task was submitted. So nothing of this is there, and nothing
is sent, unless it was asked for.

A retry runs in the context in which the task was submitted once. What is made again because its bytes were lost has no span.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from typing import Any, Self

HOOK = "skate-hook"
"""What travels beside the context: who sets OpenTelemetry up."""


class Tracing:
    """What makes spans in this process."""

    def __init__(self, hook: str) -> None:
        """Set OpenTelemetry up.

        Args:
            hook: "module:function", called without arguments.

        Raises:
            ImportError: the package opentelemetry-api, or the module, is not there.
            AttributeError: the module has no such function.
        """
        try:
            from opentelemetry import propagate, trace
        except ImportError as error:
            raise ImportError("spans need OpenTelemetry: pip install 'skate[tracing]'") from error
        self.hook = hook
        module, _, name = hook.partition(":")
        getattr(import_module(module), name)()
        self._trace = trace
        self._propagate = propagate
        self._tracer = trace.get_tracer("skate")

    @classmethod
    def of(cls, carrier: dict[str, str]) -> Self:
        """As it was set up where a task comes from."""
        return cls(carrier[HOOK])

    def submitted(self, name: str) -> dict[str, str]:
        """A task is submitted: a span for that, and what the task takes along."""
        carrier = {HOOK: self.hook}
        with self._tracer.start_as_current_span(f"{name} remote", kind=self._trace.SpanKind.PRODUCER):
            self._propagate.inject(carrier)
        return carrier

    def running(
        self, run: Callable[..., Any], carrier: dict[str, str], name: str, attributes: dict[str, Any]
    ) -> Callable[..., Any]:
        """The function `run` in a span: until it returns, or what it returns has been awaited or iterated over."""
        span = functools.partial(
            self._tracer.start_as_current_span,
            f"{name} run",
            self._propagate.extract(carrier),
            self._trace.SpanKind.CONSUMER,
            attributes,
        )

        async def awaited(result: Any, whole: Any) -> Any:
            with whole:
                return await result

        def items(result: Iterator[Any], whole: Any) -> Iterator[Any]:
            with whole:
                yield from result

        async def async_items(result: AsyncIterator[Any], whole: Any) -> AsyncIterator[Any]:
            with whole:
                async for item in result:
                    yield item

        @functools.wraps(run)
        def spanned(*args: Any, **kwargs: Any) -> Any:
            if inspect.iscoroutinefunction(run):
                return awaited(run(*args, **kwargs), span())
            if inspect.isasyncgenfunction(run):
                return async_items(run(*args, **kwargs), span())
            if inspect.isgeneratorfunction(run):
                return items(run(*args, **kwargs), span())
            with span():
                return run(*args, **kwargs)

        return spanned
