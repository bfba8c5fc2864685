"""How a driver is, told to whoever asks: people, Kubernetes, systemd, Prometheus.

judge.py         the verdict on what a driver reported last; pure
file.py          the file that it reports in, for commands on the same machine
monitoring.py    what runs beside a driver and watches it
http_port.py     /livez, /readyz, /metrics
metrics.py       its counters in the form of Prometheus
sd_notify.py     what systemd is told
"""
