// A BRC-100 wallet: that of @bsv/wallet-toolbox, with its storage in memory, on the chain of a dev node.

import 'fake-indexeddb/auto'
import {
  ARC, Beef, BlockHeadersService, CachedKeyDeriver, P2PKH, PrivateKey, PublicKey, Random, Transaction, Utils
} from '@bsv/sdk'
import { StorageIdb, StorageProvider, Wallet, WalletStorageManager } from '@bsv/wallet-toolbox-client'

const CHAIN = 'test'
const SATOSHIS_PER_KB = 100
const CHANGE_OUTPUTS = 4
const LEAST_CHANGE = 1_000
const PAYMENT_PROTOCOL = [2, '3241645161d8']
const ANYONE = new PrivateKey(1).toPublicKey().toString()

export async function openWallet (url, key) {
  const services = new NodeServices(url)
  const identityKey = key.toPublicKey().toString()
  const provider = new StorageIdb({
    ...StorageProvider.createStorageBaseOptions(CHAIN),
    commissionSatoshis: 0,
    feeModel: { model: 'sat/kb', value: SATOSHIS_PER_KB }
  })
  await provider.migrate('wallet', identityKey)
  const storage = new WalletStorageManager(identityKey, provider)
  await storage.makeAvailable()
  provider.setServices(services)
  const wallet = new Wallet({ chain: CHAIN, keyDeriver: new CachedKeyDeriver(key), storage, services })
  await wallet.setWalletChangeParams(CHANGE_OUTPUTS, LEAST_CHANGE)
  return wallet
}

// Coins from the dev chain's faucet, taken in as a payment (BRC-29) that anyone could have sent.
export async function fund (wallet, url, satoshis, count) {
  const [derivationPrefix, derivationSuffix] = [Utils.toBase64(Random(8)), Utils.toBase64(Random(8))]
  const keyID = `${derivationPrefix} ${derivationSuffix}`
  const own = { protocolID: PAYMENT_PROTOCOL, keyID, counterparty: ANYONE, forSelf: true }
  const { publicKey } = await wallet.getPublicKey(own)
  const lockingScript = new P2PKH().lock(PublicKey.fromString(publicKey).toAddress()).toHex()
  const reply = await fetch(`${url}/dev/faucet`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ lockingScript, satoshis, count })
  })
  const paid = await reply.json()
  await wallet.internalizeAction({
    tx: Beef.fromString(paid.beef).toBinaryAtomic(paid.txid),
    description: 'Coins for fees',
    outputs: paid.vouts.map(outputIndex => ({
      outputIndex,
      protocol: 'wallet payment',
      paymentRemittance: { derivationPrefix, derivationSuffix, senderIdentityKey: ANYONE }
    }))
  })
}

// What the wallet asks the network: headers of the headers service, and ARC to broadcast.
class NodeServices {
  constructor (url) {
    this.chain = CHAIN
    this.headers = `${url}/dev/headers`
    this.arc = new ARC(`${url}/dev/arc`)
  }

  async getChainTracker () {
    return new BlockHeadersService(this.headers)
  }

  async getHeight () {
    return (await this.#chain('tip/longest')).height
  }

  async getHeaderForHeight (height) {
    const [header] = await this.#chain(`header/byHeight?height=${height}`)
    const writer = new Utils.Writer()
    writer.writeUInt32LE(header.version)
    writer.writeReverse(Utils.toArray(header.prevBlockHash, 'hex'))
    writer.writeReverse(Utils.toArray(header.merkleRoot, 'hex'))
    writer.writeUInt32LE(header.creationTimestamp)
    writer.writeUInt32LE(header.difficultyTarget)
    writer.writeUInt32LE(header.nonce)
    return writer.toArray()
  }

  async nLockTimeIsFinal () {
    return true
  }

  async postBeef (beef, txids) {
    const txidResults = []
    for (const txid of txids) {
      const sent = await this.arc.broadcast(Transaction.fromAtomicBEEF(beef.toBinaryAtomic(txid)))
      if (sent.status !== 'success') throw new Error(`${txid} was not sent: ${sent.description}`)
      txidResults.push({ txid, status: 'success' })
    }
    return [{ name: 'ARC', status: 'success', txidResults }]
  }

  async #chain (path) {
    return await (await fetch(`${this.headers}/api/v1/chain/${path}`)).json()
  }
}
