"""Transactions that landed, as JSON: what was signed, and what it did."""

from __future__ import annotations

from typing import Any, Final

import base58
from solders.message import Message, MessageV0, VersionedMessage
from solders.transaction import VersionedTransaction

from bridge.cluster.executed import Executed, InnerCall, ReturnData, TokenHolding
from bridge.cluster.rpc.amounts import ui_amount
from bridge.cluster.rpc.encodings import base64_text
from bridge.cluster.rpc.faults import RpcCode, RpcFault
from bridge.cluster.rpc.instructions import compiled_view, parsed_view

ENCODINGS: Final = ("json", "jsonParsed", "base64", "base58", "binary")
_TOP_HEIGHT: Final = 1


def status_view(error: Any) -> dict[str, Any]:
    """A transaction's result in the old shape, which clients still read."""
    return {"Ok": None} if error is None else {"Err": error}


def versioned_view(executed: Executed, encoding: str, most_version: int | None) -> dict[str, Any]:
    """`transaction`, `meta` and, for clients that know of versions, `version`. `RpcFault` for a version that
    the client did not say it can read."""
    transaction = VersionedTransaction.from_bytes(executed.raw)
    version = version_of(transaction, most_version)
    shown = {
        "transaction": _transaction(transaction, executed, encoding),
        "meta": _meta(executed, parsed=encoding == "jsonParsed"),
    }
    return shown if most_version is None else shown | {"version": version}


def accounts_view(executed: Executed, most_version: int | None) -> dict[str, Any]:
    """A transaction of a block of which only the accounts are wanted."""
    transaction = VersionedTransaction.from_bytes(executed.raw)
    version = version_of(transaction, most_version)
    shown = {
        "transaction": {
            "signatures": [str(signature) for signature in transaction.signatures],
            "accountKeys": _named_keys(transaction.message, executed),
        },
        "meta": _balances(executed),
    }
    return shown if most_version is None else shown | {"version": version}


def version_of(transaction: VersionedTransaction, most_version: int | None) -> str | int:
    """The version; `RpcFault` when it is beyond what the client reads."""
    if isinstance(transaction.message, Message):
        return "legacy"
    if most_version is None:
        raise RpcFault(
            RpcCode.UNSUPPORTED_VERSION,
            "Transaction version (0) is not supported by the requesting client. Please try the request again "
            'with the following configuration parameter: "maxSupportedTransactionVersion": 0',
        )
    return 0


def inner_view(executed_inner: tuple[tuple[int, tuple[InnerCall, ...]], ...]) -> list[dict[str, Any]]:
    """Inner instructions by indexes."""
    return [
        {
            "index": index,
            "instructions": [
                compiled_view(call.program, call.accounts, call.data, call.stack_height) for call in calls
            ],
        }
        for index, calls in executed_inner
    ]


def return_view(data: ReturnData | None) -> dict[str, Any] | None:
    if data is None:
        return None
    return {"programId": str(data.program), "data": [base64_text(data.data), "base64"]}


def _transaction(transaction: VersionedTransaction, executed: Executed, encoding: str) -> Any:
    if encoding == "base64":
        return [base64_text(executed.raw), "base64"]
    if encoding == "base58":
        return [base58.b58encode(executed.raw).decode(), "base58"]
    if encoding == "binary":
        return base58.b58encode(executed.raw).decode()
    message = transaction.message
    shown = _parsed_message(message, executed) if encoding == "jsonParsed" else _raw_message(message)
    return {"signatures": [str(signature) for signature in transaction.signatures], "message": shown}


def _raw_message(message: VersionedMessage) -> dict[str, Any]:
    header = message.header
    shown: dict[str, Any] = {
        "header": {
            "numRequiredSignatures": header.num_required_signatures,
            "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
        },
        "accountKeys": [str(key) for key in message.account_keys],
        "recentBlockhash": str(message.recent_blockhash),
        "instructions": [
            compiled_view(each.program_id_index, each.accounts, each.data, _TOP_HEIGHT)
            for each in message.instructions
        ],
    }
    return shown | _lookups(message)


