"""A client of a node over HTTP: what a wallet asks of it, and what only the dev network has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from certificates.token import Token, decode_fields
from config.errors import Internal
from overlay import pushdrop
from overlay.builder import Coin
from overlay.envelope import Envelope, parse_envelope
from overlay.transaction import txid_from_hex

SERVICE = "ls_metawatt"
_PAUSE_SECS = 0.2


class PlayFailed(Internal):
    """Something did not go as the play tells."""


@dataclass(frozen=True, slots=True)
class Found:
    """One output of an answer, with the BEEF that proves it."""

    envelope: Envelope
    output_index: int

    @property
    def coin(self) -> Coin:
        subject = self.envelope.subject
        return Coin(subject.txid, self.output_index, subject.outputs[self.output_index])

    @property
    def token(self) -> Token:
        content = pushdrop.decode(self.coin.output.script)
        decoded = decode_fields(content.locking_key, content.fields) if content else None
        if not isinstance(decoded, Token):
            raise PlayFailed("the node answered with an output that is no certificate")
        return decoded


class NodeClient:
    """Speaks to the node at `base_url`; but for `ask`, every answer that is not 200 is a `PlayFailed`."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self.base_url = base_url

    async def submit(self, beef: bytes, topics: Sequence[str]) -> dict[str, Any]:
        """POST /submit: the STEAK, which tells what each topic admitted."""
        headers = {"Content-Type": "application/octet-stream", "X-Topics": ",".join(topics)}
        steak: dict[str, Any] = await self._ask("POST", "/submit", data=beef, headers=headers)
        return steak

    async def lookup(self, query: Any) -> list[Found]:
        """POST /lookup: the outputs that a query finds."""
        answer = await self.answer(query)
        return [Found(parse_envelope(bytes(output["beef"])), output["outputIndex"]) for output in answer["outputs"]]

    async def answer(self, query: Any) -> dict[str, Any]:
        """POST /lookup: the answer as it is."""
        answer: dict[str, Any] = await self._ask("POST", "/lookup", json={"service": SERVICE, "query": query})
        return answer

    async def faucet(self, locking_script: bytes, satoshis: int, count: int) -> list[Found]:
        """POST /dev/faucet: coins that are mined already."""
        asked = {"lockingScript": locking_script.hex(), "satoshis": satoshis, "count": count}
        answer = await self._ask("POST", "/dev/faucet", json=asked)
        envelope = parse_envelope(bytes.fromhex(answer["beef"]))
        if envelope.subject.txid != txid_from_hex(answer["txid"]):
            raise PlayFailed("the faucet's BEEF is of another transaction")
        return [Found(envelope, index) for index in answer["vouts"]]

    async def mine(self, blocks: int = 1) -> None:
        """POST /dev/mine."""
        await self._ask("POST", "/dev/mine", json={"blocks": blocks})

    async def wait_for_broadcast(self, txid_hex: str, timeout_secs: float) -> None:
        """Ask the dev chain's ARC until it has a transaction, since broadcasts follow the reply to a submission."""
        try:
            async with asyncio.timeout(timeout_secs):
                while True:
                    if await self._is_known(txid_hex):
                        return
                    await asyncio.sleep(_PAUSE_SECS)
        except TimeoutError:
            raise PlayFailed(f"{txid_hex} was not broadcast within {timeout_secs:g} seconds") from None

    async def _is_known(self, txid_hex: str) -> bool:
        async with self._session.get(f"{self.base_url}/dev/arc/v1/tx/{txid_hex}") as response:
            return response.status == 200

    async def wait_for_proofs(self, query: Any, timeout_secs: float) -> list[Found]:
        """Ask until all that a query finds is proven to be mined."""
        try:
            async with asyncio.timeout(timeout_secs):
                while True:
                    found = await self.lookup(query)
                    if all(one.envelope.subject_bump for one in found):
                        return found
                    await asyncio.sleep(_PAUSE_SECS)
        except TimeoutError:
            raise PlayFailed(f"no proof within {timeout_secs:g} seconds of mining") from None

    async def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Any other call: the status and the JSON object of the answer, refusals too."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            async with self._session.request(method, self.base_url + path, json=body, headers=headers) as response:
                told: dict[str, Any] = await response.json()
                return response.status, told
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise PlayFailed(f"{method} {path}: {type(error).__name__} {error}") from error

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        try:
            async with self._session.request(method, self.base_url + path, **options) as response:
                if response.status != 200:
                    raise PlayFailed(f"{method} {path}: {response.status} {await response.text()}")
                return await response.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise PlayFailed(f"{method} {path}: {type(error).__name__} {error}") from error
