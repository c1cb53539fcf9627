// Verdicts of @bsv/sdk on envelopes.
//
// in:  {sdk: path of the package, roots: {height: Merkle root, display hex}, tip, envelopes: [hex]}
// out: [null when it is valid, else why not]

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const { sdk, roots, tip, envelopes } = JSON.parse(readFileSync(0, 'utf8'))
const { Transaction, Utils } = createRequire(import.meta.url)(sdk)

const tracker = {
  currentHeight: async () => tip,
  isValidRootForHeight: async (root, height) => roots[height] === root
}

async function judge (hex) {
  try {
    const bytes = Utils.toArray(hex, 'hex')
    const atomic = hex.startsWith('01010101')
    const transaction = atomic ? Transaction.fromAtomicBEEF(bytes) : Transaction.fromBEEF(bytes)
    return await transaction.verify(tracker) ? null : 'verify says false'
  } catch (error) {
    return String(error.message ?? error).split('\n')[0]
  }
}

const verdicts = []
for (const hex of envelopes) verdicts.push(await judge(hex))
console.log(JSON.stringify(verdicts))
