"""The node: one process per machine that leases workers, answers for objects, and sees every process die."""
