"""Preprocessors: numbers that were worked out elsewhere, and the same from a dataset, from tasks and from one batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import skate.data as data
from skate.data.errors import ColumnNotFoundError
from skate.data.of_ray import NotInSkateError
from skate.data.preprocessor import Preprocessor, PreprocessorNotFittedException
from skate.data.preprocessors import (
    Categorizer,
    Chain,
    Concatenator,
    CountVectorizer,
    CustomKBinsDiscretizer,
    FeatureHasher,
    HashingVectorizer,
    LabelEncoder,
    MaxAbsScaler,
    MinMaxScaler,
    MultiHotEncoder,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    RobustScaler,
    SimpleImputer,
    StandardScaler,
    Tokenizer,
    UniformKBinsDiscretizer,
)
from skate.exceptions import UnsupportedError

NUMBERS = {"a": [-2, 0, 2, 4], "c": [1, 1, 1, 1], "n": [3.0, 4.0, 0.0, -1.0]}
WORDS = {"s": ["male", "female", "male", "x"], "g": [["b", "a"], ["a"], ["c", "a"], []]}
GAPS = {"x": [0, None, 3, 3], "s": ["p", "q", None, "q"], "f": [1.0, math.nan, None, 3.0]}
TEXTS = {"t": ["so it is", "it is it", None]}
SPREAD = math.sqrt(5)

CASES: dict[str, tuple[Callable[[], Preprocessor], dict[str, Any], dict[str, Any]]] = {
    "standard": (
        lambda: StandardScaler(["a", "c"]),
        NUMBERS,
        {"a": [-3 / SPREAD, -1 / SPREAD, 1 / SPREAD, 3 / SPREAD], "c": [0, 0, 0, 0], "n": NUMBERS["n"]},
    ),
    "minmax": (lambda: MinMaxScaler(["a", "c"]), NUMBERS, {"a": [0, 1 / 3, 2 / 3, 1], "c": [0, 0, 0, 0]}),
    "maxabs": (lambda: MaxAbsScaler(["a"], output_columns=["b"]), NUMBERS, {"a": NUMBERS["a"], "b": [-0.5, 0, 0.5, 1]}),
    "robust": (lambda: RobustScaler(["a"], (0.2, 0.8)), NUMBERS, {"a": [-1 / 3, 0, 1 / 3, 2 / 3]}),
    "l2": (lambda: Normalizer(["n", "c"]), {"n": [3.0, 0], "c": [4.0, 0]}, {"n": [0.6, 0], "c": [0.8, 0]}),
    "l1": (lambda: Normalizer(["n", "c"], "l1"), {"n": [3.0], "c": [-1.0]}, {"n": [0.75], "c": [-0.25]}),
    "max": (lambda: Normalizer(["n", "c"], "max"), {"n": [-4.0], "c": [1.0]}, {"n": [-1], "c": [0.25]}),
    "yeo-johnson": (lambda: PowerTransformer(["a"], 2), NUMBERS, {"a": [-math.log(3), 0, 4, 12]}),
    "yeo-johnson 0": (lambda: PowerTransformer(["a"], 0), NUMBERS, {"a": [-4, 0, math.log(3), math.log(5)]}),
    "box-cox": (lambda: PowerTransformer(["a"], 2, "box-cox"), {"a": [1, 3]}, {"a": [0, 4]}),
    "ordinal": (lambda: OrdinalEncoder(["s", "g"]), WORDS, {"s": [1, 0, 1, 2], "g": [[1, 0], [0], [2, 0], []]}),
    "onehot": (
        lambda: OneHotEncoder(["s"], max_categories={"s": 2}, output_columns=["o"]),
        WORDS,
        {"s": WORDS["s"], "o": [[0, 1], [1, 0], [0, 1], [0, 0]]},
    ),
    "multihot": (lambda: MultiHotEncoder(["g"]), WORDS, {"g": [[1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 0]]}),
    "multihot 2": (
        lambda: MultiHotEncoder(["g"], max_categories={"g": 1}),
        WORDS,
        {"g": [[1], [1], [1], [0]]},
    ),
    "mean": (
        lambda: SimpleImputer(["x", "f"]),
        GAPS,
        {"x": [0, 2, 3, 3], "f": [1, 2, 2, 3], "s": GAPS["s"]},
    ),
    "frequent": (
        lambda: SimpleImputer(["x", "s"], "most_frequent"),
        GAPS,
        {"x": [0, 3, 3, 3], "s": ["p", "q", "q", "q"]},
    ),
    "constant": (lambda: SimpleImputer(["s"], "constant", "?"), GAPS, {"s": ["p", "q", "?", "q"]}),
    "concat": (lambda: Concatenator(["n", "a", "nope"]), NUMBERS, {"concat_out": [[3, -2], [4, 0], [0, 2], [-1, 4]]}),
    "custom bins": (lambda: CustomKBinsDiscretizer(["a"], [-1, 0, 3]), NUMBERS, {"a": [None, 0, 1, None]}),
    "named bins": (
        lambda: CustomKBinsDiscretizer(["a"], [-3, 0, 4], dtypes={"a": pd.CategoricalDtype(["low", "high"])}),
        NUMBERS,
        {"a": ["low", "low", "high", "high"]},
    ),
    "uniform bins": (lambda: UniformKBinsDiscretizer(["a", "c"], {"a": 3, "c": 2}), NUMBERS, {"a": [0, 0, 1, 2], "c": [0] * 4}),
    "uniform left": (lambda: UniformKBinsDiscretizer(["a"], 3, right=False), NUMBERS, {"a": [0, 1, 2, 2]}),
    "tokens": (lambda: Tokenizer(["t"]), TEXTS, {"t": [["so", "it", "is"], ["it", "is", "it"], None]}),
    "counts": (lambda: CountVectorizer(["t"], max_features=2), TEXTS, {"t": [[1, 1], [2, 1], [0, 0]]}),
    "chain": (
        lambda: Chain(SimpleImputer(["x"]), MinMaxScaler(["x"]), Concatenator(["x"], "v", flatten=True, dtype=np.float32)),
        GAPS,
        {"v": [[0], [2 / 3], [1], [1]], "f": [1, None, None, 3]},
    ),
}  # fmt: skip


def plain(values: Any) -> Any:
    """Values that can be compared: numbers to six digits, NaN as None."""
    if isinstance(values, (list, np.ndarray)):
        return [plain(value) for value in values]
    if values is None or values is pd.NA or (isinstance(values, (float, np.floating)) and math.isnan(values)):
        return None
    return round(float(values), 6) if isinstance(values, (int, float, np.number)) else values


@pytest.mark.parametrize("name", CASES)
def test_the_same_for_datasets_and_batches(name: str) -> None:
    make, given, wanted = CASES[name]
    table = pa.table(given)
    preprocessor = make()
    found = preprocessor.fit_transform(data.from_arrow(table))
    rows = found.take_all()
    for column, values in wanted.items():
        assert plain([row[column] for row in rows]) == plain(list(values)), column
    again = Preprocessor.deserialize(preprocessor.serialize()).transform_batch(table)
    assert list(again.column_names) == found.columns() == list(rows[0])
    for one, other in zip(data.from_arrow(again).take_all(), rows, strict=True):
        assert {key: plain(value) for key, value in one.items()} == {key: plain(value) for key, value in other.items()}
    assert set(wanted) - set(given) <= set(preprocessor.get_output_columns())


@pytest.mark.usefixtures("cluster")
def test_in_tasks() -> None:
    table = pa.table({"s": ["a", "b", "c"] * 100, "x": range(300)})
    numbers = data.from_arrow([table.slice(at, 50) for at in range(0, 300, 50)]).map_batches(lambda batch: batch)
    chain = Chain(OrdinalEncoder(["s"]), StandardScaler(["x"]), Concatenator(["s", "x"], "v"))
    here = chain.fit(numbers).transform_batch(table)
    for found in (chain.transform(numbers), chain.transform(numbers, batch_size=70, num_cpus=1)):
        assert found.columns() == ["v"] and found.to_arrow().column("v").to_pylist() == here.column("v").to_pylist()


def test_formats_of_batches() -> None:
    scaler = MinMaxScaler(["a"]).fit(data.from_arrow(pa.table(NUMBERS)))
    assert scaler.transform_batch({"a": np.array([1, 4])})["a"].tolist() == [0.5, 1]
    assert scaler.transform_batch(pd.DataFrame({"a": [1, 4]}))["a"].tolist() == [0.5, 1]
    assert scaler.transform_batch(pl.DataFrame({"a": [1, 4]}))["a"].to_list() == [0.5, 1]
    assert scaler.stats_ == {"min(a)": -2, "max(a)": 4} and scaler.has_stats()


def test_labels_and_categories() -> None:
    words = data.from_arrow(pa.table(WORDS))
    encoder = LabelEncoder("s", output_column="y")
    encoded = encoder.fit_transform(words)
    assert [row["y"] for row in encoded.take_all()] == [1, 0, 1, 2]
    back = encoder.inverse_transform(encoded.select_columns(["y"])).take_all()
    assert [row["s"] for row in back] == WORDS["s"]
    assert encoder.transform_batch({"s": ["new", "x"]})["y"].tolist()[1] == 2
    frame = Categorizer(["s"]).fit_transform(words).to_pandas()
    assert list(frame["s"].cat.categories) == ["female", "male", "x"] and list(frame["s"]) == WORDS["s"]
    known = Categorizer(["s"], {"s": pd.CategoricalDtype(["x", "male"], ordered=True)}).fit_transform(words).to_pandas()
    assert known["s"].cat.ordered and known["s"].isna().tolist() == [False, True, False, False]


def test_hashes_of_words() -> None:
    found = HashingVectorizer(["t"], 8).transform(data.from_arrow(pa.table(TEXTS))).take_batch()["t"]
    assert found.shape == (3, 8) and found.sum(axis=1).tolist() == [3, 3, 0]
    table = data.from_arrow(pa.table({"so": [1, 0], "it": [1, 2], "is": [1, 1], "id": [7, 8]}))
    summed = FeatureHasher(["so", "it", "is"], 8, "h").transform(table)
    assert summed.columns() == ["id", "h"] and summed.take_batch()["h"].tolist() == found[:2].tolist()


def test_what_users_write() -> None:
    class Plus(Preprocessor):
        def _fit(self, dataset: Any) -> None:
            self.stats_ = {"max": dataset.max("id")}

        def _transform_pandas(self, frame: Any) -> Any:
            return frame.assign(id=frame.id + self.stats_["max"])

    class Twice(Preprocessor):
        _is_fittable = False

        def _transform_numpy(self, batch: Any) -> Any:
            return {"id": batch["id"] * 2}

    chain = Chain(Plus(), Twice())
    assert chain.fit_status() is Preprocessor.FitStatus.NOT_FITTED
    assert [row["id"] for row in chain.fit_transform(data.range(3)).take_all()] == [4, 6, 8]
    assert chain.fit_status() is Preprocessor.FitStatus.FITTED
    assert Twice().transform_batch(pd.DataFrame({"id": [1]}))["id"].tolist() == [2]
    with pytest.raises(NotImplementedError, match="_transform_pandas"):
        Preprocessor.preferred_batch_format()


def test_what_is_wrong() -> None:
    numbers = data.from_arrow(pa.table(NUMBERS))
    with pytest.raises(PreprocessorNotFittedException, match="fit"):
        StandardScaler(["a"]).transform(numbers)
    with pytest.raises(PreprocessorNotFittedException):
        Chain(Tokenizer(["t"]), MinMaxScaler(["a"])).transform_batch({"a": [1]})
    with pytest.raises(ColumnNotFoundError, match="nope"):
        MinMaxScaler(["nope"]).fit(numbers)
    with pytest.raises(ColumnNotFoundError, match="nope"):
        Concatenator(["a", "nope"], raise_if_missing=True).transform(numbers)
    with pytest.raises(ValueError, match="column 's' has nulls"):
        OrdinalEncoder(["s"]).fit(data.from_arrow(pa.table(GAPS)))
    with pytest.raises(ValueError, match="output_columns"):
        MinMaxScaler(["a"], output_columns=["x", "y"])
    with pytest.raises(ValueError, match="list of names"):
        MinMaxScaler("a")
    with pytest.raises(ValueError, match="fill_value"):
        SimpleImputer(["a"], "constant")
    with pytest.raises(UnsupportedError):
        OrdinalEncoder(["a"], encode_lists=False)
    with pytest.raises(NotInSkateError, match="map_batches"):
        data.preprocessors.TorchVisionPreprocessor  # noqa: B018


def test_nothing_is_computed_before_somebody_asks() -> None:
    def never(batch: Any) -> Any:
        raise AssertionError

    scaler = MinMaxScaler(["a"]).fit(data.from_arrow(pa.table(NUMBERS)))
    made = scaler.transform(data.range(3).map_batches(never))
    assert "Project" in repr(made)
