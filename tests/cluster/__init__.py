"""Several nodes on one host: every node a process with an arena, workers and a TCP port of its own."""
