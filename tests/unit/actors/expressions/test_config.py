"""What users write, what is stored, what comes out."""

from __future__ import annotations

import re
from typing import Annotated, Any

import pytest
from pydantic import AliasChoices, BaseModel, Field

from dray.actors.errors import ExpressionError
from dray.actors.expressions.config import (
    BareExpression,
    CompiledConfig,
    Expression,
    Raw,
    as_text,
    compile_config,
    compile_expression,
    evaluate,
    prepare,
    render,
)
from dray.actors.expressions.dialects import Names, translate
from dray.actors.expressions.source import split

IDS = {"http-1", "a", "a-1", "1", "it's ok", "b c", "and", "x.y"}


class Inner(BaseModel):
    rule: Expression = ""
    text: str = ""


class Model(BaseModel):
    url: str = ""
    condition: Annotated[bool | str, BareExpression()] = Field("", validation_alias=AliasChoices("condition", "if"))
    items: Annotated[list[Any] | str | None, BareExpression("item")] = None
    fold: Annotated[str, BareExpression("acc", "item", "index")] = ""
    code: Annotated[str, Raw()] = ""
    inner: Inner | None = None
    rules: dict[str, Expression] = {}
    headers: dict[str, str] = {}


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("nodes.http-1.output.x > 1", 'nodes["http-1"].output.x > 1'),
        ("nodes.a-1.output - nodes.a.output-1", 'nodes["a-1"].output - nodes.a.output-1'),
        ("nodes.1.output", 'nodes["1"].output'),
        ("nodes.it's ok.output == 'x'", "nodes[\"it's ok\"].output == 'x'"),
        ("nodes.b c.output", 'nodes["b c"].output'),
        ("nodes.x.y.output", 'nodes["x.y"].output'),
        ("nodes.and.output and true", "nodes.and.output && true"),
        ("nodes.gone-1.output", 'nodes["gone-1"].output'),
        ("input.nodes.http-1", "input.nodes.http-1"),
        ("'nodes.http-1' == input.x", "'nodes.http-1' == input.x"),
        ("input.a === 'a and b' && input.b !== None", "input.a == 'a and b' && input.b != null"),
        ("not input.a or input.and", "!(input.a) || input.and"),
        ("{{ input.x }}", "input.x"),
        ("{{input.x}} > {{ input.y }}", "input.x > input.y"),
        ("(sum, x) => sum + x.sum", "acc + item.sum"),
        ("x => x > 1", "acc > 1"),
    ],
)
def test_translation(written: str, stored: str) -> None:
    names = Names(IDS, ("acc", "item", "index"))
    assert translate(written, names).text == stored
    assert translate(stored, names).text == stored


def test_the_paths_that_it_reads_without_the_variables_of_macros() -> None:
    program = compile_expression(
        "input.rows.filter(r, r.n > input.min && has(input.a.b)).size() == nodes['x'].output[0] + rows[input.i].x"
        " + input.map(input, input.y)[0]"
    )
    assert set(program.paths) == {
        ("input", "rows"), ("input", "min"), ("input", "a", "b"), ("nodes", "x", "output", 0), ("rows",),
        ("input", "i"), ("input",),
    }  # fmt: skip


def test_split_keeps_braces_of_maps_and_texts() -> None:
    assert split('a {{ {"a": {"b": 1}}}} b {{ "}}" }}') == ["a ", ('{"a": {"b": 1}}',), " b ", ('"}}"',)]


SCOPE: dict[str, Any] = {
    "input": {"n": 2, "half": 0.5, "no": None, "rows": [{"n": 1}, {"n": 2.5}], "name": "é", "i": 1, "rows2": []},
    "nodes": {"http-1": {"output": {"status": 200}}},
    "vars": {"limit": 10},
    "execution": {"id": "e", "attempt": 1},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("input.n", 2),
        ("nodes['http-1'].output.status == 200", True),
        ("input.rows.map(r, r.n)", [1, 2.5]),
        ("input.rows.exists(r, r.n > vars.limit)", False),
        ("input.n * 1.5", 3.0),
        ("input.n * input.half", 1.0),
        ("input.rows.map(r, r.n * 2)", [2.0, 5.0]),
        ("input.rows[input.i].n", 2.5),
        ("7 / input.n", 3.5),
        ("9007199254740993 + 0", 9007199254740993),
        ("has(input.gone.deep) && input.gone.deep > 1", False),
        ("has(input.n) ? input.n : 0", 2),
        ("timestamp('2026-01-01T00:00:00Z')", "2026-01-01T00:00:00Z"),
        ("duration('1500ms')", "1.5s"),
        ("optional.none()", None),
        ("{'a': [duration('3s')]}", {"a": ["3s"]}),
        ("input.rows.map(input, input.n)", [1, 2.5]),
    ],
)
def test_values(text: str, value: object) -> None:
    result = evaluate(text, SCOPE)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("input.gone", r"input\.gone is missing"),
        ("input.gone > 1", r"input\.gone is missing"),
        ("input.no.x == 1", r"input\.no\.x is missing"),
        ("input.rows[9]", r"input\.rows\[9\] is missing"),
        ("input.rows[input.n]", "out of bounds"),
        ("input.rows[0]['n' + 'o']", "no key 'no'"),
        ("item + 1", "item is missing"),
        ("input.no + 1", r"null or missing: input\.no\)"),
        ("'a' + 1", "string"),
        ("1 / 0", "division by zero"),
        ("1.0 / 0.0", "JSON"),
        ("b'a'", "bytes, which JSON"),
        ("{1: 2}", "keys that are no strings"),
        ("1 +", r'"1 \+" is not an expression.*column 4'),
        ("(" * 300, "is not an expression"),
    ],
)
def test_failures_name_the_cause(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message) as caught:
        evaluate(text, SCOPE)
    assert not caught.value.retryable


