// A meter that knows nothing of this project's code: it makes its key, its texts and its signatures with TweetNaCl,
// and hands its readings in over HTTP. Base58 is its own, too.
//
// in:  {url, seed (hex), readings: [{format, serial, timestamp, kwh, wallet, sent (another kwh_amount than was signed)}]}
// out: {publicKey, results: [{signature, status, answer}]}
import nacl from 'tweetnacl'
import { readFileSync } from 'node:fs'

const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'

function base58 (bytes) {
  let number = BigInt('0x' + Buffer.from(bytes).toString('hex'))
  let text = ''
  for (; number > 0n; number /= 58n) text = ALPHABET[Number(number % 58n)] + text
  for (const byte of bytes) {
    if (byte !== 0) break
    text = '1' + text
  }
  return text
}

const TEXTS = {
  gridtokenx: ({ serial, timestamp, kwh, wallet }) =>
    `GRIDTOKENX_METER_READING\nmeter_serial: ${serial}\ntimestamp: ${timestamp}\nkwh_amount: ${kwh}\nwallet: ${wallet}`,
  colon: ({ serial, timestamp, kwh, wallet }) => `${serial}:${kwh}:${timestamp}:${wallet}`,
  device: ({ serial, timestamp, kwh }) => `${serial}:${kwh}:${timestamp}`
}

const { url, seed, readings } = JSON.parse(readFileSync(0, 'utf8'))
const key = nacl.sign.keyPair.fromSeed(Buffer.from(seed, 'hex'))

const results = []
for (const reading of readings) {
  const message = Buffer.from(TEXTS[reading.format](reading), 'utf8')
  const signature = base58(nacl.sign.detached(message, key.secretKey))
  const sent = await fetch(url + '/api/meters/submit-reading', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({
      meter_serial: reading.serial,
      reading_timestamp: reading.timestamp,
      kwh_amount: reading.sent ?? reading.kwh,
      meter_signature: signature
    })
  })
  results.push({ signature, status: sent.status, answer: await sent.json() })
}
console.log(JSON.stringify({ publicKey: base58(key.publicKey), results }))
