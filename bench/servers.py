"""The servers under test, each in a process of its own, on the loopback."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import IO

from bench.corpus import ISSUER, Corpus

HERE = Path(__file__).parent
PEER = HERE / "peer"
STOP_SECS = 60
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Server:
    """A running server. `started_secs` is how long it took from its process's start to being ready."""

    name: str
    process: subprocess.Popen[str]
    port: int
    started_secs: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def resident_mib(self) -> float:
        """Resident memory of the process and its children."""
        return sum(map(_resident_bytes, _family(self.process.pid))) / 2**20

    @property
    def cpu_secs(self) -> float:
        """Processor time that the process and its children have used."""
        return sum(map(_cpu_secs, _family(self.process.pid)))


def _family(pid: int) -> Iterator[int]:
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            yield from _family(int(child))


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except FileNotFoundError:
        return 0


def _cpu_secs(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def headers_service(corpus: Corpus) -> Iterator[Server]:
    """The chain that the node under test trusts."""
    command = [sys.executable, "-m", "bench.headers_service", str(corpus.folder)]
    with _running("headers", command, {}, None) as server:
        yield server


@contextmanager
def node(corpus: Corpus, headers: Server, folder: Path, storage: str | None = None) -> Iterator[Server]:
    """A METAWATT node with its data in `folder`: it trusts the corpus' issuer, and broadcasts nothing, as
    the peer does not either. Its log goes to `folder/node.log`."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "METAWATT_NODE__NETWORK": "test",
        "METAWATT_NODE__PORT": "0",
        "METAWATT_NODE__DATA_DIR": str(folder),
        "METAWATT_CHAIN__HEADERS_URL": headers.url,
        "METAWATT_CHAIN__FIRST_HEIGHT": "0",
        "METAWATT_ENGINE__BROADCAST": "false",
        "METAWATT_TOPICS__ISSUERS": json.dumps([{"identity_key": ISSUER.public.hex(), "name": "bench"}]),
        "METAWATT_LOG__FORMAT": "json",
    }
    if storage is not None:
        settings["METAWATT_STORAGE__URI"] = storage
    command = [sys.executable, "-c", "from cli.main import main; main()", "serve"]
    with _running("node", command, settings, folder / "node.log") as server:
        yield server


@contextmanager
def registry_node(folder: Path) -> Iterator[Server]:
    """A METAWATT node on the dev network, with its data in `folder`; a block is mined every half minute."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "METAWATT_NODE__PORT": "0",
        "METAWATT_NODE__DATA_DIR": str(folder),
        "METAWATT_DEV__MINE_INTERVAL_SECS": "30",
        "METAWATT_REGISTRY__ACTION_WAIT_SECS": "60",
        "METAWATT_LOG__FORMAT": "json",
    }
    command = [sys.executable, "-c", "from cli.main import main; main()", "serve"]
    with _running("node", command, settings, folder / "node.log") as server:
        yield server


@contextmanager
def metering_node(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A METAWATT node that takes readings, with its data in `folder`: on the dev network with its own embedded
    cluster, unless `settings` (environment variables) say otherwise. It logs as by default."""
    folder.mkdir(parents=True, exist_ok=True)
    common = {
        "METAWATT_NODE__PORT": "0",
        "METAWATT_NODE__DATA_DIR": str(folder),
        "METAWATT_LOG__FORMAT": "json",
    }
    command = [sys.executable, "-c", "from cli.main import main; main()", "serve"]
    with _running("node", command, common | dict(settings or {}), folder / "node.log") as server:
        yield server


@contextmanager
def solana_cluster(folder: Path, slot_ms: int = 400) -> Iterator[Server]:
    """`metawatt solana` with its chain in `folder`; JSON-RPC at its port, WebSocket one higher."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", "from cli.main import main; main()", "solana", "--port", "0"]
    command += ["--slot-ms", str(slot_ms), "--data-dir", str(folder)]
    with _running("solana", command, {}, None) as server:
        yield server


@contextmanager
def bsv_chain(folder: Path) -> Iterator[Server]:
    """The dev chain, and nothing else of a node, with its data in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {f"METAWATT_{part}__ENABLED": "false" for part in ("REGISTRY", "METERS", "BRIDGE")}
    settings |= {
        "METAWATT_NODE__PORT": "0",
        "METAWATT_NODE__DATA_DIR": str(folder),
        "METAWATT_LOG__FORMAT": "json",
    }
    command = [sys.executable, "-c", "from cli.main import main; main()", "serve"]
    with _running("node", command, settings, folder / "node.log") as server:
        server.name = "BSV"
        yield server


@contextmanager
def peer(corpus: Corpus, folder: Path, arguments: Sequence[str] = ()) -> Iterator[Server]:
    """The TypeScript engine, with SQLite in `folder`."""
    install_peer()
    folder.mkdir(parents=True, exist_ok=True)
    command = ["node", str(PEER / "server.mjs"), "--headers", str(corpus.headers_file)]
    command += ["--database", str(folder / "peer.db"), *arguments]
    with _running("peer", command, {}, folder / "peer.log") as server:
        yield server


@contextmanager
def mongodb_wire(folder: Path) -> Iterator[str]:
    """A server that speaks MongoDB's wire, with data in `folder`; its URI. It flushes before it answers a
    write, as a `mongod` does that is asked for `j=true`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = str(Path(sys.executable).with_name("secantusd-py"))
    command = [program, "--port", str(port), "--storage-path", str(folder), "--sync-on-commit"]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "mongodb.log").open("w") as log:
        process = subprocess.Popen([*command, "--log-level", "WARNING"], stdout=log, stderr=log)
        try:
            _await_port(port, process)
            yield f"mongodb://127.0.0.1:{port}/bench"
        finally:
            process.terminate()
            process.wait(STOP_SECS)


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            sleep(0.1)
        else:
            return
    raise SystemExit("the MongoDB-wire server did not start")


def install_peer() -> None:
    """`npm ci`, when it was not done yet."""
    if not shutil.which("npm"):
        raise SystemExit("the peer needs node and npm")
    if not (PEER / "node_modules" / "better-sqlite3" / "build").exists():
        subprocess.run(["npm", "ci"], cwd=PEER, check=True)


@contextmanager
def _running(name: str, command: list[str], settings: dict[str, str], log: Path | None) -> Iterator[Server]:
    """Start a process, wait until it says where it listens, and end it with its context. It says so on
    standard output, or, where there is a `log`, by a line in that."""
    started = perf_counter()
    environment = {**os.environ, **settings}
    sink: IO[str] | None = log.open("w") if log else None
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink, text=True, env=environment)
    try:
        port = _await_log(process, log) if name == "node" and log else _await_output(process)
        yield Server(name, process, port, perf_counter() - started)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(STOP_SECS)
        if process.stdout:
            process.stdout.close()
        if sink:
            sink.close()


def _await_output(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("listening on ") or line.split()[:1] == ["JSON-RPC"]:
            return int(re.split("[ :]", line.strip())[-1])
    raise SystemExit(f"{process.args!r} did not start")


def _await_log(process: subprocess.Popen[str], log: Path) -> int:
    """The port of the log's `ready` event."""
    with log.open() as lines:
        while process.poll() is None:
            for line in lines:
                if '"ready"' in line and json.loads(line).get("event") == "ready":
                    return int(json.loads(line)["port"])
            try:
                process.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
    raise SystemExit(f"the node did not start:\n{log.read_text()}")
