"""Our own program for each line of `ray microbenchmark`, with the names and the sizes of Ray's lines.

A figure is what a user's program sees: submissions, calls or gets per second, from one or several callers.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from .framework import ray
from .lines import RAY, Bench, Measure, at_least, line

TWENTY_TIMES_RAY = 20.0
PARTNERS = max(1, (os.cpu_count() or 1) // 2)
"""How many actors or callers the 1:n and n:n lines have on each side."""


def micro(name: str, group: str, unit: str = "/s", bound: bool = False) -> Callable[[Measure], Measure]:
    goal = None if bound else at_least(TWENTY_TIMES_RAY, (RAY, name))
    return line(name, group, unit, micro=True, bound=bound, goal=goal)


@ray.remote
def answer() -> bytes:
    return b"ok"


@ray.remote
def put_small(count: int) -> None:
    for _ in range(count):
        ray.put(0)


@ray.remote
def put_arrays(count: int, words: int) -> None:
    for _ in range(count):
        ray.put(np.zeros(words, dtype=np.int64))


@ray.remote
def refs_in_a_list(count: int) -> list[Any]:
    return [ray.put(1) for _ in range(count)]


@ray.remote
def call_each(actors: list[Any], count: int) -> None:
    ray.get([actors[i % len(actors)].answer.remote() for i in range(count)])


@ray.remote(num_cpus=0)
class Server:
    def answer(self) -> bytes:
        return b"ok"

    def answer_to(self, _: object) -> bytes:
        return b"ok"

    def submit_tasks(self, count: int) -> None:
        ray.get([answer.remote() for _ in range(count)])


@ray.remote
class AsyncServer:
    async def answer(self) -> bytes:
        return b"ok"

    async def answer_to(self, _: object) -> bytes:
        return b"ok"


@ray.remote(num_cpus=0)
class Caller:
    def __init__(self, servers: list[Any]) -> None:
        self.servers = servers

    def call(self, count: int) -> None:
        ray.get([server.answer.remote() for server in self.servers for _ in range(count)])

    def call_with_ref(self, count: int) -> None:
        ref = ray.put(0)
        ray.get([server.answer_to.remote(ref) for server in self.servers for _ in range(count)])


@micro("single client get calls (Plasma Store)", "objects")
def get_small(bench: Bench) -> list[float]:
    ref = ray.put(0)
    return bench.rate(lambda: ray.get(ref))


@micro("single client put calls (Plasma Store)", "objects")
def put_calls(bench: Bench) -> list[float]:
    return bench.rate(lambda: ray.put(0))


@micro("multi client put calls (Plasma Store)", "objects")
def multi_put_calls(bench: Bench) -> list[float]:
    return bench.rate(lambda: ray.get([put_small.remote(100) for _ in range(10)]), 1000)


@micro("single client get object containing 10k refs", "objects")
def get_refs(bench: Bench) -> list[float]:
    ref = refs_in_a_list.remote(10_000)
    return bench.rate(lambda: ray.get(ref))


@micro("single client wait 1k refs", "objects")
def wait_refs(bench: Bench) -> list[float]:
    def drain() -> None:
        pending = [answer.remote() for _ in range(1000)]
        fetch = True  # asking once is enough: the fetch goes on after wait() has returned
        while pending:
            _, pending = ray.wait(pending, fetch_local=fetch)
            fetch = False

    return bench.rate(drain)


@micro("single client put gigabytes", "gigabytes", "GB/s", bound=True)
def put_gigabytes(bench: Bench) -> list[float]:
    array = np.zeros(100 * 1024 * 1024, dtype=np.int64)
    return bench.rate(lambda: ray.put(array), array.nbytes / 1e9)


@micro("multi client put gigabytes", "gigabytes", "GB/s", bound=True)
def multi_put_gigabytes(bench: Bench) -> list[float]:
    words, puts = 10 * 1024 * 1024, bench.size(10, 2)
    return bench.rate(lambda: ray.get([put_arrays.remote(puts, words) for _ in range(10)]), 10 * puts * words * 8 / 1e9)


@micro("single client tasks and get batch", "tasks")
def tasks_batch(bench: Bench) -> list[float]:
    return bench.rate(lambda: ray.get([answer.remote() for _ in range(1000)]))


@micro("single client tasks sync", "tasks")
def tasks_sync(bench: Bench) -> list[float]:
    return bench.rate(lambda: ray.get(answer.remote()))


@micro("single client tasks async", "tasks")
def tasks_async(bench: Bench) -> list[float]:
    return bench.rate(lambda: ray.get([answer.remote() for _ in range(1000)]), 1000)


@micro("multi client tasks async", "tasks")
def multi_tasks_async(bench: Bench) -> list[float]:
    count, callers = bench.size(10_000, 1000), [Server.remote() for _ in range(4)]
    return bench.rate(lambda: ray.get([c.submit_tasks.remote(count) for c in callers]), count * len(callers))


@micro("1:1 actor calls sync", "actors")
def actor_sync(bench: Bench) -> list[float]:
    server = Server.remote()
    return bench.rate(lambda: ray.get(server.answer.remote()))


@micro("1:1 actor calls async", "actors")
def actor_async(bench: Bench) -> list[float]:
    server = Server.remote()
    return bench.rate(lambda: ray.get([server.answer.remote() for _ in range(1000)]), 1000)


@micro("1:1 actor calls concurrent", "actors")
def actor_concurrent(bench: Bench) -> list[float]:
    server = Server.options(max_concurrency=16).remote()
    return bench.rate(lambda: ray.get([server.answer.remote() for _ in range(1000)]), 1000)


@micro("1:n actor calls async", "actors")
def actor_one_to_n(bench: Bench) -> list[float]:
    count, servers = bench.size(5000, 1000), [Server.remote() for _ in range(PARTNERS)]
    caller = Caller.remote(servers)
    return bench.rate(lambda: ray.get(caller.call.remote(count)), count * len(servers))


@micro("n:n actor calls async", "actors")
def actor_n_to_n(bench: Bench) -> list[float]:
    count, servers = bench.size(5000, 1000), [Server.remote() for _ in range(PARTNERS)]
    return bench.rate(lambda: ray.get([call_each.remote(servers, count) for _ in range(4)]), 4 * count)


@micro("n:n actor calls with arg async", "actors")
def actor_n_to_n_arg(bench: Bench) -> list[float]:
    servers = [Server.remote() for _ in range(PARTNERS)]
    callers = [Caller.remote([server]) for server in servers]
    return bench.rate(lambda: ray.get([c.call_with_ref.remote(1000) for c in callers]), 1000 * len(callers))


@micro("placement group create/removal", "placement groups")
def placement_groups(bench: Bench) -> list[float]:
    def once() -> None:
        util: Any = ray.util
        groups = [util.placement_group([{"CPU": 0.001}]) for _ in range(100)]
        for group in groups:
            group.wait(timeout_seconds=30)
        for group in groups:
            util.remove_placement_group(group)

    return bench.rate(once, 100)


@micro("1:1 async-actor calls sync", "async actors")
def async_sync(bench: Bench) -> list[float]:
    server = AsyncServer.remote()
    return bench.rate(lambda: ray.get(server.answer.remote()))


@micro("1:1 async-actor calls async", "async actors")
def async_async(bench: Bench) -> list[float]:
    server = AsyncServer.remote()
    return bench.rate(lambda: ray.get([server.answer.remote() for _ in range(1000)]), 1000)


@micro("1:1 async-actor calls with args async", "async actors")
def async_with_args(bench: Bench) -> list[float]:
    server = AsyncServer.remote()
    return bench.rate(lambda: ray.get([server.answer_to.remote(i) for i in range(1000)]), 1000)


@micro("1:n async-actor calls async", "async actors")
def async_one_to_n(bench: Bench) -> list[float]:
    count, servers = bench.size(5000, 1000), [AsyncServer.remote() for _ in range(PARTNERS)]
    caller = Caller.remote(servers)
    return bench.rate(lambda: ray.get(caller.call.remote(count)), count * len(servers))


@micro("n:n async-actor calls async", "async actors")
def async_n_to_n(bench: Bench) -> list[float]:
    count, servers = bench.size(5000, 1000), [AsyncServer.remote() for _ in range(PARTNERS)]
    return bench.rate(lambda: ray.get([call_each.remote(servers, count) for _ in range(4)]), 4 * count)
