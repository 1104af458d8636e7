"""The semantics of the API, on the inline runtime."""