def test_a_bound_name_is_also_the_outer_one() -> None:
    assert evaluate("item.tags.map(item, item + 1)", {"item": {"tags": [1]}}) == [2]


def test_render_keeps_types_of_single_templates_and_texts_of_others() -> None:
    config = {"a": "{{ input.n }}", "b": "n={{ input.n }} {{ input.name }} {{ input.rows }}{{ input.gone }}", "c": [1]}
    rendered = render(config, SCOPE)
    assert rendered == {"a": 2, "b": 'n=2 é [{"n": 1}, {"n": 2.5}]', "c": [1]}


@pytest.mark.parametrize(
    "text", ["input.gone", "input.no.x", "input.rows[9].n", "input.rows[input.n]", "nodes.q.output"]
)
def test_missing_is_null_in_templates(text: str) -> None:
    assert render({"a": f"{{{{ {text} }}}}", "b": f"<{{{{ {text} }}}}>"}, SCOPE) == {"a": None, "b": "<>"}


def test_missing_is_null_at_the_path_and_not_for_the_whole_template() -> None:
    assert render({"a": "{{ input.gone == null ? 'none' : input.gone }}"}, SCOPE) == {"a": "none"}


def test_literal_braces() -> None:
    assert render({"a": '{{ "{{" }} x {{ "}}" }}'}, {}) == {"a": "{{ x }}"}


def test_render_reaches_nested_places_and_leaves_bare_raw_and_ignored_ones() -> None:
    config = {
        "url": "http://x/{{ input.n }}",
        "if": "input.n > 1",
        "items": ["{{ input.n }}", "text"],
        "code": "f'{{ x }}'",
        "inner": {"rule": "item > 1", "text": "{{ input.n }}!"},
        "rules": {"a": "item == 1"},
        "headers": {"h": "{{ input.name }}"},
        "note of the editor": "{{ no expression",
    }
    prepared = prepare(config, Model, set())
    assert prepared.problems == []
    assert render(prepared.config, SCOPE, Model) == config | {
        "url": "http://x/2",
        "items": [2, "text"],
        "inner": {"rule": "item > 1", "text": "2!"},
        "headers": {"h": "é"},
    }


def test_static_config_is_rendered_once() -> None:
    config = {"url": "http://x", "condition": "input.n > 1", "code": "{{ }}"}
    compiled = compile_config(config, Model)
    assert compiled.is_static
    assert compiled.render({}) is config
    assert not CompiledConfig({"url": "{{ input.n }}"}, Model).is_static


def test_render_changes_nothing_of_the_config() -> None:
    config = {"headers": {"a": "{{ input.n }}", "b": "x"}}
    compiled = compile_config(config)
    assert compiled.render(SCOPE) == {"headers": {"a": 2, "b": "x"}}
    assert config == {"headers": {"a": "{{ input.n }}", "b": "x"}}


def test_prepare_translates_and_preparing_twice_changes_nothing() -> None:
    config = {"url": "x/{{nodes.http-1.output.id}}", "condition": "{{ input.a }} === 1", "fold": "(s, x) => s + x"}
    prepared = prepare(config, Model, IDS)
    assert prepared.problems == []
    assert prepared.config == {
        "url": 'x/{{ nodes["http-1"].output.id }}',
        "condition": "input.a == 1",
        "fold": "acc + item",
    }
    assert prepare(prepared.config, Model, IDS).config == prepared.config


