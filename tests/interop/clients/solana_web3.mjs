// The life of a token with @solana/web3.js and @solana/spl-token. The WebSocket's address is not given:
// web3.js takes it to be one port above.
//
// in:  {url, tokenProgram}
// out: what the cluster said, for the test to judge

import { createMemoInstruction } from '@solana/spl-memo'
import {
  burnChecked, createMint, getAccount, getMint, getOrCreateAssociatedTokenAccount, mintToChecked, transferChecked
} from '@solana/spl-token'
import {
  Connection, Keypair, PublicKey, SendTransactionError, sendAndConfirmTransaction, SystemProgram, Transaction,
  TransactionMessage, VersionedTransaction
} from '@solana/web3.js'
import { run } from './overlay.mjs'

const DECIMALS = 9
const commitment = 'confirmed'
const UNIT = 1_000_000_000n

await run(async ({ url, tokenProgram }) => {
  const connection = new Connection(url, commitment)
  const program = new PublicKey(tokenProgram)
  const [payer, receiver] = [Keypair.generate(), Keypair.generate()]
  const confirm = { commitment, preflightCommitment: commitment }
  const airdrop = await connection.requestAirdrop(payer.publicKey, 10_000_000_000)
  await connection.confirmTransaction({ signature: airdrop, ...await connection.getLatestBlockhash() }, commitment)

  const told = { logs: [], account: [], program: [], slot: [], root: [], signature: [] }
  const mint = await createMint(connection, payer, payer.publicKey, null, DECIMALS, Keypair.generate(), confirm, program)
  const [from, to] = await Promise.all([payer, receiver].map(({ publicKey }) =>
    getOrCreateAssociatedTokenAccount(connection, payer, mint, publicKey, false, commitment, confirm, program)))
  const subscriptions = [
    ['removeOnLogsListener', connection.onLogs(mint, logs => told.logs.push(logs), commitment)],
    ['removeAccountChangeListener', connection.onAccountChange(
      from.address, account => told.account.push(account.data.readBigUInt64LE(64)), { commitment })],
    ['removeProgramAccountChangeListener', connection.onProgramAccountChange(
      program, change => told.program.push(change.accountId.toBase58()),
      { commitment, filters: [{ memcmp: { offset: 0, bytes: mint.toBase58() } }] })],
    ['removeSlotChangeListener', connection.onSlotChange(slot => told.slot.push(slot.slot))],
    ['removeRootChangeListener', connection.onRootChange(root => told.root.push(root))]
  ]
  await until(() => told.slot.length > 0)

  const minted = await mintToChecked(
    connection, payer, mint, from.address, payer, 5n * UNIT, DECIMALS, [], confirm, program)
  const transferred = await transferChecked(
    connection, payer, from.address, mint, to.address, payer, 2n * UNIT, DECIMALS, [], confirm, program)
  const burnt = await burnChecked(
    connection, payer, from.address, mint, payer, UNIT / 2n, DECIMALS, [], confirm, program)
  const memo = new Transaction().add(createMemoInstruction('reading 1', [payer.publicKey]))
  const noted = await sendAndConfirmTransaction(connection, memo, [payer], confirm)

  const options = { commitment, maxSupportedTransactionVersion: 0 }
  const plain = await connection.getTransaction(transferred, options)
  const parsed = await connection.getParsedTransaction(transferred, options)
  const history = await connection.getSignaturesForAddress(from.address, {}, commitment)
  const before = await connection.getSignaturesForAddress(from.address, { before: burnt, limit: 1 }, commitment)
  const later = await connection.getSignaturesForAddress(from.address, { until: transferred }, commitment)
  const held = await connection.getParsedTokenAccountsByOwner(payer.publicKey, { mint }, commitment)
  const owned = await connection.getProgramAccounts(program, {
    commitment, filters: [{ memcmp: { offset: 0, bytes: mint.toBase58() } }]
  })
  connection.onSignature(burnt, result => told.signature.push(result), 'finalized')
  await until(() => Object.values(told).every(each => each.length > 0))
  for (const [method, id] of subscriptions) await connection[method](id)
  const status = await connection.getSignatureStatus(burnt)
  return {
    minted, transferred, burnt, noted,
    supply: String((await getMint(connection, mint, commitment, program)).supply),
    balance: String((await getAccount(connection, to.address, commitment, program)).amount),
    history: history.map(each => each.signature),
    before: before.map(each => each.signature),
    until: later.map(each => each.signature),
    memo: (await connection.getSignaturesForAddress(payer.publicKey, { limit: 1 }, commitment))[0].memo,
    tokens: ['preTokenBalances', 'postTokenBalances'].map(name =>
      plain.meta[name].find(each => each.owner === payer.publicKey.toBase58()).uiTokenAmount.amount),
    parsedType: parsed.transaction.message.instructions[0].parsed.type,
    parsedAmount: parsed.transaction.message.instructions[0].parsed.info.tokenAmount.uiAmountString,
    held: held.value.map(each => each.account.data.parsed.info.tokenAmount.amount),
    owned: owned.map(each => each.pubkey.toBase58()).sort(),
    accounts: [from.address, to.address].map(each => each.toBase58()).sort(),
    versioned: await versioned(connection, payer, receiver.publicKey),
    refused: await refusal(connection, payer, from.address, mint, program),
    status: status.value.confirmationStatus,
    logsOf: told.logs.map(each => each.signature),
    accountSaw: told.account.map(String),
    programSaw: told.program.includes(to.address.toBase58()),
    signatureErr: told.signature[0].err
  }
})

async function until (holds) {
  while (!holds()) await new Promise(resolve => setTimeout(resolve, 20))
}

// A version 0 transaction; clients that do not say they read them are told so.
async function versioned (connection, payer, receiver) {
  const { blockhash, lastValidBlockHeight } = await connection.getLatestBlockhash()
  const transaction = new VersionedTransaction(new TransactionMessage({
    payerKey: payer.publicKey,
    recentBlockhash: blockhash,
    instructions: [SystemProgram.transfer({ fromPubkey: payer.publicKey, toPubkey: receiver, lamports: 1_000_000 })]
  }).compileToV0Message())
  transaction.sign([payer])
  const simulated = await connection.simulateTransaction(transaction, { sigVerify: true, commitment })
  const signature = await connection.sendTransaction(transaction, { preflightCommitment: commitment })
  await connection.confirmTransaction({ signature, blockhash, lastValidBlockHeight }, commitment)
  const told = await connection.getTransaction(signature, { commitment, maxSupportedTransactionVersion: 0 })
  const unread = await connection.getTransaction(signature, { commitment }).catch(error => error.code)
  return { version: told.version, fee: told.meta.fee, err: simulated.value.err, unread }
}

// What web3.js makes of a transaction that preflight refuses.
async function refusal (connection, payer, account, mint, program) {
  try {
    await burnChecked(connection, payer, account, mint, payer, 99n * UNIT, DECIMALS, [], { commitment }, program)
  } catch (error) {
    const logs = await error.getLogs(connection)
    return { isSendError: error instanceof SendTransactionError, hasLogs: logs.length > 0, message: error.message }
  }
}
