// Take over a certificate that was made in Python: find it, check it, and pass it on.
//
// in:  {url, holder (private key, hex), keyID, sender (identity key, hex), issuance, topics}
// out: the transfer's txid and reply, and what was seen of the token

import { PrivateKey, ProtoWallet, Transaction } from '@bsv/sdk'
import * as certificate from './certificate.mjs'
import { LOOKUP, faucet, headersService, lookupResolver, run, submitFacilitator } from './overlay.mjs'
import { Holder } from './wallet.mjs'

await run(async ({ url, holder, keyID, sender, issuance, topics }) => {
  const owner = new Holder(PrivateKey.fromHex(holder))
  const query = { type: 'byIssuanceId', value: issuance }
  const answer = await lookupResolver(url).query({ service: LOOKUP, query })
  const source = Transaction.fromBEEF(answer.outputs[0].beef)
  const { fields, lockingPublicKey } = certificate.decode(source.outputs[0].lockingScript)
  const verified = await source.verify(headersService(url))

  const coin = await faucet(url, owner.key, 1_000)
  const transfer = await owner.transfer(source, keyID, sender, owner.identity, 'mine', coin)
  return {
    txid: transfer.id('hex'),
    valid: await transfer.verify(headersService(url)),
    steak: await submitFacilitator().send(url, { beef: transfer.toBEEF(), topics }),
    token: {
      txid: source.id('hex'),
      lockingKey: lockingPublicKey.toString(),
      document: certificate.readDocument(fields),
      signed: await certificate.isSigned(new ProtoWallet('anyone'), fields),
      verified
    }
  }
})
