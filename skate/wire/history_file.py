"""The file of a session's history: SQLite, one row for each chunk of tasks and one for each event.

A node writes its file, and whoever wants to know what happened asks the node, or reads the file when the session is over. The
views `tasks` and `events` are for people with a `sqlite3` shell; skate itself takes the chunks and opens them one by one, the
newest first, those that the columns beside them do not rule out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from .history import EVENTS_AT_ONCE, Chunk, Recorded

FOLDER = "history"
"""Beside the folders of the sessions."""
PAGE_BYTES = 16384
CHUNKS_BYTES = 4 << 20
"""One answer has so many bytes of chunks: a node must go on with its work in between."""
OTHERS_MAX = 10
"""So many files can be joined to one: SQLite's own limit."""
_BYTES = " + ".join(f"length(CAST({column} AS BLOB))" for column in ("packets", "counts", "functions", "workers"))
"""Of a chunk. Of a text, `length` counts characters."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS session (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS chunks (
    id INTEGER PRIMARY KEY, job TEXT, client TEXT, pid INTEGER, first REAL, last REAL, finished INTEGER, failed INTEGER,
    counts TEXT, functions TEXT, workers TEXT, packets TEXT);
CREATE TABLE IF NOT EXISTS event (
    id INTEGER PRIMARY KEY, time REAL, severity TEXT, source TEXT, text TEXT, job TEXT, node INTEGER, ids TEXT);
CREATE VIEW IF NOT EXISTS events AS
    SELECT id, time, datetime(time, 'unixepoch', 'localtime') AS at, severity, source, text, job, node, ids FROM event;
CREATE VIEW IF NOT EXISTS tasks AS
    SELECT k.client || printf('%016x', k.seq + s.key) AS task_id,
        coalesce(k.attempt, 0) AS attempt_number,
        json_extract(k.function, '$[0]') AS name,
        coalesce(k.state, 'FINISHED') AS state,
        json_extract(k.function, '$[1]') AS type,
        k.job AS job_id,
        json_extract(k.function, '$[2]') AS actor_id,
        coalesce(k.parent, '') AS parent_task_id,
        json_extract(k.worker, '$[0]') AS node_no,
        json_extract(k.worker, '$[1]') AS worker_pid,
        coalesce(k.error_type, '') AS error_type,
        coalesce(k.error, '') AS error_message,
        nullif(k.submitted, 0.0) AS creation_time,
        CASE WHEN k.each >= 0 THEN k.ended - k.each / 1e6 * (k.count - s.key) END AS start_time,
        k.ended - max(k.each, 0) / 1e6 * (k.count - 1 - s.key) AS end_time
    FROM (
        SELECT c.client, c.job,
            json_extract(c.functions, '$[' || json_extract(p.value, '$[0]') || ']') AS function,
            json_extract(c.workers, '$[' || json_extract(p.value, '$[1]') || ']') AS worker,
            json_extract(p.value, '$[2]') AS ended, json_extract(p.value, '$[3]') AS each,
            json_extract(p.value, '$[4]') AS seq, json_extract(p.value, '$[5]') AS count,
            json_extract(p.value, '$[6]') AS submitted, json_extract(p.value, '$[7]') AS state,
            json_extract(p.value, '$[8]') AS attempt, json_extract(p.value, '$[9]') AS parent,
            json_extract(p.value, '$[10]') AS error_type, json_extract(p.value, '$[11]') AS error
        FROM chunks c, json_each(c.packets) p LIMIT -1  -- so that this is done once for each packet, not for each task
    ) k, json_each('[' || substr(replace(hex(zeroblob(k.count)), '00', ',0'), 2) || ']') s;  -- a key for each of its tasks
"""


def create(path: Path) -> sqlite3.Connection:
    """The file to write to, made if it is not there.

    Raises:
        sqlite3.Error: it cannot be had.
    """
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = OFF")
    db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")  # nobody sees a part of it
    return db


