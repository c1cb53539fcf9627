"""The closed list of error codes, and the exceptions that carry them.

    MetawattError
    ├── BadRequest         the caller's input is at fault; nothing was changed
    ├── NotFound
    ├── Unauthorized, Forbidden
    ├── Busy               a limit was met; try again after `retry_after_secs`
    ├── Unavailable        something that this node depends on does not answer
    └── Internal           a fault of this node

Every room raises one of these with a member of `ErrorCode`; `api/errors.py` is the one edge that
turns them into HTTP. `docs/ERRORS.md` describes each code and is held against this file by a test.
"""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """Stable machine-readable codes, as they appear in the `code` field of an error reply."""

    # Requests
    BAD_REQUEST = "ERR_BAD_REQUEST"
    BAD_JSON = "ERR_BAD_JSON"
    BAD_TOPICS_HEADER = "ERR_BAD_TOPICS_HEADER"
    MISSING_BODY = "ERR_MISSING_BODY"
    UNSUPPORTED_MEDIA_TYPE = "ERR_UNSUPPORTED_MEDIA_TYPE"
    ROUTE_NOT_FOUND = "ERR_ROUTE_NOT_FOUND"
    METHOD_NOT_ALLOWED = "ERR_METHOD_NOT_ALLOWED"
    NOT_FOUND = "ERR_NOT_FOUND"
    UNAUTHORIZED = "ERR_UNAUTHORIZED"
    FORBIDDEN = "ERR_FORBIDDEN"
    # Limits
    BODY_TOO_LARGE = "ERR_BODY_TOO_LARGE"
    BODY_TIMEOUT = "ERR_BODY_TIMEOUT"
    RATE_LIMITED = "ERR_RATE_LIMITED"
    OVERLOADED = "ERR_OVERLOADED"
    RESPONSE_TOO_LARGE = "ERR_RESPONSE_TOO_LARGE"
    # Envelopes (BEEF) and verification
    ENVELOPE_MALFORMED = "ERR_ENVELOPE_MALFORMED"
    ENVELOPE_TOO_LARGE = "ERR_ENVELOPE_TOO_LARGE"
    SUBJECT_MISSING = "ERR_SUBJECT_MISSING"
    ANCESTOR_MISSING = "ERR_ANCESTOR_MISSING"
    MERKLE_PATH_INVALID = "ERR_MERKLE_PATH_INVALID"
    MERKLE_ROOT_UNKNOWN = "ERR_MERKLE_ROOT_UNKNOWN"
    COINBASE_IMMATURE = "ERR_COINBASE_IMMATURE"
    VALUE_NOT_CONSERVED = "ERR_VALUE_NOT_CONSERVED"
    SCRIPT_INVALID = "ERR_SCRIPT_INVALID"
    SCRIPT_TOO_COSTLY = "ERR_SCRIPT_TOO_COSTLY"
    DOUBLE_SPEND = "ERR_DOUBLE_SPEND"
    # Overlay
    TOPIC_UNKNOWN = "ERR_TOPIC_UNKNOWN"
    LOOKUP_SERVICE_UNKNOWN = "ERR_LOOKUP_SERVICE_UNKNOWN"
    BAD_QUERY = "ERR_BAD_QUERY"
    BAD_CURSOR = "ERR_BAD_CURSOR"
    TRANSACTION_UNKNOWN = "ERR_TRANSACTION_UNKNOWN"
    OUTPUT_UNKNOWN = "ERR_OUTPUT_UNKNOWN"
    REORG_TOO_DEEP = "ERR_REORG_TOO_DEEP"
    # Certificates
    TOKEN_MALFORMED = "ERR_TOKEN_MALFORMED"
    # The registry
    INVALID_FIELD = "ERR_INVALID_FIELD"
    ORGANISATION_UNKNOWN = "ERR_ORGANISATION_UNKNOWN"
    USER_UNKNOWN = "ERR_USER_UNKNOWN"
    ACCOUNT_UNKNOWN = "ERR_ACCOUNT_UNKNOWN"
    DEVICE_UNKNOWN = "ERR_DEVICE_UNKNOWN"
    CERTIFICATE_UNKNOWN = "ERR_CERTIFICATE_UNKNOWN"
    RECORD_UNKNOWN = "ERR_RECORD_UNKNOWN"
    ACTION_UNKNOWN = "ERR_ACTION_UNKNOWN"
    STILL_IN_USE = "ERR_STILL_IN_USE"
    INTERVAL_INVALID = "ERR_INTERVAL_INVALID"
    RANGE_INVALID = "ERR_RANGE_INVALID"
    CAPACITY_EXCEEDED = "ERR_CAPACITY_EXCEEDED"
    ISSUED_TWICE = "ERR_ISSUED_TWICE"
    ATTRIBUTES_DIFFER = "ERR_ATTRIBUTES_DIFFER"
    NOTHING_SELECTED = "ERR_NOTHING_SELECTED"
    QUANTITY_LACKING = "ERR_QUANTITY_LACKING"
    STATUS_FORBIDS = "ERR_STATUS_FORBIDS"
    NOT_BENEFICIARY = "ERR_NOT_BENEFICIARY"
    NOT_WHITELISTED = "ERR_NOT_WHITELISTED"
    NOT_THE_ISSUER = "ERR_NOT_THE_ISSUER"
    SIGNATURE_AWAITED = "ERR_SIGNATURE_AWAITED"
    SIGNED_OTHERWISE = "ERR_SIGNED_OTHERWISE"
    ENERGY_LACKING = "ERR_ENERGY_LACKING"
    MEASUREMENT_INVALID = "ERR_MEASUREMENT_INVALID"
    IMPORT_INVALID = "ERR_IMPORT_INVALID"
    PROOF_INVALID = "ERR_PROOF_INVALID"
    REGISTRY_UNAVAILABLE = "ERR_REGISTRY_UNAVAILABLE"
    # Meters, readings and Solana
    METER_UNKNOWN = "ERR_METER_UNKNOWN"
    METER_EXISTS = "ERR_METER_EXISTS"
    METER_NOT_VERIFIED = "ERR_METER_NOT_VERIFIED"
    KEY_INVALID = "ERR_KEY_INVALID"
    SIGNATURE_INVALID = "ERR_SIGNATURE_INVALID"
    WALLET_DIFFERS = "ERR_WALLET_DIFFERS"
    AMOUNT_INVALID = "ERR_AMOUNT_INVALID"
    TIMESTAMP_INVALID = "ERR_TIMESTAMP_INVALID"
    READING_TOO_OLD = "ERR_READING_TOO_OLD"
    READING_FROM_FUTURE = "ERR_READING_FROM_FUTURE"
    READING_CONFLICTS = "ERR_READING_CONFLICTS"
    READING_UNKNOWN = "ERR_READING_UNKNOWN"
    MINTING_FORBIDS = "ERR_MINTING_FORBIDS"
    HISTORY_GAP = "ERR_HISTORY_GAP"
    SOLANA_UNAVAILABLE = "ERR_SOLANA_UNAVAILABLE"
    # The mirror
    BRIDGE_MESSAGE_UNKNOWN = "ERR_BRIDGE_MESSAGE_UNKNOWN"
    # The wallet
    WALLET_EMPTY = "ERR_WALLET_EMPTY"
    WALLET_UNAVAILABLE = "ERR_WALLET_UNAVAILABLE"
    # Chain services
    BROADCAST_REJECTED = "ERR_BROADCAST_REJECTED"
    CHAIN_UNAVAILABLE = "ERR_CHAIN_UNAVAILABLE"
    # The node itself
    STORAGE_UNAVAILABLE = "ERR_STORAGE_UNAVAILABLE"
    STORAGE_CONFLICT = "ERR_STORAGE_CONFLICT"
    STORAGE_TOO_NEW = "ERR_STORAGE_TOO_NEW"
    SETTINGS_INVALID = "ERR_SETTINGS_INVALID"
    STARTING = "ERR_STARTING"
    SHUTTING_DOWN = "ERR_SHUTTING_DOWN"
    INTERNAL = "ERR_INTERNAL"


