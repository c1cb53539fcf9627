"""A BRC-100 wallet over its HTTP JSON substrate: `POST <url>/<method>`, as `@bsv/sdk`'s HTTPWalletJSON.

Byte strings are arrays of numbers on that wire, keys and scripts hex, outpoints `txid.vout`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from yarl import URL

from config.errors import ErrorCode, Unavailable
from overlay.http_json import JsonService
from overlay.keys import Counterparty, Protocol, is_public_key

_MOST_DETAIL_CHARS: Final = 500
_TIMEOUT_SECS: Final = 30.0
_SENDING: Final = "Send what was prepared"


@dataclass(frozen=True, slots=True)
class Signable:
    """A transaction that lacks signatures: what it is as Atomic BEEF, and how the wallet calls it."""

    beef: bytes
    reference: str


@dataclass(frozen=True, slots=True)
class Action:
    """What came of createAction or signAction: the finished transaction as Atomic BEEF, or one to be signed."""

    beef: bytes | None = None
    signable: Signable | None = None


class WalletRefused(Unavailable):
    """The wallet has answered, and will not."""

    default_code = ErrorCode.WALLET_UNAVAILABLE


class RemoteWallet:
    """Every method raises `Unavailable(WALLET_UNAVAILABLE)`: the wallet does not answer, or says what cannot be
    read; and of that `WalletRefused` when it refuses."""

    def __init__(
        self,
        url: str,
        originator: str,
        timeout_secs: float = _TIMEOUT_SECS,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        origin = origin_of(originator)
        headers = {"Accept": "application/json", "Origin": origin, "Originator": origin}
        self._service = JsonService("the wallet", url, headers, timeout_secs, session)

    async def close(self) -> None:
        await self._service.close()

    # Keys and signatures

    async def is_authenticated(self) -> bool:
        return (await self._call("isAuthenticated", {})).get("authenticated") is True

    async def identity_key(self) -> bytes:
        """The wallet's identity key, 33 bytes."""
        return _public_key(await self._call("getPublicKey", {"identityKey": True}))

    async def public_key(
        self, protocol: Protocol, key_id: str, counterparty: Counterparty, *, for_self: bool = False
    ) -> bytes:
        """The key derived for a counterparty: the counterparty's, or the wallet's own when `for_self`."""
        arguments = {**_key(protocol, key_id, counterparty), "forSelf": for_self}
        return _public_key(await self._call("getPublicKey", arguments))

    async def sign(self, digest: bytes, protocol: Protocol, key_id: str, counterparty: Counterparty) -> bytes:
        """DER signature of a 32-byte digest, which is signed as it is."""
        arguments = {**_key(protocol, key_id, counterparty), "hashToDirectlySign": list(digest)}
        return octets(await self._call("createSignature", arguments), "signature")

    # Transactions

    async def create_action(self, arguments: Mapping[str, Any]) -> Action:
        """`arguments` as BRC-100 has them."""
        reply = await self._call("createAction", arguments)
        signable = reply.get("signableTransaction")
        if isinstance(signable, dict):
            return Action(signable=Signable(octets(signable, "tx"), _text(signable, "reference")))
        return Action(octets(reply, "tx"))

    async def sign_action(self, reference: str, unlocking_scripts: Mapping[int, bytes]) -> bytes:
        """Complete a transaction with unlocking scripts by input index; Atomic BEEF."""
        spends = {str(index): {"unlockingScript": script.hex()} for index, script in unlocking_scripts.items()}
        return octets(await self._call("signAction", {"reference": reference, "spends": spends}), "tx")

    async def send_with(self, txid_hex: str) -> None:
        """Have the wallet send a transaction that it made with `noSend`, and use its change."""
        options = {"sendWith": [txid_hex], "acceptDelayedBroadcast": False}
        await self._call("createAction", {"description": _SENDING, "options": options})

    async def abort_action(self, reference: str) -> None:
        await self._call("abortAction", {"reference": reference})

    async def internalize_action(self, arguments: Mapping[str, Any]) -> None:
        """Have the wallet take outputs in; `arguments` as BRC-100 has them."""
        if (await self._call("internalizeAction", arguments)).get("accepted") is not True:
            raise _unusable("internalizeAction was not accepted")

    async def list_outputs(self, basket: str, limit: int = 100, offset: int = 0) -> Sequence[Mapping[str, Any]]:
        """Outputs of a basket as BRC-100 tells them, with their custom instructions and tags."""
        arguments = {
            "basket": basket,
            "limit": limit,
            "offset": offset,
            "includeCustomInstructions": True,
            "includeTags": True,
        }
        outputs = (await self._call("listOutputs", arguments)).get("outputs")
        if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs):
            raise _unusable("listOutputs gives no outputs")
        return outputs

    async def _call(self, method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        try:
            reply = await self._service.ask("POST", f"/{method}", json=dict(arguments))
        except Unavailable as error:
            raise Unavailable(error.message, ErrorCode.WALLET_UNAVAILABLE) from error
        if not 200 <= reply.status < 300:
            raise WalletRefused(
                f"the wallet cannot be used: {method} is answered {reply.status}: {_reason(reply.value)}"
            )
        if not isinstance(reply.value, dict):
            raise _unusable(f"{method} gives no object")
        return reply.value


def origin_of(originator: str) -> str:
    """An originator as a web origin: with a scheme, without a path. ValueError when it cannot be one."""
    url = URL(originator if "://" in originator else f"http://{originator}")
    return str(url.origin())


def _key(protocol: Protocol, key_id: str, counterparty: Counterparty) -> dict[str, Any]:
    other = counterparty.hex() if isinstance(counterparty, bytes) else counterparty
    return {"protocolID": list(protocol), "keyID": key_id, "counterparty": other}


def octets(reply: Mapping[str, Any], name: str) -> bytes:
    """A byte string of a wallet's reply."""
    value = reply.get(name)
    if not isinstance(value, list):
        raise _unusable(f"{name} is missing")
    try:
        return bytes(value)
    except (ValueError, TypeError) as error:
        raise _unusable(f"{name} is no array of bytes") from error


def _text(reply: Mapping[str, Any], name: str) -> str:
    value = reply.get(name)
    if not isinstance(value, str):
        raise _unusable(f"{name} is missing")
    return value


def _public_key(reply: Mapping[str, Any]) -> bytes:
    try:
        key = bytes.fromhex(_text(reply, "publicKey"))
    except ValueError as error:
        raise _unusable("publicKey is not hex") from error
    if not is_public_key(key):
        raise _unusable("publicKey is no point on the curve")
    return key


def _reason(value: Any) -> str:
    if not isinstance(value, dict):
        return "without a reason"
    return str(value.get("message") or value.get("description") or "without a reason")[:_MOST_DETAIL_CHARS]


def _unusable(why: str) -> Unavailable:
    return Unavailable(f"the wallet cannot be used: {why}", ErrorCode.WALLET_UNAVAILABLE)
