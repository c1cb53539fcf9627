"""The official TypeScript clients and a node in a process of its own, on the loopback."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from overlay.keys import PrivateKey

HERE = Path(__file__).parent
START_SECS = 60
SCRIPT_SECS = 60

RunScript = Callable[..., Any]


@dataclass(frozen=True)
class RunningNode:
    """A node on the dev network. `key` is its own, which is a trusted issuer there."""

    url: str
    key: PrivateKey
    admin_token: str

    def ask(self, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, Any]:
        """The status and the JSON of a call, the administrator's unless there is another token."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token or self.admin_token}"}
        data = None if body is None else json.dumps(body).encode()
        try:
            with urlopen(Request(self.url + path, data, headers, method=method), timeout=30) as reply:
                return reply.status, json.loads(reply.read())
        except HTTPError as refusal:
            with refusal:
                return refusal.code, json.loads(refusal.read())

    def done(self, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
        """The answer of a call that must succeed."""
        status, answer = self.ask(method, path, body, token)
        assert status < 300, f"{method} {path}: {status} {answer}"
        return answer

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        """The answer's body; HTTPError for another status than 200."""
        with urlopen(Request(self.url + path, body, headers), timeout=30) as reply:
            return bytes(reply.read())

    def post_json(self, path: str, value: Any) -> Any:
        return json.loads(self.post(path, json.dumps(value).encode(), {"Content-Type": "application/json"}))

    def submit(self, beef: bytes, topics: list[str]) -> Any:
        headers = {"Content-Type": "application/octet-stream", "X-Topics": json.dumps(topics)}
        return json.loads(self.post("/submit", beef, headers))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "run_script" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.interop)


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The npm packages of the lock file, installed once for each lock file."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"THE OFFICIAL CLIENTS ARE NOT TESTED: {program} is not installed")
    with (HERE / "package-lock.json").open("rb") as lock:
        # Tests run in several processes, and one installs for all.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _installed(sha256(lock.read()).hexdigest())


def _installed(wanted: str) -> Path:
    modules = HERE / "node_modules"
    stamp = modules / ".lock-sha256"
    if not stamp.exists() or stamp.read_text() != wanted:
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts"], cwd=HERE, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"npm ci failed:\n{done.stdout}\n{done.stderr}"
        stamp.write_text(wanted)
    return modules


@pytest.fixture(scope="session")
def run_script(node_modules: Path) -> RunScript:
    """Runs `clients/NAME.mjs`: keyword arguments go in, what it printed comes out."""

    def run(name: str, **given: Any) -> Any:
        done = subprocess.run(
            ["node", str(HERE / "clients" / f"{name}.mjs")],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=SCRIPT_SECS,
            check=False,
        )
        assert done.returncode == 0, f"{name}.mjs failed:\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout.splitlines()[-1])

    return run


@dataclass(frozen=True)
class RunningWallet:
    """A user's own BRC-100 wallet, in a process of its own. `identity_key` is hex."""

    url: str
    identity_key: str


@pytest.fixture(scope="module")
def serve_wallet(node: RunningNode) -> Iterator[Callable[[int], RunningWallet]]:
    """Starts wallets, each of the private key that is that small integer, with coins of its own."""
    with ExitStack() as stack:
        yield lambda number: stack.enter_context(_wallet(node, number))


@contextmanager
def _wallet(node: RunningNode, number: int) -> Iterator[RunningWallet]:
    given = json.dumps({"url": node.url, "key": PrivateKey.from_int(number).secret.hex()})
    process = subprocess.Popen(
        ["node", str(HERE / "clients" / "wallet_server.mjs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(given + "\n")
        process.stdin.flush()
        told = json.loads(process.stdout.readline())
        try:
            yield RunningWallet(told["url"], told["identityKey"])
        finally:
            process.stdin.close()
            process.wait(START_SECS)


@pytest.fixture(scope="module")
def node(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """`metawatt serve` on the dev network, stopped by SIGTERM."""
    data_dir = tmp_path_factory.mktemp("node")
    serve = ["serve", "--network", "dev", "--port", "0", "--data-dir", str(data_dir)]
    command = [sys.executable, "-c", "from cli.main import main; main()", *serve]
    environment = {**os.environ, "METAWATT_LOG__FORMAT": "json"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    log: list[str] = []
    drain = Thread(target=lambda: log.extend(process.stderr or ()), daemon=True)
    try:
        port = _await_port(process, log)
        drain.start()
        key = PrivateKey.from_hex((data_dir / "node.key").read_text().strip())
        yield RunningNode(f"http://127.0.0.1:{port}", key, (data_dir / "admin.token").read_text().strip())
    finally:
        process.terminate()
        process.wait(START_SECS)
        if drain.ident is not None:
            drain.join(START_SECS)
        assert process.stderr is not None
        process.stderr.close()
    assert process.returncode == 0, f"the node ended with {process.returncode}:\n" + "".join(log)
    assert not [line for line in log if '"level": "error"' in line or '"level":"error"' in line]


def _await_port(process: subprocess.Popen[str], log: list[str]) -> int:
    """The port, once the node is ready."""
    assert process.stderr is not None
    for line in process.stderr:
        log.append(line)
        if '"ready"' in line and json.loads(line)["event"] == "ready":
            return int(json.loads(line)["port"])
    raise AssertionError("the node did not start:\n" + "".join(log))
