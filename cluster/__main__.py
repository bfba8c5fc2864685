"""`dray`, and `python -m cluster`."""

from __future__ import annotations

import sys

from cluster import packages
from cluster.errors import PackageShadowed


def main() -> None:
    try:
        packages.check()
    except PackageShadowed as error:
        print(f"dray: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(6)
    from cluster.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
