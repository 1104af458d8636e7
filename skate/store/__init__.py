"""Shared memory: one arena per node, mapped by all its processes; ranges of it, and views that keep them alive."""
