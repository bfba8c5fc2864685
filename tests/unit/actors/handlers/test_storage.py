"""storage: real files, and the memory of this process."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from dray.actors.errors import ConfigError, NodeError
from dray.actors.handlers import storage

Run = Callable[..., Any]


@pytest.fixture
def root(tmp_path: Path, given: Callable[..., None]) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    (tmp_path / "outside.txt").write_text("not ours")
    given(DRAY_STORAGE_ROOT=str(folder))
    return folder


@pytest.fixture(autouse=True)
def _empty_memory() -> Iterator[None]:
    yield
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(params=["local", "memory"])
def do(request: pytest.FixtureRequest, run: Run, root: Path) -> Callable[..., Any]:
    """do(operation, file_path, ...) -> result, with each of the providers."""

    def call(operation: str, path: str, **config: Any) -> Any:
        out = run("storage", {"operation": operation, "provider": request.param, "file_path": path, **config})
        assert out.keys() == {"operation", "provider", "file_path", "result"}
        assert (out["operation"], out["provider"], out["file_path"]) == (operation, request.param, path)
        return out["result"]

    return call


@pytest.mark.parametrize(
    ("path", "sent", "content", "encoding", "kind", "size"),
    [
        ("b/a.txt", {"file_data": "Zürich\n"}, "Zürich\n", "text", "text/plain", 8),
        ("b/a.json", {"file_data": {"a": [1, None]}}, '{"a": [1, null]}', "text", "application/json", 16),
        ("b/a.png", {"file_data": "iVD/AA==", "encoding": "base64"}, "iVD/AA==", "base64", "image/png", 4),
        ("b/nul", {"file_data": "YQBi", "encoding": "base64"}, "YQBi", "base64", "application/octet-stream", 3),
        ("b/empty", {"file_data": ""}, "", "text", "text/plain", 0),
    ],
)
def test_what_is_uploaded_comes_back(
    do: Callable[..., Any], path: str, sent: Any, content: str, encoding: str, kind: str, size: int
) -> None:
    assert do("upload", path, **sent) == {"size": size}
    assert do("download", path) == {"content": content, "encoding": encoding, "content_type": kind, "size": size}


def test_base64_where_it_is_asked_for(do: Callable[..., Any]) -> None:
    do("upload", "b/a.txt", file_data="text")
    assert do("download", "b/a.txt", encoding="base64")["content"] == base64.b64encode(b"text").decode()
    do("upload", "b/a.bin", file_data="/w==", encoding="base64")
    with pytest.raises(NodeError, match="no UTF-8 text"):
        do("download", "b/a.bin", encoding="text")


def test_an_upload_replaces(do: Callable[..., Any]) -> None:
    for text in ("long text", "x"):
        do("upload", "b/a", file_data=text)
    assert do("download", "b/a")["content"] == "x"


def test_lists(do: Callable[..., Any]) -> None:
    for path in ("b/z", "b/sub/y", "b/a"):
        do("upload", path, file_data="12")
    found = do("list", "b", limit=2)
    assert (found["count"], found["truncated"], found["files"][1]["type"]) == (3, True, "directory")
    assert found["files"][0] == {"path": "b/a", "size": 2, "type": "file"}
    assert [each["path"] for each in do("list", "b/")["files"]] == ["b/a", "b/sub", "b/z"]
    assert [each["path"] for each in do("list", "")["files"]] == ["b"]
    assert do("list", "nothing/here") == {"files": [], "count": 0, "truncated": False}


def test_a_delete_may_come_twice(do: Callable[..., Any]) -> None:
    do("upload", "b/a", file_data="x")
    assert [do("delete", "b/a")["deleted"] for _ in range(2)] == [True, False]
    with pytest.raises(NodeError, match=r"there is no .* file 'b/a'") as caught:
        do("download", "b/a")
    assert not caught.value.retryable


def test_a_folder_is_no_file(do: Callable[..., Any]) -> None:
    do("upload", "b/sub/a", file_data="x")
    for operation in ("download", "delete"):
        with pytest.raises(NodeError, match="is a folder"):
            do(operation, "b/sub")
    assert do("download", "b/sub/a")["size"] == 1


def test_what_is_too_large_is_not_read(do: Callable[..., Any]) -> None:
    do("upload", "b/a", file_data="x" * 100)
    assert do("download", "b/a", max_bytes=100)["size"] == 100
    with pytest.raises(NodeError, match="has 100 bytes, at most 99 are read") as caught:
        do("download", "b/a", max_bytes=99)
    assert not caught.value.retryable


@pytest.mark.parametrize("path", ["../outside.txt", "b/../../outside.txt", "/etc/passwd", "b/..", "", ".", "a\\..\\b"])
@pytest.mark.parametrize("operation", ["upload", "download", "delete"])
def test_no_path_leads_out(do: Callable[..., Any], tmp_path: Path, operation: str, path: str) -> None:
    with pytest.raises(ConfigError, match="file_path"):
        do(operation, path, file_data="x")
    assert (tmp_path / "outside.txt").read_text() == "not ours"


def test_no_symbolic_link_leads_out(run: Run, root: Path, tmp_path: Path) -> None:
    (root / "b").mkdir()
    (root / "b/link").symlink_to(tmp_path / "outside.txt")
    (root / "up").symlink_to(tmp_path)
    for path in ("b/link", "up/outside.txt", "up/new"):
        for operation in ("upload", "download", "delete", "list"):
            with pytest.raises(ConfigError, match="leads out of the folder DRAY_STORAGE_ROOT"):
                run("storage", {"operation": operation, "file_path": path, "file_data": "x"})
    assert (tmp_path / "outside.txt").read_text() == "not ours"
    assert not (tmp_path / "new").exists()


def test_local_files_need_a_folder(run: Run, given: Callable[..., None]) -> None:
    given()
    with pytest.raises(ConfigError, match="set DRAY_STORAGE_ROOT for the driver"):
        run("storage", {"operation": "download", "provider": "file", "file_path": "b/a"})


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"file_data": "no base64!", "encoding": "base64"}, "file_data is no base64"),
        ({"file_data": {"a": 1}, "encoding": "base64"}, "file_data is no base64"),
        ({}, "nothing to upload"),
        ({"file_data": "input.file_data"}, r"write \{\{ input.file_data \}\}"),
        ({"file_data": "x", "operation": "copy"}, "operation: Input should be"),
    ],
)
def test_what_cannot_be_uploaded(do: Callable[..., Any], config: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        do(**{"operation": "upload", "path": "b/a", **config})


def test_memory_has_a_bound(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MAX_IN_MEMORY", 10)
    config = {"operation": "upload", "provider": "memory"}
    for _ in range(2):  # the same file again counts once
        run("storage", {**config, "file_path": "b/a", "file_data": "12345678"})
    with pytest.raises(NodeError, match="holds 10 bytes at most"):
        run("storage", {**config, "file_path": "b/b", "file_data": "123"})


def test_nothing_is_left_of_an_upload_that_fails(run: Run, root: Path) -> None:
    (root / "b/a").mkdir(parents=True)
    with pytest.raises(NodeError, match="upload of local file 'b/a'") as caught:
        run("storage", {"operation": "upload", "file_path": "b/a", "file_data": "x"})
    assert not caught.value.retryable
    assert [each.name for each in (root / "b").iterdir()] == ["a"]


@pytest.mark.parametrize(("provider", "package"), [("gcs", "gcsfs"), ("azure", "adlfs")])
def test_a_cloud_whose_package_is_not_there(run: Run, provider: str, package: str) -> None:
    try:
        __import__(package)
    except ImportError:
        with pytest.raises(ConfigError, match=f"needs {package} where runners run: pip install 'dray"):
            run("storage", {"operation": "list", "provider": provider, "file_path": "b"})
    else:
        pytest.skip(f"{package} is installed")
