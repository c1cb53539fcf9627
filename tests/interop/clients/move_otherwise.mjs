// Sign something else than what the registry prepared, in several ways, and in the end what it prepared.
//
// in:  {url, wallet, token, body (of a transfer)}
// out: the state of the action afterwards and the answer, by the way it differs; and what came of the honest one

import { P2PKH, PrivateKey, PushDrop, LockingScript } from '@bsv/sdk'
import * as certificate from './certificate.mjs'
import { run } from './overlay.mjs'
import { Registry, share, sign, walletAt } from './registry.mjs'

const WAYS = {
  'to oneself': async (given, holder) => {
    const { fields } = PushDrop.decode(LockingScript.fromHex(given.outputs[0].lockingScript))
    given.outputs[0].lockingScript = (await certificate.lock(holder, fields, 'mine', 'self')).toHex()
    return given
  },
  'another amount': given => {
    given.outputs[0].satoshis = 2
    return given
  },
  'without the rest': given => {
    given.outputs.pop()
    return given
  },
  'in another order': given => {
    given.outputs.reverse()
    return given
  },
  'something before it': given => {
    const lockingScript = new P2PKH().lock(new PrivateKey(5).toAddress()).toHex()
    given.outputs.unshift({ lockingScript, satoshis: 1, outputDescription: 'Something else' })
    return given
  }
}

await run(async ({ url, wallet, token, body }) => {
  const holder = walletAt(wallet)
  const registry = new Registry(url, token)
  const { action_id: id } = await registry.done('POST', '/certificates/transfer', body)
  const toSign = await registry.done('GET', `/wallet/actions/${id}`)
  const refused = {}
  for (const [way, alter] of Object.entries(WAYS)) {
    const signed = await sign(holder, toSign, given => alter(given, holder))
    const { status, body: { code } } = await registry.complete(id, signed.tx)
    const { action_state: state } = await registry.done('GET', `/actions/${id}`)
    await holder.abortAction({ reference: signed.txid })
    refused[way] = { status, code, state }
  }
  const signed = await sign(holder, toSign)
  const completed = await registry.complete(id, signed.tx)
  await share(holder, signed.txid)
  return { refused, completed, txid: signed.txid }
})
