"""Sends a request, follows its redirects, reads the answer. What it holds of an answer is bounded, whatever is sent.

The client of an event loop keeps connections alive from one node to the next, and never a cookie: it serves the nodes
of all executions. The body of a redirect is not read. One content coding is taken off at most, piece by piece: a few
KiB in two of them may be GiB.
"""

from __future__ import annotations

import asyncio
import weakref
import zlib
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Literal, NamedTuple, TypeAlias

import httpx

from dray.actors.errors import NodeError
from dray.actors.outside.environment import holds_secret

Follow: TypeAlias = Literal[False, "same_origin", True]

MOST_REDIRECTS = 20
CODINGS = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
PIECE = 1 << 16  # bytes that are decoded at once
_PORTS = {"http": 80, "https": 443}
_LOCATION = "dray_location"
_OF_THE_BODY = ("content-length", "content-type", "content-encoding", "transfer-encoding")
_FOR_ONE_HOST = ("authorization", "cookie", "proxy-authorization")


class Received(NamedTuple):
    """body: decoded. cut: there was more of it than was asked for."""

    response: httpx.Response
    body: bytes
    cut: bool


async def send(request: httpx.Request, limit: int, follow: Follow) -> Received:
    """limit: bytes of the decoded body. Raises httpx.RequestError, NodeError."""
    client = client_of_loop()
    for _ in range(MOST_REDIRECTS + 1):
        response = await client.send(request, stream=True, follow_redirects=False)
        try:
            location = response.extensions.pop(_LOCATION, None)
            if location is not None:
                response.headers["location"] = location
                following = _following(request, response, location) if follow is not False else None
                if following is not None:
                    _check(request, following, response, follow)
                    request = following
                    continue
            return await _read(response, limit)
        finally:
            await response.aclose()
    raise NodeError("too many redirects; give the final URL", retryable=False)


def client_of_loop() -> httpx.AsyncClient:
    loop = asyncio.get_running_loop()
    client = _clients.get(loop)
    if client is None:
        client = _clients[loop] = httpx.AsyncClient(
            timeout=None,  # noqa: S113  # each exchange is under wait_for: httpx's own limits are per phase
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"Accept-Encoding": "gzip, deflate"},
            event_hooks={"response": [_put_aside]},
        )
    return client


async def close_client() -> None:
    """Close the running loop's client, if there is one: for tests."""
    client = _clients.pop(asyncio.get_running_loop(), None)
    if client is not None:
        await client.aclose()


_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = weakref.WeakKeyDictionary()


async def _put_aside(response: httpx.Response) -> None:
    """httpx would build the next request of any redirect, and lose the answer over a Location that is no URL."""
    if response.has_redirect_location:
        response.extensions[_LOCATION] = response.headers.pop("location")


def _following(request: httpx.Request, response: httpx.Response, location: str) -> httpx.Request | None:
    """The next request; None: the Location is nothing that can be asked. Methods change as browsers do it."""
    try:
        url = request.url.join(location)
        if url.scheme not in _PORTS or not url.host:
            return None
    except (ValueError, httpx.InvalidURL):
        return None
    method, status = request.method, response.status_code
    if (status in (302, 303) and method != "HEAD") or (status == 301 and method == "POST"):
        method = "GET"
    headers = httpx.Headers(request.headers)
    dropped = ["host"]
    if method != request.method:
        dropped += _OF_THE_BODY
    if not _same_origin(request.url, url):
        dropped += _FOR_ONE_HOST
    for name in dropped:
        headers.pop(name, None)
    content = request.content if method == request.method and request.content else None
    return client_of_loop().build_request(method, url, headers=headers, content=content)


def _check(request: httpx.Request, following: httpx.Request, response: httpx.Response, follow: Follow) -> None:
    """Raises NodeError for a redirect that leads where the request was not meant to go."""
    where = f"{following.url.scheme}://{following.url.netloc.decode('ascii').rpartition('@')[2]}"
    said = f"HTTP {response.status_code} to {where}"
    if request.url.scheme == "https" and following.url.scheme == "http":
        raise NodeError(f"{said}: from https to http no redirect is followed; give the final URL", retryable=False)
    if _same_origin(request.url, following.url):
        return
    if follow is not True:
        hint = "give that URL, or set follow_redirects to true, or to false to see the answer itself"
        raise NodeError(f"{said}, another origin, is not followed: {hint}", retryable=False)
    if _holds_secret(request):
        raise NodeError(
            f"{said}, another origin, is not followed, for the request holds a secret: give the final URL",
            retryable=False,
        )


def _holds_secret(request: httpx.Request) -> bool:
    parts = [str(request.url), *request.headers.values(), request.content.decode("utf-8", "replace")]
    return any(map(holds_secret, parts))


def _same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """Where http becomes https on the usual ports, it is the same one, told to whom nobody else can listen."""
    if one.host != other.host:
        return False
    ports = [url.port or _PORTS[url.scheme] for url in (one, other)]
    if one.scheme == other.scheme:
        return ports[0] == ports[1]
    return one.scheme == "http" and ports == [80, 443]


async def _read(response: httpx.Response, limit: int) -> Received:
    """A body of more than `limit` bytes is not read to its end."""
    given = response.headers.get("content-encoding", "").lower().split(",")
    codings = [coding for each in given if (coding := each.strip()) not in ("", "identity")]
    if len(codings) > 1:
        raise NodeError(
            f"the answer has {len(codings)} content codings ({', '.join(codings)}), of which one is taken off at most",
            retryable=False,
        )
    bits = CODINGS.get(codings[0]) if codings else None
    body = bytearray()
    if bits is None:
        async for chunk in response.aiter_raw():
            body += chunk[: limit + 1 - len(body)]
            if len(body) > limit:
                break
        return Received(response, bytes(body[:limit]), len(body) > limit)
    coding = _Coding(bits)
    async for chunk in response.aiter_raw():
        coding.decode(chunk, body, limit)
        if len(body) > limit:
            break
    return Received(response, bytes(body[:limit]), len(body) > limit)


class _Coding:
    """Takes a coding off."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._decoder = zlib.decompressobj(bits)
        self._is_first = True

    def decode(self, chunk: bytes, body: bytearray, limit: int) -> None:
        """Add what the chunk holds to the body, a byte over the limit at most. Raises NodeError."""
        while chunk and len(body) <= limit and not self._decoder.eof:
            try:
                body += self._decoder.decompress(chunk, min(PIECE, limit + 1 - len(body)))
            except zlib.error as error:
                if self._is_first and self._bits == zlib.MAX_WBITS:  # some send "deflate" without zlib's frame
                    self._bits = -zlib.MAX_WBITS
                    self._decoder = zlib.decompressobj(self._bits)
                    continue
                raise NodeError(f"the answer cannot be unpacked: {error}") from None
            self._is_first = False
            chunk = self._decoder.unconsumed_tail
