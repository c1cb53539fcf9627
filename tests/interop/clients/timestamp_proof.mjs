// A bundle's timestamp proof, checked with the SDK and nothing else.
//
// in:  {bundle}
// out: whether the path leads to the root in the header, and what the header's hash is

import { Hash, MerklePath, Transaction, Utils } from '@bsv/sdk'
import { run } from './overlay.mjs'

await run(async ({ bundle }) => {
  const proof = bundle.timestamp_proof
  const header = Utils.toArray(proof.block_header, 'hex')
  const reversed = bytes => Utils.toHex([...bytes].reverse())
  const root = reversed(header.slice(36, 68))
  const chain = { isValidRootForHeight: async (given, height) => given === root && height === proof.block_height }
  return {
    verified: await MerklePath.fromHex(proof.merkle_path).verify(bundle.tx_id, chain),
    blockHash: reversed(Hash.hash256(header)),
    time: new Date(new DataView(Uint8Array.from(header).buffer).getUint32(68, true) * 1000).toISOString(),
    beefId: Transaction.fromBEEF(Utils.toArray(bundle.beef, 'base64')).id('hex')
  }
})
