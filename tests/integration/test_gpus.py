"""GPUs are devices with numbers: who has which, whole or in parts. No test needs a real one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import skate
from skate.testing import eventually


@skate.remote
def visible_gpus(folder: str, number: int, together: int) -> tuple[str, list[str]]:
    """What a task sees of the GPUs, while `together` tasks hold theirs."""
    (Path(folder) / str(number)).touch()
    eventually(lambda: len(os.listdir(folder)) >= together)
    ids = skate.get_runtime_context().get_accelerator_ids()["GPU"]
    return os.environ["CUDA_VISIBLE_DEVICES"], ids


def test_gpus_are_given_by_number(start: Callable[..., str], tmp_path: Path) -> None:
    start(num_gpus=2)
    (tmp_path / "whole").mkdir()
    whole = visible_gpus.options(num_gpus=1)
    seen = skate.get([whole.remote(str(tmp_path / "whole"), number, 2) for number in range(2)])
    assert sorted(text for text, _ in seen) == ["0", "1"]
    assert all(ids == [text] for text, ids in seen)
    (tmp_path / "part").mkdir()
    part = visible_gpus.options(num_gpus=0.5, num_cpus=0.5)
    seen = skate.get([part.remote(str(tmp_path / "part"), number, 3) for number in range(3)])
    assert {text for text, _ in seen} <= {"0", "1"} and len({text for text, _ in seen}) == 2
    (tmp_path / "both").mkdir()
    text, ids = skate.get(visible_gpus.options(num_gpus=2).remote(str(tmp_path / "both"), 0, 1))
    assert sorted(text.split(",")) == sorted(ids) == ["0", "1"]
