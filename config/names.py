"""The names of settings: dotted (`node.port`), in the environment (`METAWATT_NODE__PORT`), and the nearest
right one to a wrong one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from config.settings import Settings, TokenizationSettings

PREFIX = "METAWATT_"
CONFIG_VARIABLE = "METAWATT_CONFIG"
# Variables that are ours but no settings: which file to read; what clients, tests and benchmarks are told.
RESERVED_PREFIXES = (CONFIG_VARIABLE, "METAWATT_CLIENT_", "METAWATT_TEST_", "METAWATT_BENCH_")
SHORT_VARIABLES = {
    "METAWATT_HOST": "node.host",
    "METAWATT_PORT": "node.port",
    "METAWATT_DATA_DIR": "node.data_dir",
    "METAWATT_NETWORK": "node.network",
    "METAWATT_STORAGE": "storage.uri",
}
# The names that GridTokenX's gateway is configured by, so that its environment can be taken over.
GRIDTOKENX_PREFIX = "TOKENIZATION_"
# Its guide counts these in minutes, its code in seconds: both are heeded, each in its own unit.
SECONDS_VARIABLES = {
    "TOKENIZATION_INITIAL_RETRY_DELAY_SECS": "tokenization.initial_retry_delay_minutes",
    "TOKENIZATION_MAX_RETRY_DELAY_SECS": "tokenization.max_retry_delay_minutes",
}
GRIDTOKENX_VARIABLES = (
    {
        "SOLANA_RPC_URL": "solana.rpc_url",
        "SOLANA_WS_URL": "solana.ws_url",
        "REGISTRY_PROGRAM_ID": "solana.registry_program_id",
        "ENERGY_TOKEN_PROGRAM_ID": "solana.energy_token_program_id",
    }
    | {f"{GRIDTOKENX_PREFIX}{name.upper()}": f"tokenization.{name}" for name in TokenizationSettings.model_fields}
    | SECONDS_VARIABLES
)
# What GridTokenX's code can be told and this node cannot, and why.
GRIDTOKENX_REFUSED = {
    "TOKENIZATION_RETRY_BACKOFF_MULTIPLIER": "the pause always doubles here",
    "TOKENIZATION_TRANSACTION_TIMEOUT_SECS": "a transaction is followed here until its blockhash has expired",
}


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """Each section's name and class, in the order in which they are declared."""
    for name, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        yield name, field.annotation


def fields() -> Iterator[tuple[str, FieldInfo]]:
    """Each setting's dotted name and its field."""
    for section, model in sections():
        for name, field in model.model_fields.items():
            yield f"{section}.{name}", field


def variable(name: str) -> str:
    """The environment variable of a dotted name."""
    return PREFIX + name.replace(".", "__").upper()


def variables() -> dict[str, str]:
    """Every environment variable that holds a setting, and its dotted name; full names come before short ones,
    and those before GridTokenX's."""
    return {variable(name): name for name, _ in fields()} | SHORT_VARIABLES | GRIDTOKENX_VARIABLES


def nearest(name: str, known: Iterable[str], separator: str = ".") -> str | None:
    """The known name that was most likely meant: the same last part elsewhere, else the closest spelling."""
    candidates = sorted(known)
    leaf = name.rsplit(separator, 1)[-1]
    for candidate in candidates:
        if leaf == candidate.rsplit(separator, 1)[-1] or candidate.endswith(f"_{leaf}"):
            return candidate
    close = get_close_matches(name, candidates, n=1, cutoff=0.6)
    return close[0] if close else None
