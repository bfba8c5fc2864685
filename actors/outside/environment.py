"""What a deployment gives its handlers: the settings of the built-in node types, and secrets by name.

    driver    collect(secrets)    reads them from its own environment
    runner    install(given)      is told by the driver, in its first message

They never are in a runner's environment: /proc/<runner>/environ can be read by every process that the runner starts.
A name that the driver has no value for is taken from the environment that the runner found, and removed there: so a
cluster may give secrets to the machines of its runners alone.

A secret is seen by handlers as ctx.secrets, and in a workflow as `secrets.NAME`, in those fields whose config model
marks them HoldsSecrets. What is found of a secret in an output or in an error, in any of the forms of masks.py, is
replaced by HIDDEN: a service may send back what it was sent.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from dray.actors.errors import ConfigError
from dray.actors.outside import masks

# What the built-in node types read; the names are those of the platform, of OpenAI's and of the clouds' own clients.
SETTINGS = (
    "AWS_ENDPOINT_URL", "AWS_REGION", "EMAILS_FROM_EMAIL", "EMAILS_FROM_NAME", "GOOGLE_APPLICATION_CREDENTIALS",
    "OPENAI_BASE_URL", "SMTP_HOST", "SMTP_PORT", "SMTP_SSL", "SMTP_TLS", "SMTP_USER",
)  # fmt: skip
KEYS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_CONNECTION_STRING",
    "DISCORD_WEBHOOK_URL", "OPENAI_API_KEY", "SLACK_WEBHOOK_URL", "SMTP_PASSWORD",
)  # fmt: skip
BUILT_IN = (*SETTINGS, *KEYS)
STORAGE_ROOT = "DRAY_STORAGE_ROOT"
HIDDEN = "***"


class HandlerEnv(NamedTuple):
    """values: by name, of BUILT_IN and of the secrets. secrets: the names that the deployment gives to workflows."""

    values: dict[str, str]
    secrets: tuple[str, ...] = ()


class Secrets(dict[str, str]):
    """Name -> value of the named secrets. One that is not there is a ConfigError that says how to set it."""

    def __missing__(self, name: str) -> str:
        raise _missing(name)


class NamedInExpressions(Mapping[str, str]):
    """The same for expressions, where a missing name must not be null: a header without its token would be sent."""

    def __getitem__(self, name: str) -> str:
        return _secrets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_secrets)

    def __len__(self) -> int:
        return len(_secrets)


_values: dict[str, str] = {}
_secrets = Secrets()
_hidden: tuple[str, ...] = ()
_hidden_in_json: tuple[str, ...] = ()


def collect(secrets: Iterable[str] = (), storage_root: str | None = None) -> HandlerEnv:
    """What this process's environment says."""
    names = tuple(secrets)
    values = _from_environment((*BUILT_IN, *names))
    if storage_root is not None:
        values[STORAGE_ROOT] = storage_root
    return HandlerEnv(values, names)


def install(given: HandlerEnv, clean: bool = False) -> None:
    """Make it what handlers of this process see. clean: take the names out of this process's environment."""
    global _values, _secrets, _hidden, _hidden_in_json  # one process is a runner once
    names = (*BUILT_IN, *given.secrets)
    found = _from_environment(names)
    if clean:
        for name in names:
            os.environ.pop(name, None)
    _values = found | given.values
    _secrets = Secrets({name: _values[name] for name in given.secrets if name in _values})
    _hidden = masks.forms(_values.get(name, "") for name in (*KEYS, *given.secrets))
    _hidden_in_json = masks.in_json(_hidden)


def setting(name: str) -> str | None:
    """A value of BUILT_IN; None = not set. For the built-in node types only: a workflow cannot name these."""
    return _values.get(name)


def secrets() -> Secrets:
    return _secrets


def hide(text: str) -> str:
    """The text without the secrets in it."""
    for value in _hidden:
        if value in text:
            text = text.replace(value, HIDDEN)
    return text


def holds_secret(text: str) -> bool:
    """Whether there is a secret in it, in any form; a short one as it is."""
    return any(value in text for value in _hidden) or any(value in text for value in _secrets.values())


def hide_in_json(text: str) -> str:
    """The same for JSON text. Raises ConfigError where what is left is no JSON."""
    hidden = text
    for value in _hidden_in_json:
        if value in hidden:
            hidden = hidden.replace(value, HIDDEN)
    if hidden is not text:
        try:
            json.loads(hidden)
        except ValueError:
            raise ConfigError("the output holds a secret: leave it out") from None
    return hidden


def _from_environment(names: Iterable[str]) -> dict[str, str]:
    """Stripped: a secret from a file often ends in a line break, which no header can hold."""
    return {name: value for name in names if (value := os.environ.get(name, "").strip())}


def _missing(name: str) -> ConfigError:
    return ConfigError(
        f"there is no secret {name!r}: name it in DRAY_SECRETS, and set it for the driver or where runners run"
    )
