"""The driver: one thread that decides, and a few that do.

driver.py        the thread that decides, its inbox, and the order of a turn
hands.py         carries out what an execution has decided
options.py       what a driver is told
threads.py       the threads around it, and what they share
claimer.py       takes executions while there is room
holding.py       the executions that a driver holds, and how many bytes they are
large.py         which large outcomes an execution needs to go on
committer.py     the group commit
lease_keeper.py  keeps the lease of this incarnation
housekeeper.py   timers, controls, reaping, deleting what ended long ago
news.py          what came for executions, sorted by execution
timers.py        when which execution wants to be called again
scheduler.py     starts what schedules ask for
clerk.py         enters runners into the database
portions.py      how much one statement is given
suspects.py      which executions run one at a time, because drivers died with them
patience.py      waits out a database that does not answer
ending.py        gives back what is held, stops the parts
observer.py      what the driver tells about itself
"""
