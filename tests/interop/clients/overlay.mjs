// The official clients, pointed at one node on the loopback.

import {
  BlockHeadersService, HTTPSOverlayBroadcastFacilitator, HTTPSOverlayLookupFacilitator, LookupResolver,
  OverlayAdminTokenTemplate, P2PKH, PrivateKey, ProtoWallet, TopicBroadcaster, Transaction
} from '@bsv/sdk'

export const LOOKUP = 'ls_metawatt'

export function lookupResolver (url, fetchClient = fetch) {
  return new LookupResolver({
    hostOverrides: { [LOOKUP]: [url] },
    facilitator: new HTTPSOverlayLookupFacilitator(fetchClient, true)
  })
}

// A broadcaster that finds the node as it would any other: by a SHIP advertisement, here handed out by a
// resolver of our own, since the node does not advertise itself on a dev network.
export function topicBroadcaster (url, topics) {
  return new TopicBroadcaster(topics, {
    facilitator: submitFacilitator(),
    resolver: { query: async () => ({ type: 'output-list', outputs: await advertisements(url, topics) }) }
  })
}

export function submitFacilitator () {
  return new HTTPSOverlayBroadcastFacilitator(fetch, true)
}

export function headersService (url) {
  return new BlockHeadersService(`${url}/dev/headers`)
}

async function advertisements (url, topics) {
  const template = new OverlayAdminTokenTemplate(new ProtoWallet(new PrivateKey(77)))
  const transaction = new Transaction()
  for (const topic of topics) {
    transaction.addOutput({ lockingScript: await template.lock('SHIP', url, topic), satoshis: 1 })
  }
  const beef = transaction.toBEEF()
  return topics.map((_, outputIndex) => ({ beef, outputIndex }))
}

// Coins for `key` from the dev chain's faucet, mined: the transaction and the output's index.
export async function faucet (url, key, satoshis) {
  const lockingScript = new P2PKH().lock(key.toAddress()).toHex()
  const reply = await post(`${url}/dev/faucet`, { lockingScript, satoshis })
  return { transaction: Transaction.fromHexBEEF(reply.beef, reply.txid), vout: reply.vouts[0] }
}

export async function mine (url, blocks = 1) {
  return await post(`${url}/dev/mine`, { blocks })
}

async function post (address, body) {
  const response = await fetch(address, {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body)
  })
  if (!response.ok) throw new Error(`${address}: ${response.status} ${await response.text()}`)
  return await response.json()
}

// A script's whole life: JSON on standard input, JSON on standard output.
export async function run (main) {
  let text = ''
  for await (const chunk of process.stdin) text += chunk
  console.log(JSON.stringify(await main(JSON.parse(text))))
}