class MetawattError(Exception):
    """An error with a code of the closed list and a sentence for a person."""

    default_code = ErrorCode.INTERNAL

    def __init__(self, message: str = "", code: ErrorCode | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.code = code or self.default_code

    @property
    def message(self) -> str:
        return str(self.args[0])


class BadRequest(MetawattError):
    """The request cannot be understood."""

    default_code = ErrorCode.BAD_REQUEST


class NotFound(MetawattError):
    """There is no such thing here."""

    default_code = ErrorCode.NOT_FOUND


class Unauthorized(MetawattError):
    """Credentials are required."""

    default_code = ErrorCode.UNAUTHORIZED


class Forbidden(MetawattError):
    """These credentials do not allow this."""

    default_code = ErrorCode.FORBIDDEN


class Busy(MetawattError):
    """The node is at a limit; try again later."""

    default_code = ErrorCode.OVERLOADED

    def __init__(self, message: str = "", code: ErrorCode | None = None, retry_after_secs: float = 1.0) -> None:
        super().__init__(message, code)
        self.retry_after_secs = retry_after_secs


class Unavailable(MetawattError):
    """Something that the node depends on does not answer."""

    default_code = ErrorCode.CHAIN_UNAVAILABLE


class Internal(MetawattError):
    """A fault of this node."""
