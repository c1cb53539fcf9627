// Sign what an action asks for with a key that the certificate is not locked to.
//
// in:  {url, token, action}
// out: what the completion answered

import { Beef, LockingScript, P2PKH, PrivateKey, ProtoWallet, PushDrop, Transaction } from '@bsv/sdk'
import { faucet, run } from './overlay.mjs'
import { Registry } from './registry.mjs'

const THIEF = new PrivateKey(4666)

await run(async ({ url, token, action }) => {
  const registry = new Registry(url, token)
  const { createAction, unlock } = await registry.done('GET', `/wallet/actions/${action}`)
  const sources = Beef.fromBinary(createAction.inputBEEF)
  const template = new PushDrop(new ProtoWallet(THIEF))
  const transaction = new Transaction()
  for (const [index, { outpoint }] of createAction.inputs.entries()) {
    const [txid, vout] = outpoint.split('.')
    const { protocolID, keyID, counterparty } = unlock[index]
    transaction.addInput({
      sourceTransaction: sources.findAtomicTransaction(txid),
      sourceOutputIndex: Number(vout),
      unlockingScriptTemplate: template.unlock(protocolID, keyID, counterparty)
    })
  }
  const coin = await faucet(url, THIEF, 10_000)
  transaction.addInput({
    sourceTransaction: coin.transaction,
    sourceOutputIndex: coin.vout,
    unlockingScriptTemplate: new P2PKH().unlock(THIEF)
  })
  for (const { lockingScript, satoshis } of createAction.outputs) {
    transaction.addOutput({ lockingScript: LockingScript.fromHex(lockingScript), satoshis })
  }
  await transaction.sign()
  return await registry.complete(action, transaction.toAtomicBEEF())
})
