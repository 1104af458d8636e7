"""Helpers for tests of programs that use skate: wait for a condition, and prove that nothing was left behind."""

from .leaks import Snapshot, assert_quiescent, eventually, session_processes

__all__ = ["Snapshot", "assert_quiescent", "eventually", "session_processes"]
