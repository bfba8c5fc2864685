"""ai_prompt: one question to a language model, over any endpoint that speaks OpenAI's chat completions.

Output: {"content", "model" (as the service names it), "tokens_used", "usage" (prompt_tokens, completion_tokens,
total_tokens as the service counts them), "finish_reason"}.

The endpoint is base_url, else OPENAI_BASE_URL of the deployment, else OpenAI's. The key is never in a graph: it is the
secret that api_key_secret names, else OPENAI_API_KEY, which is sent to the deployment's endpoint only: a workflow that
names another endpoint must name a secret for it, or does without a key, as servers on one's own machines do.

Tried again: 408, 425, 429, 5xx and network errors, not before the time that a Retry-After names. Not tried again: any
other status, an answer without text (all of max_tokens used up, a refusal). Nothing is streamed.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator

from dray.actors.context import NodeContext
from dray.actors.errors import ConfigError, NodeError
from dray.actors.expressions.config_shape import Raw
from dray.actors.outside.environment import setting
from dray.actors.outside.http_exchange import Answer, as_body, checked_url, exchange, fail, key_header, name_of
from dray.actors.registry import NodeConfig, handler

OPENAI = "https://api.openai.com/v1"
KEY = "OPENAI_API_KEY"
MAX_ANSWER = 8 << 20  # bytes


class AiPromptConfig(NodeConfig):
    """extra: further fields of the request, such as response_format; they win, and null leaves a field out.

    timeout: seconds, default 120.
    """

    prompt: str = Field(min_length=1)
    system_prompt: str = ""
    model: str = Field(default="gpt-4o-mini", min_length=1)
    temperature: float = Field(default=0.7, ge=0, le=2)
    max_tokens: int = Field(default=1000, ge=1)
    base_url: Annotated[str, AfterValidator(checked_url)] | None = None
    api_key_secret: Annotated[str, Raw()] | None = None
    extra: dict[str, Any] = Field(default_factory=dict)
    timeout: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    api_key: Annotated[Any, Raw()] = None

    @field_validator("api_key")
    @classmethod
    def _not_here(cls, _: Any) -> None:
        raise ValueError("a key must not be in a graph: name it in DRAY_SECRETS, and here as api_key_secret")


class _Usage(BaseModel):
    total_tokens: int | None = None


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    model: str | None = None
    usage: _Usage | None = None


@handler("ai_prompt", config=AiPromptConfig)
@handler("ai-prompt", config=AiPromptConfig)
async def ai_prompt(config: AiPromptConfig, ctx: NodeContext) -> dict[str, Any]:
    base, key = _endpoint(config, ctx)
    url = f"{base.rstrip('/')}/chat/completions"
    headers = {"Content-Type": "application/json", "Idempotency-Key": key_header(ctx.idempotency_key)}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    answer = await exchange(
        "POST",
        url,
        headers=headers,
        content=as_body(_request(config)),
        seconds=min(config.timeout, ctx.remaining()),
        max_bytes=MAX_ANSWER,
    )
    if answer.status != 200:
        fail(answer, name_of("POST", url))
    return _output(config, answer, name_of("POST", url))


def _endpoint(config: AiPromptConfig, ctx: NodeContext) -> tuple[str, str | None]:
    """The base URL and the key for it."""
    own = setting("OPENAI_BASE_URL") or OPENAI
    try:
        checked_url(own)
    except ValueError as error:
        raise ConfigError(f"OPENAI_BASE_URL {error}") from None
    base = config.base_url or own
    if config.api_key_secret is not None:
        return base, ctx.secrets[config.api_key_secret]
    if base.rstrip("/") != own.rstrip("/"):
        return base, None
    key = setting(KEY)
    if key is None and urlsplit(base).hostname == urlsplit(OPENAI).hostname:
        raise ConfigError(f"{base} needs a key: set {KEY} for the driver, or give api_key_secret or another base_url")
    return base, key


def _request(config: AiPromptConfig) -> dict[str, Any]:
    messages = [{"role": "system", "content": config.system_prompt}] if config.system_prompt else []
    body: dict[str, Any] = {
        "model": config.model,
        "messages": [*messages, {"role": "user", "content": config.prompt}],
        "temperature": config.temperature,
        "max_tokens": config.max_tokens,
    }
    if "max_completion_tokens" in config.extra:  # the newer name, which some models insist on
        del body["max_tokens"]
    body |= config.extra
    return {**{name: value for name, value in body.items() if value is not None}, "stream": False}


def _output(config: AiPromptConfig, answer: Answer, name: str) -> dict[str, Any]:
    found = answer.json
    try:
        completion = _Completion.model_validate(found)
    except ValidationError:
        raise NodeError(f"{name} answered with no chat completion: {answer.text[:200]}") from None
    choice = completion.choices[0]
    if choice.message.refusal:
        raise NodeError(f"{config.model} refused: {choice.message.refusal[:500]}", retryable=False)
    if not choice.message.content:
        hint = "; raise max_tokens" if choice.finish_reason == "length" else ""
        raise NodeError(f"{config.model} gave no text (finish_reason {choice.finish_reason}){hint}", retryable=False)
    return {
        "content": choice.message.content.replace("\0", "\ufffd"),
        "model": completion.model or config.model,
        "tokens_used": None if completion.usage is None else completion.usage.total_tokens,
        "usage": found.get("usage"),
        "finish_reason": choice.finish_reason,
    }
