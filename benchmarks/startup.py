"""How long until something answers: the import, the first task, many actors."""

from __future__ import annotations

import time
from typing import Any

from .framework import NAME, ray
from .lines import SKATE, Bench, at_most, line
from .probe import fresh


def start_actors(count: int) -> float:
    """Seconds to create so many actors and hear from each; they are gone again when this returns."""

    @ray.remote(num_cpus=0)
    class Member:  # here, so that it travels by value: the imports of this program are not what is measured
        def __init__(self, number: int) -> None:
            self.number = number

        def answer(self) -> int:
            return self.number

    begin = time.perf_counter()
    members: list[Any] = [Member.remote(i) for i in range(count)]
    answers = ray.get([member.answer.remote() for member in members])
    seconds = time.perf_counter() - begin
    if answers != list(range(count)):
        raise AssertionError("the actors did not answer with their own numbers")
    return seconds


@line("import", "start", "s", goal=at_most(0.06))
def import_time(bench: Bench) -> list[float]:
    fresh("import_time")  # writes the bytecode, which an installed package has
    return [fresh("import_time") for _ in range(bench.size(7, 3))]


@line("init() to first answer", "start", "s", goal=at_most(0.2))
def init_time(bench: Bench) -> list[float]:
    return [fresh("init_time") for _ in range(bench.size(5, 2) if NAME == SKATE else bench.size(3, 1))]


@line("20 actors created and called", "start", "s", goal=at_most(0.1))
def twenty_actors(bench: Bench) -> list[float]:
    return bench.times(lambda: start_actors(20))


@line("1,000 actors up and answering", "start", "s", systems=(SKATE,), goal=at_most(5))
def thousand_actors(bench: Bench) -> list[float]:
    return [start_actors(1000)]


@line("5,000 actors alive at once", "start", "s", systems=(SKATE,), goal=at_most(60), big=True)
def five_thousand_actors(bench: Bench) -> list[float]:
    return [start_actors(5000)]
