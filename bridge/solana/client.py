"""The port `SolanaRpc` on solana-py's client.

Calls go through `send_rpc_request`: its answers are plain JSON, so that a transaction's error is kept as the
cluster tells it, and it is the faster way. A request is posted once: whoever calls decides what is asked again.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import httpx2
from pydantic import ValidationError
from solana.exceptions import SolanaRpcException
from solana.rpc.async_api import AsyncClient
from solana.rpc.jsonrpc import JsonRpcErrorCode, JsonRpcRequest, SolanaJsonRpcError
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.solana import answers
from bridge.solana.rpc import (
    AccountState,
    Blockhash,
    Commitment,
    SeenSignature,
    SeenTransaction,
    SendRefused,
    Status,
)
from config.errors import ErrorCode, Unavailable

STATUSES_PER_CALL: Final = 256
ACCOUNTS_PER_CALL: Final = 100
_MAX_CONNECTIONS: Final = 32

_REFUSALS: Final = frozenset(
    {
        JsonRpcErrorCode.INVALID_PARAMS,
        JsonRpcErrorCode.SERVER_ERROR_SEND_TRANSACTION_PREFLIGHT_FAILURE,
        JsonRpcErrorCode.SERVER_ERROR_TRANSACTION_SIGNATURE_VERIFICATION_FAILURE,
        JsonRpcErrorCode.SERVER_ERROR_TRANSACTION_PRECOMPILE_VERIFICATION_FAILURE,
        JsonRpcErrorCode.SERVER_ERROR_TRANSACTION_SIGNATURE_LEN_MISMATCH,
        JsonRpcErrorCode.SERVER_ERROR_UNSUPPORTED_TRANSACTION_VERSION,
    }
)
"""Errors of sendTransaction that are about the transaction; the others are the node's own troubles."""

Value = TypeVar("Value")


