"""Packages to install in tests, without a network."""

from __future__ import annotations

import zipfile
from pathlib import Path


def make_wheel(folder: Path, name: str, version: str) -> None:
    """A wheel with one module, and a command."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as out:
        out.writestr(f"{name}.py", f"VERSION = '{version}'\ndef main(): print(VERSION)")
        out.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        out.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        out.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name}-say = {name}:main\n")
        out.writestr(f"{info}/RECORD", "".join(f"{each},,\n" for each in (f"{name}.py", f"{info}/METADATA")))
