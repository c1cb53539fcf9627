// The registry's API, as a user's app speaks to it, and the user's wallet beside it.

import { HTTPWalletJSON, PushDrop, Transaction, Utils } from '@bsv/sdk'

const BASKET = 'METAWATTS'
const ORIGINATOR = 'http://registry-app.example'

export function walletAt (address) {
  return new HTTPWalletJSON(ORIGINATOR, address)
}

export class Registry {
  constructor (url, token) {
    this.url = url
    this.headers = { 'Content-Type': 'application/json' }
    if (token !== undefined) this.headers.Authorization = `Bearer ${token}`
  }

  // The status and the body, whatever they are.
  async ask (method, path, value) {
    const body = value === undefined ? undefined : JSON.stringify(value)
    const reply = await fetch(this.url + path, { method, headers: this.headers, body })
    return { status: reply.status, body: await reply.json() }
  }

  // The body of a call that must succeed.
  async done (method, path, value) {
    const { status, body } = await this.ask(method, path, value)
    if (status >= 300) throw new Error(`${method} ${path}: ${status} ${JSON.stringify(body)}`)
    return body
  }

  async complete (actionId, beef) {
    return await this.ask('POST', `/actions/${actionId}/complete`, { beef: Utils.toBase64(beef) })
  }
}

// The certificates in the wallet's basket: custom instructions by outpoint.
export async function certificates (wallet) {
  const { outputs } = await wallet.listOutputs({ basket: BASKET, includeCustomInstructions: true, limit: 1000 })
  return new Map(outputs.map(each => [each.outpoint, JSON.parse(each.customInstructions)]))
}

// Have the wallet make what `toSign` asks for, each certificate unlocked as its basket says.
export async function sign (wallet, { createAction }, alter = given => given) {
  const basket = await certificates(wallet)
  const given = await alter(structuredClone(createAction))
  const { signableTransaction } = await wallet.createAction(given)
  const transaction = Transaction.fromAtomicBEEF(signableTransaction.tx)
  const spends = {}
  for (const [index, { outpoint }] of given.inputs.entries()) {
    const { protocolID, keyID, counterparty } = basket.get(outpoint)
    const unlocking = await new PushDrop(wallet).unlock(protocolID, keyID, counterparty).sign(transaction, index)
    spends[index] = { unlockingScript: unlocking.toHex() }
  }
  return await wallet.signAction({ reference: signableTransaction.reference, spends })
}

// The registry has taken it: the wallet may send it, too, and use its change.
export async function share (wallet, txid) {
  await wallet.createAction({
    description: 'Send what the registry took',
    options: { sendWith: [txid], acceptDelayedBroadcast: false }
  })
}
