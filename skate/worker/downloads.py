"""Zips and wheels from where a URI says: http and file with what Python brings, all others through fsspec, if that is there."""

from __future__ import annotations

import hashlib
import shutil
import urllib.request
from pathlib import Path

from ..client.package_files import PACKAGE_BYTES_MAX

_PART_BYTES = 1 << 20


def name_of(uri: str) -> str:
    """What a package is called that has no hash yet: the same URI is not brought twice."""
    return f"uri-{hashlib.sha256(uri.encode()).hexdigest()}"


def download(uri: str, path: Path, timeout_s: float) -> None:
    """Write what is at a URI to a file.

    Raises:
        OSError: it cannot be had.
        ValueError: it is too large, or nothing here knows such URIs.
    """
    print(f"fetching {uri}", flush=True)
    if uri.startswith("file://"):
        shutil.copyfile(urllib.request.url2pathname(uri.removeprefix("file://")), path)
        return
    if uri.startswith(("http://", "https://")):
        _over_http(uri, path, timeout_s)
        return
    try:
        import fsspec
    except ImportError:
        raise ValueError("that needs fsspec, which is not installed on this node") from None
    filesystem, name = fsspec.core.url_to_fs(uri)
    if filesystem.size(name) > PACKAGE_BYTES_MAX:
        raise ValueError(f"it is larger than {PACKAGE_BYTES_MAX} bytes")
    filesystem.get_file(name, str(path))


def _over_http(uri: str, path: Path, timeout_s: float) -> None:
    got = 0
    with urllib.request.urlopen(uri, timeout=min(60.0, timeout_s)) as answer, open(path, "wb") as file:
        while part := answer.read(_PART_BYTES):
            got += len(part)
            if got > PACKAGE_BYTES_MAX:
                raise ValueError(f"it is larger than {PACKAGE_BYTES_MAX} bytes")
            file.write(part)
