"""storage on S3, against moto's server; skipped where s3fs and moto[server] are not installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dray.actors.errors import NodeError

pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")


@pytest.fixture
def do(run: Callable[..., Any], given: Callable[..., None]) -> Iterator[Callable[..., Any]]:
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    given(
        AWS_ENDPOINT_URL=f"http://{host}:{port}",
        AWS_REGION="us-east-1",
        AWS_ACCESS_KEY_ID="k",
        AWS_SECRET_ACCESS_KEY="s",
    )
    import boto3

    s3 = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="k",
        aws_secret_access_key="s",
    )
    s3.create_bucket(Bucket="bucket")

    def call(operation: str, path: str, **config: Any) -> Any:
        return run("storage", {"operation": operation, "provider": "s3", "file_path": path, **config})["result"]

    yield call
    server.stop()


def test_a_bucket(do: Callable[..., Any]) -> None:
    assert do("upload", "bucket/a/b.txt", file_data="Zürich") == {"size": 7}
    assert do("upload", "bucket/a/empty", file_data="") == {"size": 0}
    assert do("download", "bucket/a/b.txt") == {
        "content": "Zürich", "encoding": "text", "content_type": "text/plain", "size": 7,
    }  # fmt: skip
    assert do("download", "bucket/a/empty")["content"] == ""
    assert [each["path"] for each in do("list", "bucket/a")["files"]] == ["bucket/a/b.txt", "bucket/a/empty"]
    with pytest.raises(NodeError, match="at most 3 are read"):
        do("download", "bucket/a/b.txt", max_bytes=3)
    assert [do("delete", "bucket/a/b.txt")["deleted"] for _ in range(2)] == [True, False]
    with pytest.raises(NodeError, match="there is no s3 file"):
        do("download", "bucket/a/b.txt")
    with pytest.raises(NodeError) as caught:
        do("upload", "nobucket/a", file_data="x")
    assert not caught.value.retryable
