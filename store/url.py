r"""Every form of a connection string, turned into one.

Accepted: `postgres://`, `postgresql://`, `postgresql+<any driver>://`, and libpq's `host=... dbname=...`; names,
IPv4, `[IPv6]`, several hosts, Unix sockets (`?host=/dir`, `%2Fdir`); quotes around the whole, which `docker
--env-file` leaves there.

People paste passwords as they are, so two rules decide what a URL means:

1. **Where the password ends.** At the first `@` after which all the rest reads as `host[:port][/database][?known
   options]`. So a password may hold `@ : / # ? %`, quotes and spaces as they are. (The user name may not hold `:` or
   `@`; write %3A, %40.)
2. **Whether it is percent-encoded.** It is, if an encoder could have written it: only characters that RFC 3986 allows
   there (a space too, which SQLAlchemy leaves as it is), each `%` followed by two hex digits, and UTF-8 when decoded.
   Otherwise every character stands for itself. So `p%40ss` is p@ss, and `100%`, `a@b%40` are what they look like. A
   password that is itself `p%40ss` must be written `p%2540ss`, or be given apart from the URL, where nothing is ever
   decoded (POSTGRES_PASSWORD, SUPABASE_DB_PASSWORD, `password='...'`).

Supabase in short: direct `db.<ref>.supabase.co:5432`; session pooler `*.pooler.supabase.com:5432`; transaction pooler
the same on 6543, which gives each transaction another session: no LISTEN. `?pgbouncer=true` says the same of any
other pooler.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

import psycopg2
from psycopg2.extensions import parse_dsn
from sqlalchemy.engine import URL

from dray.store.errors import DatabaseURLInvalid

DRIVER = "postgresql+psycopg2"
DEFAULT_PORT = 5432
TRANSACTION_POOLER_PORT = 6543

_SCHEME = re.compile(r"postgres(?:ql)?(?:\+\w+)?://", re.IGNORECASE)
_ANY_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_KEYWORD = re.compile(r"\s*[a-z_]+\s*=", re.IGNORECASE)
_HOST = r"(?:\[[^\[\]@/?#]+\]|[^\s\[\]@/?#:,]*)(?::\d*)?"
_PLACE = re.compile(rf"(?P<hosts>{_HOST}(?:,{_HOST})*)(?:/(?P<database>[^/?#@]*))?(?:\?(?P<query>.*))?", re.DOTALL)
_OPTION = re.compile(r"[A-Za-z_]+=")
_ENCODED = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=: ]|%[0-9A-Fa-f]{2})*")

# Options that other clients put into the same URL (Prisma, Vercel, asyncpg, psycopg 3) and that mean nothing here.
_FOREIGN = frozenset({
    "pgbouncer", "connection_limit", "pool_timeout", "socket_timeout", "schema", "supa", "workaround",
    "statement_cache_size", "prepared_statement_cache_size", "prepared_statements", "prepare_threshold",
})  # fmt: skip
_TRUE = ("1", "true", "yes", "on")
_HELP = "write postgresql://user:password@host:5432/database"


@dataclass(frozen=True)
class DatabaseURL:
    """Where a database is and who we are there. Printing it shows no password.

    url: for SQLAlchemy, always with the driver psycopg2. is_transaction_pooler: each transaction may meet another
    session, so LISTEN, session locks and SET that must last do not work.
    """

    url: URL
    is_transaction_pooler: bool = False

    @classmethod
    def of(cls, url: str | URL | DatabaseURL) -> DatabaseURL:
        """From any form. Errors: DatabaseURLInvalid, in one line that holds nothing of the password."""
        if isinstance(url, DatabaseURL):
            return url
        return _from_sqlalchemy(url) if isinstance(url, URL) else _parse(url)

    @classmethod
    def from_parts(
        cls,
        host: str | None,
        port: int | None = None,
        user: str | None = None,
        password: str | None = None,
        database: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> DatabaseURL:
        """From parts that are taken as they are: nothing is decoded. host: a name, an address, a socket folder
        (starts with `/`), or several with commas; None = libpq's default. port: default 5432. database: default, as
        in libpq, the user name.
        """
        hosts: list[str | None] = [None] if host is None else [*host.split(",")]
        return _build(hosts, [port], user, password, database, options or {})

    @property
    def user(self) -> str | None:
        return self.url.username

    @property
    def database(self) -> str | None:
        return self.url.database or self.url.username

    @property
    def password(self) -> str | None:
        return None if self.url.password is None else str(self.url.password)

    @property
    def host(self) -> str | None:
        """Host name, address or socket folder; several with commas; None = libpq's default."""
        return self.url.host or _text(self.url.query.get("host"))

    @property
    def port(self) -> int:
        """The first one, where there are several."""
        return self.url.port or int((_text(self.url.query.get("port")) or str(DEFAULT_PORT)).split(",")[0])

    @property
    def safe(self) -> str:
        """`user@host:port/database`, for logs and errors."""
        hosts, ports = (self.host or "(default)").split(","), _text(self.url.query.get("port"))
        shown = zip(hosts, ports.split(","), strict=True) if ports else ((each, str(self.port)) for each in hosts)
        where = ",".join(f"{f'[{host}]' if ':' in host else host}:{port}" for host, port in shown)
        return f"{self.user or '(default)'}@{where}/{self.database or '(default)'}"

    def with_password(self) -> str:
        """The whole as a URL that every rule above reads back to the same parts. For handing on, never for showing."""
        url = self.url
        user = quote(url.username or "", safe="")
        secret = "" if self.password is None else ":" + quote(self.password, safe="")
        host = f"[{quote(url.host, safe=':')}]" if url.host and ":" in url.host else quote(url.host or "", safe="")
        options = [(name, _text(value) or "") for name, value in url.query.items()]
        if self.is_transaction_pooler and self.port != TRANSACTION_POOLER_PORT:
            options.append(("pgbouncer", "true"))
        return "".join([
            f"{DRIVER}://{user}{secret}@{host}",
            f":{url.port}" if url.port else "",
            f"/{quote(url.database or '', safe='')}",
            "?" if options else "",
            "&".join(f"{name}={quote(value, safe='')}" for name, value in options),
        ])  # fmt: skip

    def __str__(self) -> str:
        return self.safe

    def __repr__(self) -> str:
        return f"DatabaseURL({self.safe!r})"


