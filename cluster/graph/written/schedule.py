"""When a workflow runs by itself, as its file says: in trigger_config, as the platform calls it, or in a trigger node.

    "trigger_config": {"type": "schedule", "cron": "0 3 * * *", "timezone": "Europe/Berlin"}
    {"id": "start", "type": "trigger", "config": {"trigger_type": "schedule", "cron_expression": "0 3 * * *"}}

Both may say it, if they say the same. It is stored beside the nodes as "schedule", which is read like trigger_config:
{"kind", "expression", "zone", "overlap"?, "missed"?, "missed_limit"?, "input"?, "priority"?, "queue"?, "paused"?}.
`"is_active": false` beside the nodes, where the platform has it for the workflow, pauses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dray.cluster.errors import Problem, ScheduleInvalid
from dray.cluster.graph.written.models import one_line, pydantic_messages, quoted
from dray.cluster.graph.written.source import Findings, RawNode
from dray.cluster.schedules import Timing, timing_of

OTHERS = ("manual", "webhook", "event", "api")
SCHEDULED = ("schedule", "scheduled", "cron", "interval", "once")
PRIORITIES = {"low": 1, "normal": 5, "high": 10, "critical": 20}
NODE_KEYS = {"trigger_type", "cron_expression", "timezone", "time_zone", "tz", "zone"}
OPTIONS = ("overlap", "missed", "missed_limit", "input", "priority", "queue", "paused")


class ScheduleSource(BaseModel):
    """What may stand in trigger_config of a schedule. Empty texts and nulls count as not given."""

    model_config = ConfigDict(extra="allow")

    type: str = Field("", validation_alias=AliasChoices("type", "trigger_type"))
    kind: str = ""
    expression: str = ""
    cron: str = Field("", validation_alias=AliasChoices("cron", "cron_expression"))
    interval: str | float = Field("", validation_alias=AliasChoices("interval", "interval_seconds", "every"))
    at: str = Field("", validation_alias=AliasChoices("at", "run_at"))
    zone: str = Field("", validation_alias=AliasChoices("timezone", "time_zone", "tz", "zone"))
    overlap: Literal["skip", "queue", "allow"] | None = Field(
        None, validation_alias=AliasChoices("overlap", "overlap_policy")
    )
    missed: Literal["skip", "latest", "all"] | None = Field(
        None, validation_alias=AliasChoices("missed", "catch_up", "catchup")
    )
    missed_limit: int | None = Field(None, ge=1, le=10_000)
    input: dict[str, Any] | None = Field(None, validation_alias=AliasChoices("input", "input_data"))
    priority: int | None = Field(None, ge=-32_768, le=32_767)
    queue: str | None = None
    paused: bool | None = None
    active: bool | None = Field(None, validation_alias=AliasChoices("enabled", "is_active", "active"))

    @field_validator("type", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("missed", mode="before")
    @classmethod
    def _as_word(cls, value: Any) -> Any:
        return {True: "all", False: "skip"}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _limit_of_all(self) -> ScheduleSource:
        if self.missed_limit is not None and self.missed != "all":
            raise ValueError('missed_limit is of "missed": "all": give both')
        return self

    @field_validator("priority", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return PRIORITIES.get(value.strip().lower(), value) if isinstance(value, str) else value

    @property
    def asks(self) -> bool:
        """Whether it says that the workflow runs by itself."""
        says = bool(self.cron or self.interval or self.at or self.expression)
        return self.type in SCHEDULED if self.type else says

    def timing(self, zone: str) -> Timing | None:
        """None: it does not say when. zone: where it has none of its own. Raises ScheduleInvalid."""
        zone = self.zone or zone or "UTC"
        if self.kind:
            return timing_of(self.kind, self.expression, zone)
        given = [each for each in (self.cron, self.interval, self.at) if each not in ("", 0)]
        if len(given) > 1:
            raise ScheduleInvalid("cron, interval and at are three ways to say when: give one of them")
        if self.cron:
            return Timing.cron(self.cron, zone)
        if self.interval:
            return Timing.every(self.interval)
        return Timing.once(self.at, zone) if self.at else None


def read_schedule(source: Any, nodes: Sequence[RawNode], findings: Findings) -> dict[str, Any] | None:
    """The schedule in its stored form; None: the workflow has none. What is wrong with it is in findings."""
    read = [(place, found) for place, raw in _places(source, nodes) if (found := _read(place, raw, findings))]
    asking = [(place, each) for place, each in read if each.asks]
    if not asking:
        return None
    for place, each in read:
        if each.type and not each.asks:
            said = f"says {quoted(each.type)}, but {asking[0][0]} says schedule: make them say the same"
            findings.problem(place, said)
            return None
    zone = next((each.zone for _, each in asking if each.zone), "")
    timings: dict[Timing, str] = {}
    for place, each in asking:
        try:
            timing = each.timing(zone)
        except ScheduleInvalid as error:
            findings.problem(place, error.reason)
            return None
        if timing is not None:
            timings.setdefault(timing, place)
    if len(timings) != 1:
        _complain(timings, asking[0][0], findings)
        return None
    (timing,) = timings
    stored: dict[str, Any] = {"kind": timing.kind, "expression": timing.expression, "zone": timing.zone}
    for name in OPTIONS:
        value = next((found for _, each in asking if (found := getattr(each, name)) is not None), None)
        if value is not None:
            stored[name] = value
    if isinstance(source, dict) and source.get("is_active") is False:
        stored["paused"] = True
    return stored


def _complain(timings: dict[Timing, str], asking: str, findings: Findings) -> None:
    if not timings:
        findings.problem(asking, 'says schedule, but not when: add "cron_expression": "*/5 * * * *"')
        return
    (one, first), (other, second) = list(timings.items())[:2]
    said = f"{quoted(one.expression)} in {one.zone}, and {second} {quoted(other.expression)} in {other.zone}"
    findings.problem(first, f"says {said}: a workflow has one schedule, others are made by `dray schedule create`")


def _places(source: Any, nodes: Sequence[RawNode]) -> Iterator[tuple[str, Any]]:
    if isinstance(source, dict):
        for key in ("schedule", "trigger_config"):
            if source.get(key):
                yield key, source[key]
    for node in nodes:
        # A trigger that says something else says nothing against trigger_config: "manual" is what it says by itself.
        if node.type == "trigger" and node.config.get("trigger_type") == "schedule":
            yield node.place, {key: value for key, value in node.config.items() if key in NODE_KEYS}


def _read(place: str, raw: Any, findings: Findings) -> ScheduleSource | None:
    if not isinstance(raw, dict):
        findings.problem(place, 'must be an object such as {"type": "schedule", "cron": "*/5 * * * *"}')
        return None
    given = {key: value for key, value in raw.items() if value is not None}
    try:
        found = ScheduleSource.model_validate(given)
    except ValidationError as error:
        if given.get("type") in (None, *SCHEDULED):
            messages = pydantic_messages(error.errors(include_url=False, include_input=False))
            findings.problems += [Problem(place, one_line(each)) for each in messages]
        return None
    if found.active is not None and found.paused is None:
        found.paused = not found.active
    if found.type not in ("", *SCHEDULED, *OTHERS):
        findings.warn(place, f"type {quoted(found.type)} is not known, so nothing starts the workflow by itself")
    if found.asks:
        for key in sorted(found.model_extra or ()):
            findings.warn(place, f"key {quoted(key)} is not read")
    return found
