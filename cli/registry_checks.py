"""The doctor's checks of the registry: its coins, its remote wallet, its issuing body, the secret of its tokens."""

from __future__ import annotations

from basket.address import p2pkh_address
from basket.coins import FUND_COINS, kept
from basket.remote import RemoteWallet
from basket.treasury import DEPOSIT_KEY_ID
from cli.finding import Finding, broken, ok, warning
from cli.stored import keyring_of
from config.errors import MetawattError, Unavailable
from config.logging import mask_url
from config.secrets import jwt_secret, node_key_path
from config.settings import RegistrySettings, Settings
from store.open import open_store
from store.sqlite import SqliteStore

_REMOTE_TIMEOUT_SECS = 10.0


async def check_registry(settings: Settings) -> list[Finding]:
    """What the registry needs; nothing when it is switched off."""
    if not settings.registry.enabled:
        return [ok("registry", "switched off by registry.enabled")]
    findings = [_check_issuing_body(settings), _check_tokens_secret(settings), await _check_coins(settings)]
    if settings.wallet.remote_url is not None:
        findings.append(await _check_remote(settings, settings.wallet.remote_url))
    return findings


def _check_issuing_body(settings: Settings) -> Finding:
    subject, name = "issuing body", settings.registry.issuing_body
    if settings.node.network == "main" and name == RegistrySettings().issuing_body:
        cure = "Set registry.issuing_body to the body's name before you issue: certificates carry it for good."
        return warning(subject, f"{name}, which is nobody's name", cure)
    return ok(subject, name)


def _check_tokens_secret(settings: Settings) -> Finding:
    subject, path = "token secret", settings.access.jwt_secret_file
    try:
        jwt_secret(settings)
    except MetawattError as error:
        cure = "Let access.jwt_secret_file name a file of 32 random characters or more, with mode 0600."
        return broken(subject, error.message, cure)
    return ok(subject, "derived from the node's key" if path is None else str(path))


async def _check_coins(settings: Settings) -> Finding:
    subject = "wallet"
    if settings.node.network == "dev":
        return ok(subject, "the dev network pays for itself")
    if not node_key_path(settings).exists():
        cure = "Start the node, run the doctor again, and pay to the address that it tells then."
        return warning(subject, "no coins yet: its address follows from the node's key", cure)
    try:
        key = keyring_of(settings).funds_key(DEPOSIT_KEY_ID).public
        satoshis, coins = await _kept(settings)
    except MetawattError as error:
        return broken(subject, mask_url(error.message), "Mend the node's key and the storage first.")
    seen = f"{satoshis} satoshis in {coins} coins"
    if satoshis < settings.wallet.low_satoshis:
        address = p2pkh_address(key, settings.node.network)
        cure = f"Pay to {address}, and hand the payment in: POST /admin/wallet/deposit."
        return warning(subject, f"{seen}, below wallet.low_satoshis", cure)
    return ok(subject, seen)


async def _kept(settings: Settings) -> tuple[int, int]:
    """Satoshis and coins in storage; none where there is no database yet."""
    store = open_store(settings.storage.uri, settings.node.data_dir, settings.storage)
    if isinstance(store, SqliteStore) and not store.path.exists():
        return 0, 0
    try:
        await store.open([FUND_COINS])
        return await kept(store)
    finally:
        await store.close()


async def _check_remote(settings: Settings, url: str) -> Finding:
    subject = "remote wallet"
    wallet = RemoteWallet(url, settings.wallet.remote_originator, _REMOTE_TIMEOUT_SECS)
    try:
        is_open = await wallet.is_authenticated()
    except Unavailable as error:
        cure = "Start it, or mend wallet.remote_url; until then coins are not topped up."
        return broken(subject, error.message, cure)
    finally:
        await wallet.close()
    if not is_open:
        return broken(subject, "its user has not logged in", "Unlock the wallet.")
    return ok(subject, "answers, and its user has logged in")
