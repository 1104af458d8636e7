"""The rehearsal of a worker's start, in this process: it runs, and leaves nothing open."""

from __future__ import annotations

import os
import threading

from skate.store import arena
from skate.worker import rehearsal
from skate.worker.process import Worker


def test_a_rehearsal_leaves_nothing(monkeypatch):
    monkeypatch.setattr(rehearsal, "ROUNDS", 2)
    fd = arena.create(1 << 20)
    try:
        before = os.listdir("/proc/self/fd")
        threads = threading.active_count()
        rehearsal.rehearse(fd)
        assert os.listdir("/proc/self/fd") == before
        assert threading.active_count() == threads
    finally:
        os.close(fd)


def test_a_rehearsed_task_and_call_are_answered(monkeypatch):
    replies = []
    real = Worker.flush

    def flush(worker, caller):
        replies.extend(reply.kind for reply in caller.replies)
        real(worker, caller)

    monkeypatch.setattr(Worker, "flush", flush)
    monkeypatch.setattr(rehearsal, "ROUNDS", 1)
    fd = arena.create(1 << 20)
    try:
        rehearsal.rehearse(fd)
    finally:
        os.close(fd)
    assert replies == [rehearsal.m.DONE] * 4