class _Place(NamedTuple):
    """The part of a URL after the user: host[:port] as written, database, options."""

    hosts: str
    database: str | None
    options: list[tuple[str, str]]


def _parse(text: str) -> DatabaseURL:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    if "\0" in text:
        raise DatabaseURLInvalid(f"the connection string holds a NUL character: {_HELP}")
    scheme = _SCHEME.match(text)
    if scheme:
        return _parse_url(text[scheme.end() :])
    other = _ANY_SCHEME.match(text)
    if other:
        raise DatabaseURLInvalid(f"a {other.group()} URL is not a Postgres one: {_HELP}")
    if _KEYWORD.match(text):
        return _parse_keywords(text)
    raise DatabaseURLInvalid(f"not a Postgres connection string: {_HELP}")


def _parse_url(rest: str) -> DatabaseURL:
    userinfo, place = _split(rest)
    user, colon, password = userinfo.partition(":")
    options = dict(place.options)
    hosts, ports = _hosts(place.hosts)
    if "host" in options:
        hosts = [*options.pop("host").split(",")]
        ports = ports if ports != [None] else [None] * len(hosts)
    if "port" in options:
        ports = [_port(each) for each in options.pop("port").split(",")]
    return _build(
        hosts,
        ports,
        options.pop("user", None) or _decode(user) or None,
        options.pop("password", None) or (_decode(password) if colon and password else None),
        options.pop("dbname", None) or _decode(place.database or "") or None,
        options,
    )


def _split(rest: str) -> tuple[str, _Place]:
    """Rule 1 of the page above: user info and the rest. Without known options the last possible place is taken, which
    makes an unknown option an error that can name it."""
    last: tuple[str, _Place] | None = None
    for end, start in [(0, 0), *((each.start(), each.end()) for each in re.finditer("@", rest))]:
        match = _PLACE.fullmatch(rest, start)
        options = _options(match["query"] or "") if match else None
        if match is None or options is None:
            continue
        last = rest[:end], _Place(match["hosts"], match["database"], options)
        if all(_is_known(name) for name, _ in options):
            return last
    if last is None:
        raise DatabaseURLInvalid(f"no host[:port][/database] found in the connection string: {_HELP}")
    return last


def _options(query: str) -> list[tuple[str, str]] | None:
    """Name and value of each option; None if this cannot be a list of options. libpq decodes percents, not `+`."""
    parts = [part for part in query.split("&") if part]
    if not all(_OPTION.match(part) for part in parts):
        return None
    return [(name, unquote(value)) for name, _, value in (part.partition("=") for part in parts)]


