"""http_request: one HTTP request.

Output: {"status_code", "headers" (names in lower case), "body" (text), "json" (the body parsed, or null), "url" (after
redirects), "method"}. Bytes that are no text, and NUL, which Postgres cannot hold, become U+FFFD.

A status of 400 or more fails the node, with the start of the body in the message. Tried again: 408, 425, 429, 5xx and
network errors. Not tried again: any other status, too many redirects, an answer over max_body_bytes.

Every request carries `Idempotency-Key: <execution>/<node>`, the same on every attempt, unless the config sets that
header. Cookies are never kept: one client serves the nodes of all executions.
"""

from __future__ import annotations

import asyncio
import json
import weakref
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Annotated, Any, Literal, NoReturn

import httpx
from pydantic import BeforeValidator, Field, field_validator

from actors.context import NodeContext
from actors.errors import ConfigError, NodeError
from actors.registry import NodeConfig, handler

RETRYABLE = frozenset({408, 425, 429})
BODY_IN_MESSAGE = 500  # characters

_upper = BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value)


class HttpRequestConfig(NodeConfig):
    """body: a string is sent as it is, anything else as JSON; null = none. Its Content-Type defaults to JSON.

    timeout: seconds for the whole exchange, default 30. max_body_bytes: of the decoded answer, default 1 MiB.
    """

    url: str
    method: Annotated[Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"], _upper] = "GET"
    headers: dict[str, str] = Field(default_factory=dict)
    body: Any = None
    timeout: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    max_body_bytes: int = Field(default=1 << 20, ge=0)

    @field_validator("url")
    @classmethod
    def _http_only(cls, url: str) -> str:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError(f"not a URL: {error}") from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError("must begin with http:// or https:// and name a host")
        return url


@handler("http_request", config=HttpRequestConfig)
async def http_request(config: HttpRequestConfig, ctx: NodeContext) -> dict[str, Any]:
    seconds = min(config.timeout, ctx.remaining())
    client = _client()
    request = _request(client, config, ctx.idempotency_key)
    try:
        response, body = await asyncio.wait_for(_exchange(client, request, config.max_body_bytes), seconds)
    except asyncio.TimeoutError:
        raise NodeError(f"{_name(request)}: no complete answer within {seconds:.3g} s") from None
    except httpx.LocalProtocolError as error:
        raise ConfigError(f"{_name(request)} cannot be sent: {error}; correct the headers") from None
    except httpx.TooManyRedirects:
        raise NodeError(f"{_name(request)}: too many redirects; give the final URL", retryable=False) from None
    except httpx.RequestError as error:
        raise NodeError(f"{_name(request)}: network error: {error or type(error).__name__}") from error
    text = _text(body, response.charset_encoding)
    if response.status_code >= 400:
        _fail(request, response, text)
    return {
        "status_code": response.status_code,
        "headers": dict(response.headers),
        "body": text,
        "json": _parsed(text),
        "url": str(response.url),
        "method": config.method,
    }


async def close_client() -> None:
    """Close the running loop's client, if there is one: for a runner that stops, and for tests."""
    client = _clients.pop(asyncio.get_running_loop(), None)
    if client is not None:
        await client.aclose()


# A client belongs to the loop that first used it. It keeps connections alive from one node to the next.
_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = weakref.WeakKeyDictionary()


def _client() -> httpx.AsyncClient:
    loop = asyncio.get_running_loop()
    client = _clients.get(loop)
    if client is None:
        client = _clients[loop] = httpx.AsyncClient(
            follow_redirects=True,
            timeout=None,  # noqa: S113  # each exchange is under wait_for: httpx's own limits are per phase
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
    return client


def _request(client: httpx.AsyncClient, config: HttpRequestConfig, idempotency_key: str) -> httpx.Request:
    body = config.body
    content = body if body is None or isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    defaults = {"Idempotency-Key": idempotency_key}
    if content is not None:
        defaults["Content-Type"] = "application/json"
    given = {name.lower() for name in config.headers}
    headers = {name: value for name, value in defaults.items() if name.lower() not in given} | config.headers
    encoded = None if content is None else content.encode("utf-8", "replace")
    try:
        return client.build_request(config.method, config.url, headers=headers, content=encoded)
    except (ValueError, httpx.InvalidURL) as error:
        raise ConfigError(f"{config.method} {config.url}: cannot build the request: {error}") from None


async def _exchange(client: httpx.AsyncClient, request: httpx.Request, limit: int) -> tuple[httpx.Response, bytes]:
    response = await client.send(request, stream=True)
    try:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > limit:
                if response.status_code >= 400:  # the start is enough for the message
                    break
                raise NodeError(
                    f"{_name(request)}: the answer is larger than {limit} bytes; raise max_body_bytes or ask for less",
                    retryable=False,
                )
        return response, bytes(body)
    finally:
        await response.aclose()


def _fail(request: httpx.Request, response: httpx.Response, text: str) -> NoReturn:
    status = response.status_code
    raise NodeError(
        f"HTTP {status} {response.reason_phrase} from {_name(request)}: {text[:BODY_IN_MESSAGE]}",
        retryable=status in RETRYABLE or status >= 500,
    )


def _name(request: httpx.Request) -> str:
    """The request in a message: without user, password and query, where secrets are."""
    return f"{request.method} {request.url.copy_with(userinfo=b'', query=None)}"


def _text(body: bytes, charset: str | None) -> str:
    try:
        text = body.decode(charset or "utf-8", "replace")
    except LookupError:
        text = body.decode("utf-8", "replace")
    return text.replace("\0", "\ufffd")


def _parsed(text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return None
