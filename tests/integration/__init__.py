"""Programs against a real cluster on this machine."""
