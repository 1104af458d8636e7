"""The processes that run user code: the zygote that forks them, and the loop of tasks and actors."""
