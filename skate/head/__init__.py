"""The state of the cluster: which actors there are, under which names, and what becomes of them."""
