"""How fast Dray is, and what it costs; README.md says how to run it and how to read it.

Modules under peers/, and child.py which they use, run in a virtual environment of their own and import nothing of Dray.
"""
