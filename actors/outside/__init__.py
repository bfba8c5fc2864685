"""What handlers reach the outside with.

environment.py   what a deployment gives them: settings of the built-in node types, and secrets by name
masks.py         the forms in which a secret may come back
http_exchange.py one HTTP request, as an attempt of a node
http_client.py   sends it: redirects, content codings, bounds
foreign.py       text and JSON from outside, as what Postgres can hold
mail.py          one e-mail
script.py        a script in a process of its own; supervisor.py: that process
"""
