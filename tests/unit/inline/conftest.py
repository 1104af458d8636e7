"""A session of the inline runtime for each test."""

from __future__ import annotations

import gc

import pytest

import skate


@pytest.fixture(autouse=True)
def session():
    skate.init(mode="inline", num_cpus=4, configure_logging=False)
    yield
    skate.shutdown()
    gc.collect()
