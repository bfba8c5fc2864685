"""notification, against real servers on the loopback interface."""

from __future__ import annotations

import email
import email.policy
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult

from dray.actors.context import NodeContext
from dray.actors.errors import ConfigError, NodeError
from dray.actors.registry import handler
from tests.servers import HttpServer, SmtpServer, http_server, smtp_server

Run = Callable[..., Any]


@pytest.fixture
def smtp(given: Callable[..., None]) -> Iterator[SmtpServer]:
    with smtp_server() as found:
        given(**settings(found))
        yield found


def settings(server: SmtpServer, **more: str) -> dict[str, str]:
    named = {"SMTP_HOST": server.host, "SMTP_PORT": str(server.port), "SMTP_TLS": "false"}
    return {**named, "EMAILS_FROM_EMAIL": "dray@example.com", "EMAILS_FROM_NAME": "Dray, the worker", **more}


# Webhooks and chats


def test_a_webhook_is_sent_what_is_to_be_told_with_the_idempotency_key(run: Run, server: HttpServer) -> None:
    config = {"channel": "webhook", "url": server.url + "/hook?a=1", "recipient": "ops", "subject": "s"}
    out = run("notification", {**config, "message": {"rows": "{{ input.n }}"}}, input={"n": 3})
    assert out == {"channel": "webhook", "sent": True, "recipient": "ops", "status_code": 200}
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/hook?a=1")
    assert request.json == {"subject": "s", "message": {"rows": 3}, "recipient": "ops"}
    assert request.headers["idempotency-key"] == "e1/n"


def test_the_recipient_may_be_the_url(run: Run, server: HttpServer) -> None:
    out = run("notification", {"channel": "Webhook", "recipient": server.url + "/r", "message": "m"})
    assert (out["recipient"], server.requests[0].path) == (None, "/r")


@pytest.mark.parametrize(
    ("channel", "body"),
    [
        ("slack", {"text": "*Disk is full*\n93 %", "channel": "#ops"}),
        ("discord", {"content": "**Disk is full**\n93 %"}),
    ],
)
def test_chats(run: Run, server: HttpServer, channel: str, body: dict[str, str]) -> None:
    server.answer(204 if channel == "discord" else 200)
    config = {"channel": channel, "url": server.url + "/T0/secret", "recipient": "#ops"}
    out = run("notification", {**config, "subject": "Disk\nis full", "message": "93 %"})
    assert server.requests[0].json == body
    assert out == {
        "channel": channel,
        "sent": True,
        "recipient": "#ops",
        "status_code": 204 if channel == "discord" else 200,
    }


def test_the_url_of_a_chat_is_a_setting_or_a_secret_and_is_never_shown(
    run: Run, server: HttpServer, given: Callable[..., None]
) -> None:
    given(SLACK_WEBHOOK_URL=server.url + "/services/T0/abc", MY_HOOK=server.url + "/services/T1/def")
    server.default = (403, {}, "invalid_token")
    for url, path in ((None, "/services/T0/abc"), ("{{ secrets.MY_HOOK }}", "/services/T1/def")):
        with pytest.raises(NodeError, match=f"HTTP 403 Forbidden from POST {server.url}/: invalid_token") as caught:
            run("notification", {"channel": "slack", "message": "m", "url": url})
        assert not caught.value.retryable
        assert server.requests[-1].path == path


@pytest.mark.parametrize(
    ("status", "retryable"), [(302, False), (400, False), (404, False), (429, True), (500, True), (503, True)]
)
def test_what_is_not_taken_is_not_sent(run: Run, server: HttpServer, status: int, retryable: bool) -> None:
    server.answer(status, "why", Location=server.url + "/elsewhere", Retry_After="7")
    with pytest.raises(NodeError, match=f"HTTP {status} .*: why") as caught:
        run("notification", {"channel": "webhook", "url": server.url + "/hook", "message": "m"})
    assert (caught.value.retryable, caught.value.retry_after) == (retryable, 7.0)
    assert [request.path for request in server.requests] == ["/hook"]


