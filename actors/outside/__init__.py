"""What handlers reach the outside with.

environment.py   what a deployment gives them: settings of the built-in node types, and secrets by name
http_exchange.py one HTTP request, as an attempt of a node
mail.py          one e-mail
script.py        a script in a process of its own; supervisor.py: that process
"""
