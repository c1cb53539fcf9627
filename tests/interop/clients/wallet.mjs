// Transactions of one holder: funded by P2PKH, carrying one certificate.

import { P2PKH, ProtoWallet, Transaction } from '@bsv/sdk'
import * as certificate from './certificate.mjs'

const FEE = 50

export class Holder {
  // `key`: a PrivateKey; it owns both the certificates' wallet and the coins that pay fees.
  constructor (key) {
    this.key = key
    this.wallet = new ProtoWallet(key)
    this.identity = key.toPublicKey().toString()
  }

  // Issue a certificate to this holder, paid with `coin` ({transaction, vout}); output 0 is the token.
  async issue (issuer, coin, keyID, changes = {}) {
    const issuance = certificate.issuanceId(coin.transaction.id('hex'), coin.vout, 0)
    const fields = await certificate.issuedFields(issuer, certificate.bundle(issuance, changes))
    const lockingScript = await certificate.lock(this.wallet, fields, keyID, 'self')
    return { issuance, transaction: await this.#sign([this.#payment(coin)], lockingScript, coin) }
  }

  // Hand the certificate at output 0 of `source` to another identity key. `sender` is whom it came from.
  async transfer (source, keyID, sender, recipient, newKeyID, coin) {
    const { fields } = certificate.decode(source.outputs[0].lockingScript)
    const lockingScript = await certificate.lock(this.wallet, fields, newKeyID, recipient)
    const token = {
      sourceTransaction: source,
      sourceOutputIndex: 0,
      unlockingScriptTemplate: certificate.unlock(this.wallet, keyID, sender)
    }
    return await this.#sign([token, this.#payment(coin)], lockingScript, coin)
  }

  #payment ({ transaction, vout }) {
    return {
      sourceTransaction: transaction,
      sourceOutputIndex: vout,
      unlockingScriptTemplate: new P2PKH().unlock(this.key)
    }
  }

  async #sign (inputs, lockingScript, coin) {
    const transaction = new Transaction()
    for (const input of inputs) transaction.addInput(input)
    transaction.addOutput({ lockingScript, satoshis: 1 })
    const left = coin.transaction.outputs[coin.vout].satoshis - 1 - FEE
    transaction.addOutput({ lockingScript: new P2PKH().lock(this.key.toAddress()), satoshis: left })
    await transaction.sign()
    return transaction
  }
}
