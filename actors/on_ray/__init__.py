"""Runners as Ray actors. With cluster/ray_bootstrap.py, the only files that import Ray.

pool.py          starts, calls and ends them
deaths.py        what Ray tells of a runner's death
offer.py         what the cluster has for them
metrics.py       what a runner tells Ray's metrics
"""
