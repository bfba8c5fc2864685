"""Reads the files of systemd and Supervisor."""

from __future__ import annotations

from configparser import RawConfigParser
from pathlib import Path


def parse_unit(path: Path) -> dict[str, str]:
    """Name -> value of all sections; of a name that stands twice the last."""
    lines = (line for line in path.read_text().splitlines() if "=" in line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def parse_supervisor(path: Path) -> RawConfigParser:
    found = RawConfigParser(inline_comment_prefixes=(" ;",))
    found.read_string(path.read_text())
    return found
