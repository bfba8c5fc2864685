"""One HTTP request and its answer, as a node's attempt: what went wrong is a NodeError that says whether to retry.

Retried: 408, 425, 429, 5xx and network errors. The client of an event loop keeps connections alive from one node to the
next, and never a cookie: it serves the nodes of all executions.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
import weakref
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, NamedTuple, NoReturn

import httpx

from dray.actors.errors import ConfigError, NodeError
from dray.actors.outside.environment import hide

RETRYABLE = frozenset({408, 425, 429})
BODY_IN_MESSAGE = 500  # characters
LONGEST_RETRY_AFTER = 24 * 3600.0  # seconds; what asks for more is a mistake


class Answer(NamedTuple):
    """text: bytes that are no text, and NUL, which Postgres cannot hold, are U+FFFD. url: after redirects."""

    status: int
    reason: str
    headers: httpx.Headers
    text: str
    url: str

    @property
    def json(self) -> Any:
        """The text parsed; None if it is no JSON."""

        def refuse(constant: str) -> NoReturn:
            raise ValueError(f"{constant} is no JSON")

        try:
            return json.loads(self.text, parse_constant=refuse)
        except (ValueError, RecursionError):
            return None


async def exchange(
    method: str,
    url: str,
    *,
    headers: dict[str, str],
    content: bytes | None,
    seconds: float,
    max_bytes: int,
    follow_redirects: bool = True,
    secret_path: bool = False,
) -> Answer:
    """The answer, whatever its status. url: checked_url(). max_bytes: of its decoded body.

    Raises NodeError, ConfigError.
    """
    client, name = _client(), name_of(method, url, not secret_path)
    try:
        request = client.build_request(method, url, headers=headers, content=content)
    except (ValueError, httpx.InvalidURL) as error:
        raise ConfigError(f"{name}: cannot build the request: {error}") from None
    try:
        response, body = await asyncio.wait_for(_send(client, request, name, max_bytes, follow_redirects), seconds)
    except TimeoutError:
        raise NodeError(f"{name}: no complete answer within {seconds:.3g} s") from None
    except httpx.LocalProtocolError as error:
        raise ConfigError(f"{name} cannot be sent: {error}; correct the headers") from None
    except httpx.TooManyRedirects:
        raise NodeError(f"{name}: too many redirects; give the final URL", retryable=False) from None
    except httpx.RequestError as error:
        raise NodeError(f"{name}: network error: {error or type(error).__name__}") from error
    text = hide(_text(body, response.charset_encoding))  # here, before anybody takes only the start of it
    return Answer(response.status_code, response.reason_phrase, response.headers, text, str(response.url))


def fail(answer: Answer, name: str) -> NoReturn:
    """Raise the NodeError of an answer that is no success, with the start of its body."""
    raise NodeError(
        f"HTTP {answer.status} {answer.reason} from {name}: {answer.text[:BODY_IN_MESSAGE]}",
        retryable=answer.status in RETRYABLE or answer.status >= 500,
        retry_after=retry_after(answer.headers),
    )


def retry_after(headers: httpx.Headers) -> float | None:
    """Seconds from now, of the header Retry-After in either of its forms; None = it is not there or not readable."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return min(seconds, LONGEST_RETRY_AFTER) if math.isfinite(seconds) and seconds > 0 else None


def as_body(value: Any) -> bytes:
    """A string as it is, anything else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace")


async def close_client() -> None:
    """Close the running loop's client, if there is one: for tests."""
    client = _clients.pop(asyncio.get_running_loop(), None)
    if client is not None:
        await client.aclose()


_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = weakref.WeakKeyDictionary()


def _client() -> httpx.AsyncClient:
    loop = asyncio.get_running_loop()
    client = _clients.get(loop)
    if client is None:
        client = _clients[loop] = httpx.AsyncClient(
            timeout=None,  # noqa: S113  # each exchange is under wait_for: httpx's own limits are per phase
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
    return client


async def _send(
    client: httpx.AsyncClient, request: httpx.Request, name: str, limit: int, follow_redirects: bool
) -> tuple[httpx.Response, bytes]:
    response = await client.send(request, stream=True, follow_redirects=follow_redirects)
    try:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > limit:
                if response.status_code >= 400:  # the start is enough for the message
                    break
                raise NodeError(
                    f"{name}: the answer is larger than {limit} bytes; raise max_body_bytes or ask for less",
                    retryable=False,
                )
        return response, bytes(body)
    finally:
        await response.aclose()


def name_of(method: str, url: str, with_path: bool = True) -> str:
    """A request in a message: without user, password and query, where secrets are.

    with_path: not where that is one too, as in the URLs of chat webhooks.
    """
    found = httpx.URL(url).copy_with(userinfo=b"", query=None, fragment=None)
    return f"{method} {found if with_path else found.copy_with(path='/')}"


def checked_url(url: str) -> str:
    """The URL, if a request can be sent to it. Raises ValueError."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"not a URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError("must begin with http:// or https:// and name a host")
    return url


def _text(body: bytes, charset: str | None) -> str:
    try:
        text = body.decode(charset or "utf-8", "replace")
    except LookupError:
        text = body.decode("utf-8", "replace")
    return text.replace("\0", "\ufffd")
