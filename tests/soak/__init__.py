"""The soak: a cluster of several nodes under a mixed load, while things are killed, frozen and cut every few seconds.

`python -m tests.soak --minutes 10 --seed 1` starts a head and three more nodes, two drivers that do everything at once
(`work.py`), and injects one fault after the other (`faults.py`). It fails when a result is wrong or late, when an error comes
that no fault explains (`judge.py`), when a kind of fault did not happen, or when anything is left at the end (`verdict.py`). What
there is to see at a failure is kept (`evidence.py`).
"""
