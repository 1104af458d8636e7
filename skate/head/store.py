"""What the head keeps so that it can be killed: rows of bytes, by kind and key, in SQLite or in Redis.

The head writes a row before it tells anybody of what the row says. Each row carries a checksum: what has been damaged is found
when it is read, by name, and never taken for an answer.

SQLite runs in WAL mode. A killed process loses nothing; of a write that was torn (the machine has lost power) the valid prefix
counts, and the log says so. Damage in the middle is refused.
"""

from __future__ import annotations

import sqlite3
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

FORMAT = b"1"
"""The version of the rows; another skate's are refused."""
_CRC = struct.Struct("<I")
_WAL_HEADER = 32
_FRAME_HEADER = 24
REDIS_TIMEOUT_S = 5.0


class StoreError(Exception):
    """The head's store cannot be opened, or is damaged; the message says where, and what to do."""


class Store(Protocol):
    """Rows of bytes."""

    where: str

    def load(self, kind: str) -> Iterator[tuple[bytes, bytes]]:
        """All rows of a kind, in the order of their keys."""
        ...

    def get(self, kind: str, key: bytes) -> bytes | None:
        """One row; None if it is not there."""
        ...

    def put(self, kind: str, key: bytes, value: bytes) -> None:
        """Write a row. It is there, whatever becomes of this process, when this returns."""

    def delete(self, kind: str, key: bytes) -> None:
        """Remove a row, if it is there."""

    def close(self) -> None:
        """Release what is open."""

    def remove(self) -> None:
        """The cluster has ended in order: forget everything."""


def seal(value: bytes) -> bytes:
    """A value with its checksum."""
    return _CRC.pack(zlib.crc32(value)) + value


def unseal(kind: str, key: bytes, sealed: bytes, where: str) -> bytes:
    """The value of a row.

    Raises:
        StoreError: it is not what was written.
    """
    value = sealed[_CRC.size :]
    if len(sealed) < _CRC.size or _CRC.unpack_from(sealed)[0] != zlib.crc32(value):
        raise StoreError(
            f"the head's store {where} is damaged: {kind} {key.hex()} is not what was written. Restore a copy of it, or remove "
            "it to begin a new cluster"
        )
    return value


def open_store(url: str) -> Store:
    """The store that a URL names: a path or sqlite:///PATH, or redis://[:PASSWORD@]HOST[:PORT][/DB][?cluster=NAME].

    Raises:
        StoreError: it cannot be opened, or is damaged.
    """
    if url.startswith(("redis://", "rediss://")):
        return RedisStore(url)
    return SqliteStore(url.removeprefix("sqlite://"))


