"""The dashboard: a process of its own that shows a cluster in a browser, and serves Ray's REST routes.

It is part of nothing: it asks nodes as every command does that looks (`client/observing.py`), and only while somebody looks.
Needs the extra `skate[dashboard]`; `python -m skate.dashboard` starts it (`__main__.py`).
"""
