// A lookup without aggregation, as a client reads it that asks for JSON.
//
// in:  {url, query}
// out: the outpoints by JSON and by aggregation, and the headers and bytes of the answers

import { Transaction } from '@bsv/sdk'
import { LOOKUP, lookupResolver, run } from './overlay.mjs'

await run(async ({ url, query }) => {
  const seen = []
  const client = aggregated => async (address, options) => {
    const headers = { ...options.headers }
    if (!aggregated) delete headers['X-Aggregation']
    const response = await fetch(address, { ...options, headers })
    seen.push(response.headers.get('content-type'))
    return response
  }
  const outpoints = async aggregated => {
    const answer = await lookupResolver(url, client(aggregated)).query({ service: LOOKUP, query })
    return answer.outputs.map(({ beef, outputIndex }) => `${Transaction.fromBEEF(beef).id('hex')}.${outputIndex}`)
  }
  return { json: await outpoints(false), aggregated: await outpoints(true), types: seen }
})
