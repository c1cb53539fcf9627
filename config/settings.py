"""Typed settings, one class a section. `config/load.py` reads them; `docs/SETTINGS.md` is made from them.

Strength, strongest first: the command line, the environment (`METAWATT_<SECTION>__<NAME>`), the TOML file
(`--config`), the defaults here. A name that is not known stops the start. Units are in the names.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Network = Literal["dev", "test", "main"]
HexKey = Annotated[str, Field(pattern=r"^[0-9a-f]{66}$")]
SolanaAddress = Annotated[str, Field(pattern=r"^[1-9A-HJ-NP-Za-km-z]{32,44}$")]


class Section(BaseModel):
    """A group of settings; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class NodeSettings(Section):
    """Who this node is and where it listens."""

    name: str = Field("metawatt", description="Name shown to peers and in health reports.")
    network: Network = Field("dev", description="The chain: embedded dev chain, test network or main network.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(
        0,
        ge=0,
        le=64,
        description="Processes that serve requests; 0 for one a core, at most 4. The dev network has one.",
    )
    pin_workers: bool = Field(
        True,
        description="Keep each of these processes to a processor of its own, where there are as many processors.",
    )
    data_dir: Path = Field(Path("data"), description="Folder for the embedded database, the key and the dev chain.")
    hosting_url: str | None = Field(None, description="Public https URL of this node, as advertised.")
    private_key_file: Path | None = Field(
        None,
        description="File with the node's private key (64 hex digits). Default: <data_dir>/node.key, made at first start.",
    )
    admin_token: SecretStr | None = Field(
        None, description="Bearer token for /admin. Default: <data_dir>/admin.token, made at first start."
    )
    shutdown_secs: float = Field(20, ge=0, le=600, description="Time to drain requests and the outbox on SIGTERM.")


class StorageSettings(Section):
    """Where the node keeps what it knows."""

    uri: str | None = Field(
        None, description="sqlite:///PATH or mongodb://…/NAME. Default: sqlite in <data_dir>/node.db."
    )
    flush_max_writes: int = Field(4096, ge=1, description="Most writes that one group commit takes.")
    sqlite_cache_mib: int = Field(16, ge=1, le=4096, description="SQLite page cache of each connection.")
    mongodb_timeout_secs: float = Field(
        10, gt=0, description="How long MongoDB may take to be found and to answer."
    )


class LimitSettings(Section):
    """Bounds on everything that a stranger controls."""

    body_bytes: int = Field(8 * 1024 * 1024, ge=1024, description="Largest request body.")
    bodies_bytes: int = Field(
        128 * 1024 * 1024, ge=1024, description="Request bodies held in memory at once; more are told 429."
    )
    body_timeout_secs: float = Field(15, gt=0, description="Longest time that a request body may take to arrive.")
    keepalive_secs: float = Field(75, gt=0, description="How long an idle connection is kept.")
    concurrent_submissions: int = Field(256, ge=1, description="Submissions under way at once; more wait.")
    waiting_submissions: int = Field(2048, ge=0, description="Submissions that may wait; more are told 429.")
    concurrent_lookups: int = Field(64, ge=1, description="Lookups under way at once; more wait.")
    waiting_lookups: int = Field(512, ge=0, description="Lookups that may wait; more are told 429.")
    requests_per_minute: int = Field(
        0, ge=0, description="Requests a client address may make a minute; 0 for no bound."
    )
    burst_requests: int = Field(
        200, ge=1, description="Requests a client address may make at once under that bound."
    )
    topics_per_submission: int = Field(32, ge=1, description="Topics that one submission may name.")
    beef_transactions: int = Field(2000, ge=1, description="Most transactions in one BEEF.")
    beef_bumps: int = Field(1000, ge=1, description="Most Merkle paths (BUMPs) in one BEEF.")
    beef_outputs: int = Field(25_000, ge=1, description="Most outputs over all transactions of one BEEF.")
    beef_bump_bytes: int = Field(1_000_000, ge=1000, description="Most bytes of Merkle paths in one BEEF.")
    beef_inputs: int = Field(5000, ge=1, description="Most inputs over all unproven transactions of one BEEF.")
    script_bytes: int = Field(500_000, ge=1000, description="Largest script that is executed.")
    script_sigops: int = Field(10_000, ge=1, description="Most signature checks in the scripts of one submission.")
    script_hashed_bytes: int = Field(
        64_000_000, ge=1000, description="Most bytes that the signature checks of one submission may hash."
    )
    inline_script_bytes: int = Field(
        20_000,
        ge=0,
        description="Scripts up to this size are run on the event loop, larger ones in a worker process.",
    )
    inline_sigops: int = Field(
        24, ge=0, description="Submissions with more signature checks go to a worker process."
    )
    verify_timeout_secs: float = Field(
        5, gt=0, description="Longest time that a worker may take to verify one submission."
    )
    lookup_limit: int = Field(1000, ge=1, description="Most outputs in one lookup answer.")
    lookup_scan: int = Field(
        10_000,
        ge=100,
        description="Most index entries that one lookup looks at before it answers with a cursor.",
    )
    lookup_history: int = Field(100, ge=0, description="Deepest history that a lookup may ask for.")
    response_bytes: int = Field(32 * 1024 * 1024, ge=1024, description="Largest lookup answer.")


