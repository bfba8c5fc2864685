"""What an expression may cost. CEL always ends, but not always soon: macros in macros visit n * n items, `map` and
`filter` copy their result for each item (5,000 items 0.5 s, 20,000 items 10 s), and each `.map(a, [a, a])` of a chain
doubles what it is given. The library has no limit for that, holds the GIL while it runs, and cannot be interrupted.

So before CEL runs an expression with macros, a call of `go_on` is put into each of them: it counts, it looks whether
the node is cancelled or over its time, and while it is in Python the other threads get their turn (heartbeats, the
watch of the deadlines). It costs 0.3 us for each item. It does not raise: `exists` goes on over errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar

from dray.actors.expressions.source import MACROS, SLOT, SourceError, Token, tokens

GO_ON = f"{SLOT}go_on"
MAX_STEPS = 1_000_000  # items that all macros of one evaluation visit together: about a second
MAX_GROWTH = 10_000  # how many times a value may come to stand in the result of maps of maps
LOOK = 16  # steps between two looks whether to stop

# Whether the node that is evaluating should stop; set for each call of a handler.
stopping: ContextVar[Callable[[], bool] | None] = ContextVar("stopping", default=None)


class Steps:
    """`go_on` of one evaluation. why: it stopped, None while it goes on."""

    __slots__ = ("_should_stop", "count", "is_late", "why")

    def __init__(self) -> None:
        self.count = 0
        self.why: str | None = None
        self.is_late = False
        self._should_stop = stopping.get()

    def __call__(self) -> bool:
        self.count += 1
        if self.why is None:
            if self.count > MAX_STEPS:
                self.why = (
                    f"it looks at more than {MAX_STEPS:,} items: use map, filter or code nodes, or a shorter list"
                )
            elif self._should_stop is not None and self.count % LOOK == 0 and self._should_stop():
                self.is_late = True
                self.why = "stopped: cancelled, or out of time; raise the node's timeout or give it a shorter list"
        return self.why is None


def with_steps(text: str) -> str:
    """The expression with `go_on` in its macros; the text itself if it has none.

    A map or filter ends with an error when it is false, the others find nothing more: both at once, whatever is around.
    """
    if "(" not in text:
        return text
    found = list(tokens(text))
    put: dict[int, str] = {}
    for macro in _macros(found):
        start, end = macro.body
        if macro.name in ("map", "filter"):
            put[start], put[end] = f"({GO_ON}() ? (", ") : [][0])"
        else:
            put[start], put[end] = f"({GO_ON}() && (", "))"
    out: list[str] = []
    position = 0
    for place in sorted(put):
        out.extend((text[position:place], put[place]))
        position = place
    return "".join((*out, text[position:]))


def check_growth(text: str) -> None:
    """Raises SourceError for maps that could make their input more than MAX_GROWTH times larger."""
    if "(" not in text:
        return
    found = list(tokens(text))
    growth = 1
    for macro in _macros(found):
        if macro.name == "map":
            growth *= max(1, sum(token.text == macro.variable for token in found[macro.first : macro.last]))
        if growth > MAX_GROWTH:
            raise SourceError(
                f"its maps copy their items more than {MAX_GROWTH:,} times: use map nodes, one after another"
            )


class _Macro:
    """`.name(variable, body)`. body: from character to character, the first argument behind the variable; with two, it
    is a condition. first, last: tokens of the last argument."""

    def __init__(self, found: Sequence[Token], index: int) -> None:
        self.name = found[index + 1].text
        self.variable = found[index + 3].text
        commas: list[int] = []
        depth, end = 0, index + 5
        while end < len(found):
            kind = found[end].text
            if depth == 0 and kind in (")", ","):
                if kind == ")":
                    break
                commas.append(end)
            depth += (kind in ("(", "[", "{")) - (kind in (")", "]", "}"))
            end += 1
        ends = [*commas, min(end, len(found) - 1)]
        self.body = (found[index + 4].start + 1, found[ends[0]].start)
        self.first = (commas[-1] if commas else index + 4) + 1
        self.last = end


def _macros(found: Sequence[Token]) -> list[_Macro]:
    return [
        _Macro(found, i)
        for i in range(len(found) - 5)
        if found[i].text == "."
        and found[i + 1].text in MACROS
        and found[i + 2].text == "("
        and found[i + 4].text == ","
    ]
