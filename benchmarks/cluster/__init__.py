"""Several nodes on one host: `python -m benchmarks --only '^cluster'`.

nodes.py       a cluster made by the commands `start`, of skate or of Ray; what it leaves is killed
networks.py    network namespaces, so that nodes meet over a link as machines do
start.py       three nodes, and their first tasks
work.py        many CPUs kept busy, and placement groups
calls.py       tasks and actor calls between nodes
objects.py     large objects from node to node
faults.py      how soon a death is noticed, and what was lost is back
head.py        a head with many actors: its restart and its memory
yardsticks.py  what the machine allows
"""