class ChainSettings(Section):
    """The services that tell of the chain. The dev network fills these in by itself."""

    arc_url: str | None = Field(None, description="Base URL of ARC (before /v1).")
    arc_api_key: SecretStr | None = Field(None, description="API key for ARC.")
    arc_callback_url: str | None = Field(
        None, description="Public URL of this node's /arc-ingest, for ARC's callbacks."
    )
    arc_callback_token: SecretStr | None = Field(
        None, description="Token that ARC must show at /arc-ingest. Default: derived from the node's key."
    )
    headers_url: str | None = Field(None, description="Base URL of the Block Headers Service (before /api/v1).")
    headers_api_key: SecretStr | None = Field(None, description="API key for the headers service.")
    first_height: int | None = Field(
        None,
        ge=0,
        description="Height from which headers are followed. Default: 0 on dev, else 1000 below the tip; older ones are fetched when needed.",
    )
    poll_secs: float = Field(5, gt=0, description="How often the tip is asked for.")
    request_timeout_secs: float = Field(10, gt=0, description="How long a chain service may take to answer.")
    reorg_limit: int = Field(
        100,
        ge=1,
        description="Deepest reorganisation that is followed; a deeper one stops admission and alarms.",
    )
    coinbase_maturity: int = Field(
        100, ge=0, description="Blocks that a coinbase must be deep before it may be spent."
    )


class EngineSettings(Section):
    """How the engine keeps up with the chain."""

    broadcast: bool = Field(True, description="Broadcast admitted transactions that are not mined yet.")
    broadcast_concurrency: int = Field(16, ge=1, description="Broadcasts under way at once.")
    broadcast_retry_secs: float = Field(
        2, gt=0, description="First pause before a broadcast is tried again; it doubles."
    )
    broadcast_retry_max_secs: float = Field(300, gt=0, description="Longest pause between tries.")
    proof_poll_secs: float = Field(30, gt=0, description="How often an unproven transaction's proof is asked for.")
    proof_poll_batch: int = Field(
        200, ge=1, description="Unproven transactions asked about in one round; after a new block, all are."
    )
    unproven_max_age_secs: float = Field(
        7 * 86400, gt=0, description="An admitted transaction without proof is evicted after this."
    )


class IssuerSettings(Section):
    """An issuing body that this node trusts."""

    identity_key: HexKey = Field(description="Its identity key, compressed, 66 hex digits.")
    name: str = Field(description="Its name, for people.")
    regions: tuple[str, ...] = Field(
        (), description="Countries (ISO 3166-1 alpha-2) it may issue for; empty for all."
    )


class TopicSettings(Section):
    """What is hosted, and whom certificates are believed from."""

    sources: tuple[str, ...] = Field(("solar_pv", "wind", "hydro"), description="Energy sources that have topics.")
    regions: tuple[str, ...] = Field(("de", "dk", "fr", "gb", "nl"), description="Countries that have topics.")
    issuers: tuple[IssuerSettings, ...] = Field(
        (), description="Trusted issuing bodies; on the dev network the node's own key is one."
    )
    bridge_keys: tuple[HexKey, ...] = Field((), description="Identity keys of bridges whose locks are honoured.")
    accept_unissued: bool = Field(
        False, description="Admit the first, two-field tokens in tm_metawatt_gc, marked as unissued."
    )
    capacity_margin: float = Field(1.1, gt=0, description="Quantity may exceed capacity × hours by this factor.")
    technology_margins: dict[str, float] = Field(
        default_factory=dict, description="The factor for single technologies."
    )


