"""Plans that Polars carries out as a whole, in this process, where the result is the same as our own.

`delegate.py` finds the parts of a plan that can be said in Polars' words; `plans.py`, `expressions.py` and `aggregates.py` say
them. What has another meaning there, or may have, is refused, and stays ours.
"""
