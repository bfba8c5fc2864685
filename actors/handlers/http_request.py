"""http_request: one HTTP request.

Output: {"status_code", "headers" (names in lower case), "body" (text), "json" (the body parsed, or null), "url" (after
redirects), "method"}. Bytes that are no text, and NUL, which Postgres cannot hold, become U+FFFD. Several cookies that
are set are a list in "headers".

A status of 400 or more fails the node, with the start of the body in the message. Tried again: 408, 425, 429, 5xx and
network errors, not before the time that a Retry-After names. Not tried again: any other status, a redirect that is not
followed, an answer over max_body_bytes.

Redirects are followed within the origin; with follow_redirects true to others too, unless a secret was sent, which must
not go there; from https to http never. With false the redirect itself is the output.

Every request carries `Idempotency-Key: <execution>/<node>`, the same on every attempt, unless the config sets that
header. Cookies are never kept: one client serves the nodes of all executions.

It goes wherever the runner's network leads, to addresses inside it too: whoever may store a workflow, or may choose its
URL by way of the input, may call those. Keep runners from what they must not reach with the network's own means.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from dray.actors.context import NodeContext
from dray.actors.expressions.config_shape import HoldsSecrets
from dray.actors.outside.http_client import Follow
from dray.actors.outside.http_exchange import as_body, checked_url, exchange, fail, key_header, name_of
from dray.actors.registry import NodeConfig, handler

_upper = BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value)
_WORDS = {"true": True, "false": False}
_filled = BeforeValidator(lambda value: None if value == "" else value)
_word = BeforeValidator(lambda value: _WORDS.get(value.lower(), value) if isinstance(value, str) else value)


class HttpRequestConfig(NodeConfig):
    """body: a string is sent as it is, anything else as JSON; null = none. Its Content-Type defaults to JSON.

    timeout: seconds for the whole exchange, default 30. max_body_bytes: of the decoded answer, default 1 MiB.
    """

    url: Annotated[str, AfterValidator(checked_url), HoldsSecrets()]
    method: Annotated[Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"], _upper] = "GET"
    headers: Annotated[dict[str, str], HoldsSecrets()] = Field(default_factory=dict)
    body: Annotated[Any, HoldsSecrets(), _filled] = None
    timeout: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    max_body_bytes: int = Field(default=1 << 20, ge=0)
    follow_redirects: Annotated[Follow, _word] = "same_origin"


@handler("http_request", config=HttpRequestConfig)
async def http_request(config: HttpRequestConfig, ctx: NodeContext) -> dict[str, Any]:
    defaults = {"Idempotency-Key": key_header(ctx.idempotency_key)}
    if config.body is not None:
        defaults["Content-Type"] = "application/json"
    given = {name.lower() for name in config.headers}
    answer = await exchange(
        config.method,
        config.url,
        headers={name: value for name, value in defaults.items() if name.lower() not in given} | config.headers,
        content=None if config.body is None else as_body(config.body),
        seconds=min(config.timeout, ctx.remaining()),
        max_bytes=config.max_body_bytes,
        follow_redirects=config.follow_redirects,
    )
    if answer.status >= 400:
        fail(answer, name_of(config.method, config.url))
    return {
        "status_code": answer.status,
        "headers": answer.shown_headers,
        "body": answer.text,
        "json": answer.json,
        "url": answer.url,
        "method": config.method,
    }
