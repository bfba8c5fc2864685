"""notification: tells somebody, by e-mail, to a chat, or to any URL.

    webhook          POST {"subject", "message", "recipient"} as JSON, with `Idempotency-Key: <execution>/<node>`
    slack, discord   POST to an incoming webhook; the subject is a first line in bold
    email            SMTP, as actors/outside/mail.py is told by the deployment; Message-ID is the same on every attempt
    sms              needs a plug-in: a handler of one's own that is registered as "notification_sms"

Output: {"channel", "recipient", "sent": true}, and "status_code", or for e-mail "message_id" and "recipients". It is
sent when the service has taken it, with a 2xx or a 250; all else fails the node. Tried again: what http_request tries
again, SMTP's 4xx and lost connections: so a message whose taking was never heard of may come twice.

The URL of a chat's webhook is a secret. It is never shown; set it as SLACK_WEBHOOK_URL or DISCORD_WEBHOOK_URL, or give
`url: "{{ secrets.NAME }}"`.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from dray.actors.context import NodeContext
from dray.actors.errors import ConfigError
from dray.actors.expressions.config import as_text
from dray.actors.expressions.config_shape import HoldsSecrets
from dray.actors.outside import mail
from dray.actors.outside.environment import setting
from dray.actors.outside.http_exchange import as_body, checked_url, exchange, fail, key_header, name_of
from dray.actors.registry import NodeConfig, find_handler, handler

MAX_ANSWER = 1 << 20  # bytes
_lower = BeforeValidator(lambda value: value.strip().lower() if isinstance(value, str) else value)
_list = BeforeValidator(lambda value: value if isinstance(value, list) else [value])


class NotificationConfig(NodeConfig):
    """recipient: an address, or several; for a chat a channel, or the webhook's URL. url: of the webhook.

    message: a text, or any JSON value; only a webhook gets that as it is. timeout: seconds, default 30.
    """

    channel: Annotated[Literal["email", "slack", "discord", "webhook", "sms"], _lower] = "email"
    recipient: Annotated[list[str], _list] = Field(default_factory=list)
    url: Annotated[str, AfterValidator(checked_url), HoldsSecrets()] | None = None
    subject: str = ""
    message: Any = ""
    timeout: float = Field(default=30.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _somewhere(self) -> NotificationConfig:
        if self.channel == "email" and not self.recipient:
            raise ValueError("recipient: give the address of an e-mail")
        if self.channel == "webhook" and not (self.url or self.recipient):
            raise ValueError("url: give the URL of the webhook")
        return self


@handler("notification", config=NotificationConfig)
async def notification(config: NotificationConfig, ctx: NodeContext) -> Any:
    if config.channel == "sms":
        return await _plug_in("notification_sms", config, ctx)
    if config.subject == "" and config.message in ("", None):
        raise ConfigError("there is nothing to tell: message and subject are empty")
    send = _email if config.channel == "email" else _post
    told = await send(config, ctx, min(config.timeout, ctx.remaining()))
    return {"channel": config.channel, "sent": True, **told}


async def _plug_in(node_type: str, config: NotificationConfig, ctx: NodeContext) -> Any:
    spec = find_handler(node_type)
    given = spec.parse(config.model_dump())
    if spec.is_async:
        return await spec.function(given, ctx)
    return await asyncio.to_thread(spec.function, given, ctx)


async def _email(config: NotificationConfig, ctx: NodeContext, seconds: float) -> dict[str, Any]:
    to = mail.addresses(config.recipient)
    if not to:
        raise ConfigError("recipient is empty: give the address of an e-mail")
    through = mail.server()
    subject = config.subject or "Notification"
    message = mail.message(to, through.sender, subject, as_text(config.message), ctx.idempotency_key)
    await mail.send(message, to, through, seconds)
    recipients = [each.addr_spec for each in to]
    return {"recipient": ", ".join(recipients), "recipients": recipients, "message_id": message["Message-ID"]}


async def _post(config: NotificationConfig, ctx: NodeContext, seconds: float) -> dict[str, Any]:
    url, recipient = _where(config)
    is_chat = config.channel != "webhook"
    answer = await exchange(
        "POST",
        url,
        headers={"Idempotency-Key": key_header(ctx.idempotency_key), "Content-Type": "application/json"},
        content=as_body(_body(config, recipient)),
        seconds=seconds,
        max_bytes=MAX_ANSWER,
        secret_path=is_chat,
    )
    if not 200 <= answer.status < 300:
        fail(answer, name_of("POST", url, with_path=not is_chat))
    return {"recipient": recipient, "status_code": answer.status}


def _where(config: NotificationConfig) -> tuple[str, str | None]:
    """The URL, and the recipient where that is not the URL."""
    recipient = ", ".join(config.recipient)
    if recipient.startswith(("https://", "http://")):
        try:
            return checked_url(config.url or recipient), None
        except ValueError as error:
            raise ConfigError(f"recipient {error}") from None
    url = config.url
    if url is None:
        name = f"{config.channel.upper()}_WEBHOOK_URL"
        url = setting(name) if config.channel != "webhook" else None
        if url is None:
            more = "" if config.channel == "webhook" else f", or set {name} for the driver"
            raise ConfigError(f"channel {config.channel!r} has no URL to send to: give url{more}")
        try:
            checked_url(url)
        except ValueError as error:
            raise ConfigError(f"{name} {error}") from None
    return url, recipient or None


def _body(config: NotificationConfig, recipient: str | None) -> dict[str, Any]:
    if config.channel == "webhook":
        return {"subject": config.subject, "message": config.message, "recipient": recipient}
    bold = {"slack": "*", "discord": "**"}[config.channel]
    subject = " ".join(config.subject.split())
    lines = [f"{bold}{subject}{bold}" if subject else "", as_text(config.message)]
    text = "\n".join(filter(None, lines))
    if config.channel == "discord":
        return {"content": text}
    return {"text": text, **({"channel": recipient} if recipient else {})}
