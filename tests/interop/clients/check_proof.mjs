// Check a bundle's timestamp proof with nothing but the bundle: no node is asked.
//
// in:  {bundle}
// out: what holds, and the block's time

import { Hash, MerklePath, Transaction, Utils } from '@bsv/sdk'
import * as certificate from './certificate.mjs'
import { run } from './overlay.mjs'

const display = bytes => Utils.toHex([...bytes].reverse())

await run(async ({ bundle }) => {
  const proof = bundle.timestamp_proof
  const header = Utils.toArray(proof.block_header, 'hex')
  const transaction = Transaction.fromBEEF(Utils.toArray(bundle.beef, 'base64'))
  const [, vout] = bundle.outpoint.split('.')
  const { fields } = certificate.decode(transaction.outputs[vout].lockingScript)
  const root = MerklePath.fromHex(proof.merkle_path).computeRoot(transaction.id('hex'))
  return {
    transaction: transaction.id('hex') === bundle.tx_id,
    issuance: certificate.readDocument(fields).energyTag.issuance_id === bundle.issuance_id,
    rootInHeader: root === display(header.slice(36, 68)) && root === proof.merkle_root,
    headerOfBlock: display(Hash.hash256(header)) === proof.block_hash,
    secs: new Utils.Reader(header.slice(68, 72)).readUInt32LE()
  }
})
