"""Files of an S3 server."""

from __future__ import annotations

from typing import Any

import pytest

import skate.data as data
from skate.data.expressions import col


@pytest.fixture
def filesystem(s3: str) -> Any:
    import s3fs

    return s3fs.S3FileSystem(key="tests", secret="tests", endpoint_url=s3)


def test_write_and_read(filesystem: Any, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in [("ACCESS_KEY_ID", "tests"), ("SECRET_ACCESS_KEY", "tests"), ("ENDPOINT_URL", s3)]:
        monkeypatch.setenv(f"AWS_{name}", value)
    url = "s3://tests/numbers"
    data.range(100).write_parquet(url, max_rows_per_file=40)
    assert len(filesystem.find("tests/numbers")) == 3
    found = data.read_parquet(url, include_paths=True, filter=col("id") >= 95)
    assert [row["id"] for row in found.take_all()] == [95, 96, 97, 98, 99]
    assert found.take(1)[0]["path"].startswith("s3://tests/numbers/")
    assert data.read_parquet(f"{url}/*.parquet").count() == 100
    data.range(7).write_parquet(url, mode="overwrite")
    assert data.read_parquet(url).take_all() == data.range(7).take_all()
    with pytest.raises(FileNotFoundError, match="s3://tests/nowhere"):
        data.read_parquet("s3://tests/nowhere")


def test_with_a_filesystem(filesystem: Any, s3: str) -> None:
    import pyarrow.fs

    arrow = pyarrow.fs.S3FileSystem(access_key="tests", secret_key="tests", endpoint_override=s3, region="us-east-1")
    for number, each in enumerate([filesystem, arrow]):
        folder = f"tests/csv{number}"
        data.range(9).write_csv(folder, filesystem=each)
        assert data.read_csv(folder, filesystem=each).take_all() == data.range(9).take_all()


def test_a_write_that_fails_leaves_no_object(filesystem: Any) -> None:
    def stop() -> dict[str, Any]:
        if len(filesystem.find("tests/failing")) > 1:
            raise ValueError("no more")
        return {}

    data.range(3).write_parquet("tests/failing", filesystem=filesystem)
    before = filesystem.find("tests/failing")
    with pytest.raises(ValueError, match="no more"):
        data.range(9).write_parquet(
            "tests/failing", filesystem=filesystem, max_rows_per_file=2, arrow_parquet_args_fn=stop
        )
    filesystem.invalidate_cache()
    assert filesystem.find("tests/failing") == before
