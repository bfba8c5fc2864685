"""Every spelling that people have written: what it becomes, and what it gives when a runner evaluates it."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from dray.actors.errors import ExpressionError
from dray.actors.expressions.config import BareExpression, Prepared, compile_config, evaluate, prepare
from dray.actors.expressions.dialects import Names, translate
from dray.actors.expressions.source import MAX_LENGTH
from dray.actors.messages import NodeTask
from dray.actors.runner.call import Scope

INPUT = {
    "amount": 11, "name": "Ada", "value": 5, "status": "ready", "items": [{"qty": 3}, {"qty": 4}], "type": "order",
    "a-b": {"c-d": 1}, "tags": ["x", "y"], "ok": True, "timestamp": "2026", "package": 9, "none": None,
}  # fmt: skip
OUTPUTS = {
    "t": INPUT,
    "node1": {"x": 1, "y": {"z": 2}},
    "node-1": {"x": 7},
    "http_request-17": {"json": {"x": "seen"}, "status_code": 200},
    "code-2": {"result": {"x": 8}},
    "1": {"x": 10},
    "9f-1c": {"x": 12},
    "not-ready": {"x": 13},
    "row-1": {"x": 14},
}
ALIASES = {"row": "nodes.node1.output.y"}


class Model(BaseModel):
    text: str = ""
    bare: Annotated[str, BareExpression()] = ""
    fold: Annotated[str, BareExpression("acc", "item", "index")] = ""


def prepared(config: dict[str, Any]) -> Prepared:
    found = prepare(config, Model, frozenset(OUTPUTS), ALIASES)
    assert prepare(found.config, Model, frozenset(OUTPUTS), ALIASES).config == found.config, "stored twice, the same"
    return found


def scope(given: Any = INPUT) -> Scope:
    nodes = tuple((node_id, json.dumps(output)) for node_id, output in OUTPUTS.items())
    return Scope(NodeTask(1, "s", "e", "n", 1, 1.0, input=json.dumps(given), nodes=nodes))


def bare(text: str, given: Any = INPUT) -> Any:
    found = prepared({"bare": text})
    assert found.problems == []
    return evaluate(found.config["bare"], scope(given))


def template(text: str, given: Any = INPUT) -> Any:
    found = prepared({"text": text})
    assert found.problems == []
    return compile_config(found.config, Model).render(scope(given))["text"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # the input, by all its names
        ("input.value > 4", True),
        ("value > 4", True),
        ("amount > 10", True),
        ("data.value", 5),
        ("trigger.value", 5),
        ("trigger.data.value", 5),
        ("trigger.payload.value", 5),
        ("t.value", 5),
        ("t_output['value'] > 4", True),
        ("t_output.value", 5),
        ("${value} > 4", True),
        ("${data.value} > 4", True),
        ("${name} == 'Ada'", True),
        ("'${name}' == 'Ada'", True),
        ("{{ value }} > 4 and {{input.amount}} > 10", True),
        ("'{{ name }}' == \"Ada\"", True),
        ("items[0].qty", 3),
        ("items[0]['qty']", 3),
        ("input.items[1].qty", 4),
        ("input['a-b']", {"c-d": 1}),
        ("input['a-b']['c-d']", 1),
        ("data['a-b']", {"c-d": 1}),
        ("${a-b}", {"c-d": 1}),
        ("$.items[1].qty", 4),
        ("$['a-b']['c-d'] == 1", True),
        ("type == 'order'", True),
        ("timestamp", "2026"),
        ("type(value) == int", True),
        ("package + 1", 10),
        # nodes
        ("node1.output.x", 1),
        ("node1.result.x", 1),
        ("node1.x", 1),
        ("node1_output.x", 1),
        ("node1.y.z", 2),
        ("node1", {"x": 1, "y": {"z": 2}}),
        ("node1['y']['z']", 2),
        ("node-1.result.x", 7),
        ("node-1.x + 1", 8),
        ("node-1_output.x", 7),
        ("node-1_output['x']", 7),
        ("http_request-17.json.x", "seen"),
        ("http_request-17.status_code - 17", 183),
        ("${http_request-17.json.x}", "seen"),
        ("nodes.http_request-17.output.json.x", "seen"),
        ("code-2.result.x", 8),
        ("code-2.output.result.x", 8),
        ("nodes.code-2.result.x", 8),
        ("1.output.x", 10),
        ("9f-1c.result.x", 12),
        ("1 + 1", 2),
        ("not-ready.x", 13),
        ("not not-ready.x == 1", True),
        # a loop's names
        ("row.z", 2),
        ("row-1.x", 14),
        ("value-1", 4),
        # operators and words
        ("input.status === 'ready'", True),
        ("input.status !== 'ready'", False),
        ("value > 4 && amount > 10 || false", True),
        ("value > 4 and not (amount > 10)", False),
        ("not value == 4", True),
        ("not name == 'x' and not amount < 3", True),
        ("not ok or ok", True),
        ("ok == True && none == None && none is None && name is not None", True),
        ("none == undefined", True),
        ("value > 4 ? 'a' : 'b'", "a"),
        ("has(name) ? name : 'x'", "Ada"),
        ("'x' in tags", True),
        ("`${name} has ${value}, ${none}`", "Ada has 5, "),
        ('"<${items[0]}>"', '<{"qty": 3}>'),
        ("'${value}' == '5'", True),
        ("`plain`", "plain"),
        ("{name: value, 'b': [name]}", {"name": 5, "b": ["Ada"]}),
        # lists
        ("items.map(x => x.qty)", [3, 4]),
        ("items.filter((x) => x.qty > 3).map(y, y.qty + value)", [9]),
        ("items.some(x => x.qty === 4 and not x.qty > 4)", True),
        ("items.every(i => i.qty > 3)", False),
        ("items.map(value, value.qty)", [3, 4]),
        ("items.map(row, row.qty)", [3, 4]),
        ("items.length", 2),
        ("input.name.length + tags.length", 5),
        ("len(items) == 2", True),
        ("str(value) + 'x'", "5x"),
        ("parseInt('7') + value + (float('1') == 1.0 ? 1 : 0)", 13),
        ("name.startswith('A')", True),
        # nothing is missing that is compared with null
        ("gone == null", True),
        ("null != input.gone.x", False),
        ("gone is not None && gone.x > 1", False),
        ("has(gone) || value > 4", True),
    ],
)
def test_a_bare_expression(text: str, value: Any) -> None:
    assert bare(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{trigger.data.value}}", 5),
        ("{{trigger.payload.value}}", 5),
        ("{{trigger.value}}", 5),
        ("{{node-1.result.x}}", 7),
        ("{{node1.output.x}}", 1),
        ("{{t.value}}", 5),
        ("{{node1_output.x}}", 1),
        ("{{http_request-17.json.x}}", "seen"),
        ("{{${value}}}", 5),
        ("{{ input.items }}", INPUT["items"]),
        ("{{amount}}", 11),
        ("https://x/{{ http_request-17.json.x }}?n={{name}}&g={{gone}}", "https://x/seen?n=Ada&g="),
        ("{{ gone }}", None),
        ("{{ gone.a.b }}", None),
        ("{{ node1.gone[3].x }}", None),
        ("{{ trigger.data.gone }}", None),
        ("{{ `${name}!` }}", "Ada!"),
        ("costs ${value}", "costs ${value}"),
        ('{{ "{{" }}{{ "}}" }}', "{{}}"),
    ],
)
def test_a_template(text: str, value: Any) -> None:
    assert template(text) == value


@pytest.mark.parametrize("key", ["data", "payload"])
def test_a_key_of_the_input_wins_over_the_platforms_name_for_it(key: str) -> None:
    given = {"x": 1, key: {"x": 2}}
    assert template(f"{{{{ trigger.{key}.x }}}} {{{{ trigger.x }}}} {{{{ input.x }}}}", given) == "2 1 1"
    assert template("{{ data.x }}", given) == (2 if key == "data" else 1)


@pytest.mark.parametrize("given", [None, 3, ["x"], "x"])
def test_an_input_that_is_no_object_has_no_keys(given: Any) -> None:
    assert template("{{ trigger.data.x }}{{ trigger.x }}{{ data.x }}{{ x }}", given) == ""
    assert template("{{ trigger.data }}", given) == given


@pytest.mark.parametrize(
    ("text", "value"),
    [("(acc, item) => acc + item.qty", 7), ("(sum, x) => sum + x['qty']", 7),
     ("acc + item.qty * value", 28), ("(a, row) => a + row.qty", 7), ("x => x", 3), ("item.qty", 4),
     ("index == 1 && acc.qty == node1.x", False)],
)  # fmt: skip
def test_a_function_of_acc_and_item(text: str, value: Any) -> None:
    found = prepared({"fold": text})
    assert found.problems == []
    names = {"acc": {"qty": 3}, "item": {"qty": 4}, "index": 1} if "acc.qty" in text else {"acc": 3, "item": {"qty": 4}}
    if "value" in text:
        names["acc"] = 8
    assert evaluate(found.config["fold"], {**scope(), **names}) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("amount => 10", "a function may only be the whole field"),
        ("amount = 10", "compare with =="),
        ("amount > 10 ?? 1", r"has\(x\) \? x : other"),
        ("input?.amount", "has"),
        ("'a' if ok else 'b'", r"condition \? this : that"),
        ("amount ** 2", "no powers"),
        ("amount // 2", r"int\(a / b\)"),
        ("'x' not in tags", r"!\(x in list\)"),
        ("return amount", "one expression"),
        ("amount & 1", r"\|\| or &&"),
        ("items.includes(1)", r"no function includes\(\): write x in list"),
        ("name.toLowerCase()", r"no function toLowerCase\(\): write .*matches"),
        ("input.get('x')", r"no function get\(\)"),
        ("launch()", r"no function launch\(\)$"),
        ("items.filter(x => x.qty).length", r"write size\(...\)"),
        ("items.map((x, i) => i)", "one parameter"),
        ("$.items[*].qty", "only plain paths"),
        ("$..qty", "only plain paths"),
        ("http_request-18.json.x", "no node 'http_request-18'; did you mean 'http_request-17'"),
        ("nodes.node1.x", r"write nodes\.node1\.output\.x"),
        ("`${name}", "without another"),
        ("${name", 'without "}"'),
        ("amount >", "is not an expression.*column"),
        ("[1].map(a, [a,a])" + ".map(a, [a, a])" * 13, "copy their items"),
        ("not " * 40 + "ok", "nested too deeply"),
        ("{{" * 40 + "ok" + "}}" * 40 + " == 1", "nested too deeply"),
        ("x" * (MAX_LENGTH + 1), "characters"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_write(text: str, message: str) -> None:
    ((place, found),) = prepare({"bare": text}, Model, frozenset(OUTPUTS), ALIASES).problems
    assert place == "bare"
    assert re.search(message, found), found


def test_a_missing_name_is_an_error_in_a_bare_expression_and_named_as_it_would_be_found() -> None:
    for text in ("gone > 1", "${gone} > 1", "data.gone > 1", "gone == 'x'", "t_output.gone == 1"):
        with pytest.raises(ExpressionError, match=r"\.gone is missing"):
            bare(text)


def test_names_that_are_not_names_are_left_alone() -> None:
    names = Names(frozenset({"a", "map", "x-1"}), ("item",), {"row": "nodes.a.output"})
    for text in (
        "'a + row + x-1'",
        "input.a.row",
        "input.row('a')",
        'r"${a}"',
        "'''{{ a }}'''",
        "input.rows.map(a, a.x)",
    ):
        assert translate(text, names) == (text, frozenset())
    assert translate("a.map(a, a).map(b, a)", names).text == "nodes.a.output.map(a, a).map(b, nodes.a.output)"


# Whatever is written, storing it ends with a list of problems; what is accepted is stored the same once more.

PIECES = st.sampled_from(
    "input nodes trigger data . x a-1 a-1_output _output ( ) [ ] { } {{ }} ${ $ ` ' \" => , : ? && || and or not is in "
    "== === = ! - + * / // 1 1.5 null None map filter some all (x [0] item row has( size( text( x, \\ \n é \0 length"
    .split(" ")
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=40), st.lists(PIECES, max_size=25).map(" ".join), st.lists(PIECES, max_size=25).map("".join)
)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_no_text_is_too_much_for_storing(text: str) -> None:
    ids = frozenset({"a-1", "x", "1"})
    for config in ({"bare": text}, {"fold": text}, {"text": text}, {"text": f"{{{{{text}}}}}"}):
        found = prepare(config, Model, ids, ALIASES)
        assert isinstance(found.problems, list)
        if not found.problems:
            again = prepare(found.config, Model, ids, ALIASES)
            assert (again.config, again.problems) == (found.config, [])


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.none() | st.integers() | st.dictionaries(st.sampled_from("x row item".split()), st.integers()))
def test_no_stored_text_breaks_more_than_its_own_node(text: str, given: Any) -> None:
    found = prepare({"bare": text, "text": text}, Model, frozenset({"a-1"}), {})
    if not found.problems:
        for call in (
            lambda: evaluate(found.config["bare"], {"input": given}),
            lambda: compile_config(found.config, Model).render({"input": given}),
        ):
            try:
                json.dumps(call())
            except ExpressionError as error:
                assert str(error)


@pytest.mark.parametrize(
    "text",
    ["(" * 4_000, "[" * 3_990 + "]" * 3_990, "!" * 7_900 + "true", "-" * 7_900 + "1", "true ? 1 : " * 700 + "1",
     "a" + ".a" * 3_990, "a" + "[0]" * 2_600, "size(" * 1_300 + "a" + ")" * 1_300, "{1:" * 1_900 + "1" + "}" * 1_900,
     "a.map(x, " * 800 + "1" + ")" * 800, "`${" * 500 + "}`" * 500, "x => " * 1_500, "'${a}'" * 1_300],
    ids=lambda text: text[:8],
)  # fmt: skip
def test_long_and_deep_texts(text: str) -> None:
    found = prepare({"bare": text, "text": f"{{{{ {text} }}}}"}, Model, frozenset({"a"}))
    assert isinstance(found.problems, list)
