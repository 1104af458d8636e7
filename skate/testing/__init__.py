"""Helpers for tests of programs that use skate: wait for a condition, prove that nothing was left behind, cut connections."""

from .cuts import cut_connections
from .leaks import Snapshot, assert_quiescent, eventually, session_processes

__all__ = ["Snapshot", "assert_quiescent", "cut_connections", "eventually", "session_processes"]
