"""Functions and actors that the tests of the inline runtime share."""

from __future__ import annotations

import asyncio
import threading

import skate


@skate.remote
def add(a, b=1):
    """Add."""
    return a + b


@skate.remote
def fail(error):
    raise error


@skate.remote
def upto(n, fail_at=None):
    for i in range(n):
        if i == fail_at:
            raise ValueError(f"at {i}")
        yield i


@skate.remote
class Counter:
    LIMIT = 10

    def __init__(self, n=0):
        self.n = n

    def add(self, by=1):
        self.n += by
        return self.n

    def fail(self):
        raise KeyError("k")

    def leave(self):
        skate.exit_actor()

    def me(self):
        return skate.get_runtime_context().current_actor

    def ids(self):
        context = skate.get_runtime_context()
        return context.get_actor_id(), context.get_actor_name(), context.was_current_actor_reconstructed

    @staticmethod
    def twice(x):
        return 2 * x

    @classmethod
    def limit(cls):
        return cls.LIMIT

    @property
    def half(self):
        return self.n / 2

    @skate.method(num_returns=2)
    def pair(self, x):
        return x, x + 1

    def items(self, n):
        yield from range(n)


@skate.remote
class Signal:
    def __init__(self):
        self.event = asyncio.Event()

    async def wait(self):
        await self.event.wait()
        return "seen"

    async def send(self):
        self.event.set()

    async def items(self, n):
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    def plain(self):
        return threading.current_thread().name