class RegistrySettings(Section):
    """The EnergyTag registry."""

    enabled: bool = Field(True, description="Serve the EnergyTag API and issue certificates.")
    issuing_body: str = Field("METAWATT", description="Name of the issuing body, as certificates carry it.")
    bundles_per_transaction: int = Field(
        100, ge=1, le=1000, description="Most certificate outputs in one transaction."
    )
    signing_process: bool = Field(
        True, description="Sign issuances in a process of its own, where there are many at once."
    )
    actions_per_round: int = Field(256, ge=1, description="Most actions that are planned together.")
    bundles_per_action: int = Field(20_000, ge=1, description="Most bundles that one action may issue or move.")
    waiting_actions: int = Field(10_000, ge=1, description="Actions that may wait in the queue; more are told 429.")
    action_wait_secs: float = Field(
        10, ge=0, description="How long a call waits for its action before it answers that it was received."
    )
    query_limit: int = Field(1000, ge=1, description="Most bundles, or storage records, in one answer of a query.")
    import_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024,
        description="Largest body of an import, of a batch of bundles or of measurements; no larger than `bodies_bytes`.",
    )
    lifetime_days: int = Field(
        730, ge=1, description="Days from production to expiry of bundles issued from measurements."
    )
    recurring_poll_secs: float = Field(
        5, gt=0, description="How often recurring actions that are due are looked for."
    )


class WalletSettings(Section):
    """Coins that pay for the registry's transactions, and how users' wallets are told."""

    fee_rate: int = Field(1, ge=1, description="Satoshis for 1000 bytes.")
    coin_satoshis: int = Field(
        500,
        ge=500,
        description="Size of the coins that larger ones are split into: about what a full transaction costs.",
    )
    least_change_satoshis: int = Field(
        200,
        ge=1,
        description="Less than this is left to the miner: change of a large transaction is dear to spend.",
    )
    spare_coins: int = Field(
        200, ge=1, le=1000, description="Coins that are kept ready, so that many transactions can be made at once."
    )
    unproven_depth: int = Field(
        5, ge=1, description="Longest chain of unproven transactions of the node's own that a coin may stand on."
    )
    low_satoshis: int = Field(50_000, ge=0, description="A balance below this raises the alarm.")
    remote_url: str | None = Field(
        None, description="Base URL of a BRC-100 wallet (HTTP JSON) that tops up the coins. Default: none."
    )
    remote_originator: str = Field("metawatt", description="Originator that is shown to that wallet.")
    top_up_satoshis: int = Field(500_000, ge=1, description="What is asked of that wallet when the balance is low.")
    webhook_timeout_secs: float = Field(10, gt=0, description="How long a webhook may take to answer.")
    signing_timeout_secs: float = Field(
        60, gt=0, description="How long a user's own wallet may take to sign, when the registry may ask it to."
    )


class AccessSettings(Section):
    """Who may use the registry's API."""

    token_hours: float = Field(12, gt=0, le=24 * 1095, description="How long a token is good that a login gives.")
    jwt_secret_file: Path | None = Field(
        None, description="File with the secret that tokens are signed with. Default: derived from the node's key."
    )
    challenge_secs: float = Field(300, gt=0, description="How long a wallet may take to sign a login.")


class MeterSettings(Section):
    """Smart meters and their signed readings."""

    enabled: bool | None = Field(
        None,
        description="Take readings. Default: where Solana is to be had (`solana.rpc_url`, or the dev network).",
    )
    batch_readings: int = Field(
        500, ge=1, le=10_000, description="Most readings in one call of the batch endpoint."
    )
    future_secs: float = Field(
        60, ge=0, description="How far a meter's clock may be ahead; a reading further in the future is refused."
    )
    readings_per_minute: int = Field(
        60, ge=0, description="Readings that one meter may submit a minute; 0 for no bound."
    )
    burst_readings: int = Field(
        2016, ge=1, description="Readings that a meter may submit at once under that bound: a week of five minutes."
    )
    interval_secs: int = Field(
        300,
        ge=1,
        le=3600,
        description="Length of a metering interval, for meters registered without one of their own.",
    )


