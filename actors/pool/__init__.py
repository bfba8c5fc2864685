"""Which runner does which node. Bookkeeping, without Ray.

pool.py          Pool: for the one thread that decides
events.py        what the pool and its runners say to each other
shapes.py        what a runner asks of the cluster, as a handler or a node says
line.py          one runner as the driver sees it, and the line of nodes that wait for one shape
turns.py         the lines of all shapes
demand.py        how many runners of a shape there shall be
local.py         runners in threads of the driver's process
"""
