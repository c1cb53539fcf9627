// Take what waits for an account into a basket that is written in capitals, then as the registry writes it.
//
// in:  {url, wallet, token, account}
// out: what the wallet lists under capitals, after each

import { run } from './overlay.mjs'
import { Registry, certificates, walletAt } from './registry.mjs'

await run(async ({ url, wallet, token, account }) => {
  const holder = walletAt(wallet)
  const registry = new Registry(url, token)
  const { parcels: [{ outpoints, ...parcel }] } = await registry.done('GET', `/wallet/outputs?account_id=${account}`)
  const listed = []
  for (const basket of ['METAWATTS', parcel.outputs[0].insertionRemittance.basket]) {
    for (const output of parcel.outputs) output.insertionRemittance.basket = basket
    await holder.internalizeAction(parcel)
    const found = await certificates(holder)
    listed.push(outpoints.filter(each => found.has(each)).length)
  }
  return listed
})
