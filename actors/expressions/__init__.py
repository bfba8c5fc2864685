"""Expressions: CEL, and what people write in place of it.

config.py        the expressions of a config: checked when a workflow is stored, rendered before its handler is called
config_shape.py  the markers in a config model: which field is a template, which a bare expression, which raw
source.py        the text work: tokens, templates, paths
dialects.py      what people write -> CEL
hints.py         what to write instead of what cannot be translated
program.py       one compiled expression and its value
bounds.py        what it may cost
"""
