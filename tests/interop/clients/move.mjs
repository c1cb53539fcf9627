// Have the registry prepare a call, sign it in the wallet, and hand it back, twice.
//
// in:  {url, wallet, token, call, body, submits (topics to submit to first, if any)}
// out: what the call and the completions answered, and the baskets before and after

import { Transaction } from '@bsv/sdk'
import { headersService, run, submitFacilitator } from './overlay.mjs'
import { Registry, certificates, share, sign, walletAt } from './registry.mjs'

await run(async ({ url, wallet, token, call, body, submits }) => {
  const holder = walletAt(wallet)
  const registry = new Registry(url, token)
  const before = await certificates(holder)
  const asked = await registry.done('POST', `/certificates/${call}`, body)
  const toSign = await registry.done('GET', `/wallet/actions/${asked.action_id}`)
  const unlocksAsTold = toSign.createAction.inputs.every(({ outpoint }, index) =>
    JSON.stringify(before.get(outpoint)) === JSON.stringify(toSign.unlock[index]))

  const signed = await sign(holder, toSign)
  const verified = await Transaction.fromAtomicBEEF(signed.tx).verify(headersService(url))
  if (submits !== undefined) await submitFacilitator().send(url, { beef: signed.tx, topics: submits })
  const completed = await registry.complete(asked.action_id, signed.tx)
  const repeated = await registry.complete(asked.action_id, signed.tx)
  await share(holder, signed.txid)
  return {
    asked,
    spent: toSign.createAction.inputs.map(each => each.outpoint),
    unlocksAsTold,
    verified,
    txid: signed.txid,
    completed,
    repeated,
    action: await registry.done('GET', `/actions/${asked.action_id}`),
    before: [...before.keys()],
    after: [...(await certificates(holder)).keys()]
  }
})
