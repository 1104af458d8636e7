"""What type checkers must reject: each line marked with `# error` is one, and no other line is."""

from __future__ import annotations

import skate


@skate.remote
def double(x: int) -> int:
    return 2 * x


@skate.remote(num_cpus=2)
def halve(x: int) -> float:
    return x / 2


class Counter:
    def __init__(self, start: int) -> None:
        self.n = start


CounterActor = skate.remote(Counter)


double.remote("x")  # error
double.remote(1, 2)  # error
double.remote(y=1)  # error
halve.remote("x")  # error
CounterActor.remote("x")  # error
CounterActor.remote(1, 2)  # error
text: str = skate.get(double.remote(1))  # error
skate.get(1)  # error
skate.wait(double.remote(1))  # error
