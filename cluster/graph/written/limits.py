"""The limits of a workflow, as users write them beside `nodes`, and as they are stored: "limits" of the canonical form.

    concurrency: 10                            executions of this workflow that run at once
    concurrency: {"limit": 10, "key": "input.customer.id", "key_limit": 1}     the same for each value of the key
    rate: {"limit": 100, "per": 60, "key": "input.customer.id"}                starts within `per` seconds
    tenant: "input.org"                        whose turn it is in its queue

A key is a path into the input, which the database follows at submit: `input.a.b`, `input.items[0]`, `{{ input.a }}`,
`${input.a}`, or a list of names. docs/queues.md says what each does.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from dray.cluster.graph.written.models import GraphSource, Seconds

MAX_PER = 31 * 86_400
_WRAPPED = re.compile(r"\s*(?:\{\{(.*)\}\}|\$\{(.*)\}|(.*))\s*", re.DOTALL)
# A name after a dot, a name in brackets and quotes, or an index in brackets.
_STEP = re.compile(r"""\.([^\W\d][\w-]*|\d+)|\[(\d+)\]|\[(?:"([^"]+)"|'([^']+)')\]""")


def path_of(value: Any) -> list[str]:
    """The steps of a path into the input. Raises ValueError."""
    if isinstance(value, list) and value and all(isinstance(step, str) and step for step in value):
        return list(value)
    if not isinstance(value, str):
        raise ValueError("must be a path into the input, as text: input.customer.id")
    found = _WRAPPED.fullmatch(value)
    text = next((each for each in found.groups() if each is not None), "").strip() if found else ""
    steps: list[str] = []
    at = len("input")
    while text.startswith("input") and at < len(text) and (step := _STEP.match(text, at)):
        steps.append(next(each for each in step.groups() if each is not None))
        at = step.end()
    if not steps or at < len(text):
        raise ValueError("must be a path into the input, such as input.customer.id: an expression cannot stand here")
    return steps


def _whole(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


Path: TypeAlias = Annotated[list[str], BeforeValidator(path_of)]
Places: TypeAlias = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=1_000_000)]


class RateSource(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Places
    per: Annotated[Seconds, Field(le=MAX_PER)] = 1.0
    key: Path | None = None


class ConcurrencySource(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Places | None = None
    key: Path | None = None
    key_limit: Places | None = None

    @model_validator(mode="after")
    def _some(self) -> ConcurrencySource:
        if self.limit is None and self.key is None and self.key_limit is None:
            raise ValueError('limits nothing: give "limit", or "key" and "key_limit"')
        if self.key is not None and self.key_limit is None:
            self.key_limit = 1
        return self


def _concurrency(value: Any) -> Any:
    return value if isinstance(value, (dict, ConcurrencySource)) else {"limit": value}


class StoredLimits(BaseModel):
    """The canonical form, read back."""

    model_config = ConfigDict(extra="forbid")

    concurrency: Places | None = None
    key: Path | None = None
    key_limit: Places | None = None
    rate: RateSource | None = None
    tenant: Path | None = None


class HeadSource(GraphSource):
    """What stands beside the nodes and the edges."""

    concurrency: Annotated[ConcurrencySource, BeforeValidator(_concurrency)] | None = None
    rate: RateSource | None = None
    tenant: Path | None = Field(None, validation_alias=AliasChoices("tenant", "tenant_key"))
    limits: StoredLimits | None = None

    def stored(self) -> dict[str, Any] | None:
        """As it is stored; None = nothing limits this workflow."""
        found = {} if self.limits is None else self.limits.model_dump(exclude_none=True)
        if self.concurrency is not None:
            given = self.concurrency
            found |= {"concurrency": given.limit, "key": given.key, "key_limit": given.key_limit}
        if self.rate is not None:
            found["rate"] = self.rate.model_dump(exclude_none=True)
        found |= {"tenant": self.tenant} if self.tenant else {}
        return {name: value for name, value in found.items() if value is not None} or None
