// Log in to the registry with a wallet.
//
// in:  {url, wallet}
// out: what the login answered: {status, body}

import { Utils } from '@bsv/sdk'
import { run } from './overlay.mjs'
import { Registry, walletAt } from './registry.mjs'

await run(async ({ url, wallet }) => {
  const holder = walletAt(wallet)
  const registry = new Registry(url)
  const { publicKey } = await holder.getPublicKey({ identityKey: true })
  const asked = await registry.done('POST', '/auth/challenge', { identity_key: publicKey })
  const { signature } = await holder.createSignature({
    data: Utils.toArray(asked.challenge, 'hex'),
    protocolID: asked.protocol,
    keyID: asked.key_id,
    counterparty: asked.counterparty
  })
  return await registry.ask('POST', '/auth/login', { challenge: asked.challenge, signature: Utils.toHex(signature) })
})