def open_to_read(path: Path) -> sqlite3.Connection:
    """The file of a session, to read only; the session may go on meanwhile.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)


def join(db: sqlite3.Connection, others: Sequence[Path]) -> None:
    """Have the views `tasks` and `events` of a file that is read show what is in other files, too.

    Raises:
        sqlite3.Error: one of them cannot be read.
    """
    for number, path in enumerate(others):
        db.execute(f"ATTACH DATABASE ? AS other{number}", (f"{path.as_uri()}?mode=ro",))
    for view in ("tasks", "events") if others else ():
        parts = [f"SELECT * FROM {name}.{view}" for name in ("main", *(f"other{at}" for at in range(len(others))))]
        db.execute(f"CREATE TEMP VIEW {view} AS {' UNION ALL '.join(parts)}")


# ------------------------------------------------------------ writing


def add_chunk(db: sqlite3.Connection, job: str, client: str, pid: int, recorded: Recorded) -> int:
    """Write a chunk; returns how many bytes it takes."""
    words = [msgspec.json.encode(each) for each in (recorded.counts, recorded.functions, recorded.workers)]
    db.execute(
        "INSERT INTO chunks (job, client, pid, first, last, finished, failed, counts, functions, workers, packets)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            job,
            client,
            pid,
            recorded.first,
            recorded.last,
            recorded.finished,
            recorded.failed,
            *(word.decode() for word in words),
            recorded.packets.decode(),
        ),
    )
    return len(recorded.packets) + sum(map(len, words))


def bytes_of_chunks(db: sqlite3.Connection) -> int:
    """How many bytes all chunks take."""
    found: int = db.execute(f"SELECT coalesce(sum({_BYTES}), 0) FROM chunks").fetchone()[0]
    return found


def drop_oldest_chunk(db: sqlite3.Connection) -> int:
    """Forget the oldest chunk; returns how many bytes it took, 0 if there is only one."""
    found = db.execute(f"SELECT id, {_BYTES} FROM chunks ORDER BY id LIMIT 2").fetchall()
    if len(found) < 2:
        return 0
    db.execute("DELETE FROM chunks WHERE id = ?", (found[0][0],))
    return int(found[0][1])


# ------------------------------------------------------------ questions


def chunks(db: sqlite3.Connection, wanted: dict[str, Any]) -> dict[str, Any]:
    """Some of the chunks that may have what is wanted, the newest first.

    Args:
        db: the file.
        wanted: "names", "job", "client" and "state" that tasks must have, and "before": what the last answer has said.

    Returns:
        "chunks", and "before": with what to ask for the rest; None if there is none.
    """
    query = "SELECT id, job, client, pid, functions, workers, CAST(packets AS BLOB) FROM chunks WHERE id < ?"
    values: list[Any] = [(1 << 62) if wanted.get("before") is None else wanted["before"]]
    for name in wanted.get("names") or ():
        query += " AND EXISTS (SELECT 1 FROM json_each(counts) WHERE key = ? COLLATE NOCASE)"
        values.append(name)
    for column in ("job", "client"):
        if wanted.get(column):
            query += f" AND {column} = ?"
            values.append(wanted[column])
    if wanted.get("state") in ("FINISHED", "FAILED"):
        query += f" AND {str(wanted['state']).lower()} > 0"
    found: list[Chunk] = []
    size = 0
    for row in db.execute(query + " ORDER BY id DESC", values):
        functions, workers = msgspec.json.decode(row[4]), msgspec.json.decode(row[5])
        number, job, client, pid = row[:4]
        found.append(Chunk(number, job, client, pid, functions, workers, row[6]))
        size += len(row[6])
        if size >= CHUNKS_BYTES:
            return {"chunks": found, "before": row[0]}
    return {"chunks": found, "before": None}


def counts(db: sqlite3.Connection, wanted: dict[str, Any]) -> list[tuple[str, str, int, int]]:
    """(name, job, finished, failed) of all tasks."""
    return db.execute(
        "SELECT e.key, job, sum(json_extract(e.value, '$[0]')), sum(json_extract(e.value, '$[1]'))"
        " FROM chunks, json_each(counts) e GROUP BY e.key, job ORDER BY e.key, job"
    ).fetchall()


def events(db: sqlite3.Connection, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """Events after the one with id "after", oldest first, or the last "limit" of them; of one "source", or of all."""
    limit = min(int(wanted.get("limit") or EVENTS_AT_ONCE), EVENTS_AT_ONCE)
    order = "ASC" if wanted.get("after") else "DESC"
    rows = db.execute(
        "SELECT id, time, severity, source, text, job, node, ids FROM event"
        f" WHERE id > ? AND source = coalesce(?, source) ORDER BY id {order} LIMIT ?",
        (int(wanted.get("after") or 0), wanted.get("source"), limit),
    ).fetchall()
    names = ("id", "time", "severity", "source", "text", "job_id", "node_no")
    found = [{**dict(zip(names, row, strict=False)), **msgspec.json.decode(row[7])} for row in rows]
    return found if wanted.get("after") else found[::-1]


QUESTIONS = {"history_tasks": chunks, "history_counts": counts, "history_events": events}
"""What can be asked of a file, and of a node about its own."""
