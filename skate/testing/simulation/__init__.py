"""A cluster in one process, in virtual time: a head, nodes and drivers of the real classes, and faults, all drawn from a seed.

The problem: what goes wrong in a cluster depends on what happens at the same moment elsewhere. It cannot be tried out on real
machines often enough, nor a second time. The idea (FoundationDB's, and TigerBeetle's): everything that the code under test does
not decide, such as time, delays, deaths and who runs next, is drawn from one number. What has failed can be lived through again.

Node, head and client run as they are, shells included; only what they ask of the operating system is another's. Workers are small
classes that speak their protocol. `docs/development.md` says how to run and replay seeds, and how to add a fault.

    world.py      time, chance, processes             workers.py   zygotes, workers, what was executed
    sockets.py    connections, descriptors, epoll     program.py   what drivers do, and may expect
    stand_ins.py  the rest of the machine             faults.py    what goes wrong
    cluster.py    machines, nodes, head, drivers      checks.py    what must hold
    words.py      messages in words                   history.py   one seed from beginning to end
    blocks.py     large values of workers
"""

from .history import SeedFailed, Summary, run

__all__ = ["SeedFailed", "Summary", "run"]
