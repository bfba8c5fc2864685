"""One e-mail over SMTP, as a node's attempt: settings, addresses, message, and what the server said to it.

SMTP_HOST, SMTP_PORT (587; 465 with SMTP_SSL), SMTP_USER, SMTP_PASSWORD, SMTP_TLS (true: STARTTLS, refused where the
server has none), SMTP_SSL (false: TLS from the first byte), EMAILS_FROM_EMAIL, EMAILS_FROM_NAME.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import localtime
from typing import NamedTuple

from dray.actors.errors import ConfigError, NodeError, TimedOut
from dray.actors.outside.environment import setting

_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_NAMED = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>]*)>")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Server(NamedTuple):
    host: str
    port: int
    user: str | None
    password: str | None
    starttls: bool
    ssl: bool
    sender: Address


def server() -> Server:
    """What the deployment says. Raises ConfigError that names what is missing."""
    host = setting("SMTP_HOST")
    if host is None:
        raise ConfigError(
            "no e-mail can be sent: set SMTP_HOST (and SMTP_PORT, SMTP_USER, SMTP_PASSWORD) for the driver"
        )
    ssl = _flag("SMTP_SSL", default=False)
    port = setting("SMTP_PORT") or ("465" if ssl else "587")
    if not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 65536:
        raise ConfigError(f"SMTP_PORT must be a number from 1 to 65535, not {port!r}")
    user = setting("SMTP_USER")
    sender = setting("EMAILS_FROM_EMAIL") or user
    if sender is None or "@" not in sender:
        raise ConfigError("no e-mail can be sent: set EMAILS_FROM_EMAIL, the address of the sender, for the driver")
    named = address(sender, setting("EMAILS_FROM_NAME") or "")
    starttls = not ssl and _flag("SMTP_TLS", default=True)
    return Server(host, int(port), user, setting("SMTP_PASSWORD"), starttls, ssl, named)


def addresses(texts: Iterable[str]) -> list[Address]:
    """Of texts such as `a@example.com, Ada <ada@example.com>`; a `;` parts them too."""
    parts = [part.strip() for text in texts for part in re.split(r"[,;]", text)]
    found = [address(part) for part in parts if part]
    return list({each.addr_spec.lower(): each for each in found}.values())


def address(text: str, name: str = "") -> Address:
    if match := _NAMED.fullmatch(text):
        name, text = match["name"].strip().strip('"') or name, match["address"].strip()
    if _CONTROL.search(text + name):
        raise ConfigError(f"{text[:80]!r} is no e-mail address: there is a line break or a control character in it")
    local, _, domain = text.rpartition("@")
    try:
        found = Address(name, addr_spec=f"{local}@{domain.encode('idna').decode()}")
    except Exception:  # noqa: BLE001  # the parser of the standard library raises IndexError and others
        raise ConfigError(f"{text[:80]!r} is no e-mail address") from None
    if not found.username or not found.domain:
        raise ConfigError(f"{text[:80]!r} is no e-mail address")
    return found


def message(to: list[Address], sender: Address, subject: str, text: str, key: str) -> EmailMessage:
    """key: idempotency key; the Message-ID is made of it, so that a message sent twice is known as the same."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = to
    # A line break would begin another header; the library refuses it, and a subject filled with data may hold one.
    mail["Subject"] = " ".join(_CONTROL.sub(" ", subject).split())
    mail["Date"] = localtime()
    mail["Message-ID"] = f"<{hashlib.sha256(key.encode()).hexdigest()[:40]}@{sender.domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # so that nobody's out-of-office answers it
    mail.set_content(text)
    return mail


async def send(mail: EmailMessage, to: list[Address], through: Server, seconds: float) -> None:
    """Raises NodeError that says whether the server may take it later, ConfigError."""
    import aiosmtplib  # here: it costs 50 ms, and most runners never send a mail

    place = f"SMTP server {through.host}:{through.port}"
    try:
        refused, _ = await asyncio.wait_for(
            aiosmtplib.send(
                mail,
                sender=through.sender.addr_spec,
                recipients=[each.addr_spec for each in to],
                hostname=through.host,
                port=through.port,
                username=through.user if through.password is not None else None,
                password=through.password if through.user is not None else None,
                use_tls=through.ssl,
                start_tls=through.starttls,
                timeout=None,
            ),
            seconds,
        )
    except TimeoutError:
        raise TimedOut(f"{place} timed out: it has not taken the message within {seconds:.3g} s") from None
    except aiosmtplib.SMTPAuthenticationError as error:
        text = f"{place} refused SMTP_USER and SMTP_PASSWORD: {_said(error)}"
        raise NodeError(text) if error.code < 500 else ConfigError(text) from None
    except aiosmtplib.SMTPRecipientsRefused as error:
        codes = [each.code for each in error.recipients]
        raise NodeError(
            f"{place} refused every recipient: {'; '.join(map(_said, error.recipients))}", max(codes, default=500) < 500
        ) from None
    except aiosmtplib.SMTPResponseException as error:
        raise NodeError(f"{place} refused the message: {_said(error)}", retryable=error.code < 500) from None
    except (aiosmtplib.SMTPException, OSError) as error:
        # The base class itself: the server lacks STARTTLS or a way to log in, and will tomorrow.
        lacks = isinstance(error, aiosmtplib.SMTPNotSupported) or type(error) is aiosmtplib.SMTPException
        raise NodeError(f"{place}: {str(error) or type(error).__name__}", retryable=not lacks) from None
    if refused:
        told = "; ".join(f"{who}: {code} {why}" for who, (code, why) in refused.items())
        raise NodeError(f"{place} took the message for some recipients only, it refused {told}", retryable=False)


def _said(error: Exception) -> str:
    return " ".join(f"{getattr(error, 'code', '')} {getattr(error, 'message', error)}".split())


def _flag(name: str, default: bool) -> bool:
    text = setting(name)
    if text is None:
        return default
    if (found := _WORDS.get(text.lower())) is None:
        raise ConfigError(f"{name} must be true or false, not {text!r}")
    return found
