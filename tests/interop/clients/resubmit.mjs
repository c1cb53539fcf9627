// The same transaction in every form of BEEF, again and again.
//
// in:  {url, issuer (private key, hex), topics}
// out: the replies, in order, and what TopicBroadcaster made of the first two

import { Beef, PrivateKey, ProtoWallet, Utils } from '@bsv/sdk'
import { faucet, run, submitFacilitator, topicBroadcaster } from './overlay.mjs'
import { Holder } from './wallet.mjs'

await run(async ({ url, issuer, topics }) => {
  const producer = new Holder(new PrivateKey(2003))
  const coin = await faucet(url, producer.key, 10_000)
  const { transaction } = await producer.issue(new ProtoWallet(PrivateKey.fromHex(issuer)), coin, 'again')

  const broadcaster = topicBroadcaster(url, topics)
  const broadcasts = [await broadcaster.broadcast(transaction), await broadcaster.broadcast(transaction)]

  const second = new Beef()
  second.mergeTransaction(transaction)
  const forms = { v1: transaction.toBEEF(), v2: second.toBinary(), atomic: transaction.toAtomicBEEF() }
  const replies = {}
  for (const [form, beef] of Object.entries(forms)) {
    replies[form] = await submitFacilitator().send(url, { beef, topics })
  }
  replies.offChain = await submitFacilitator().send(url, {
    beef: forms.v1, topics, offChainValues: Utils.toArray('beside the chain', 'utf8')
  })
  return { broadcasts, replies }
})
