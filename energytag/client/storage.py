"""Storage: charges, discharges, and what is issued of discharged energy."""

from __future__ import annotations

from collections.abc import AsyncIterator

from energytag.client.connection import Connection
from energytag.client.refusals import refusal_of
from energytag.models.answers import GranularCertificateBundle
from energytag.models.storage import (
    SCRQueryResponse,
    SDRQueryResponse,
    StorageAction,
    StorageActionResponse,
    StorageActionUpdateMutables,
    StorageAllocation,
    StorageBundle,
    StorageChargeRecord,
    StorageChargeRecordBase,
    StorageDischargeRecord,
    StorageDischargeRecordBase,
    StorageLineage,
    StorageQuery,
)

_ROOT = "/storage"


class Storage:
    """Calls that create answer with the record; `NotFinished` when that takes longer than the registry lets a
    call wait. A rejected action is raised."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create_scr(self, body: StorageChargeRecordBase) -> StorageChargeRecord:
        """Record a charge."""
        return await self._connection.read(StorageChargeRecord, "POST", f"{_ROOT}/create_scr", body)

    async def create_sdr(self, body: StorageDischargeRecordBase) -> StorageDischargeRecord:
        """Record a discharge, and allocate it to charges."""
        return await self._connection.read(StorageDischargeRecord, "POST", f"{_ROOT}/create_sdr", body)

    async def allocate(self, body: StorageAllocation) -> StorageDischargeRecord:
        """Choose other charges for a discharge."""
        return await self._connection.read(StorageDischargeRecord, "POST", f"{_ROOT}/allocate", body)

    async def issue_sdgc(self, body: StorageBundle) -> GranularCertificateBundle:
        """Issue a bundle of discharged energy."""
        return await self._connection.read(GranularCertificateBundle, "POST", f"{_ROOT}/issue_sdgc", body)

    async def query_scr(self, asked: StorageQuery) -> AsyncIterator[StorageChargeRecord]:
        """The charges that a query finds, page by page."""
        while True:
            page = await self._connection.read(SCRQueryResponse, "POST", f"{_ROOT}/query_scr", asked, is_safe=True)
            for record in page.filtered_scrs:
                yield record
            if page.next_cursor is None:
                return
            asked = asked.model_copy(update={"cursor": page.next_cursor})

    async def query_sdr(self, asked: StorageQuery) -> AsyncIterator[StorageDischargeRecord]:
        """The discharges that a query finds, page by page."""
        while True:
            page = await self._connection.read(SDRQueryResponse, "POST", f"{_ROOT}/query_sdr", asked, is_safe=True)
            for record in page.filtered_sdrs:
                yield record
            if page.next_cursor is None:
                return
            asked = asked.model_copy(update={"cursor": page.next_cursor})

    async def withdraw_scr(self, body: StorageAction) -> StorageActionResponse:
        return await self._act("POST", "withdraw_scr", body)

    async def withdraw_sdr(self, body: StorageAction) -> StorageActionResponse:
        return await self._act("POST", "withdraw_sdr", body)

    async def update_mutables(self, body: StorageActionUpdateMutables) -> StorageActionResponse:
        return await self._act("PATCH", "update_mutables", body)

    async def lineage(self, record_id: str) -> StorageLineage:
        """From a discharge, or what was issued of it, to the certificates that back it."""
        return await self._connection.read(StorageLineage, "GET", f"{_ROOT}/lineage/{record_id}")

    async def _act(self, method: str, name: str, body: StorageAction) -> StorageActionResponse:
        response = await self._connection.read(StorageActionResponse, method, f"{_ROOT}/{name}", body)
        if response.action_response_status == "rejected":
            raise refusal_of(response.error or {})
        return response
