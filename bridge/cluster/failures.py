"""Solana's transaction errors, as its JSON has them and as its nodes put them in words."""

from __future__ import annotations

from typing import Any, Final

from solders.transaction_status import (
    InstructionErrorBorshIO,
    InstructionErrorCustom,
    TransactionErrorDuplicateInstruction,
    TransactionErrorInstructionError,
    TransactionErrorInsufficientFundsForRent,
    TransactionErrorProgramExecutionTemporarilyRestricted,
)

BLOCKHASH_NOT_FOUND: Final = "BlockhashNotFound"
ALREADY_PROCESSED: Final = "AlreadyProcessed"
LOAD_ERRORS: Final = frozenset(
    {"ProgramAccountNotFound", "InvalidProgramForExecution", "MaxLoadedAccountsDataSizeExceeded"}
)
"""A transaction whose programs cannot be loaded lands, pays, and is not executed (SIMD-0082)."""

_WORDS: Final = {
    BLOCKHASH_NOT_FOUND: "Blockhash not found",
    ALREADY_PROCESSED: "This transaction has already been processed",
    "AccountNotFound": "Attempt to debit an account but found no record of a prior credit.",
    "InsufficientFundsForFee": "Insufficient funds for fee",
    "InvalidAccountForFee": "This account may not be used to pay transaction fees",
    "ProgramAccountNotFound": "Attempt to load a program that does not exist",
    "InvalidProgramForExecution": "This program may not be used for executing instructions",
    "SanitizeFailure": "Transaction failed to sanitize accounts offsets correctly",
    "AddressLookupTableNotFound": "Transaction loads an address table account that doesn't exist",
}


def error_json(error: Any) -> Any:
    """A solders TransactionErrorType as Solana's JSON: a name, or an object of one name."""
    if isinstance(error, TransactionErrorInstructionError):
        return {"InstructionError": [error.index, _instruction_error(error.err)]}
    if isinstance(error, TransactionErrorDuplicateInstruction):
        return {"DuplicateInstruction": error.index}
    if isinstance(error, TransactionErrorInsufficientFundsForRent):
        return {"InsufficientFundsForRent": {"account_index": error.account_index}}
    if isinstance(error, TransactionErrorProgramExecutionTemporarilyRestricted):
        return {"ProgramExecutionTemporarilyRestricted": {"account_index": error.account_index}}
    return _name(error)


def _instruction_error(error: Any) -> Any:
    if isinstance(error, InstructionErrorCustom):
        return {"Custom": error.code}
    if isinstance(error, InstructionErrorBorshIO):
        return {"BorshIoError": error.value}
    return _name(error)


def _name(error: Any) -> str:
    """The variant's own name, of a solders enumeration that prints as `Type.Name`."""
    return str(error).rpartition(".")[2]


def lands(error: Any) -> bool:
    """Whether a leader puts a transaction with this error into a block, at its payer's cost."""
    if isinstance(error, dict):
        return "InstructionError" in error or "InsufficientFundsForRent" in error
    return error is None or error in LOAD_ERRORS


def in_words(error: Any) -> str:
    """The error as a node's message has it."""
    if isinstance(error, dict) and "InstructionError" in error:
        index, cause = error["InstructionError"]
        if isinstance(cause, dict) and "Custom" in cause:
            return f"Error processing Instruction {index}: custom program error: {cause['Custom']:#x}"
        return f"Error processing Instruction {index}: {cause}"
    return _WORDS.get(error, str(error)) if isinstance(error, str) else str(error)
