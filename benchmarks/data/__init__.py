"""Datasets, beside Ray Data, Dask, Polars and DuckDB: `python -m benchmarks --only '^data'`.

files.py      what is read: made once for a run, with the answers
lines.py      the lines, each with the same question for all systems
on_ray_api.py how skate and Ray answer: one and the same program
on_polars.py  how Polars does; on_duckdb.py and on_dask.py likewise
tpch.py       queries of TPC-H
big.py        a sort of ten times what the store holds
memory.py     the most memory that all processes of a system have had
table.py      how the lines are shown
"""
