"""A temporary PostgreSQL server on a Unix socket, and on an address if a test names one."""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from storage.store import Store
from storage.tables.upgrade import head_revision

_START_SECONDS = 20
_numbers = itertools.count(1)


class Server:
    """A server that a test may stop and start again."""

    def __init__(self, folder: Path, command: list[str], account: int | None) -> None:
        self.folder = folder
        self._command = command
        self._account = account
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, user=self._account, stderr=log, cwd=self.folder
            )
        _await_server(self._process, self.folder)

    def stop(self, kind: signal.Signals = signal.SIGQUIT) -> None:
        """Stop the server: SIGINT is a fast, SIGQUIT an immediate shutdown."""
        if self._process is not None:
            self._process.send_signal(kind)
            self._process.wait(_START_SECONDS)
            self._process = None

    def end_backends(self) -> None:
        """End the connections of all clients."""
        with _connect(str(self.folder)) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = 'cxrd' AND pid <> pg_backend_pid()"
            )

    def end_backend(self, *, kill: bool = False) -> None:
        """End one connection that is at work. With `kill` its process dies and the server recovers.

        The server then ends all other connections too; this returns when it answers again.
        """
        with _connect(str(self.folder)) as connection:
            while (found := connection.execute(_AT_WORK).fetchone()) is None:
                pass
            if not kill:
                connection.execute("SELECT pg_terminate_backend(%s)", found)
                return
            os.kill(found[0], signal.SIGKILL)
            # The end of this connection is the first sign.
            with contextlib.suppress(psycopg.OperationalError):
                while connection.execute("SELECT pg_sleep(0.01)"):
                    pass
        assert self._process is not None
        _await_server(self._process, self.folder)


_AT_WORK = """
SELECT pid FROM pg_stat_activity
WHERE usename = 'cxrd' AND pid <> pg_backend_pid() AND state IN ('active', 'idle in transaction')
AND backend_type = 'client backend' AND query NOT LIKE 'LISTEN%'
"""


@contextlib.contextmanager
def own_server(address: str = "", *, durable: bool = True) -> Iterator[Server]:
    """Run a server that the test may stop; skip the test if it cannot run.

    With an address it also answers every caller there, at the usual port and without a password.
    Without `durable` no commit waits for the disk.
    """
    programs = _find_programs()
    # Outside pytest's folder, because a Unix socket path is limited to about 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="cxrd-pg-"))
    data = folder / "data"
    try:
        account = _account(folder)
        subprocess.run(
            [programs / "initdb", "--no-sync", "-A", "trust", "-U", "cxrd", data],
            user=account,
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
        )
        command = [str(programs / "postgres"), "-D", str(data), "-k", str(folder)]
        command += [*([] if durable else ["-F"]), "-c", f"listen_addresses={address}"]
        if address:
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all all trust\n")
        server = Server(folder, command, account)
        try:
            server.start()
            yield server
        finally:
            # An immediate shutdown: the other kinds wait for clients or write data out.
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def postgresql_server(address: str = "", *, durable: bool = False) -> Iterator[str]:
    """Run a server and yield the folder of its socket; see `own_server`."""
    with own_server(address, durable=durable) as server:
        yield str(server.folder)


def emptied_database(socket_folder: str) -> str:
    """Empty the server's database and return its URL."""
    with _connect(socket_folder) as connection:
        connection.execute("SET lock_timeout = '10s'")
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return f"postgresql://cxrd@/postgres?host={socket_folder}"


def own_database(socket_folder: str, options: str = "") -> str:
    """Create an empty database on the server, with options of SQL, and return its URL."""
    name = f"own_{next(_numbers)}"
    with _connect(socket_folder) as connection:
        connection.execute(f"CREATE DATABASE {name} {options}")
    return f"postgresql://cxrd@/{name}?host={socket_folder}"


def with_idle_limit(url: str, seconds: float) -> str:
    """Return the URL of a database that ends a session which idles in a transaction for longer."""
    return f"{url}&options=-c%20idle_in_transaction_session_timeout%3D{1000 * seconds:.0f}"


def new_tables(socket_folder: str) -> str:
    """Return the URL of a database on the server with the tables of this version, all empty.

    They are made once and only emptied later, which takes a fifth of the time. So a test that
    changes a table or trigger changes it back.
    """
    url = f"postgresql://cxrd@/{_KEPT}?host={socket_folder}"
    if not _has_kept_tables(socket_folder):
        with _connect(socket_folder) as connection:
            connection.execute(f"CREATE DATABASE {_KEPT}")
        Store.open(url, migrate=True).close()
    with _connect(socket_folder, _KEPT) as connection:
        connection.execute("SET lock_timeout = '10s'")
        # Without the triggers that keep the audit trail, and in any order of the tables.
        connection.execute("SET session_replication_role = replica")
        with connection.transaction():
            for (statement,) in connection.execute(_EMPTYING).fetchall():
                connection.execute(statement)
            connection.execute(
                "INSERT INTO node_facts VALUES ('first_schema', %s)", [head_revision()]
            )
    return url


_KEPT = "kept"

_EMPTYING = """
SELECT format('DELETE FROM %I', relname)
FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
AND relname <> 'alembic_version'
UNION ALL
SELECT format('ALTER SEQUENCE %I RESTART', relname)
FROM pg_class
WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace
"""


def _has_kept_tables(socket_folder: str) -> bool:
    with _connect(socket_folder) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [_KEPT])
        return found.fetchone() is not None


def _connect(socket_folder: str, database: str = "postgres") -> psycopg.Connection:
    return psycopg.connect(
        host=socket_folder, user="cxrd", dbname=database, autocommit=True, connect_timeout=2
    )


def _find_programs() -> Path:
    installed = [Path(found).parent for found in [shutil.which("postgres")] if found]
    installed += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in installed:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.skip("PostgreSQL is not installed (Debian package: postgresql)")


def _account(folder: Path) -> int | None:
    """Return the account to run the server with: it refuses to run as root."""
    if os.getuid() != 0:
        return None
    try:
        account = pwd.getpwnam("postgres").pw_uid
    except KeyError:
        pytest.skip("PostgreSQL does not run as root, and there is no account postgres")
    os.chown(folder, account, -1)
    return account


def _await_server(server: subprocess.Popen[bytes], socket_folder: Path) -> None:
    for _ in range(_START_SECONDS * 10):
        with contextlib.suppress(psycopg.OperationalError), _connect(str(socket_folder)):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(0.1)
            break
    pytest.fail(f"PostgreSQL did not start: {(socket_folder / 'log').read_text()}")
