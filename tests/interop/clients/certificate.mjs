// A certificate token, made in TypeScript alone: nothing here comes from the node under test.

import { PublicKey, PushDrop, Hash, Utils } from '@bsv/sdk'

export const OWNER_PROTOCOL = [1, 'metawatt gc']
export const ISSUANCE_PROTOCOL = [1, 'metawatt gc issuance']
const MUTABLE = new Set([
  'certificate_status', 'account_id', 'bundle_id_range_start', 'bundle_id_range_end',
  'bundle_quantity', 'sdr_allocation_id', 'storage_efficiency_factor'
])

// The id that an issuance must carry when input 0 spends `txid.vout` and the token is output `index`.
export function issuanceId (txid, vout, index) {
  const preimage = new Utils.Writer()
  preimage.write(Utils.toArray('metawatt gc', 'utf8'))
  preimage.write(Utils.toArray(txid, 'hex').reverse())
  preimage.writeUInt32LE(vout)
  preimage.writeUInt32LE(index)
  const bytes = Hash.sha256(preimage.toArray()).slice(0, 16)
  bytes[6] = (bytes[6] & 0x0f) | 0x80
  bytes[8] = (bytes[8] & 0x3f) | 0x80
  const hex = Utils.toHex(bytes)
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

// An hour of a rooftop: 52,500 certificates of 1 Wh.
export function bundle (issuance, changes = {}) {
  return {
    certificate_status: 'Active',
    account_id: '7b0c2c1e-5b0f-4f1e-9d3a-2f6f0a1b2c3d',
    bundle_id_range_start: 1,
    bundle_id_range_end: 52500,
    bundle_quantity: 52500,
    energy_carrier: 'electricity',
    energy_source: 'solar_pv',
    face_value: 1,
    issuance_post_energy_carrier_conversion: false,
    registry_configuration: 1,
    device_id: '0d5f6a2b-9c1e-4a7b-8e2f-1a2b3c4d5e6f',
    device_name: 'Dachanlage Süd 7',
    device_technology_type: 'solar_pv',
    device_production_start_date: '2021-04-01',
    device_capacity: 75000,
    device_location: [48.1351, 11.582],
    device_type: 'production',
    production_starting_interval: '2026-06-01T10:00:00Z',
    production_ending_interval: '2026-06-01T11:00:00Z',
    issuance_datestamp: '2026-06-01',
    expiry_datestamp: '2028-06-01',
    country_of_issuance: 'DE',
    connected_grid_identification: '10YDE-EON------1',
    issuing_body: 'Example Issuing Body',
    issue_market_zone: 'DE-LU',
    issuance_id: issuance,
    ...changes
  }
}

// The three fields of a token, signed by the issuer's wallet (a ProtoWallet).
export async function issuedFields (issuer, energyTag) {
  const issued = { start: energyTag.bundle_id_range_start, end: energyTag.bundle_id_range_end }
  const immutable = Object.entries(energyTag).filter(([name]) => !MUTABLE.has(name))
  const text = canonical({ energyTag: Object.fromEntries(immutable), issued, origin: null })
  const { publicKey } = await issuer.getPublicKey({ identityKey: true })
  const { signature } = await issuer.createSignature({
    data: Utils.toArray(text, 'utf8'),
    protocolID: ISSUANCE_PROTOCOL,
    keyID: energyTag.issuance_id,
    counterparty: 'anyone'
  })
  const document = canonical({ v: 1, energyTag, issued })
  return [Utils.toArray(document, 'utf8'), Utils.toArray(publicKey, 'hex'), signature]
}

// The fields again with another status, owner or range; the issuer's key and signature stay.
export function changedFields (fields, changes) {
  const document = readDocument(fields)
  document.energyTag = { ...document.energyTag, ...changes }
  return [Utils.toArray(canonical(document), 'utf8'), fields[1], fields[2]]
}

export function readDocument (fields) {
  return JSON.parse(Utils.toUTF8(fields[0]))
}

export function decode (script) {
  return PushDrop.decode(script)
}

export async function lock (wallet, fields, keyID, counterparty) {
  return await new PushDrop(wallet).lock([...fields], OWNER_PROTOCOL, keyID, counterparty, counterparty === 'self', false)
}

export function unlock (wallet, keyID, counterparty) {
  return new PushDrop(wallet).unlock(OWNER_PROTOCOL, keyID, counterparty)
}

// Whether the issuer named in a token signed it, as anyone can tell.
export async function isSigned (anyone, fields) {
  const { energyTag, issued, origin = null } = readDocument(fields)
  const immutable = Object.entries(energyTag).filter(([name]) => !MUTABLE.has(name))
  const text = canonical({ energyTag: Object.fromEntries(immutable), issued, origin })
  const { valid } = await anyone.verifySignature({
    data: Utils.toArray(text, 'utf8'),
    signature: fields[2],
    protocolID: ISSUANCE_PROTOCOL,
    keyID: energyTag.issuance_id,
    counterparty: PublicKey.fromDER(fields[1]).toString()
  })
  return valid
}

// RFC 8785: JSON.stringify writes strings and numbers as it asks, so only the keys need an order.
function canonical (value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  return `{${Object.keys(value).sort().map(key => `${JSON.stringify(key)}:${canonical(value[key])}`).join(',')}}`
}
