"""The port `SolanaRpc`: Solana's JSON-RPC methods, each with its parameters and the reader of its answer.

Answers are read from plain JSON, so that a transaction's error is kept as the cluster tells it.
"""

from __future__ import annotations

from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from solana.rpc.jsonrpc import JsonRpcErrorCode
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.solana import answers
from bridge.solana.json_rpc import JsonRpc, RpcError, unavailable
from bridge.solana.rpc import (
    AccountsAt,
    AccountState,
    Blockhash,
    Commitment,
    SeenSignature,
    SeenTransaction,
    SendRefused,
    Status,
)
from config.errors import Unavailable

STATUSES_PER_CALL: Final = 256
ACCOUNTS_PER_CALL: Final = 100
REMEMBERED: Final = 512
"""Final transactions that were asked for last: the minter and the event processor ask for the same ones."""

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
    included. So many final transactions are remembered; 0 for an endpoint that is asked whether it still tells the
    same. Close it when done."""

    def __init__(self, rpc_url: str, timeout_secs: float = 10, *, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._server = JsonRpc(rpc_url, timeout_secs)
        self._final: OrderedDict[Signature, SeenTransaction] = OrderedDict()

    async def close(self) -> None:
        await self._server.close()

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
            result = await self._server.call("sendTransaction", [b64encode(raw).decode(), config])
        except RpcError as error:
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
        """See `SolanaRpc.transaction`. Another transaction than the one asked for is no answer. What is final stays
        as it is, and is remembered for a while."""
        if commitment == "finalized" and (known := self._final.get(signature)) is not None:
            return known

        def seen(result: Any) -> SeenTransaction | None:
            if result is None:
                return None
            found = answers.transaction(result)
            if found.signature != signature:
                raise ValueError(f"it is {found.signature}, asked was {signature}")
            return found

        config = {"encoding": "base64", "maxSupportedTransactionVersion": 0, **_at(commitment)}
        found = await self._ask("getTransaction", [str(signature), config], seen)
        if commitment == "finalized" and found is not None:
            self._remember(found)
        return found

    def _remember(self, transaction: SeenTransaction) -> None:
        self._final[transaction.signature] = transaction
        if len(self._final) > self._remembered:
            self._final.popitem(last=False)

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

    async def accounts_at(self, addresses: Sequence[Pubkey]) -> AccountsAt:
        config = {"encoding": "base64", **_at("finalized")}
        page = [str(address) for address in addresses]
        return await self._ask("getMultipleAccounts", [page, config], answers.accounts_at)

    async def rent_lamports(self, space: int) -> int:
        return await self._ask("getMinimumBalanceForRentExemption", [space], answers.integer)

    async def balance(self, address: Pubkey, commitment: Commitment = "confirmed") -> int:
        return await self._ask("getBalance", [str(address), _at(commitment)], answers.value_integer)

    async def airdrop(self, address: Pubkey, lamports: int) -> Signature:
        return await self._ask("requestAirdrop", [str(address), lamports], Signature.from_string)

    async def _ask(self, method: str, params: Sequence[Any], reader: Callable[[Any], Value]) -> Value:
        try:
            result = await self._server.call(method, params)
        except RpcError as error:
            raise _failed(error) from error
        return answers.read(method, reader, result)


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


def _failed(error: RpcError) -> Unavailable:
    return unavailable(f"answers {error.method} with error {error.code}: {error}")


def _refused(error: RpcError) -> SendRefused | Unavailable:
    if error.code not in _REFUSALS:
        return _failed(error)
    data = error.data if isinstance(error.data, dict) else {}
    message = f"the Solana cluster refuses the transaction: {error}"
    return SendRefused(message, data.get("err", str(error)), data.get("logs") or ())