class TokenizationSettings(Section):
    """How readings become tokens. Also read from GridTokenX's variables, `TOKENIZATION_<NAME>`."""

    kwh_to_token_ratio: Decimal = Field(Decimal("1.0"), gt=0, description="Tokens for one kWh.")
    decimals: int = Field(9, ge=0, le=12, description="Decimals of the mint: base units of a token.")
    auto_mint_enabled: bool = Field(
        True, description="Mint without being told; the operator can switch it while the node runs."
    )
    polling_interval_secs: float = Field(60, gt=0, description="How often unminted readings are looked for.")
    batch_size: int = Field(50, ge=1, le=10_000, description="Readings that are taken at a time, until none waits.")
    max_transactions_per_batch: int = Field(
        20, ge=1, le=1000, description="Transactions that are on their way at once from one batch."
    )
    max_reading_kwh: Decimal = Field(
        Decimal("100.0"), gt=0, description="Largest reading that is accepted, in kWh."
    )
    reading_max_age_days: float = Field(7, gt=0, description="Oldest reading that is accepted.")
    retry_enabled: bool = Field(True, description="Try again by itself what failed.")
    max_retry_attempts: int = Field(10, ge=1, description="After so many failures a reading waits for a person.")
    initial_retry_delay_minutes: float = Field(5, gt=0, description="Pause after the first failure; it doubles.")
    max_retry_delay_minutes: float = Field(60, gt=0, description="Longest pause between tries.")


class SolanaSettings(Section):
    """The Solana cluster, the mint and GridTokenX's programs. Addresses and ids are base58."""

    rpc_url: str | None = Field(
        None,
        pattern="^https?://[^/]",
        description="JSON-RPC of the cluster. Default: the embedded cluster on the dev network, else none.",
    )
    ws_url: str | None = Field(
        None,
        pattern="^wss?://[^/]",
        description="WebSocket of the cluster. Default: none; its notices only save waiting.",
    )
    request_timeout_secs: float = Field(10, gt=0, description="How long the cluster may take to answer.")
    key_file: Path | None = Field(
        None,
        description="File with the minting key, as solana-keygen writes it. Default: <data_dir>/solana.json, made at first start on the dev network.",
    )
    mint: SolanaAddress | None = Field(
        None,
        description="The token's mint. Default: on the dev network one of the node's own, made at first start.",
    )
    token_program: Literal["spl-token", "token-2022"] = Field(
        "spl-token", description="The program that the mint belongs to."
    )
    mint_mode: Literal["own", "generation", "direct", "wallet"] = Field(
        "own",
        description="Mint by the node's own authority, or by energy_token's mint_generation, mint_tokens_direct or mint_to_wallet.",
    )
    custody_account: SolanaAddress | None = Field(
        None, description="A token account of the operator's, whose movements are followed beside the mint's."
    )
    registry_program_id: SolanaAddress = Field(
        "FcSd5x4X1nzJMKLZC4tMZXnQ1ipLrGsEfeoH8N4mvJX7", description="GridTokenX's registry program."
    )
    energy_token_program_id: SolanaAddress = Field(
        "6FZKcVKCLFSNLMxypFJGU4K14xUBnxNW9VAuKGhmqjGX", description="GridTokenX's energy_token program."
    )
    rec_validator_key_file: Path | None = Field(
        None, description="Key of the REC validator that co-signs mints of energy_token, where it asks for one."
    )
    priority_micro_lamports: int = Field(0, ge=0, description="Priority fee for a compute unit; 0 for none.")
    payer_low_lamports: int = Field(
        1_000_000_000,
        ge=0,
        description="A balance of the minting key below this raises the alarm; a mint takes about 900,000 for its marker.",
    )
    embedded_slot_ms: int = Field(
        400, ge=1, description="Length of a slot of the embedded cluster; 31 slots later a transaction is final."
    )


