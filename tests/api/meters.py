"""A registry over HTTP with an account, a device, and callers in every role that meters and matching need."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

YESTERDAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)


def moment(hour: float) -> str:
    """A moment of yesterday, or of the days before it."""
    return (YESTERDAY + timedelta(hours=hour)).isoformat().replace("+00:00", "Z")


def reading(hour: float, energy_wh: int = 1000, hours: float = 1) -> dict[str, Any]:
    return {"start": moment(hour), "end": moment(hour + hours), "energy_wh": energy_wh}


@dataclass
class Meters:
    """Tokens by role; the holder acts for `account_id`, the stranger for nothing."""

    running: Any
    tokens: dict[str, str]
    users: dict[str, str]
    account_id: str
    device_id: str

    async def ask(self, who: str, method: str, path: str, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[who]}", **more.pop("headers", {})}
        return await self.running.ask(method, path, headers=headers, **more)

    async def done(self, who: str, method: str, path: str, status: int = 200, **more: Any) -> Any:
        reply = await self.ask(who, method, path, **more)
        assert reply.status == status, reply.body
        return reply.json()

    async def refused(self, who: str, method: str, path: str, **more: Any) -> tuple[int, str, str]:
        reply = await self.ask(who, method, path, **more)
        told = reply.json()
        return reply.status, told["code"], told["message"]

    async def csv(self, who: str, path: str, *rows: str) -> Any:
        body = "\n".join(rows).encode()
        return await self.ask(who, "POST", path, data=body, headers={"Content-Type": "text/csv"})

    async def act(self, path: str, **fields: Any) -> Any:
        """An action of the holder on the account's certificates."""
        base = {"source_account_id": self.account_id, "source_user_id": self.users["holder"]}
        told = await self.done("holder", "POST", f"/certificates/{path}", 202, json=base | fields)
        assert told["action_response_status"] == "accepted", told
        return told


_ROLES = {
    "issuer": ["GC Issuer"],
    "meter": ["Measurement Body"],
    "both": ["GC Issuer", "Measurement Body"],
    "holder": ["Account Holder"],
    "stranger": ["Account Holder"],
}


async def meters(running: Any) -> Meters:
    """Registers everything through the API itself."""
    made = Meters(running, {"admin": running.node.admin_token}, {}, "", "")

    async def create(path: str, **body: Any) -> Any:
        return await made.done("admin", "POST", path, json=body)

    home, away = [
        (await create("/organisations", name=name, business_id=1, primary_contact="c"))["organisation_id"]
        for name in ("Home", "Away")
    ]
    for name, roles in _ROLES.items():
        organisation = away if name == "stranger" else home
        body = {"name": name, "primary_contact": "c", "role": roles, "organisation_id": organisation}
        made.users[name] = (await create("/users", **body))["user_id"]
        made.tokens[name] = (await create("/auth/token", user_id=made.users[name]))["token"]
    account = await create("/accounts", account_name="Mill", organisation_id=home)
    made.account_id = account["account_id"]
    path = f"/accounts/{made.account_id}"
    await made.done("admin", "PATCH", path, json={"organisation_id": home, "user_id": made.users["holder"]})
    device = {
        "device_name": "Roof 1",
        "grid": "10YNL----------L",
        "energy_source": "Solar PV",
        "technology_type": "solar_pv",
        "operational_date": "2021-04-01",
        "capacity": 100_000,
        "peak_demand": 0,
        "account_id": made.account_id,
        "location": [52.1, 5.2],
        "country": "NL",
        "zone": "NL",
    }
    made.device_id = (await create("/devices", **device))["device_id"]
    return made
