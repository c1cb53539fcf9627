// A user's wallet behind BRC-100's HTTP JSON substrate, as HTTPWalletJSON speaks to it.
//
// in:  one line, {url, key (private key, hex)}; it serves until its standard input ends
// out: one line, {url, identityKey}

import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import { PrivateKey } from '@bsv/sdk'
import { fund, openWallet } from './toolbox.mjs'

const METHODS = new Set([
  'abortAction', 'createAction', 'createHmac', 'createSignature', 'decrypt', 'encrypt', 'getHeaderForHeight',
  'getHeight', 'getNetwork', 'getPublicKey', 'getVersion', 'internalizeAction', 'isAuthenticated', 'listActions',
  'listOutputs', 'relinquishOutput', 'signAction', 'verifyHmac', 'verifySignature', 'waitForAuthentication'
])

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const { url, key } = JSON.parse((await lines.next()).value)
const rootKey = PrivateKey.fromHex(key)
const wallet = await openWallet(url, rootKey)
await fund(wallet, url, 50_000, 8)

const server = createServer(async (request, response) => {
  const { status, body } = await answer(request)
  response.writeHead(status, { 'Content-Type': 'application/json' })
  response.end(JSON.stringify(body, (_, value) => value instanceof Uint8Array ? [...value] : value))
})
server.listen(0, '127.0.0.1', () => {
  const identityKey = rootKey.toPublicKey().toString()
  console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}`, identityKey }))
})

for await (const _ of lines);
process.exit(0)

async function answer (request) {
  const method = request.url.slice(1)
  const originator = request.headers.originator
  if (request.method !== 'POST' || !METHODS.has(method)) return refusal(404, `there is no ${method}`)
  if (originator === undefined || !URL.canParse(originator)) return refusal(401, 'who asks? Originator is missing')
  let text = ''
  for await (const chunk of request) text += chunk
  try {
    return { status: 200, body: await wallet[method](JSON.parse(text), new URL(originator).host) }
  } catch (error) {
    return refusal(400, error.message)
  }
}

function refusal (status, message) {
  return { status, body: { isError: true, message } }
}
