"""Frames, message types and connections: what goes between processes, and nothing about what it means."""
