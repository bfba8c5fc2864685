"""What runs nodes. Knows nothing of Postgres, nor of who decides what runs next.

messages.py      NodeTask and NodeResult, the two messages between driver and runner
errors.py        what may go wrong with a handler; the tree is drawn on top
registry.py      @handler, HANDLERS, load_handlers: node type -> function, config model, needs, resources
context.py       NodeContext (what a handler is given); Branch and Wait (what it may answer besides a value)
expressions.py   the expressions of a config: checked when a workflow is stored, rendered before its handler is called
config_shape.py  the markers in a config model: which field is a template, which a bare expression, which raw
cel_dialects.py  what people write in place of CEL, translated when a workflow is stored (cel_hints.py: what cannot be)
cel_program.py   one compiled expression and its value; cel_bounds.py: what it may cost
cel_source.py    the text work below them: tokens, templates, paths
handler_env.py   what a deployment gives handlers: settings of the built-in types, and secrets by name
http_exchange.py one HTTP request, as an attempt of a node; mail.py: one e-mail
script.py        runs a script in a process of its own, for the node types that have one in their config
handlers/        the built-in node types, one file each
runner.py        runs nodes, inside a runner process: threads, an event loop, deadlines (runner_*.py are its parts)
shapes.py        what a runner asks of the cluster, as a handler or a node of a graph says
pool.py          which runner does which node: bookkeeping, no Ray (pool_*.py are its parts)
ray_pool.py      runners as Ray actors; with ray_deaths.py, what Ray tells of their deaths
ray_metrics.py   what runners tell Ray's metrics; ray_offer.py: what the cluster has for them
local_pool.py    runners in threads of the driver's process

Importing this package imports nothing: a driver that only needs the messages pays for the messages only.
"""
