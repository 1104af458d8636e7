"""How fast and how small skate is, beside Ray and beside what the machine allows: `python -m benchmarks`.

lines.py       what a line of the table is, its goal, and how a rate is measured
micro.py       our own program for each line of `ray microbenchmark`
yardsticks.py  the same work by the standard library, and raw memory: what the machine allows
extras.py      tasks, actors, maps and large objects beside those yardsticks
startup.py     how long until something answers
footprint.py   memory and CPU of a system that does nothing
volume.py      very many tasks, arguments, returns and bytes
looking.py     the history of tasks: what it costs, and how soon it answers
viewing.py     the dashboard: what it costs, and what it takes
cluster/       several nodes on one host
probe.py       small programs that need a fresh interpreter
framework.py   which framework the lines run on: skate, or Ray in another environment
child.py       runs lines in one interpreter and reports them
sweep.py       ends what a child has started, and left behind
runner.py      starts the children, one group and one system at a time
report.py      the table
"""
