// What the peer admits and indexes: any PushDrop output whose first field is a certificate's JSON.
//
// It does less than the node under test: no issuance id is derived, no range, capacity or trust is judged.
// The issuer's signature is verified only when asked for, so that the comparison is in the peer's favour.

import { PublicKey, ProtoWallet, PushDrop, Transaction, Utils } from '@bsv/sdk'

const ISSUANCE = [1, 'metawatt gc issuance']
const MUTABLE = new Set([
  'certificate_status', 'account_id', 'bundle_id_range_start', 'bundle_id_range_end',
  'bundle_quantity', 'sdr_allocation_id', 'storage_efficiency_factor'
])

export class CertificateTopic {
  constructor ({ verifyIssuer = false } = {}) {
    this.verifyIssuer = verifyIssuer
    this.anyone = new ProtoWallet('anyone')
  }

  async identifyAdmissibleOutputs (beef, previousCoins) {
    const transaction = Transaction.fromBEEF(beef)
    const outputsToAdmit = []
    for (const [index, output] of transaction.outputs.entries()) {
      if (await this.#admits(output.lockingScript)) outputsToAdmit.push(index)
    }
    return { outputsToAdmit, coinsToRetain: previousCoins }
  }

  async #admits (script) {
    try {
      const { fields } = PushDrop.decode(script)
      const document = parse(fields[0])
      return !this.verifyIssuer || await this.#signed(document, fields)
    } catch {
      return false
    }
  }

  async #signed (document, fields) {
    const { valid } = await this.anyone.verifySignature({
      data: Utils.toArray(signedText(document), 'utf8'),
      signature: fields[2],
      protocolID: ISSUANCE,
      keyID: document.energyTag.issuance_id,
      counterparty: PublicKey.fromDER(fields[1]).toString()
    })
    return valid
  }

  async getDocumentation () { return 'Certificates, for the benchmark.' }
  async getMetaData () { return { name: 'Certificates', shortDescription: 'For the benchmark.' } }
}

function parse (field) {
  const document = JSON.parse(Utils.toUTF8(field))
  if (typeof document.energyTag !== 'object' || document.energyTag === null) throw new Error('not a certificate')
  return document
}

function signedText (document) {
  const immutable = Object.entries(document.energyTag).filter(([name]) => !MUTABLE.has(name))
  return canonical({ energyTag: Object.fromEntries(immutable), issued: document.issued, origin: document.origin ?? null })
}

function canonical (value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  return `{${Object.keys(value).sort().map(key => `${JSON.stringify(key)}:${canonical(value[key])}`).join(',')}}`
}

export class CertificateLookup {
  admissionMode = 'locking-script'
  spendNotificationMode = 'none'

  constructor (knex) {
    this.knex = knex
  }

  async migrate () {
    if (await this.knex.schema.hasTable('certificates')) return
    await this.knex.schema.createTable('certificates', table => {
      table.increments()
      table.string('txid', 64)
      table.integer('outputIndex')
      table.string('source')
      table.string('country')
      table.unique(['txid', 'outputIndex'])
      table.index(['source', 'country', 'id'])
    })
  }

  async outputAdmittedByTopic ({ txid, outputIndex, lockingScript }) {
    const { energyTag } = parse(PushDrop.decode(lockingScript).fields[0])
    await this.knex('certificates').insert({
      txid, outputIndex, source: energyTag.energy_source, country: energyTag.country_of_issuance
    }).onConflict(['txid', 'outputIndex']).ignore()
  }

  async outputSpent ({ txid, outputIndex }) { await this.#remove(txid, outputIndex) }
  async outputEvicted (txid, outputIndex) { await this.#remove(txid, outputIndex) }

  async lookup ({ query }) {
    return await this.knex('certificates')
      .where({ source: query.energy_source, country: query.country })
      .orderBy('id').limit(query.limit).select('txid', 'outputIndex')
  }

  async #remove (txid, outputIndex) {
    await this.knex('certificates').where({ txid, outputIndex }).del()
  }

  async getDocumentation () { return 'Certificates by source and country, for the benchmark.' }
  async getMetaData () { return { name: 'Certificates', shortDescription: 'For the benchmark.' } }
}