def test_nobody_there(run: Run, server: HttpServer) -> None:
    with http_server() as gone:
        url = gone.url
    with pytest.raises(NodeError, match="network error") as caught:
        run("notification", {"channel": "webhook", "url": url, "message": "m"})
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"channel": "sms", "recipient": "+41", "message": "m"}, "needs plug-in 'notification_sms'"),
        ({"channel": "slack", "message": "m"}, "give url, or set SLACK_WEBHOOK_URL for the driver"),
        ({"channel": "webhook", "recipient": "ops", "message": "m"}, "has no URL to send to: give url"),
        ({"channel": "webhook", "message": "m"}, "url: give the URL"),
        ({"channel": "email", "message": "m"}, "recipient: give the address"),
        ({"channel": "pigeon", "message": "m"}, "channel: Input should be"),
        ({"channel": "email", "recipient": "a@example.com"}, "nothing to tell"),
        ({"channel": "email", "recipient": "a@example.com", "message": "m"}, "set SMTP_HOST"),
    ],
)
def test_what_cannot_work_is_not_tried_again(run: Run, config: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        run("notification", config)


def test_a_plug_in_may_send_an_sms(run: Run, own_registry: None) -> None:
    @handler("notification_sms")
    def by_sms(config: dict[str, Any], ctx: NodeContext) -> dict[str, Any]:
        return {"sent": True, "to": config["recipient"], "key": ctx.idempotency_key}

    out = run("notification", {"channel": "sms", "recipient": "+41", "message": "m"})
    assert out == {"sent": True, "to": ["+41"], "key": "e1/n"}


# E-mail


def test_an_email_arrives(run: Run, smtp: SmtpServer) -> None:
    config = {"channel": "email", "recipient": "Ada <ada@example.com>; bob@example.com", "subject": "Grüße"}
    out = run("notification", {**config, "message": "Zeile 1\n.\nZürich"})
    (mail,) = smtp.mails
    assert (mail.sender, mail.recipients) == ("dray@example.com", ["ada@example.com", "bob@example.com"])
    found = email.message_from_bytes(mail.content, policy=email.policy.default)
    assert (found["Subject"], found["From"]) == ("Grüße", '"Dray, the worker" <dray@example.com>')
    assert found["To"] == "Ada <ada@example.com>, bob@example.com"
    assert found.get_content().splitlines() == ["Zeile 1", ".", "Zürich"]
    assert found["Message-ID"] == out["message_id"]
    assert (out["sent"], out["recipients"]) == (True, ["ada@example.com", "bob@example.com"])


def test_each_attempt_has_the_same_message_id(run: Run, smtp: SmtpServer) -> None:
    config = {"channel": "email", "recipient": "a@example.com", "message": "m"}
    ids = {run("notification", config)["message_id"] for _ in range(2)}
    assert len(ids) == 1


def test_a_line_break_adds_no_header(run: Run, smtp: SmtpServer) -> None:
    subject = "hello\r\nBcc: victim@example.com\r\n\r\nbody"
    config = {"channel": "email", "recipient": "a@example.com", "subject": "{{ input }}", "message": "m"}
    run("notification", config, input=subject)
    found = email.message_from_bytes(smtp.mails[0].content, policy=email.policy.default)
    assert (found["Bcc"], smtp.mails[0].recipients) == (None, ["a@example.com"])
    assert found["Subject"] == "hello Bcc: victim@example.com body"


@pytest.mark.parametrize(
    "recipient",
    ["a@example.com\nBcc: b@example.com", "a\r\n@example.com", "nobody", "@example.com", "a@", "a b@example.com", "<>"],
)
def test_what_is_no_address_is_refused(run: Run, smtp: SmtpServer, recipient: str) -> None:
    with pytest.raises(ConfigError, match="no e-mail address"):
        run("notification", {"channel": "email", "recipient": recipient, "message": "m"})
    assert smtp.mails == []


def test_what_the_server_refuses(run: Run, smtp: SmtpServer) -> None:
    config = {"channel": "email", "recipient": ["a@example.com", "b@example.com"], "message": "m"}
    for said, retryable in (("451 try later", True), ("554 spam", False)):
        smtp.said = said
        with pytest.raises(NodeError, match=f"refused the message: {said}") as caught:
            run("notification", config)
        assert caught.value.retryable == retryable
    smtp.said = "250 ok"
    smtp.refuse = {"a@example.com": "550 unknown", "b@example.com": "450 full"}
    with pytest.raises(NodeError, match="refused every recipient: 550 unknown; 450 full") as caught:
        run("notification", config)
    assert not caught.value.retryable
    del smtp.refuse["b@example.com"]
    with pytest.raises(NodeError, match=r"for some recipients only, it refused a@example\.com: 550 unknown") as caught:
        run("notification", config)
    assert not caught.value.retryable, "b would get it twice"


def test_a_server_without_starttls_is_sent_nothing(run: Run, smtp: SmtpServer, given: Callable[..., None]) -> None:
    given(**settings(smtp, SMTP_TLS="true"))
    with pytest.raises(NodeError, match="STARTTLS extension not supported") as caught:
        run("notification", {"channel": "email", "recipient": "a@example.com", "message": "m"})
    assert not caught.value.retryable
    assert smtp.mails == []


def test_a_certificate_that_nobody_vouches_for_is_refused(
    run: Run, given: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = certificate(tmp_path)
    with smtp_server(tls_context=context) as server:
        given(**settings(server, SMTP_TLS="true"))
        config = {"channel": "email", "recipient": "a@example.com", "message": "m"}
        with pytest.raises(NodeError, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
            run("notification", config)
        assert server.mails == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        assert run("notification", config)["sent"] is True


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
def test_a_wrong_password(run: Run, given: Callable[..., None]) -> None:
    def check(server: object, session: object, envelope: object, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=data.password == b"right-password", handled=False)

    config = {"channel": "email", "recipient": "a@example.com", "message": "m"}
    with smtp_server(authenticator=check, auth_require_tls=False, auth_required=True) as server:
        given(**settings(server, SMTP_USER="dray", SMTP_PASSWORD="wrong-password"))
        with pytest.raises(ConfigError, match="refused SMTP_USER and SMTP_PASSWORD: 535") as caught:
            run("notification", config)
        assert "wrong-password" not in str(caught.value)
        given(**settings(server, SMTP_USER="dray", SMTP_PASSWORD="right-password"))
        assert run("notification", config)["sent"] is True


def certificate(folder: Path) -> ssl.SSLContext:
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
