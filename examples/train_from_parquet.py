"""Train a scikit-learn classifier from Parquet files with two actors that share one stream of batches.

The files are written first, by tasks. Then a dataset reads them, makes features with an expression and a function, and is split
into streams: `streaming_split(equal=True)` gives every trainer the same number of rows in each epoch, and reads the files once
for all of them. After an epoch, the weights of the trainers are averaged. Needs numpy, pyarrow and scikit-learn.

    python examples/train_from_parquet.py
    python examples/train_from_parquet.py --trainers 3 --epochs 4 --rows 500000
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.linear_model import SGDClassifier

import skate
import skate.data
from skate.data import DataIterator, Dataset, col

Array = np.ndarray[Any, np.dtype[Any]]
FILES = 8
LABELS = np.array([0, 1])


@skate.remote
def write(path: str, rows: int, seed: int) -> None:
    """A file of rectangles, and whether each is large; one answer in fifty is wrong."""
    dice = np.random.default_rng(seed)
    width, height = dice.uniform(0, 2, (2, rows))
    large = (width * height > 1) ^ (dice.random(rows) < 0.02)
    pq.write_table(pa.table({"width": width, "height": height, "large": large.astype(np.int64)}), path)


def features(batch: dict[str, Array]) -> dict[str, Array]:
    """What the model sees: one array for each row."""
    columns = [batch["width"], batch["height"], batch["area"]]
    return {"x": np.stack(columns, axis=1) - 1, "y": batch["large"]}


def prepared(folder: str) -> Dataset:
    """The rows of the files as features and labels. Nothing is read yet."""
    return skate.data.read_parquet(folder).with_column("area", col("width") * col("height")).map_batches(features)


@skate.remote
class Trainer:
    """Has a model, and a stream of its own to train it with."""

    def __init__(self, share: DataIterator, seed: int) -> None:
        self.share = share
        self.model = SGDClassifier(loss="log_loss", random_state=seed, learning_rate="constant", eta0=0.01)

    def epoch(self, number: int) -> tuple[Array, Array, int]:
        """Go over the share once; returns the weights, and the number of rows."""
        rows = 0
        for batch in self.share.iter_batches(
            batch_size=1024, local_shuffle_buffer_size=4096, local_shuffle_seed=number
        ):
            self.model.partial_fit(batch["x"], batch["y"], classes=LABELS)
            rows += len(batch["y"])
        return self.model.coef_, self.model.intercept_, rows

    def load(self, weights: Array, intercept: Array) -> None:
        """Go on from these weights."""
        self.model.coef_, self.model.intercept_ = weights.copy(), intercept.copy()


def train(dataset: Dataset, trainers: int, epochs: int) -> tuple[Array, Array]:
    """The averaged weights after some epochs."""
    shares = dataset.streaming_split(trainers, equal=True)
    actors = [Trainer.options(num_cpus=0).remote(share, seed) for seed, share in enumerate(shares)]
    weights, intercept = np.zeros((1, 3)), np.zeros(1)
    for epoch in range(epochs):
        found = skate.get([actor.epoch.remote(epoch) for actor in actors])
        weights = np.mean([each[0] for each in found], axis=0)
        intercept = np.mean([each[1] for each in found], axis=0)
        skate.get([actor.load.remote(weights, intercept) for actor in actors])
        print(f"epoch {epoch + 1}: {' + '.join(str(each[2]) for each in found)} rows", flush=True)
    return weights, intercept


def accuracy(dataset: Dataset, weights: Array, intercept: Array) -> float:
    """How many rows of a dataset the weights are right about, computed by tasks."""

    def right(batch: dict[str, Array]) -> dict[str, Array]:
        return {"right": (batch["x"] @ weights[0] + intercept[0] > 0) == (batch["y"] == 1)}

    return float(dataset.map_batches(right).with_column("right", col("right").cast("int64")).mean("right"))


def main() -> None:
    parser = argparse.ArgumentParser(description="Training from Parquet with streaming_split.")
    parser.add_argument("--trainers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=100_000, help="in all files (default: %(default)s)")
    options = parser.parse_args()
    if min(options.trainers, options.epochs, options.rows // FILES) < 1:
        parser.error("every size must be at least 1, and there must be a row for each file")

    skate.init()
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, f"{number}.parquet") for number in range(FILES)]
        skate.get([write.remote(path, options.rows // FILES, number) for number, path in enumerate(paths)])
        dataset = prepared(folder)
        begin = time.perf_counter()
        weights, intercept = train(dataset, options.trainers, options.epochs)
        seconds = time.perf_counter() - begin
        right = accuracy(dataset, weights, intercept)
    print(f"{right:.1%} of the rows are classified correctly (98 % is the best possible)")
    print(f"{options.epochs * options.rows / seconds:,.0f} rows/s")
    skate.shutdown()
    if right < 0.9:
        raise SystemExit(f"the model did not learn: {right:.1%}, expected 90 % or more (too few --epochs or --rows?)")


if __name__ == "__main__":
    main()
