"""What a program does with executions, from any thread or process. Imports no Ray.

client.py        Client: submit executions and look at them; the parts below belong to it
base.py          its database, one statement, values on their way in
control.py       cancel, pause, resume, retry, rerun; one or many
signals.py       signals, and the answers of people
schedules.py     workflows that run by themselves
queues.py        look at queues, pause, limit
retention.py     what is deleted in the end
"""
