"""Every example of the pages is what it says: stored, run by a driver on a real Postgres and a real Ray, and compared.

An example is a fenced yaml block with `nodes`: a whole graph, and beside it what is not of the graph:

    input              of the execution; {} if left out
    workflows          name -> graph, stored before it: what a sub_workflow starts
    signals            [{name, payload, ...}], sent one after the other, each when the execution waits
    output             what the execution gives, exactly
    output_contains    some keys of it, at any depth
    fails              a part of the message that it fails with; in place of the output

A block that begins with `# not run: why` is only stored. `https://example.com` is a server of this test that answers
with what it was asked; a path of it that is a number is the status of its answer.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dray.cluster.graph.files import canonical_graph, parse_json, parse_yaml
from dray.store.client.client import Client, Execution
from dray.store.records import FINAL
from tests.chaos.drivers import PATIENCE, driver
from tests.pg import a_database

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```(yaml|json)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SERVER = "https://example.com"
BESIDE = ("input", "workflows", "signals", "output", "output_contains", "fails")
EXPECTED = ("output", "output_contains", "fails")


class Example(NamedTuple):
    """place: page and line. text: as it stands there."""

    place: str
    language: str
    text: str

    @property
    def is_run(self) -> bool:
        return self.language == "yaml" and not self.text.startswith("# not run: ")

    @property
    def value(self) -> Any:
        parse = parse_yaml if self.language == "yaml" else parse_json
        return parse(self.text, self.place)


def examples() -> Iterator[Example]:
    for page in PAGES:
        text = page.read_text()
        for found in BLOCK.finditer(text):
            example = Example(f"{page.name}:{text.count(chr(10), 0, found.start()) + 1}", found[1], found[2])
            if isinstance(example.value, dict) and "nodes" in example.value:
                yield example


EXAMPLES = list(examples())


class Echo(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        said = {"method": self.command, "path": self.path, "body": json.loads(body) if body else None}
        answer = json.dumps(said).encode()
        name = self.path.strip("/")
        self.send_response(int(name) if name.isdecimal() else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def driven(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The client of a database with one driver and one Ray runner, for all examples: each type is seen on real Ray."""
    folder = tmp_path_factory.mktemp("driver")
    with (
        a_database(server) as url,
        Client(url) as client,
        driver(url, folder, executor="ray", runners=1, handlers="", poll_interval=0.2) as process,
    ):
        yield client
        assert process.process.poll() is None, process.said


def graph_of(value: dict[str, Any]) -> dict[str, Any]:
    """Without what is beside it. Nodes have an input of their own, so this is only of the top."""
    return {key: each for key, each in value.items() if key not in BESIDE}


def by_place(example: Example) -> str:
    return example.place


@pytest.mark.parametrize("example", EXAMPLES, ids=by_place)
def test_every_example_can_be_stored(example: Example) -> None:
    canonical = canonical_graph(graph_of(example.value))
    assert canonical_graph(canonical) == canonical


@pytest.mark.parametrize("example", [each for each in EXAMPLES if each.is_run], ids=by_place)
def test_every_example_gives_what_it_says(example: Example, driven: Client, echo: str) -> None:
    value = parse_yaml(example.text.replace(SERVER, echo), example.place)
    name = example.place
    assert [key for key in EXPECTED if key in value], "say what it gives: output, output_contains or fails"
    for other, graph in value.get("workflows", {}).items():
        driven.apply_workflow(other, canonical_graph(graph))
    driven.apply_workflow(name, canonical_graph(graph_of(value)))
    execution = driven.submit(name, value.get("input", {}))
    for signal in value.get("signals", ()):
        until_it_waits(driven, execution)
        driven.signal(execution, **signal)
    done = driven.wait(execution, timeout=PATIENCE)
    if "fails" in value:
        assert done.error is not None, done
        assert value["fails"] in f"{done.error['type']}: {done.error['message']}"
        return
    assert done.status == "completed", done.error
    if "output" in value:
        assert done.output == json.loads(json.dumps(value["output"]))
    assert_contains(done.output, value.get("output_contains", {}))


def until_it_waits(client: Client, execution: str) -> Execution:
    until = time.monotonic() + PATIENCE
    while (found := client.get(execution)).status != "waiting":
        assert found.status not in FINAL, f"ended before its signal was sent: {found}"
        assert time.monotonic() < until, found
        time.sleep(0.02)
    return found


def assert_contains(found: Any, part: Any, place: str = "output") -> None:
    if isinstance(part, dict):
        assert isinstance(found, dict), f"{place} is {found!r}"
        for key, each in part.items():
            assert key in found, f"{place} has no {key!r} but {list(found)}"
            assert_contains(found[key], each, f"{place}.{key}")
    else:
        assert found == part, place


def test_contains_sees_a_difference_at_any_depth() -> None:
    assert_contains({"a": {"b": [1], "c": 2}}, {"a": {"b": [1]}})
    for part in ({"a": {"b": [2]}}, {"a": {"d": 1}}, {"a": {"b": {"c": 1}}}):
        with pytest.raises(AssertionError, match=r"output\.a"):
            assert_contains({"a": {"b": [1]}}, part)


def test_there_are_examples_of_both_kinds() -> None:
    assert {each.language for each in EXAMPLES} == {"yaml", "json"}
