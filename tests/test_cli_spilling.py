"""The options of `skate start` for spilling, as the words of existing cluster scripts have them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def skate(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SKATE_TEMP_DIR": str(folder), "SKATE_TOKEN_PATH": str(folder / "token")}
    command = [sys.executable, "-m", "skate.cli", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


PROGRAM = """
import numpy as np
import skate

skate.init(address="auto")
refs = [skate.put(np.full(10 << 20, number, np.uint8)) for number in range(20)]
assert all(int(skate.get(ref)[-1]) == number for number, ref in enumerate(refs))
import pathlib, sys
print(sum(path.stat().st_size for path in pathlib.Path(sys.argv[1]).glob("skate-spilled-*/*")))
"""


@pytest.mark.parametrize("how", ["--system-config", "--object-spilling-directory"])
def test_a_cluster_spills_where_it_is_told(tmp_path: Path, how: str) -> None:
    spill = tmp_path / "spill"
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    config = {"object_spilling_config": json.dumps({"type": "filesystem", "params": {"directory_path": str(spill)}})}
    words = [how, json.dumps(config) if how == "--system-config" else str(spill)]
    start = [
        "start",
        "--head",
        "--port",
        "0",
        "--node-ip-address",
        "127.0.0.1",
        "--object-store-memory",
        str(100 << 20),
    ]
    started = skate(tmp_path, *start, *words)
    try:
        assert started.returncode == 0, started.stderr
        ran = skate(tmp_path, "run", str(program), str(spill))
        assert ran.returncode == 0, ran.stderr
        assert int(ran.stdout) > 100 << 20
    finally:
        skate(tmp_path, "stop")
    assert not list(spill.glob("skate-spilled-*"))


def test_a_wrong_setting_is_a_wrong_command(tmp_path: Path) -> None:
    found = skate(tmp_path, "start", "--head", "--system-config", '{"spill": 1}')
    assert found.returncode == 2 and "object_spilling_config" in found.stderr
    found = skate(tmp_path, "start", "--head", "--system-config", "spill")
    assert found.returncode == 2 and "JSON" in found.stderr
