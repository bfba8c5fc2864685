"""storage: one file in a bucket or a folder: upload, download, list, delete.

Output: {"operation", "provider", "file_path", "result"}, with result
    upload      {"size"}                                             a file of that name is replaced
    download    {"content", "encoding": "text"|"base64", "content_type", "size"}
    list        {"files": [{"path", "size", "type": "file"|"directory"}], "count", "truncated"}
    delete      {"deleted"}                                          false: there was none, as after a lost answer

file_path begins with the bucket (the container, for azure). Local files are below the folder DRAY_STORAGE_ROOT of the
runner's machine and nowhere else: neither `..` nor a symbolic link leads out. memory is the memory of one runner, for
trying things out.

Credentials are the deployment's (see actors/outside/environment.py), else what the cloud's client finds by itself.
Which buckets a workflow may use is what those credentials may do. All through fsspec, with s3fs, gcsfs, adlfs for the
clouds.
"""

from __future__ import annotations

import base64
import binascii
import json
import mimetypes
import uuid
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from dray.actors.context import NodeContext
from dray.actors.errors import ConfigError, NodeError
from dray.actors.outside.environment import STORAGE_ROOT, setting
from dray.actors.registry import NodeConfig, handler

MAX_IN_MEMORY = 64 << 20  # bytes of all files of provider memory in one runner
_STANDARD = str.maketrans("-_", "+/")  # base64 comes in two alphabets; what a handler returns as bytes in the second
PART = ".dray-part-"  # in the name of a local file that is being written
PACKAGES = {"s3": "s3fs", "gcs": "gcsfs", "azure": "adlfs"}
SCHEMES = {"s3": "s3", "gcs": "gcs", "azure": "abfs", "memory": "memory", "local": "file"}
_ALIASES = {"file": "local", "gs": "gcs", "abfs": "azure", "az": "azure"}
_lower = BeforeValidator(lambda value: value.strip().lower() if isinstance(value, str) else value)
_provider = BeforeValidator(
    lambda value: _ALIASES.get(value.strip().lower(), value.strip().lower()) if isinstance(value, str) else value
)


class StorageConfig(NodeConfig):
    """file_data: a text; base64 where encoding says so; any other value is written as JSON.

    encoding: of a download too: auto = text where the file is one. max_bytes: of a download, which becomes a part of
    the node's output; default 512 KiB. limit: entries of a list.
    """

    operation: Annotated[Literal["upload", "download", "list", "delete"], _lower]
    provider: Annotated[Literal["local", "memory", "s3", "gcs", "azure"], _provider] = "local"
    file_path: str
    file_data: Any = None
    encoding: Annotated[Literal["auto", "text", "base64"], _lower] = "auto"
    max_bytes: int = Field(default=512 << 10, ge=1)
    limit: int = Field(default=1000, ge=1, le=10_000)

    @field_validator("file_data")
    @classmethod
    def _no_literal(cls, value: Any) -> Any:
        if value == "input.file_data":  # what the platform's editor fills in, and its worker stored as these words
            raise ValueError("would store these words: write {{ input.file_data }}")
        return value


@handler("storage", config=StorageConfig)
def storage(config: StorageConfig, ctx: NodeContext) -> dict[str, Any]:
    path = _checked(config)
    try:
        result = _OPERATIONS[config.operation](_Store(config.provider), path, config)
    except FileNotFoundError:
        raise NodeError(f"there is no {config.provider} file {config.file_path!r}", retryable=False) from None
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise NodeError(f"{_what(config)}: {error.strerror or error}", retryable=False) from None
    except OSError as error:
        raise NodeError(f"{_what(config)}: {error.strerror or error}") from error
    return {
        "operation": config.operation,
        "provider": config.provider,
        "file_path": config.file_path,
        "result": result,
    }


class _Store:
    """A file system, and what a path of the config is in it."""

    def __init__(self, provider: str) -> None:
        import fsspec  # here: most runners never touch a file, and the clouds' clients are large

        self.provider = provider
        try:
            self.fs: Any = fsspec.filesystem(SCHEMES[provider], **_options(provider))
        except ImportError as error:
            extra = provider if provider in PACKAGES else "storage"
            raise ConfigError(
                f"provider {provider!r} needs {PACKAGES.get(provider)} where runners run: "
                f"pip install 'dray[{extra}]' ({error})"
            ) from None
        except ValueError as error:
            raise ConfigError(f"provider {provider!r} is not set up: {error}") from None

    def place(self, path: str) -> str:
        if self.provider != "local":
            return path
        root = setting(STORAGE_ROOT)
        if root is None:
            raise ConfigError("provider 'local' has no folder: set DRAY_STORAGE_ROOT for the driver")
        base = Path(root).resolve()
        found = (base / path).resolve()
        if not found.is_relative_to(base):
            raise ConfigError(f"file_path {path!r} leads out of the folder DRAY_STORAGE_ROOT")
        return str(found)

    def shown(self, name: str) -> str:
        """A name as a file_path."""
        if self.provider != "local":
            return name.strip("/")
        return Path(name).relative_to(Path(str(setting(STORAGE_ROOT))).resolve()).as_posix()