def _hosts(text: str) -> tuple[list[str | None], list[int | None]]:
    hosts: list[str | None] = []
    ports: list[int | None] = []
    for each in text.split(","):
        host, _, port = each.rpartition(":") if not each.endswith("]") and ":" in each else (each, "", "")
        hosts.append(unquote(host.strip("[]")) or None)
        ports.append(_port(port))
    return hosts, ports


def _port(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:6]) < 65536:
        raise DatabaseURLInvalid(f"the port must be a number from 1 to 65535: {_HELP}")
    return int(text)


def _decode(text: str) -> str:
    """Rule 2 of the page above."""
    if "%" not in text or not _ENCODED.fullmatch(text):
        return text
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text


def _parse_keywords(text: str) -> DatabaseURL:
    try:
        options = parse_dsn(text)
    except (psycopg2.Error, ValueError):
        # libpq's own words quote the place where it stopped, which may be in the middle of the password.
        raise DatabaseURLInvalid(
            "the connection string is not made of name=value pairs that libpq knows: "
            "quote values that hold spaces, password='my secret'"
        ) from None
    hosts: list[str | None] = list(options.pop("host", options.get("hostaddr", "")).split(","))
    ports = [_port(each) for each in options.pop("port", "").split(",")]
    user, password, database = (options.pop(name, None) for name in ("user", "password", "dbname"))
    return _build([each or None for each in hosts], ports, user, password, database, options)


def _build(
    hosts: list[str | None],
    ports: list[int | None],
    user: str | None,
    password: str | None,
    database: str | None,
    given: Mapping[str, str],
) -> DatabaseURL:
    options = dict(_native(given))
    if any("\0" in (each or "") for each in (user, password, database, *hosts)):
        raise DatabaseURLInvalid("user, password, host and database cannot hold a NUL character")
    if len(ports) == 1:
        ports = ports * len(hosts)
    if len(ports) != len(hosts):
        raise DatabaseURLInvalid(f"{len(hosts)} hosts but {len(ports)} ports: give one port, or one for each host")
    supabase_pooler = any((host or "").endswith(".pooler.supabase.com") for host in hosts)
    if supabase_pooler and "." not in (user or "") and "options" not in options:
        raise DatabaseURLInvalid("the user of a Supabase pooler is postgres.<project ref>: copy the URL from Connect")
    host, port = hosts[0], ports[0]
    if len(hosts) > 1:
        # Every read that decides something goes to the primary, whichever of them that is now.
        options.setdefault("target_session_attrs", "read-write")
        options |= {"host": ",".join(each or "" for each in hosts)}
        options |= {"port": ",".join(str(each or DEFAULT_PORT) for each in ports)}
        host = port = None
    elif host is not None and host.startswith(("/", "@")):  # SQLAlchemy wants socket folders among the options
        options["host"], host = host, None
    pooled = given.get("pgbouncer", "").lower() in _TRUE or TRANSACTION_POOLER_PORT in ports
    url = URL.create(DRIVER, user, password, host, port, database, options)
    return DatabaseURL(url, pooled)


def _native(given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The options that libpq takes. `ssl=true`, as JDBC, node and asyncpg write it, must not be lost silently."""
    for name, value in given.items():
        if name == "ssl":
            modes = dict.fromkeys(_TRUE, "require") | dict.fromkeys(("0", "false", "no", "off"), "disable")
            yield "sslmode", modes.get(value.lower(), value)
        elif not _is_known(name):
            raise DatabaseURLInvalid(f"PostgreSQL has no connection option {name!r}: take it out of the URL")
        elif name not in _FOREIGN:
            yield name, value


@lru_cache(maxsize=256)
def _is_known(name: str) -> bool:
    if name in _FOREIGN or name == "ssl":
        return True
    try:
        parse_dsn(f"{name}=1")
    except psycopg2.Error:
        return False
    return True


def _from_sqlalchemy(url: URL) -> DatabaseURL:
    if not _SCHEME.match(f"{url.drivername}://"):
        raise DatabaseURLInvalid(f"{url.drivername} is not a Postgres driver: {_HELP}")
    options = {name: _text(value) or "" for name, value in url.query.items()}
    hosts: list[str | None] = list(options.pop("host", "").split(",")) if "host" in options else [url.host]
    ports = [_port(each) for each in options.pop("port").split(",")] if "port" in options else [url.port]
    password = None if url.password is None else str(url.password)
    return _build(hosts, ports, url.username, password, url.database, options)


def _text(value: str | tuple[str, ...] | None) -> str | None:
    return ",".join(value) if isinstance(value, tuple) else value
