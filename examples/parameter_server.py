"""Train a classifier with a parameter server: an actor holds the weights, workers send gradients without waiting for each other.

Every worker actor makes its own share of the data and stays there with it. The driver applies each gradient as it comes and
sends that
worker on with the newest weights, so that a slow worker delays nobody (asynchronous logistic regression). Needs numpy.

    python examples/parameter_server.py
    python examples/parameter_server.py --workers 4 --steps 2000
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import skate

Array = np.ndarray[Any, np.dtype[np.float64]]


def make_data(rows: int, features: int, seed: int) -> tuple[Array, Array]:
    """Points and their labels 0 or 1: on which side of a fixed plane they lie, one label in twenty turned around."""
    plane = np.random.default_rng(0).normal(size=features)
    dice = np.random.default_rng(seed)
    points = dice.normal(size=(rows, features))
    labels = (points @ plane > 0) ^ (dice.random(rows) < 0.05)
    return points, labels.astype(np.float64)


def accuracy(weights: Array, points: Array, labels: Array) -> float:
    return float(np.mean((points @ weights > 0) == labels))


@skate.remote
class ParameterServer:
    """The weights, and how they learn from a gradient."""

    def __init__(self, features: int, rate: float) -> None:
        self.weights = np.zeros(features)
        self.rate = rate

    def apply(self, gradient: Array) -> Array:
        """Take one step down the gradient; returns the new weights."""
        self.weights = self.weights - self.rate * gradient
        return self.weights

    def read(self) -> Array:
        return self.weights


@skate.remote
class Worker:
    """Keeps its own share of the data and computes gradients on random batches of it."""

    def __init__(self, number: int, rows: int, features: int, batch: int) -> None:
        self.points, self.labels = make_data(rows, features, seed=number + 1)
        self.dice = np.random.default_rng(number)
        self.batch = batch

    def gradient(self, weights: Array) -> Array:
        chosen = self.dice.integers(0, len(self.points), self.batch)
        points, labels = self.points[chosen], self.labels[chosen]
        guess = 1 / (1 + np.exp(-(points @ weights)))
        return points.T @ (guess - labels) / self.batch


def train(server: Any, workers: list[Any], steps: int) -> None:
    """Apply `steps` gradients in the order in which they arrive."""
    start = server.read.remote()
    at_work = {worker.gradient.remote(start): worker for worker in workers}
    for _ in range(steps):
        (ready,), _ = skate.wait(list(at_work))
        worker = at_work.pop(ready)
        newest = server.apply.remote(ready)  # references all the way: no gradient passes through the driver
        at_work[worker.gradient.remote(newest)] = worker
    skate.wait(list(at_work), num_returns=len(at_work))


def main() -> None:
    parser = argparse.ArgumentParser(description="Asynchronous training with a parameter server.")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=500, help="gradients to apply (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=20_000, help="per worker (default: %(default)s)")
    parser.add_argument("--features", type=int, default=50)
    options = parser.parse_args()
    if min(options.workers, options.steps, options.rows, options.features) < 1:
        parser.error("every size must be at least 1")

    # Actors that wait for each other must all have a place, whatever the number of cores.
    skate.init()
    server = ParameterServer.options(num_cpus=0).remote(options.features, 0.5)
    workers = [
        Worker.options(num_cpus=0).remote(i, options.rows, options.features, batch=256) for i in range(options.workers)
    ]
    unseen = make_data(5_000, options.features, seed=0)
    before = accuracy(skate.get(server.read.remote()), *unseen)
    begin = time.perf_counter()
    train(server, workers, options.steps)
    seconds = time.perf_counter() - begin
    after = accuracy(skate.get(server.read.remote()), *unseen)
    print(
        f"accuracy on unseen data: {before:.1%} before, {after:.1%} after {options.steps} gradients (95 % is the best possible)"
    )
    print(f"{options.workers} workers, {options.steps / seconds:,.0f} gradients/s")
    skate.shutdown()
    if after < 0.85:
        raise SystemExit(f"the weights did not learn: accuracy {after:.1%}, expected 85 % or more (too few --steps?)")


if __name__ == "__main__":
    main()
