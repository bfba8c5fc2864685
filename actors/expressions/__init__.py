"""Expressions: CEL, and what people write in place of it.

config.py        the expressions of a config: checked when a workflow is stored
config_shape.py  the markers in a config model: which field is a template, which a bare expression, which raw
rendering.py     a stored config, filled in before its handler is called
source.py        the text work: tokens, templates, paths
dialects.py      what people write -> CEL
hints.py         what to write instead of what cannot be translated
program.py       one compiled expression and its value
syntax.py        text -> tree; tree.py: what a tree is made of
meaning.py       tree -> a function that gives the value; run.py: one evaluation
values.py        the kinds of values; operators.py, functions.py: what is done with them
bounds.py        what it may cost
near.py          why a path leads nowhere
"""
