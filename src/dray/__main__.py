"""`dray`, and `python -m dray`."""

from __future__ import annotations

import sys

from dray.cluster.cli.base import leave
from dray.cluster.cli.main import run


def main() -> None:
    leave(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