class ClusterClient:
    """`SolanaRpc` of the cluster at `rpc_url`. A call takes `timeout_secs` at most, waiting for a connection
    included. Close it when done."""

    def __init__(self, rpc_url: str, timeout_secs: float = 10) -> None:
        self._timeout_secs = timeout_secs
        self._client = AsyncClient(
            rpc_url,
            timeout=timeout_secs,
            max_connections=_MAX_CONNECTIONS,
            max_keepalive_connections=_MAX_CONNECTIONS,
            max_transport_retries=0,
        )

    async def close(self) -> None:
        await self._client.close()

    async def genesis_hash(self) -> Hash:
        return await self._ask("getGenesisHash", [], Hash.from_string)

    async def slot(self, commitment: Commitment = "finalized") -> int:
        return await self._ask("getSlot", [_at(commitment)], answers.integer)

    async def block_height(self, commitment: Commitment = "finalized") -> int:
        return await self._ask("getBlockHeight", [_at(commitment)], answers.integer)

    async def first_available_slot(self) -> int:
        return await self._ask("getFirstAvailableBlock", [], answers.integer)

    async def latest_blockhash(self, commitment: Commitment = "confirmed") -> Blockhash:
        return await self._ask("getLatestBlockhash", [_at(commitment)], answers.blockhash)

    async def send(self, raw: bytes, *, skip_preflight: bool = False) -> Signature:
        """See `SolanaRpc.send`. Preflight runs at "confirmed", where blockhashes are taken from."""
        config = {"encoding": "base64", "skipPreflight": skip_preflight, "preflightCommitment": "confirmed"}
        try:
            result = await self._call("sendTransaction", [b64encode(raw).decode(), config])
        except SolanaJsonRpcError as error:
            raise _refused(error) from error
        return answers.read("sendTransaction", Signature.from_string, result)

    async def statuses(self, signatures: Sequence[Signature], *, history: bool = True) -> list[Status | None]:
        config = {"searchTransactionHistory": history}
        found: list[Status | None] = []
        for page in _pages(signatures, STATUSES_PER_CALL):
            found += await self._ask("getSignatureStatuses", [page, config], _each(len(page), answers.statuses))
        return found

    async def transaction(
        self, signature: Signature, commitment: Commitment = "finalized"
    ) -> SeenTransaction | None:
        """See `SolanaRpc.transaction`. Another transaction than the one asked for is no answer."""

        def seen(result: Any) -> SeenTransaction | None:
            if result is None:
                return None
            found = answers.transaction(result)
            if found.signature != signature:
                raise ValueError(f"it is {found.signature}, asked was {signature}")
            return found

        config = {"encoding": "base64", "maxSupportedTransactionVersion": 0, **_at(commitment)}
        return await self._ask("getTransaction", [str(signature), config], seen)

    async def signatures_for(
        self,
        address: Pubkey,
        *,
        before: Signature | None = None,
        until: Signature | None = None,
        limit: int = 1000,
        commitment: Commitment = "finalized",
    ) -> list[SeenSignature]:
        config: dict[str, Any] = {"limit": limit, **_at(commitment)}
        if before is not None:
            config["before"] = str(before)
        if until is not None:
            config["until"] = str(until)
        return await self._ask("getSignaturesForAddress", [str(address), config], answers.signatures)

    async def accounts(
        self, addresses: Sequence[Pubkey], commitment: Commitment = "finalized"
    ) -> list[AccountState | None]:
        config = {"encoding": "base64", **_at(commitment)}
        found: list[AccountState | None] = []
        for page in _pages(addresses, ACCOUNTS_PER_CALL):
            found += await self._ask("getMultipleAccounts", [page, config], _each(len(page), answers.accounts))
        return found

    async def rent_lamports(self, space: int) -> int:
        return await self._ask("getMinimumBalanceForRentExemption", [space], answers.integer)

    async def balance(self, address: Pubkey, commitment: Commitment = "confirmed") -> int:
        return await self._ask("getBalance", [str(address), _at(commitment)], answers.value_integer)

    async def airdrop(self, address: Pubkey, lamports: int) -> Signature:
        return await self._ask("requestAirdrop", [str(address), lamports], Signature.from_string)

    async def _ask(self, method: str, params: Sequence[Any], reader: Callable[[Any], Value]) -> Value:
        try:
            result = await self._call(method, params)
        except SolanaJsonRpcError as error:
            raise _failed(error) from error
        return answers.read(method, reader, result)

    async def _call(self, method: str, params: Sequence[Any]) -> Any:
        """The result as JSON. An error that the cluster answers is raised as solana-py has it, what goes wrong
        on the way as Unavailable."""
        request = JsonRpcRequest(method=method, params=params)
        try:
            async with asyncio.timeout(self._timeout_secs):
                return await self._client.send_rpc_request(request, Any)
        except (SolanaRpcException, TimeoutError, httpx2.InvalidURL) as error:
            raise _unavailable(f"does not answer {method}: {_reason(error)}") from error
        except ValidationError as error:
            raise _unavailable(f"answers {method} with something else than JSON-RPC") from error


def _pages(keys: Sequence[Pubkey] | Sequence[Signature], size: int) -> Iterator[list[str]]:
    for start in range(0, len(keys), size):
        yield [str(key) for key in keys[start : start + size]]


def _at(commitment: Commitment) -> dict[str, Any]:
    return {"commitment": commitment}


def _each(count: int, reader: Callable[[Any], list[Value]]) -> Callable[[Any], list[Value]]:
    """A reader of answers to `count` questions: an answer that is shorter would shift the others."""

    def checked(result: Any) -> list[Value]:
        found = reader(result)
        if len(found) != count:
            raise ValueError(f"{len(found)} answers to {count} questions")
        return found

    return checked


def _unavailable(what: str) -> Unavailable:
    return Unavailable(f"the Solana cluster {what}", ErrorCode.SOLANA_UNAVAILABLE)


def _reason(error: Exception) -> str:
    """Why a request failed; never with the URL, whose path or query may hold an API key."""
    cause = error.__cause__
    if isinstance(cause, httpx2.HTTPStatusError):
        return f"HTTP {cause.response.status_code}"
    if isinstance(error, TimeoutError) or isinstance(cause, httpx2.TimeoutException):
        return "it takes too long"
    return str(cause or error) or type(cause or error).__name__


def _failed(error: SolanaJsonRpcError) -> Unavailable:
    return _unavailable(f"answers {error.method} with error {error.code}: {error}")


def _refused(error: SolanaJsonRpcError) -> SendRefused | Unavailable:
    if error.code not in _REFUSALS:
        return _failed(error)
    data = error.data if isinstance(error.data, dict) else {}
    message = f"the Solana cluster refuses the transaction: {error}"
    return SendRefused(message, data.get("err", str(error)), data.get("logs") or ())
