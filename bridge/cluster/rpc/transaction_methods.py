"""Methods about transactions: sending and simulating them, what became of them, and an address's history."""

from __future__ import annotations

from typing import Any, Final

from solders.account import Account
from solders.pubkey import Pubkey

from bridge.cluster.executed import Entry, Simulated, Status
from bridge.cluster.refusals import BadSignature, Malformed, PreflightFailed
from bridge.cluster.rpc.account_views import AccountViews, account_format
from bridge.cluster.rpc.context import Context, Methods, settled
from bridge.cluster.rpc.faults import RpcCode, RpcFault, invalid
from bridge.cluster.rpc.limits import ACCOUNTS_MOST, HISTORY_MOST, STATUSES_MOST, TRANSACTION_MOST_BYTES
from bridge.cluster.rpc.params import Config, Params, address, binary, commitment, signature
from bridge.cluster.rpc.transaction_views import ENCODINGS, inner_view, return_view, status_view, versioned_view
from bridge.solana.rpc import Commitment
from config.errors import BadRequest

_SENT_ENCODINGS: Final = ("base58", "base64")


class TransactionMethods:
    """Transactions on their way, and those that landed."""

    def __init__(self, context: Context, views: AccountViews) -> None:
        self._context = context
        self._cluster = context.cluster
        self._views = views

    async def send(self, params: Params) -> str:
        """`AnswerLost` passes through: whoever speaks to the client cuts the connection."""
        config = params.config(1)
        raw = _raw(params, config)
        preflight = commitment(config.raw("preflightCommitment"))
        self._context.at(preflight, config)
        try:
            sent = await self._cluster.send(
                raw, skip_preflight=config.flag("skipPreflight"), preflight_commitment=preflight
            )
        except Malformed as error:
            raise _malformed(error) from None
        except BadSignature:
            raise _bad_signature() from None
        except PreflightFailed as error:
            told = _simulated_view(error.simulated)
            raise RpcFault(RpcCode.PREFLIGHT_FAILED, error.message, told) from None
        return str(sent)

    async def simulate(self, params: Params) -> dict[str, Any]:
        config = params.config(1)
        raw = _raw(params, config)
        verify, replace = config.flag("sigVerify"), config.flag("replaceRecentBlockhash")
        if verify and replace:
            raise invalid("sigVerify may not be used with replaceRecentBlockhash")
        self._context.at(config.commitment, config)
        try:
            simulated = await self._cluster.simulate(
                raw, sig_verify=verify, replace_blockhash=replace, commitment=config.commitment
            )
        except Malformed as error:
            raise _malformed(error) from None
        except BadSignature:
            raise _bad_signature() from None
        view = _simulated_view(simulated) | {"accounts": self._accounts_after(simulated, config)}
        if config.flag("innerInstructions"):
            view["innerInstructions"] = inner_view(simulated.inner)
        return self._context.answer(simulated.slot, view)

    def _accounts_after(self, simulated: Simulated, config: Config) -> list[dict[str, Any] | None] | None:
        """The accounts that were asked for, as the transaction would leave them."""
        asked = config.section("accounts")
        if asked is None:
            return None
        shown = account_format(asked, "base64")
        wanted = [address(each) for each in asked.items("addresses", ACCOUNTS_MOST)]
        if simulated.error is not None:
            return [None] * len(wanted)
        found = [self._account_after(simulated, each, config.commitment) for each in wanted]
        return [self._views.view(each, shown, config.commitment) for each in found]

    def _account_after(self, simulated: Simulated, wanted: Pubkey, at: Commitment) -> Account | None:
        changed = simulated.accounts.get(wanted)
        return self._cluster.account(wanted, at) if changed is None else changed

    async def airdrop(self, params: Params) -> str:
        to, lamports = params.address(0), params.integer(1)
        try:
            return str(await self._cluster.airdrop(to, lamports))
        except BadRequest as error:
            raise invalid(f"Invalid params: {error}") from None

    async def statuses(self, params: Params) -> dict[str, Any]:
        wanted = [signature(each) for each in params.listed(0, STATUSES_MOST)]
        history = params.config(1).flag("searchTransactionHistory")
        slot = self._context.at("processed")
        found = await self._cluster.statuses(wanted, history=history)
        return self._context.answer(slot, [_status(each) for each in found])

    async def transaction(self, params: Params) -> dict[str, Any] | None:
        """The second parameter is a configuration object, or the mere name of an encoding."""
        wanted = params.signature(0)
        config = Config({"encoding": params.raw(1)}) if isinstance(params.raw(1), str) else params.config(1)
        encoding = config.choice("encoding", ENCODINGS, "json")
        most_version = config.integer("maxSupportedTransactionVersion", most=255)
        executed = await self._cluster.executed(wanted, settled(config, "getTransaction"))
        if executed is None:
            return None
        view = versioned_view(executed, encoding, most_version)
        return {"slot": executed.slot, "blockTime": executed.block_time, **view}

    async def history(self, params: Params) -> list[dict[str, Any]]:
        wanted, config = params.address(0), params.config(1)
        at = settled(config, "getSignaturesForAddress")
        limit = config.integer("limit", HISTORY_MOST)
        if not limit or limit > HISTORY_MOST:
            raise invalid(f"Invalid limit; max {HISTORY_MOST}")
        self._context.at(at, config)
        before, until = config.signature("before"), config.signature("until")
        found = await self._cluster.signatures_for(wanted, before=before, until=until, limit=limit, commitment=at)
        return [self._entry(each, at) for each in found]

    def _entry(self, entry: Entry, at: Commitment) -> dict[str, Any]:
        return {
            "signature": str(entry.signature),
            "slot": entry.slot,
            "err": entry.error,
            "memo": entry.memo,
            "blockTime": entry.block_time,
            "confirmationStatus": self._cluster.commitment_of(entry.slot) or at,
        }

    def methods(self) -> Methods:
        return {
            "sendTransaction": self.send,
            "simulateTransaction": self.simulate,
            "requestAirdrop": self.airdrop,
            "getSignatureStatuses": self.statuses,
            "getTransaction": self.transaction,
            "getSignaturesForAddress": self.history,
        }


def _raw(params: Params, config: Config) -> bytes:
    encoding = config.choice("encoding", _SENT_ENCODINGS, "base58")
    return params.required(0, lambda value: binary(value, encoding, TRANSACTION_MOST_BYTES))


def _malformed(error: Malformed) -> RpcFault:
    return invalid(error.message)


def _bad_signature() -> RpcFault:
    return RpcFault(RpcCode.SIGNATURE_FAILED, "Transaction signature verification failure")


def _status(status: Status | None) -> dict[str, Any] | None:
    if status is None:
        return None
    return {
        "slot": status.slot,
        "confirmations": status.confirmations,
        "err": status.error,
        "status": status_view(status.error),
        "confirmationStatus": status.commitment,
    }


def _simulated_view(simulated: Simulated) -> dict[str, Any]:
    replaced = None
    if simulated.blockhash is not None:
        replaced = {
            "blockhash": str(simulated.blockhash),
            "lastValidBlockHeight": simulated.last_valid_block_height,
        }
    return {
        "err": simulated.error,
        "logs": simulated.logs,
        "accounts": None,
        "unitsConsumed": simulated.compute_units,
        "returnData": return_view(simulated.return_data),
        "innerInstructions": None,
        "replacementBlockhash": replaced,
    }
