"""What the HTTP application asks of the node that it stands before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from api.health import HealthCheck
from bridge.cluster.rpc.service import Service
from bridge.metering import Metering
from bridge.mirror.mirror import Mirror
from config.settings import Settings
from energytag.logins import Logins
from energytag.registry import Registry
from energytag.tokens import Tokens
from overlay.chain import Broadcast
from overlay.devchain import DevChain
from overlay.lookup_service import Freeform, LookupService
from overlay.measure import Measures
from overlay.reindex import Progress
from overlay.steak import Steak
from overlay.topic import Mode, TopicManager
from store.port import Store


class FoundOutput(Protocol):
    """One output of an answer; `txid` is in internal byte order."""

    @property
    def txid(self) -> bytes: ...

    @property
    def output_index(self) -> int: ...

    @property
    def context(self) -> bytes | None: ...


class OutputList(Protocol):
    """A hydrated answer: what `overlay.hydrate.OutputList` is."""

    @property
    def outputs(self) -> Sequence[Any]: ...

    @property
    def cursor(self) -> str | None: ...

    def beef(self, output: Any) -> bytes:
        """The BEEF that proves one output."""
        ...

    def aggregated(self) -> Iterator[bytes]:
        """One BEEF V2 over all outputs, in chunks."""
        ...


class Engine(Protocol):
    """What `overlay.engine.Engine` is."""

    @property
    def topic_managers(self) -> Mapping[str, TopicManager]: ...

    @property
    def lookup_services(self) -> Mapping[str, LookupService]: ...

    @property
    def measures(self) -> Measures: ...

    async def submit(
        self,
        envelope: bytes,
        topics: Sequence[str],
        off_chain_values: bytes | None = None,
        mode: Mode = Mode.CURRENT,
    ) -> Steak: ...

    async def lookup(self, service: str, query: Any) -> OutputList | Freeform: ...

    async def ingest_status(self, status: Broadcast) -> bool: ...

    async def evict_output(self, txid: bytes, output_index: int, service: str | None) -> None: ...

    async def remove_output(self, txid: bytes, output_index: int) -> None: ...

    async def refresh_proofs(self) -> dict[str, int]: ...

    async def reindex(self, service: str | None, progress: Progress | None) -> int: ...

    async def conflicts(self, limit: int = 100) -> list[dict[str, Any]]: ...

    async def evictions(self, limit: int = 100) -> list[dict[str, Any]]: ...

    async def stats(self) -> dict[str, Any]: ...


class HeaderChain(Protocol):
    """The node's own header chain; `tip_height` is -1 before the first header."""

    @property
    def tip_height(self) -> int: ...


class Node(Protocol):
    """The composition root. `engine` and `headers` may be read once `start` is done; `dev_chain` is there
    from the beginning on the dev network, because the node reaches it through this very application."""

    @property
    def settings(self) -> Settings: ...

    @property
    def engine(self) -> Engine: ...

    @property
    def store(self) -> Store: ...

    @property
    def headers(self) -> HeaderChain: ...

    @property
    def registry(self) -> Registry | None:
        """The EnergyTag registry; None before the start, and where it is switched off."""
        ...

    @property
    def metering(self) -> Metering | None:
        """Meters, minting and notices; None before the start, and where no readings are taken."""
        ...

    @property
    def mirror(self) -> Mirror | None:
        """The bridge; None before the start, and on a node that is none."""
        ...

    @property
    def solana(self) -> Service | None:
        """The embedded Solana cluster; None but on the dev network."""
        ...

    @property
    def primary(self) -> bool: ...

    @property
    def identity(self) -> bytes: ...

    @property
    def admin_token(self) -> str: ...

    @property
    def callback_token(self) -> str: ...

    @property
    def tokens(self) -> Tokens: ...

    @property
    def logins(self) -> Logins: ...

    @property
    def started_ms(self) -> int: ...

    @property
    def dev_chain(self) -> DevChain | None: ...

    @property
    def health_checks(self) -> Sequence[HealthCheck]: ...

    def listening(self, port: int) -> None:
        """Told the port that was taken, before `start`."""
        ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...