ALIASES = {
    "item": "nodes.each-1.output.item",
    "row": "nodes.each-1.output.item",
    "index": 'nodes["each-1"].output.index',
    "input": "nodes.a.output",
}


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("row.x > 1", 'nodes["each-1"].output.item.x > 1'),
        ("input.row.item + row.row[row.index]", "input.row.item + I.row[I.index]"),
        ("'row' + row + \"row\"", "'row' + I + \"row\""),
        ("row.tags.map(row, row.x + index) == row", 'I.tags.map(row, row.x + nodes["each-1"].output.index) == I'),
        ("row.map(r, r.all(row, row > 1) && row.y)", "I.map(r, r.all(row, row > 1) && I.y)"),
        ("has(row.x) && row(1)", "has(I.x) && row(1)"),
        ("nodes.row.output.row", "nodes.row.output.row"),
        ("{{ row.x }} > 1", "I.x > 1"),
        ("[row][0].row{{ index }}", '[I][0].rownodes["each-1"].output.index'),
    ],
)
def test_aliases_stand_for_paths_where_they_are_names(written: str, stored: str) -> None:
    stored = stored.replace("I", 'nodes["each-1"].output.item')
    ids = {"each-1", "a", "row"}
    prepared = prepare({"condition": written}, Model, ids, ALIASES)
    assert prepared.config["condition"] == stored
    assert prepare(prepared.config, Model, ids, ALIASES).config["condition"] == stored


def test_a_bare_field_has_its_own_names_before_aliases() -> None:
    config = {"fold": "acc + item + row", "items": "(x) => x > item + index", "url": "{{ item }}/{{ index }}"}
    prepared = prepare(config, Model, {"each-1"}, ALIASES)
    assert prepared.problems == []
    assert prepared.config == {
        "fold": 'acc + item + nodes["each-1"].output.item',
        "items": 'item > item + nodes["each-1"].output.index',
        "url": '{{ nodes["each-1"].output.item }}/{{ nodes["each-1"].output.index }}',
    }
    assert prepared.references.nodes == {"each-1"}


def test_a_name_that_is_like_another_one_is_told() -> None:
    prepared = prepare({"condition": "rwo > 1 && amount > 1 && inptu.x"}, Model, {"each-1"}, ALIASES)
    assert prepared.problems == []
    assert prepared.config["condition"] == "input.rwo > 1 && input.amount > 1 && input.inptu.x"
    assert prepared.warnings == [
        ("condition", "'inptu' is taken as input.inptu, for nothing else is called so here; did you mean 'input'?"),
    ]


@pytest.mark.parametrize(
    ("config", "place", "name"),
    [
        ({"condition": "item > 1"}, "condition", "item"),
        ({"rules": {"r": "acc"}}, "rules.r", "acc"),
        ({"headers": {"h": "{{ http_1.x }}"}}, "headers.h", "http_1"),
    ],
)
def test_a_name_of_elsewhere_is_told(config: dict[str, Any], place: str, name: str) -> None:
    ((at, message),) = prepare(config, Model, IDS).warnings
    assert at == place
    assert message.startswith(f"{name!r} is taken as input.{name}")


@pytest.mark.parametrize(
    ("text", "references"),
    [
        ("text", (False, False, set(), False, False, set())),
        ("{{ input.a + vars.b }}", (True, True, set(), False, False, {"b"})),
        ("{{ vars[input.k] }}{{ vars['c'].d }}", (True, True, set(), False, False, {"c"})),
        ("{{ nodes.http-1.output }} {{ nodes['a'].output }}", (False, False, {"http-1", "a"}, False, False, set())),
        ("{{ has(nodes.a.output.x) }}", (False, False, {"a"}, False, False, set())),
        ("{{ nodes[input.k].output }}", (True, False, set(), False, True, set())),
        ("{{ size(nodes) }}", (False, False, set(), False, True, set())),
        ("{{ [1].map(input, input) == input }}", (True, False, set(), False, False, set())),
        ("{{ 'input.a' }}", (False, False, set(), False, False, set())),
        ("{{ error.message }}{{ input.error }}", (True, False, set(), True, False, set())),
    ],
)
def test_references(text: str, references: tuple[bool, bool, set[str], bool, bool, set[str]]) -> None:
    prepared = prepare({"url": text}, Model, IDS)
    assert prepared.problems == []
    assert tuple(prepared.references) == references


