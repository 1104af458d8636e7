"""Text as its words, and as numbers of words."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from .. import block as blocks
from ..expressions import Column, Expr
from ..preprocessor import Apply, Columns, Preprocessor
from .encoders import find_categories

if TYPE_CHECKING:
    from ..dataset import Dataset

Split = Callable[[str], Sequence[str]]


def at_spaces(text: str) -> list[str]:
    """The words between spaces."""
    return text.split(" ")


def _place(word: str, count: int) -> int:
    """A number for a word that is the same in all processes."""
    return zlib.crc32(word.encode()) % count


class Tokenizer(Columns):
    """The words of a text, as a list.

    Args:
        tokenization_fn: gives the words; None: what is between spaces.

    Example:
        >>> import skate.data
        >>> from skate.data.preprocessors import Tokenizer
        >>> Tokenizer(["x"]).transform(skate.data.from_items([{"x": "so it is"}])).take_all()
        [{'x': ['so', 'it', 'is']}]
    """

    _is_fittable = False

    def __init__(
        self,
        columns: Sequence[str],
        tokenization_fn: Split | None = None,
        output_columns: Sequence[str] | None = None,
    ) -> None:
        super().__init__(columns, output_columns)
        self.tokenization_fn = tokenization_fn or at_spaces

    def _column(self, name: str) -> Expr:
        return Apply(partial(_words, self.tokenization_fn), Column(name))


def _words(split: Split, texts: pa.Array) -> pa.Array:
    found = [None if text is None else list(split(text)) for text in texts.to_pylist()]
    return pa.array(found, pa.list_(pa.string()))


class CountVectorizer(Columns):
    """How often each word of the vocabulary is in a text, as an array. The vocabulary are the words that there were, the most
    frequent first.

    Args:
        tokenization_fn: gives the words; None: what is between spaces.
        max_features: how many words the vocabulary has; None: all.
    """

    def __init__(
        self,
        columns: Sequence[str],
        tokenization_fn: Split | None = None,
        max_features: int | None = None,
        *,
        output_columns: Sequence[str] | None = None,
    ) -> None:
        super().__init__(columns, output_columns)
        self.tokenization_fn = tokenization_fn or at_spaces
        self.max_features = max_features

    def _fit(self, dataset: Dataset) -> None:
        words = Tokenizer(self.columns, self.tokenization_fn).transform(dataset)
        most = dict.fromkeys(self.columns, self.max_features or 1 << 62)
        found = find_categories(words, self.columns, most, type(self).__name__)
        self.stats_ = {f"token_counts({name})": found[f"unique_values({name})"] for name in self.columns}

    def _column(self, name: str) -> Expr:
        vocabulary = self.stats_[f"token_counts({name})"]
        return Apply(partial(_counts, self.tokenization_fn, vocabulary.get, len(vocabulary)), Column(name))


class HashingVectorizer(Columns):
    """How often words are in a text whose hash is 0, 1, ..., as an array. Nothing has to be learnt for that.

    Args:
        num_features: how many hashes there are.
        tokenization_fn: gives the words; None: what is between spaces.
    """

    _is_fittable = False

    def __init__(
        self,
        columns: Sequence[str],
        num_features: int,
        tokenization_fn: Split | None = None,
        *,
        output_columns: Sequence[str] | None = None,
    ) -> None:
        super().__init__(columns, output_columns)
        self.num_features = num_features
        self.tokenization_fn = tokenization_fn or at_spaces

    def _column(self, name: str) -> Expr:
        place = partial(_place, count=self.num_features)
        return Apply(partial(_counts, self.tokenization_fn, place, self.num_features), Column(name))


def _counts(split: Split, place: Callable[[str], int | None], count: int, texts: pa.Array) -> Any:
    found = np.zeros((len(texts), max(1, count)), np.int64)
    for row, text in enumerate(texts.to_pylist()):
        for word, times in Counter(split(text) if text is not None else ()).items():
            at = place(word)
            if at is not None:
                found[row, at] += times
    return found


class FeatureHasher(Preprocessor):
    """Columns that say how often a word comes, whose name is the word, as one array of the sums over words with the same hash.

    Args:
        columns: the columns, which are left out then.
        num_features: how many hashes there are.
        output_column: of the arrays.
    """

    _is_fittable = False

    def __init__(self, columns: Sequence[str], num_features: int, output_column: str) -> None:
        self.columns = list(columns)
        self.num_features = num_features
        self.output_column = output_column
        self.output_columns = [output_column]

    def _made(self, names: Sequence[str]) -> tuple[Mapping[str, Expr], Sequence[str]]:
        places = [_place(name, self.num_features) for name in self.columns]
        made = Apply(partial(_summed, places, self.num_features), *map(Column, self.columns))
        return {self.output_column: made}, [name for name in self.columns if name != self.output_column]


def _summed(places: Sequence[int], count: int, *columns: pa.Array) -> Any:
    arrays = [blocks.to_numpy(pa.chunked_array([values])) for values in columns]
    found = np.zeros((len(arrays[0]), count), np.result_type(*arrays))
    for at, array in zip(places, arrays, strict=True):
        found[:, at] += array
    return found