def _parsed_message(message: VersionedMessage, executed: Executed) -> dict[str, Any]:
    names = [str(key) for key in executed.keys]
    shown: dict[str, Any] = {
        "accountKeys": _named_keys(message, executed),
        "recentBlockhash": str(message.recent_blockhash),
        "instructions": [
            parsed_view(
                executed.keys[each.program_id_index],
                [names[index] for index in each.accounts],
                each.data,
                _TOP_HEIGHT,
            )
            for each in message.instructions
        ],
    }
    return shown | _lookups(message)


def _named_keys(message: VersionedMessage, executed: Executed) -> list[dict[str, Any]]:
    """Every key with what the transaction may do with it, those of lookup tables at the end."""
    static = len(message.account_keys)
    keys = [
        {
            "pubkey": str(key),
            "signer": message.is_signer(index),
            "writable": _is_writable(message, index),
            "source": "transaction",
        }
        for index, key in enumerate(message.account_keys)
    ]
    return keys + [
        {
            "pubkey": str(key),
            "signer": False,
            "writable": index < executed.loaded_writable,
            "source": "lookupTable",
        }
        for index, key in enumerate(executed.keys[static:])
    ]


def _is_writable(message: VersionedMessage, index: int) -> bool:
    """By the header alone: writable keys come first, among those that sign and among those that do not."""
    header = message.header
    signers = header.num_required_signatures
    if index < signers:
        return index < signers - header.num_readonly_signed_accounts
    return index < len(message.account_keys) - header.num_readonly_unsigned_accounts


def _lookups(message: VersionedMessage) -> dict[str, Any]:
    if not isinstance(message, MessageV0):
        return {}
    return {
        "addressTableLookups": [
            {
                "accountKey": str(lookup.account_key),
                "writableIndexes": list(lookup.writable_indexes),
                "readonlyIndexes": list(lookup.readonly_indexes),
            }
            for lookup in message.address_table_lookups
        ]
    }


def _balances(executed: Executed) -> dict[str, Any]:
    return {
        "err": executed.error,
        "status": status_view(executed.error),
        "fee": executed.fee,
        "preBalances": executed.pre_lamports,
        "postBalances": executed.post_lamports,
        "preTokenBalances": [_holding(held, executed) for held in executed.pre_tokens],
        "postTokenBalances": [_holding(held, executed) for held in executed.post_tokens],
    }


def _meta(executed: Executed, *, parsed: bool) -> dict[str, Any]:
    meta = _balances(executed) | {
        "innerInstructions": _parsed_inner(executed) if parsed else inner_view(executed.inner),
        "logMessages": executed.logs,
        "rewards": [],
        "computeUnitsConsumed": executed.compute_units,
    }
    if not parsed:
        meta["loadedAddresses"] = _loaded(executed)
    if executed.return_data is not None:
        meta["returnData"] = return_view(executed.return_data)
    return meta


def _parsed_inner(executed: Executed) -> list[dict[str, Any]]:
    names = [str(key) for key in executed.keys]
    return [
        {
            "index": index,
            "instructions": [
                parsed_view(
                    executed.keys[call.program],
                    [names[account] for account in call.accounts],
                    call.data,
                    call.stack_height,
                )
                for call in calls
            ],
        }
        for index, calls in executed.inner
    ]


def _loaded(executed: Executed) -> dict[str, list[str]]:
    """The addresses that came from lookup tables: they are the last of the keys."""
    readonly_at = len(executed.keys) - executed.loaded_readonly
    writable_at = readonly_at - executed.loaded_writable
    return {
        "writable": [str(key) for key in executed.keys[writable_at:readonly_at]],
        "readonly": [str(key) for key in executed.keys[readonly_at:]],
    }


def _holding(held: TokenHolding, executed: Executed) -> dict[str, Any]:
    return {
        "accountIndex": held.account,
        "mint": str(held.mint),
        "owner": str(held.owner),
        "programId": str(held.program),
        "uiTokenAmount": ui_amount(held.units, held.decimals),
    }
