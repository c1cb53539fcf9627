// Take the certificates that wait for an account into its wallet, after a look at each.
//
// in:  {url, wallet, token, account}
// out: what was seen of each, how many were acknowledged, and the basket

import { ProtoWallet, Transaction } from '@bsv/sdk'
import * as certificate from './certificate.mjs'
import { headersService, run } from './overlay.mjs'
import { Registry, certificates, walletAt } from './registry.mjs'

await run(async ({ url, wallet, token, account }) => {
  const holder = walletAt(wallet)
  const registry = new Registry(url, token)
  const { parcels } = await registry.done('GET', `/wallet/outputs?account_id=${account}`)
  const seen = []
  for (const { outpoints, ...parcel } of parcels) {
    const transaction = Transaction.fromAtomicBEEF(parcel.tx)
    const proven = await transaction.verify(headersService(url))
    const looks = parcel.outputs.map(output => look(holder, transaction, output))
    seen.push(...(await Promise.all(looks)).map((each, place) => ({ outpoint: outpoints[place], proven, ...each })))
    await holder.internalizeAction(parcel)
  }
  const outpoints = seen.map(each => each.outpoint)
  const { acknowledged } = await registry.done('POST', '/wallet/outputs/acknowledge', { account_id: account, outpoints })
  const left = await registry.done('GET', `/wallet/outputs?account_id=${account}`)
  return { seen, acknowledged, left: left.parcels.length, basket: [...(await certificates(holder)).keys()] }
})

// Whether the instructions lead to the key that locks the token, and whether its issuer signed it.
async function look (holder, transaction, { outputIndex, insertionRemittance }) {
  const { fields, lockingPublicKey } = certificate.decode(transaction.outputs[outputIndex].lockingScript)
  const instructions = JSON.parse(insertionRemittance.customInstructions)
  const { publicKey } = await holder.getPublicKey({ ...instructions, forSelf: true })
  return {
    own: publicKey === lockingPublicKey.toString(),
    signed: await certificate.isSigned(new ProtoWallet('anyone'), fields),
    basket: insertionRemittance.basket,
    energyTag: certificate.readDocument(fields).energyTag
  }
}
