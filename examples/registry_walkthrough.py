"""The EnergyTag registry from the registration of an organisation to the statement of a cancellation.

    .venv/bin/python examples/registry_walkthrough.py [http://127.0.0.1:8080] [data]

The second argument is the data folder of a node on the dev network: its admin token begins the walk.
"""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp

from energytag.access import Role
from energytag.client import RegistryClient
from energytag.models.answers import GranularCertificateBundle
from energytag.models.certificate_actions import (
    GranularCertificateCancellation,
    GranularCertificateClaim,
    GranularCertificateSplit,
    GranularCertificateTransfer,
)
from energytag.models.certificates import GranularCertificateQuery
from energytag.models.common import moment_text
from energytag.models.directory import AccountBase, AccountUpdate, DeviceBase, OrganisationBase, UserBase
from energytag.models.matching import CancellationStatement, MatchingQuestion, StatementQuestion
from energytag.models.measurements import ConsumptionReadings, DeviceReadings, IntervalReading
from overlay.merkle import Bump
from overlay.sdk import hash256
from overlay.transaction import txid_from_hex

ZONE = "DE-LU"


async def walk(url: str, admin_token: str) -> CancellationStatement:
    """Everything, one step after the other; tells of it as it goes."""
    async with RegistryClient(url, token=admin_token) as registry:
        # 1. Who takes part: a producer and a buyer, each with a user and an account.
        producer, plant_account = await register(registry, "Sunny Fields", business_id=4711)
        buyer, office_account = await register(registry, "Steel Works", business_id=4712)
        print(f"Registered: Sunny Fields has account {plant_account}, Steel Works {office_account}")

        # 2. A device, and what its meter counted yesterday at noon. Certificates are issued of the readings.
        device = await registry.devices.create(
            DeviceBase(
                device_name="Rooftop South 7",
                account_id=plant_account,
                energy_source="solar_pv",
                technology_type="solar_pv",
                capacity=75_000,
                peak_demand=0,
                grid="10YDE-EON------1",
                operational_date="2021-04-01",
                location=(48.1351, 11.582),
                country="DE",
                zone=ZONE,
            )
        )
        hours = yesterday_noon(3)
        taken = await registry.measurements.produce(
            DeviceReadings(device_id=device.device_id, readings=readings(hours, 52_500), issue=True)
        )
        print(f"Submitted {taken.accepted} readings of {taken.energy_wh:,} Wh; certificates are issued of them")

        # 3. Found again, each with the proof of when it was put on chain.
        first, *_ = await proven(url, registry, plant_account, producer)
        check_offline(first)

    async with RegistryClient(url, token=await token(url, admin_token, producer)) as seller:
        acting = {"source_account_id": plant_account, "source_user_id": producer}

        # 4. A part of the first bundle becomes a bundle of its own, and goes to the buyer.
        chosen = {"source_certificate_issuance_id": first.issuance_id, "certificate_quantity": 40_000}
        done = await seller.certificates.split(GranularCertificateSplit(**acting, **chosen))
        await seller.actions.wait(str(done.action_id))
        done = await seller.certificates.transfer(
            GranularCertificateTransfer(**acting, **chosen, target_account_id=office_account)
        )
        action = await seller.actions.wait(str(done.action_id))
        print(f"Split, and transferred 40,000 Wh in transaction {action.tx_ids[0]}")

    async with RegistryClient(url, token=await token(url, admin_token, buyer)) as owner:
        acting = {"source_account_id": office_account, "source_user_id": buyer}

        # 5. The buyer retires them for itself, and claims them.
        done = await owner.certificates.cancel(GranularCertificateCancellation(**acting))
        await owner.actions.wait(str(done.action_id))
        done = await owner.certificates.claim(GranularCertificateClaim(**acting))
        await owner.actions.wait(str(done.action_id))
        print("Cancelled and claimed")

        # 6. What the buyer consumed in these hours, and how much of it is covered.
        await owner.measurements.consume(
            ConsumptionReadings(account_id=office_account, zone=ZONE, readings=readings(hours, 25_000))
        )
        window = {"start": moment_text(hours[0]), "end": moment_text(hours[-1] + timedelta(hours=1))}
        matching = await owner.matching.coverage(MatchingQuestion(account_id=office_account, **window))
        total = matching.totals["hour"]
        print(f"{total.matched_wh:,} of {total.consumption_wh:,} Wh are covered hour by hour")

        # 7. The statement, as an auditor gets it.
        statement = await owner.matching.statement(StatementQuestion(account_id=office_account, **window))
    tell(statement)
    return statement


