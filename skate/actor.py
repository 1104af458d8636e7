"""Actors, under the name of Ray's module."""

from __future__ import annotations

from .api.actors import ActorClass, ActorHandle, ActorMethod, exit_actor, method

__all__ = ["ActorClass", "ActorHandle", "ActorMethod", "exit_actor", "method"]