class BridgeSettings(Section):
    """The mirror between meter tokens on Solana and certificates on BSV."""

    enabled: bool | None = Field(
        None, description="Whether tokens and certificates cross. Default: on the dev network with meters, yes."
    )
    mode: Literal["lock", "burn"] = Field(
        "lock",
        description="Hold deposited tokens in custody, or (own mint only) burn them and mint them again for exits.",
    )
    key_file: Path | None = Field(
        None,
        description="File with the bridge's Solana key, which has custody, pays, and is the base of markers. Default: <data_dir>/bridge.json, made at first start on the dev network.",
    )
    custody_owner: SolanaAddress | None = Field(
        None, description="An SPL multisig that owns the custody account. Default: the bridge's key itself."
    )
    member_key_files: tuple[Path, ...] = Field(
        (), description="Keys of further members of multisigs that this node may sign with."
    )
    witness_rpc_urls: tuple[str, ...] = Field(
        (), description="Further endpoints of the same cluster, each of which must tell the same of every source."
    )
    confirmations: int = Field(
        6, ge=1, le=1000, description="Blocks that a transaction on BSV must have to be final, its own counted."
    )
    large_wh: int = Field(1_000_000, ge=1, description="A message of this many Wh and more is large.")
    large_confirmations: int = Field(12, ge=1, le=1000, description="Confirmations that a large exit must have.")
    large_delay_secs: float = Field(0, ge=0, description="How long a large message waits before it is carried out.")
    limit_in_wh: int = Field(
        0, ge=0, description="Wh that may cross to BSV in a window; more wait. 0 for no bound."
    )
    limit_out_wh: int = Field(0, ge=0, description="Wh that may cross to Solana in a window. 0 for no bound.")
    limit_window_hours: float = Field(24, gt=0, description="The window in which a limit is refilled.")
    lots_per_message: int = Field(
        200, ge=1, le=1000, description="Readings that one deposit may be of; one of more is held."
    )
    issues_per_transaction: int = Field(
        100, ge=1, le=1000, description="Certificates of the bridge in one transaction on BSV."
    )
    poll_secs: float = Field(0.25, gt=0, description="How often the bridge looks for what is due.")
    parity_secs: float = Field(30, gt=0, description="How often parity is recomputed while the node runs.")


class LiveSettings(Section):
    """Notices of readings and mints over WebSocket (`/ws`). Bounds are for each process that serves."""

    listeners: int = Field(1000, ge=1, description="Listeners at once; more are told 429.")
    listeners_per_client: int = Field(
        20, ge=1, description="Listeners at once that one user may have, or the bearers of the admin token."
    )
    queue_notices: int = Field(
        1000, ge=2, description="Notices that may wait for a listener; one that falls further behind is let go."
    )
    heartbeat_secs: float = Field(
        30,
        gt=0,
        description="How often a listener is pinged, and asked anew what it may hear; no answer in half that time ends it.",
    )
    message_bytes: int = Field(16_384, ge=256, description="Largest message of a listener.")
    meters_per_listener: int = Field(
        10_000, ge=1, description="Meters of its user's accounts that a listener hears of; an administrator of all."
    )


class DevSettings(Section):
    """The embedded dev chain (network = dev only)."""

    mine_interval_secs: float = Field(
        0, ge=0, description="Mine a block at this interval; 0 for only when told to."
    )
    initial_blocks: int = Field(
        101, ge=1, le=10_000, description="Blocks mined at first start, so that the faucet has mature coins."
    )


class LogSettings(Section):
    """Logs: JSON lines or text for people, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is written.")
    format: Literal["json", "text"] = Field("text", description="One JSON object a line, or text.")


class Settings(Section):
    """All settings of the node."""

    node: NodeSettings = Field(default_factory=NodeSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    chain: ChainSettings = Field(default_factory=ChainSettings)
    engine: EngineSettings = Field(default_factory=EngineSettings)
    topics: TopicSettings = Field(default_factory=TopicSettings)
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    wallet: WalletSettings = Field(default_factory=WalletSettings)
    access: AccessSettings = Field(default_factory=AccessSettings)
    meters: MeterSettings = Field(default_factory=MeterSettings)
    tokenization: TokenizationSettings = Field(default_factory=TokenizationSettings)
    solana: SolanaSettings = Field(default_factory=SolanaSettings)
    bridge: BridgeSettings = Field(default_factory=BridgeSettings)
    live: LiveSettings = Field(default_factory=LiveSettings)
    dev: DevSettings = Field(default_factory=DevSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @property
    def takes_readings(self) -> bool:
        """Whether the node has meters: as it was told, else where Solana is to be had."""
        if self.meters.enabled is not None:
            return self.meters.enabled
        return self.node.network == "dev" or self.solana.rpc_url is not None

    @property
    def mirrors(self) -> bool:
        """Whether the node is a bridge: as it was told, else on the dev network, where it has meters and a
        registry."""
        if self.bridge.enabled is not None:
            return self.bridge.enabled
        return self.node.network == "dev" and self.takes_readings and self.registry.enabled
