"""A node type of a shop: what a price is in another currency."""

from __future__ import annotations

from typing import Any

from dray import ConfigError, NodeConfig, NodeContext, NodeError, handler

RATES = {"EUR": 1.0, "CHF": 0.94, "SEK": 11.2}


class ConvertConfig(NodeConfig):
    """price: in EUR. A template such as "{{ input.price }}" is filled in before the handler is called."""

    price: float
    currency: str


@handler("convert_price", config=ConvertConfig)
def convert_price(config: ConvertConfig, ctx: NodeContext) -> dict[str, Any]:
    if ctx.attempt == 1:
        # Any exception is tried again, with growing pauses. ctx.idempotency_key is the same on every attempt.
        raise NodeError("the exchange is busy")
    if config.currency not in RATES:
        # Tried again it would fail again, so it is not: the node's edge labelled "failed" is taken.
        raise ConfigError(f"no rate for {config.currency!r}: use one of {', '.join(RATES)}")
    ctx.log.info("converted on attempt %d", ctx.attempt)
    return {"price": round(config.price * RATES[config.currency], 2), "currency": config.currency}
