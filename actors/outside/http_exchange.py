"""One HTTP request and its answer, as a node's attempt: what went wrong is a NodeError that says whether to retry.

Retried: 408, 425, 429, 5xx and network errors. An answer fails no node because of its form: foreign.py.
"""

from __future__ import annotations

import asyncio
import json
import math
import string
import time
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, NoReturn
from urllib.parse import quote

import httpx

from dray.actors.errors import ConfigError, NodeError, TimedOut
from dray.actors.outside.environment import hide
from dray.actors.outside.foreign import json_of, text_of
from dray.actors.outside.http_client import Follow, client_of_loop, send

RETRYABLE = frozenset({408, 425, 429})
BODY_IN_MESSAGE = 500  # characters
LONGEST_RETRY_AFTER = 24 * 3600.0  # seconds; what asks for more is a mistake


class Answer(NamedTuple):
    """text: what Postgres cannot hold of it is U+FFFD. url: after redirects."""

    status: int
    reason: str
    headers: httpx.Headers
    text: str
    url: str

    @property
    def json(self) -> Any:
        """The text parsed; None if it is no JSON."""
        return json_of(self.text)

    @property
    def shown_headers(self) -> dict[str, str | list[str]]:
        """Names in lower case. Several values of one header are one text, with commas, as HTTP has it; but a cookie
        may hold a comma, so several are a list."""
        cookies = self.headers.get_list("set-cookie")
        more: dict[str, str | list[str]] = {"set-cookie": cookies} if len(cookies) > 1 else {}
        return {**self.headers, **more}


async def exchange(
    method: str,
    url: str,
    *,
    headers: dict[str, str],
    content: bytes | None,
    seconds: float,
    max_bytes: int,
    follow_redirects: Follow = False,
    secret_path: bool = False,
) -> Answer:
    """The answer, whatever its status. url: checked_url(). max_bytes: of its decoded body.

    Raises NodeError, TimedOut, ConfigError.
    """
    name = name_of(method, url, not secret_path)
    try:
        request = client_of_loop().build_request(method, url, headers=headers, content=content)
    except (ValueError, httpx.InvalidURL) as error:
        raise ConfigError(f"{name}: cannot build the request: {error}") from None
    try:
        response, body, cut = await asyncio.wait_for(send(request, max_bytes, follow_redirects), seconds)
    except TimeoutError:
        raise TimedOut(f"{name} timed out: no complete answer within {seconds:.3g} s") from None
    except httpx.LocalProtocolError as error:
        raise ConfigError(f"{name} cannot be sent: {error}; correct the headers") from None
    except httpx.RequestError as error:
        raise NodeError(f"{name}: network error: {error or type(error).__name__}") from error
    except NodeError as error:
        raise NodeError(f"{name}: {error}", error.retryable) from None
    if cut and response.status_code < 400:  # of a failure the start is enough for the message
        raise NodeError(
            f"{name}: the answer is larger than {max_bytes} bytes; raise max_body_bytes or ask for less",
            retryable=False,
        )
    is_json = "json" in response.headers.get("content-type", "").lower()
    text = hide(text_of(body, _charset(response), is_json))  # here, before anybody takes only the start of it
    return Answer(response.status_code, response.reason_phrase, response.headers, text, str(response.url))


_UNCHANGED = "".join(set(string.printable) - set(string.whitespace) - {"%"}) + " "


def key_header(idempotency_key: str) -> str:
    """An idempotency key as a header holds it: what is not printable ASCII in it is percent-encoded."""
    return quote(idempotency_key.rstrip(" "), safe=_UNCHANGED, errors="replace") + "%20" * (
        len(idempotency_key) - len(idempotency_key.rstrip(" "))
    )


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


def _charset(response: httpx.Response) -> str | None:
    try:
        return response.charset_encoding
    except Exception:  # noqa: BLE001  # the parser of the standard library, given what a service made up
        return None
