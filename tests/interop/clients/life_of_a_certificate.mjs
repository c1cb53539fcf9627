// Issue, submit, look up, verify, transfer and look up again, all with @bsv/sdk.
//
// in:  {url, issuer (private key, hex), topics}
// out: what each step answered

import { PrivateKey, ProtoWallet, Transaction } from '@bsv/sdk'
import * as certificate from './certificate.mjs'
import { LOOKUP, faucet, headersService, lookupResolver, run, submitFacilitator, topicBroadcaster } from './overlay.mjs'
import { Holder } from './wallet.mjs'

await run(async ({ url, issuer, topics }) => {
  const producer = new Holder(new PrivateKey(2001))
  const buyer = new Holder(new PrivateKey(2002))
  const issuerWallet = new ProtoWallet(PrivateKey.fromHex(issuer))
  const resolver = lookupResolver(url)
  const question = value => resolver.query({ service: LOOKUP, query: { type: 'byIssuanceId', value } })

  const issued = await producer.issue(issuerWallet, await faucet(url, producer.key, 10_000), 'first')
  const broadcast = await topicBroadcaster(url, topics).broadcast(issued.transaction)

  const answer = await question(issued.issuance)
  const found = Transaction.fromBEEF(answer.outputs[0].beef)
  const { fields } = certificate.decode(found.outputs[answer.outputs[0].outputIndex].lockingScript)
  const verified = await found.verify(headersService(url))
  const signed = await certificate.isSigned(new ProtoWallet('anyone'), fields)

  const change = { transaction: found, vout: 1 }
  const transfer = await producer.transfer(found, 'first', 'self', buyer.identity, 'second', change)
  const steak = await submitFacilitator().send(url, { beef: transfer.toBEEF(), topics })

  const later = await question(issued.issuance)
  const moved = Transaction.fromBEEF(later.outputs[0].beef)
  const back = await buyer.transfer(
    moved, 'second', producer.identity, producer.identity, 'third', await faucet(url, buyer.key, 1_000)
  )
  const returned = await submitFacilitator().send(url, { beef: back.toBEEF(), topics })

  return {
    broadcast,
    issuance: issued.issuance,
    script: issued.transaction.outputs[0].lockingScript.toHex(),
    txids: [issued.transaction, transfer, back].map(transaction => transaction.id('hex')),
    found: { txid: found.id('hex'), outputs: answer.outputs.length, verified, signed },
    moved: { txid: moved.id('hex'), outputs: later.outputs.length, verified: await moved.verify(headersService(url)) },
    steak,
    returned
  }
})
