"""From what an author wrote to what executions run: read, checked, stored, loaded. Pure, and knows no execution.

files.py         workflow files: read, and made canonical
written/         what an author wrote, as a graph: read, in any shape
canonical.py     the form that is stored; the page at its top shows it
idle.py          nodes that never run, parted from the rest
check.py         what is wrong with a graph, all of it at once; what is derived from it is in the files below
labels.py        what the label on an edge means
order.py         topological order, cycles, reach, ancestors
loops.py         what a loop node is, and how it is drawn
regions.py       the loops of a graph: regions that nest, each with one entry
breaks.py        the same where break and continue are in it
keys.py          how long the keys of nodes get
bodies.py        the edges of loops as they are stored, and what expressions call a turn
view.py          a graph with its regions as one without cycles
forks.py         what a fork's options say
tries.py         try, catch and finally as edges that failures take
needs.py         what each node must be given
types.py         the graph in memory: regions, each without a cycle
load.py          makes it from the stored form
draft.py         a region of it in the making
values.py        in which scope each value is found
diff.py          what two versions differ in
"""
