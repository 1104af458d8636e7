"""Servers that tests of `skate.data` talk to: PostgreSQL and S3, started here, on the loopback interface."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from ports import free_port

import skate
from skate.testing import eventually


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    """Whatever has started skate: the next file begins without it."""
    yield
    skate.shutdown()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Any]:
    """Makes connections to a PostgreSQL server that runs as an ordinary user, with a database of its own."""
    driver = pytest.importorskip("pg8000.dbapi")
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb")) or [shutil.which("initdb")]
    if found[-1] is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    programs = os.path.dirname(found[-1])
    folder = tempfile.mkdtemp(prefix="pg")
    user: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL}
    if os.getuid() == 0:  # the server refuses to be root
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        user.update(user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[])
    port = free_port()
    data = f"{folder}/data"
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]
    server = None
    try:
        subprocess.run(
            [f"{programs}/initdb", "-D", data, "-U", "tests", "-A", "trust", "-N"], check=True, timeout=60, **user
        )
        server = subprocess.Popen(
            [f"{programs}/postgres", "-D", data, "-p", str(port), *options], stderr=subprocess.DEVNULL, **user
        )
        eventually(lambda: _listens(port), 20, "PostgreSQL answers")
        connect = partial(driver.connect, user="tests", host="127.0.0.1", port=port, database="postgres")
        eventually(partial(_accepts, connect), 20, "PostgreSQL accepts connections")
        yield connect
    finally:
        if server is not None:
            server.terminate()
            server.wait(20)
        shutil.rmtree(folder)


def _accepts(connect: Any) -> bool:
    import pg8000

    try:
        connect().close()
    except pg8000.Error:
        return False
    return True


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of an S3 server with a bucket "tests"."""
    pytest.importorskip("moto.server")
    fs = pytest.importorskip("s3fs")
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: _listens(port), 30, "the S3 server answers")
        url = f"http://127.0.0.1:{port}"
        fs.S3FileSystem(key="tests", secret="tests", endpoint_url=url).mkdir("tests")
        yield url
    finally:
        server.terminate()
        server.wait(20)
