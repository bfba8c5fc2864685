"""A secret is found in every form that our own code can make of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dray.actors.outside import environment
from dray.actors.outside.environment import HIDDEN, HandlerEnv
from dray.actors.outside.masks import SHORTEST
from tests.servers import HttpServer
from tests.unit.actors.runner.harness import Harness

SECRETS = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S")) | st.sampled_from(' "\\%/?#&=+:;@'),
    min_size=SHORTEST,
    max_size=20,
)


@pytest.fixture
def given_env() -> Iterator[Callable[..., None]]:
    yield lambda **values: environment.install(HandlerEnv(values, tuple(values)))
    environment.install(HandlerEnv({}))


def in_url(template: str, secret: str) -> str:
    try:
        return str(httpx.URL(template.replace("S", secret)))
    except (httpx.InvalidURL, ValueError):
        return ""


def kept(text: str, secret: str) -> str:
    """What a text says of the secret once it is hidden: at most the ends that a neighbour has a part in, in base64."""
    environment.install(HandlerEnv({"MY": secret}, ("MY",)))
    try:
        return environment.hide(text)
    finally:
        environment.install(HandlerEnv({}))


@settings(deadline=None, max_examples=200)
@given(SECRETS.filter(lambda text: text == text.strip()))
@example("p@ss w/rd?x#y%z")
@example('tok"en\\-ü`{}')
@example("Geheim")
def test_every_form_is_hidden(secret: str) -> None:
    forms = [
        quote(secret), quote(secret, safe=""), quote_plus(secret), urlencode({"": secret})[1:], repr(secret)[1:-1],
        json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1],
    ]  # fmt: skip
    for form in forms:
        assert kept(f"<{form}>", secret) == f"<{HIDDEN}>", form
    begins = {"http://h/S": "http://h/", "http://h/?q=S": "http://h/?q=", "http://h/#S": "http://h/#"}
    for template, start in begins.items():
        if (url := in_url(template, secret)).startswith(start) and len(url) > len(start) + 4 and "/." not in url:
            assert HIDDEN in kept(url, secret), url


@settings(deadline=None, max_examples=100)
@given(SECRETS, st.binary(max_size=4), st.binary(max_size=4), st.booleans())
def test_base64_is_hidden_wherever_in_the_text_it_begins(secret: str, before: bytes, after: bytes, url: bool) -> None:
    encode = base64.urlsafe_b64encode if url else base64.b64encode
    text = encode(before + secret.encode() + after).decode()
    hidden = kept(text, secret)
    assert HIDDEN in hidden
    assert len(hidden.replace(HIDDEN, "")) <= len(encode(before)) + len(encode(after)) + 4


def test_httpx_leaves_the_same_characters_as_they_are() -> None:
    from httpx import _urlparse

    from dray.actors.outside import masks

    always = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
    for name, ours in (
        ("FRAG", masks._FRAGMENT),
        ("QUERY", masks._QUERY),
        ("PATH", masks._PATH),
        ("USERINFO", masks._USER + ":"),
    ):
        assert set(getattr(_urlparse, f"{name}_SAFE")) - always == set(ours) - always, name


def test_what_a_service_sends_back_of_its_request_is_hidden(
    harness: Harness, server: HttpServer, given_env: Any
) -> None:
    secret = "P@ss w/rd?ü"
    given_env(MY_TOKEN=secret)
    basic = base64.b64encode(f"ada:{secret}".encode()).decode()
    server.answer(200, {"authorization": f"Basic {basic}"}, X_Seen=quote(secret))
    out = harness.run("http_request", {"url": server.url + "/?key={{ secrets.MY_TOKEN }}&n=1"}).output
    assert out is not None
    assert json.loads(out)["url"] == f"{server.url}/?key=***&n=1"
    assert json.loads(out)["headers"]["x-seen"] == "***"
    assert basic[6:-4] not in out
    assert quote(secret) not in out


def test_a_secret_that_is_a_part_of_the_host_is_hidden(harness: Harness, given_env: Any) -> None:
    given_env(MY_TOKEN="Token-OF-Mine")
    failure = harness.run("http_request", {"url": "http://{{ secrets.MY_TOKEN }}.invalid./", "timeout": 20}).failure
    assert failure is not None
    assert "http://***.invalid" in failure.message
