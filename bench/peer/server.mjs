// The yardstick: the TypeScript overlay engine behind express, with the routes of overlay-express.
//
//   node server.mjs --headers FILE [--database FILE] [--port N] [--synchronous NORMAL|FULL|OFF]
//                   [--verify-issuer] [--topics tm_a,tm_b]
//
// As overlay-express does, /submit replies as soon as the STEAK is known, before anything is written.
// The first line on standard output is `listening on PORT`.

import { parseArgs } from 'node:util'
import { Engine, KnexStorage } from '@bsv/overlay'
import { Beef, Transaction, Utils } from '@bsv/sdk'
import express from 'express'
import { CorpusChain } from './chain.mjs'
import { CertificateLookup, CertificateTopic } from './certificates.mjs'
import { migrate, openDatabase } from './storage.mjs'

const { values: options } = parseArgs({
  options: {
    headers: { type: 'string' },
    database: { type: 'string', default: ':memory:' },
    port: { type: 'string', default: '0' },
    synchronous: { type: 'string', default: 'NORMAL' },
    topics: { type: 'string', default: 'tm_metawatt_gc' },
    'verify-issuer': { type: 'boolean', default: false }
  }
})
if (options.headers === undefined) throw new Error('--headers FILE is needed')

const knex = openDatabase(options.database, options.synchronous)
await migrate(knex)
const lookup = new CertificateLookup(knex)
await lookup.migrate()
const topic = new CertificateTopic({ verifyIssuer: options['verify-issuer'] })
const engine = new Engine(
  Object.fromEntries(options.topics.split(',').map(name => [name, topic])),
  { ls_metawatt: lookup },
  new KnexStorage(knex),
  new CorpusChain(options.headers)
)

const app = express()
app.use(express.json({ limit: '1gb' }))
app.use(express.raw({ type: 'application/octet-stream', limit: '1gb' }))
app.use((request, response, next) => {
  for (const name of ['Origin', 'Headers', 'Methods']) response.header(`Access-Control-Allow-${name}`, '*')
  next()
})
app.post('/submit', (request, response) => answer(response, submit(request, response)))
app.post('/lookup', (request, response) => answer(response, find(request, response)))

const server = app.listen(Number(options.port), '127.0.0.1', () => {
  console.log(`listening on ${server.address().port}`)
})
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => {
    server.close()
    server.closeAllConnections()
    knex.destroy().then(() => process.exit(0))
  })
}

async function submit (request, response) {
  const header = request.headers['x-topics']
  if (typeof header !== 'string') throw new Error('Missing x-topics header')
  const tagged = { beef: Array.from(request.body), topics: JSON.parse(header) }
  await engine.submit(tagged, steak => response.status(200).json(steak))
}

async function find (request, response) {
  const answer = await engine.lookup(request.body)
  if (request.headers['x-aggregation'] !== 'yes') return response.status(200).json(answer)
  response.setHeader('Content-Type', 'application/octet-stream')
  return response.status(200).send(aggregate(answer.outputs))
}

function aggregate (outputs) {
  const beef = new Beef()
  const writer = new Utils.Writer()
  writer.writeVarIntNum(outputs.length)
  for (const output of outputs) {
    const transaction = Transaction.fromBEEF(output.beef)
    writer.write(transaction.id())
    writer.writeVarIntNum(output.outputIndex)
    writer.writeVarIntNum(0)
    beef.mergeTransaction(transaction)
  }
  writer.write(beef.toBinary())
  return Buffer.from(writer.toArray())
}

function answer (response, work) {
  work.catch(error => {
    if (response.headersSent) console.error('after the reply:', error)
    else response.status(400).json({ status: 'error', message: error.message })
  })
}
