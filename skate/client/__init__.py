"""The runtime in every driver and worker: submit, wait, references, serialization."""