def _options(provider: str) -> dict[str, Any]:
    if provider == "s3":
        client = {"endpoint_url": setting("AWS_ENDPOINT_URL"), "region_name": setting("AWS_REGION")}
        given = {
            "key": setting("AWS_ACCESS_KEY_ID"),
            "secret": setting("AWS_SECRET_ACCESS_KEY"),
            "token": setting("AWS_SESSION_TOKEN"),
            "client_kwargs": {name: value for name, value in client.items() if value} or None,
        }
    elif provider == "gcs":
        given = {"token": setting("GOOGLE_APPLICATION_CREDENTIALS")}
    elif provider == "azure":
        given = {"connection_string": setting("AZURE_STORAGE_CONNECTION_STRING")}
    else:
        return {}
    # Others write to these buckets too: a listing that was remembered would be wrong.
    return {"use_listings_cache": False, **{name: value for name, value in given.items() if value}}


def _upload(store: _Store, path: str, config: StorageConfig) -> dict[str, Any]:
    data, place = _bytes(config), store.place(path)
    if store.provider == "local":
        _replace(Path(place), data)
    else:
        if store.provider == "memory":
            _check_memory(store.fs, place, len(data))
        store.fs.pipe_file(place, data)
    return {"size": len(data)}


def _replace(target: Path, data: bytes) -> None:
    """Whoever reads the file finds the old one or the new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name[:200]}{PART}{uuid.uuid4().hex}")
    try:
        part.write_bytes(data)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _check_memory(fs: Any, place: str, size: int) -> None:
    others = sum(len(file.getbuffer()) for name, file in list(fs.store.items()) if name.strip("/") != place)
    if others + size > MAX_IN_MEMORY:
        raise NodeError(
            f"provider 'memory' holds {MAX_IN_MEMORY} bytes at most in one runner: use another one", retryable=False
        )


def _download(store: _Store, path: str, config: StorageConfig) -> dict[str, Any]:
    place = store.place(path)
    info = store.fs.info(place)
    if info["type"] != "file":
        raise NodeError(f"{config.file_path!r} is a folder: give a file", retryable=False)
    size = int(info["size"] or 0)
    if size > config.max_bytes:
        raise NodeError(
            f"{config.file_path!r} has {size} bytes, at most {config.max_bytes} are read: raise max_bytes, or "
            "hand on its path",
            retryable=False,
        )
    data = bytes(store.fs.cat_file(place, start=0, end=size)) if size else b""
    content, encoding = _content(data, config)
    kind = mimetypes.guess_type(PurePosixPath(path).name)[0]
    fallback = "text/plain" if encoding == "text" else "application/octet-stream"
    return {"content": content, "encoding": encoding, "content_type": kind or fallback, "size": len(data)}


def _content(data: bytes, config: StorageConfig) -> tuple[str, str]:
    if config.encoding != "base64":
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" not in text:
            return text, "text"
        if config.encoding == "text":
            raise NodeError(f"{config.file_path!r} is no UTF-8 text: use encoding base64", retryable=False)
    return base64.b64encode(data).decode(), "base64"


def _list(store: _Store, path: str, config: StorageConfig) -> dict[str, Any]:
    place = store.place(path)
    try:
        found = store.fs.ls(place, detail=True)
    except FileNotFoundError:  # a folder is there as long as something is in it
        found = []
    entries = [
        {"path": store.shown(each["name"]), "size": each.get("size"), "type": each["type"]}
        for each in sorted(found, key=lambda each: str(each["name"]))
        if PART not in PurePosixPath(each["name"]).name
    ]
    return {"files": entries[: config.limit], "count": len(entries), "truncated": len(entries) > config.limit}


def _delete(store: _Store, path: str, config: StorageConfig) -> dict[str, Any]:
    place = store.place(path)
    if not store.fs.exists(place):
        return {"deleted": False}
    if store.fs.isdir(place):
        raise NodeError(f"{config.file_path!r} is a folder: only files are deleted", retryable=False)
    store.fs.rm_file(place)
    return {"deleted": True}


_OPERATIONS = {"upload": _upload, "download": _download, "list": _list, "delete": _delete}


def _checked(config: StorageConfig) -> str:
    path = config.file_path.strip()
    parts = path.split("/")
    if path.startswith("/") or "\\" in path or ".." in parts or "\0" in path:
        raise ConfigError(f"file_path {config.file_path!r} must be bucket/path, without '..', a leading '/' or a '\\'")
    kept = "/".join(part for part in parts if part not in ("", "."))
    if config.operation != "list" and not kept:
        raise ConfigError("file_path is empty: give bucket/path")
    return kept


def _bytes(config: StorageConfig) -> bytes:
    data = config.file_data
    if data is None:
        raise ConfigError("file_data is missing or null: there is nothing to upload")
    if config.encoding == "base64":
        try:
            return base64.b64decode(data.translate(_STANDARD) if isinstance(data, str) else data, validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise ConfigError("file_data is no base64: correct it, or leave encoding out") from None
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return text.encode("utf-8", "replace")


def _what(config: StorageConfig) -> str:
    return f"{config.operation} of {config.provider} file {config.file_path!r}"