class SqliteStore:
    """A file, in the mode 0600."""

    def __init__(self, path: str) -> None:
        self.where = path
        self._path = Path(path)
        frames = _wal_frames(self._path)
        try:
            self._path.touch(0o600)
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS rows (kind TEXT, key BLOB, value BLOB, PRIMARY KEY (kind, key)) WITHOUT ROWID"
            )
            found = [row[0] for row in self._db.execute("PRAGMA quick_check(3)")]
            valid = int(self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"the head's store {path} cannot be opened: {error}. {_REMEDY}") from None
        if found != ["ok"]:
            raise StoreError(f"the head's store {path} is damaged: {'; '.join(found)}. {_REMEDY}")
        if frames > valid:
            print(
                f"the end of the head's store {path} was torn: {frames - valid} pages that were being written are left out",
                file=sys.stderr,
                flush=True,
            )
        _check_format(self)

    def load(self, kind: str) -> Iterator[tuple[bytes, bytes]]:
        """See `Store`."""
        try:
            rows = self._db.execute("SELECT key, value FROM rows WHERE kind = ? ORDER BY key", (kind,)).fetchall()
        except sqlite3.DatabaseError as error:
            raise StoreError(f"the head's store {self.where} is damaged: {error}. {_REMEDY}") from None
        for key, value in rows:
            yield key, unseal(kind, key, value, self.where)

    def get(self, kind: str, key: bytes) -> bytes | None:
        """See `Store`."""
        try:
            row = self._db.execute("SELECT value FROM rows WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        except sqlite3.DatabaseError as error:
            raise StoreError(f"the head's store {self.where} is damaged: {error}. {_REMEDY}") from None
        return None if row is None else unseal(kind, key, row[0], self.where)

    def put(self, kind: str, key: bytes, value: bytes) -> None:
        """See `Store`."""
        self._db.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", (kind, key, seal(value)))

    def delete(self, kind: str, key: bytes) -> None:
        """See `Store`."""
        self._db.execute("DELETE FROM rows WHERE kind = ? AND key = ?", (kind, key))

    def close(self) -> None:
        """See `Store`."""
        self._db.close()

    def remove(self) -> None:
        """See `Store`."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            Path(self.where + suffix).unlink(missing_ok=True)


_REMEDY = "Restore a copy of it, or remove it to begin a new cluster"


def _wal_frames(path: Path) -> int:
    """How many pages the log beside the file claims to have, by their salts; more than SQLite accepts: its end is torn."""
    try:
        log = Path(f"{path}-wal").read_bytes()
    except OSError:
        return 0
    if len(log) < _WAL_HEADER:
        return 0
    page = int.from_bytes(log[8:12], "big")
    salts = log[16:24]
    step = _FRAME_HEADER + page
    count = 0
    for at in range(_WAL_HEADER, len(log), step):
        if log[at + 8 : at + 16] != salts:
            break
        count += 1
    return count


class RedisStore:
    """A Redis or Valkey server: one hash per kind. The extra `skate[redis]` brings the client."""

    def __init__(self, url: str) -> None:
        try:
            import redis
        except ImportError:
            raise StoreError("a head in Redis needs its client: pip install 'skate[redis]'") from None
        try:
            parts = urlsplit(url)
            where = f"redis://{parts.hostname}:{parts.port or 6379}{parts.path}"
        except ValueError:  # which may repeat a part of the password
            raise StoreError("the address of the head's store is no URL: a password needs %-escapes") from None
        query = parse_qs(parts.query)
        self._name = query.pop("cluster", ["default"])[0]
        if query:
            raise StoreError(f"unknown options in the address of the head's store: {', '.join(sorted(query))}")
        self.where = f"{where} (cluster {self._name})"
        self._error: Any = redis.RedisError
        try:
            self._redis: Any = redis.Redis.from_url(
                url.split("?")[0], socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S
            )
            self._redis.ping()
        except (redis.RedisError, OSError, ValueError) as error:
            raise StoreError(f"the head's store {self.where} does not answer: {error}") from None
        _check_format(self)

    def _key(self, kind: str) -> str:
        return f"skate:{self._name}:{kind}"

    def load(self, kind: str) -> Iterator[tuple[bytes, bytes]]:
        """See `Store`."""
        for key, value in sorted(self._redis.hgetall(self._key(kind)).items()):
            yield key, unseal(kind, key, value, self.where)

    def get(self, kind: str, key: bytes) -> bytes | None:
        """See `Store`."""
        try:
            value = self._redis.hget(self._key(kind), key)
        except self._error as error:
            raise StoreError(f"the head's store {self.where} does not answer: {error}") from None
        return None if value is None else unseal(kind, key, value, self.where)

    def put(self, kind: str, key: bytes, value: bytes) -> None:
        """See `Store`."""
        try:
            self._redis.hset(self._key(kind), key, seal(value))
        except self._error as error:
            raise StoreError(f"the head's store {self.where} does not answer: {error}") from None

    def delete(self, kind: str, key: bytes) -> None:
        """See `Store`."""
        try:
            self._redis.hdel(self._key(kind), key)
        except self._error as error:
            raise StoreError(f"the head's store {self.where} does not answer: {error}") from None

    def close(self) -> None:
        """See `Store`."""
        self._redis.close()

    def remove(self) -> None:
        """See `Store`. A server may have a head's state of tomorrow: it is kept."""
        self.close()


def _check_format(store: Store) -> None:
    found = dict(store.load("format")).get(b"version")
    if found is None:
        store.put("format", b"version", FORMAT)
    elif found != FORMAT:
        raise StoreError(
            f"the head's store {store.where} was written by another version of skate (format {found.decode('ascii', 'replace')}, "
            f"this is {FORMAT.decode()}): use that version, or remove it to begin a new cluster"
        )
