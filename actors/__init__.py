"""What runs nodes. Knows nothing of Postgres, nor of who decides what runs next.

on_ray/          runners as Ray actors
pool/            which runner does which node; no Ray
runner/          runs nodes, inside a runner process
handlers/        the built-in node types, one file each
context.py       NodeContext (what a handler is given); Branch and Wait (what it may answer besides a value)
declarations.py  what @handler is given, checked at import
registry.py      @handler, HANDLERS, load_handlers: node type -> function, config model, needs, resources
expressions/     the expressions of a config
outside/         what handlers reach the outside with: HTTP, mail, scripts, settings, secrets
messages.py      NodeTask and NodeResult, the two messages between driver and runner
cron.py          cron expressions
errors.py        what may go wrong with a handler; the tree is drawn on top

Importing this package imports nothing: a driver that only needs the messages pays for the messages only.
"""

if __name__ != "dray.actors":  # by its own name it would be a second copy of every class in it
    raise ImportError(f"import dray.actors, not {__name__}")
