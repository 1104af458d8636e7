"""Preprocessors: what is learnt from one dataset, and done to others.

>>> import skate.data
>>> from skate.data.preprocessors import StandardScaler
>>> scaler = StandardScaler(["id"]).fit(skate.data.range(5))
>>> scaler.transform_batch({"id": [2, 4]})["id"].round(3).tolist()
[0.0, 1.414]
"""

from __future__ import annotations

from typing import Any

from ..of_ray import PREPROCESSORS, instead
from ..preprocessor import Preprocessor
from .chain import Chain
from .concatenator import Concatenator
from .discretizers import CustomKBinsDiscretizer, UniformKBinsDiscretizer
from .encoders import Categorizer, LabelEncoder, MultiHotEncoder, OneHotEncoder, OrdinalEncoder
from .imputer import SimpleImputer
from .scalers import MaxAbsScaler, MinMaxScaler, Normalizer, PowerTransformer, RobustScaler, StandardScaler
from .text import CountVectorizer, FeatureHasher, HashingVectorizer, Tokenizer

__all__ = [
    "Categorizer",
    "Chain",
    "Concatenator",
    "CountVectorizer",
    "CustomKBinsDiscretizer",
    "FeatureHasher",
    "HashingVectorizer",
    "LabelEncoder",
    "MaxAbsScaler",
    "MinMaxScaler",
    "MultiHotEncoder",
    "Normalizer",
    "OneHotEncoder",
    "OrdinalEncoder",
    "PowerTransformer",
    "Preprocessor",
    "RobustScaler",
    "SimpleImputer",
    "StandardScaler",
    "Tokenizer",
    "UniformKBinsDiscretizer",
]


def __getattr__(name: str) -> Any:
    """Raise an error for what is not there; for Ray's names, it says what to do instead."""
    raise instead(f"module {__name__!r}", name, PREPROCESSORS)