@pytest.mark.parametrize(
    ("config", "place", "message"),
    [
        ({"url": "{{ nodes.http-2.output }}"}, "url", "no node 'http-2'; did you mean 'http-1'"),
        ({"url": "{{ nodes['q'].output }}"}, "url", "no node 'q'"),
        ({"items": ["x", "{{ 1 + }}"]}, "items[1]", "not an expression"),
        ({"url": "{{ input.a"}, "url", 'without "}}"'),
        ({"url": "{{ }}"}, "url", "empty"),
        ({"condition": " "}, "condition", "empty"),
        ({"if": "foo(input.a)"}, "if", r"no function foo\(\)"),
        ({"fold": "(a, b, c, d) => a"}, "fold", "may have the parameters acc, item, index"),
        ({"inner": {"rule": "1 1"}}, "inner.rule", "not an expression"),
        ({"condition": "1" + " + 1" * 3_000}, "condition", "characters"),
    ],
)
def test_problems_have_a_place_and_a_message(config: dict[str, Any], place: str, message: str) -> None:
    ((at, found),) = prepare(config, Model, IDS).problems
    assert at == place
    assert re.search(message, found)


def test_a_model_that_keeps_extra_fields_has_them_filled_in() -> None:
    class Open(BaseModel, extra="allow"):
        a: str = ""

    assert render({"b": "{{ input.n }}"}, SCOPE, Open) == {"b": 2}


@pytest.mark.parametrize(
    ("value", "text"), [("a", "a"), (None, ""), (True, "true"), (1.5, "1.5"), ({"a": "é"}, '{"a": "é"}')]
)
def test_as_text(value: object, text: str) -> None:
    assert as_text(value) == text


# What is not there


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "input.titel > 1",
            r"input\.titel is missing; correct the name or test it with has\(\); did you mean input\.title\?",
        ),
        ("input.a.naem == 'x'", r"did you mean input\.a\.name\?"),
        ("input.rows[0].idd", r"did you mean input\.rows\[0\]\.id\?"),
        ("input.quite_another", r"is missing; correct the name or test it with has\(\)$"),
        ("input.no + input.titel", r"input\.titel is missing.*did you mean"),
    ],
)
def test_a_missing_name_in_a_bare_expression_is_told_with_what_is_near(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        evaluate(text, {"input": {"title": 1, "a": {"name": "x"}, "rows": [{"id": 1}], "no": None}})


def test_what_a_template_calculates_with_null_is_told_with_what_is_near() -> None:
    with pytest.raises(
        ExpressionError, match=r"null \* int .*\(null or missing: input\.titel; did you mean input\.title\?\)"
    ):
        render({"a": "{{ input.titel * 2 }}"}, {"input": {"title": 1}})


def test_why_templates_are_null() -> None:
    config = {"a": "{{ input.title }}", "b": {"c": ["{{ input.x.y }}", "{{ input.n }}"]},
              "d": "{{ nodes.q.output.zz }}", "e": "{{ input.rows[3] }}",
              "f": "{{ 1 > 2 ? 1 : null }}", "g": "x{{ input.title }}"}  # fmt: skip
    scope = {"input": {"titel": "x", "n": None, "rows": []}, "nodes": {"q": {"output": {"json": 1, "status": 2}}}}
    assert compile_config(config).nulls(scope) == {
        "a": "{{ input.title }} is null: input has no 'title', did you mean input.titel?",
        "b.c.0": "{{ input.x.y }} is null: input has no 'x', but titel, n, rows",
        "b.c.1": "{{ input.n }} is null: input.n is null",
        "d": "{{ nodes.q.output.zz }} is null: nodes.q.output has no 'zz', but json, status",
        "e": "{{ input.rows[3] }} is null: input.rows has no [3]",
        "f": "{{ 1 > 2 ? 1 : null }} is null: so the expression says",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size(input.a, 2)", r"size\(\) takes 1 value, not 2"),
        ("input.t.contains()", r"contains\(\) takes 2 values, not 1"),
        (
            "input.rows.filter(input.x)",
            r"filter\(\) takes a name and an expression, such as list\.filter\(x, x\.a > 1\)",
        ),
        ("has(1 + 1)", r"has\(\) takes one path"),
        ("'\\q'", "means nothing: write"),
        ("[1, 2", "it ends too early"),
        ("1 2", r"'2' is not expected here \(line 1, column 3\)"),
        ("1 +\n  * 2", r"'\*' is not expected here \(line 2, column 3\)"),
        ("{'a' 1}", ": is missing"),
        ("1e999", "larger than any number"),
        ("[" * 70 + "]" * 70, "nested too deeply"),
        ("input" + ".map(x, x)" * 70, "nested too deeply"),
    ],
)
def test_what_is_no_expression_is_told_with_its_place_when_it_is_stored(text: str, message: str) -> None:
    ((place, found),) = prepare({"condition": text}, Model, IDS).problems
    assert place == "condition"
    assert re.search(message, found), found