async def register(registry: RegistryClient, name: str, business_id: int) -> tuple[str, str]:
    """An organisation with a user, and an account that the user acts for; the ids of these two."""
    contact = f"office@{name.lower().replace(' ', '-')}.example"
    organisation = await registry.organisations.create(
        OrganisationBase(name=name, business_id=business_id, primary_contact=contact)
    )
    within = {"organisation_id": organisation.organisation_id}
    user = await registry.users.create(
        UserBase(name=f"{name} office", primary_contact=contact, role=[Role.ACCOUNT_HOLDER], **within)
    )
    account = await registry.accounts.create(AccountBase(account_name=name, **within))
    await registry.accounts.update(account.account_id, AccountUpdate(user_id=user.user_id, **within))
    return user.user_id, account.account_id


async def token(url: str, admin_token: str, user_id: str) -> str:
    """A token for a user, from the administrator. A user with a wallet logs in by `RegistryClient.login`."""
    async with RegistryClient(url, token=admin_token) as registry:
        return (await registry.token_for(user_id)).token


async def proven(
    url: str, registry: RegistryClient, account_id: str, user_id: str
) -> list[GranularCertificateBundle]:
    """The account's bundles, once a block has them; on the dev network a block is mined when one asks for it."""
    asked = GranularCertificateQuery(source_account_id=account_id, source_user_id=user_id)
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while True:
            bundles = [bundle async for bundle in registry.certificates.query(asked)]
            if all(bundle.timestamp_proof and bundle.timestamp_proof.status == "proven" for bundle in bundles):
                return bundles
            async with session.post(f"{url}/dev/mine", json={"blocks": 1}):
                await asyncio.sleep(0.5)


def check_offline(bundle: GranularCertificateBundle) -> None:
    """Check a bundle's timestamp: nothing is asked of anybody for it."""
    proof = bundle.timestamp_proof
    assert proof and proof.merkle_path and proof.block_header and proof.block_hash and bundle.tx_id
    header = bytes.fromhex(proof.block_header)
    path, _ = Bump.parse(bytes.fromhex(proof.merkle_path))
    assert path.root_for(txid_from_hex(bundle.tx_id)) == header[36:68]
    assert hash256(header)[::-1].hex() == proof.block_hash
    print(f"{bundle.bundle_quantity:,} Wh of {bundle.device_name} were on chain at {proof.block_time}")


def yesterday_noon(count: int) -> list[datetime]:
    """The starts of some hours from yesterday noon, UTC."""
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    return [noon + timedelta(hours=hour) for hour in range(count)]


def readings(hours: list[datetime], energy_wh: int) -> list[IntervalReading]:
    return [
        IntervalReading(start=moment_text(hour), end=moment_text(hour + timedelta(hours=1)), energy_wh=energy_wh)
        for hour in hours
    ]


def tell(told: CancellationStatement) -> None:
    statement = told.statement
    print(f"\nCancellation statement {told.statement_id} of {told.registry}")
    for each in statement.beneficiaries:
        print(f"  {each.energy_wh:>10,} Wh for {each.beneficiary}")
    for each in statement.retirements:
        print(f"  {each.energy_wh:>10,} Wh of {each.device_name}, {each.production_starting_interval}")
        print(f"             in transaction {each.tx_id}")


if __name__ == "__main__":
    node = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"
    data = Path(sys.argv[2] if len(sys.argv) > 2 else "data")
    asyncio.run(walk(node, (data / "admin.token").read_text().strip()))
