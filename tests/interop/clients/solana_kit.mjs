// The life of a token with @solana/kit: of either token program, by the same instructions.
//
// in:  {url, wsUrl, tokenProgram}
// out: what the cluster said, for the test to judge

import { getAddMemoInstruction } from '@solana-program/memo'
import { getCreateAccountInstruction, getTransferSolInstruction } from '@solana-program/system'
import * as token from '@solana-program/token'
import {
  address, airdropFactory, appendTransactionMessageInstructions, createSolanaRpc, createSolanaRpcSubscriptions,
  createTransactionMessage, generateKeyPairSigner, getBase64EncodedWireTransaction, getSignatureFromTransaction,
  isSolanaError, lamports, pipe, sendAndConfirmTransactionFactory, setTransactionMessageFeePayerSigner,
  setTransactionMessageLifetimeUsingBlockhash, signTransactionMessageWithSigners,
  SOLANA_ERROR__JSON_RPC__SERVER_ERROR_SEND_TRANSACTION_PREFLIGHT_FAILURE
} from '@solana/kit'
import { run } from './overlay.mjs'

const DECIMALS = 9
const MINT_BYTES = 82n
const commitment = 'confirmed'

await run(async ({ url, wsUrl, tokenProgram }) => {
  const rpc = createSolanaRpc(url)
  const rpcSubscriptions = createSolanaRpcSubscriptions(wsUrl)
  const programAddress = address(tokenProgram)
  const confirm = sendAndConfirmTransactionFactory({ rpc, rpcSubscriptions })
  const [payer, mint, receiver] = await Promise.all([1, 2, 3].map(generateKeyPairSigner))
  await airdropFactory({ rpc, rpcSubscriptions })({
    commitment, recipientAddress: payer.address, lamports: lamports(10_000_000_000n)
  })

  const signed = async instructions => {
    const { value: latest } = await rpc.getLatestBlockhash({ commitment }).send()
    return await signTransactionMessageWithSigners(pipe(
      createTransactionMessage({ version: 0 }),
      message => setTransactionMessageFeePayerSigner(payer, message),
      message => setTransactionMessageLifetimeUsingBlockhash(latest, message),
      message => appendTransactionMessageInstructions(instructions, message)
    ))
  }
  const send = async (...instructions) => {
    const transaction = await signed(instructions)
    await confirm(transaction, { commitment })
    return getSignatureFromTransaction(transaction)
  }
  const holdingOf = async owner => {
    const [found] = await token.findAssociatedTokenPda({ mint: mint.address, owner, tokenProgram: programAddress })
    return found
  }
  const [from, to] = await Promise.all([holdingOf(payer.address), holdingOf(receiver.address)])

  const heard = listening(rpcSubscriptions)
  await heard.to('slot', subscriptions => subscriptions.slotNotifications())
  await heard.to('root', subscriptions => subscriptions.rootNotifications())
  await heard.to('logs', subscriptions => subscriptions.logsNotifications({ mentions: [mint.address] }, { commitment }))
  await heard.to('account', subscriptions =>
    subscriptions.accountNotifications(from, { commitment, encoding: 'jsonParsed' }))
  await heard.to('program', subscriptions => subscriptions.programNotifications(programAddress, {
    commitment, encoding: 'base64', filters: [{ memcmp: { offset: 0n, bytes: mint.address, encoding: 'base58' } }]
  }))

  const rent = await rpc.getMinimumBalanceForRentExemption(MINT_BYTES).send()
  const created = await send(
    getCreateAccountInstruction({ payer, newAccount: mint, lamports: rent, space: MINT_BYTES, programAddress }),
    token.getInitializeMint2Instruction(
      { mint: mint.address, decimals: DECIMALS, mintAuthority: payer.address }, { programAddress }),
    ...[payer.address, receiver.address].map((owner, index) => token.getCreateAssociatedTokenIdempotentInstruction({
      payer, owner, ata: [from, to][index], mint: mint.address, tokenProgram: programAddress
    }))
  )
  const minted = await send(
    getAddMemoInstruction({ memo: 'reading 1' }),
    token.getMintToCheckedInstruction(
      { mint: mint.address, token: from, mintAuthority: payer, amount: 5_000_000_000n, decimals: DECIMALS },
      { programAddress })
  )
  const transferred = await send(token.getTransferCheckedInstruction({
    source: from, mint: mint.address, destination: to, authority: payer, amount: 2_000_000_000n, decimals: DECIMALS
  }, { programAddress }))
  const burn = amount => token.getBurnCheckedInstruction(
    { account: from, mint: mint.address, authority: payer, amount, decimals: DECIMALS }, { programAddress })
  const burnt = await send(burn(500_000_000n))

  const config = { commitment, maxSupportedTransactionVersion: 0 }
  const parsed = await rpc.getTransaction(minted, { ...config, encoding: 'jsonParsed' }).send()
  const raw = await rpc.getTransaction(minted, { ...config, encoding: 'base64' }).send()
  const history = await rpc.getSignaturesForAddress(from, { commitment }).send()
  const before = await rpc.getSignaturesForAddress(from, { commitment, before: burnt, limit: 1 }).send()
  const until = await rpc.getSignaturesForAddress(from, { commitment, until: transferred }).send()
  const held = await rpc.getTokenAccountsByOwner(
    payer.address, { mint: mint.address }, { commitment, encoding: 'jsonParsed' }).send()
  const epoch = await rpc.getEpochInfo({ commitment }).send()
  const last = await finality(rpc, burnt)
  const block = await rpc.getBlock(parsed.slot, { maxSupportedTransactionVersion: 0, transactionDetails: 'signatures' }).send()
  await heard.all(['slot', 'root', 'logs', 'account', 'program'])
  return {
    created, minted, transferred, burnt,
    supply: (await rpc.getTokenSupply(mint.address, { commitment }).send()).value.uiAmountString,
    balance: (await rpc.getTokenAccountBalance(to, { commitment }).send()).value.amount,
    largest: (await rpc.getTokenLargestAccounts(mint.address, { commitment }).send()).value.map(each => each.amount),
    held: held.value.map(each => each.account.data.parsed.info.tokenAmount.amount),
    memo: history.find(each => each.signature === minted).memo,
    history: history.map(each => each.signature),
    before: before.map(each => each.signature),
    until: until.map(each => each.signature),
    version: parsed.version,
    instructions: parsed.transaction.message.instructions.map(each => each.parsed.type ?? each.parsed),
    postTokens: parsed.meta.postTokenBalances.map(each => each.uiTokenAmount.amount),
    rawBytes: Buffer.from(raw.transaction[0], 'base64').length,
    blockHasIt: block.signatures.includes(minted),
    hasEpoch: epoch.absoluteSlot >= parsed.slot,
    refused: await refusal(signed([burn(99_000_000_000n)]), rpc),
    simulated: await simulation(await signed([getTransferSolInstruction({
      source: payer, destination: receiver.address, amount: lamports(2_000_000_000n)
    })]), rpc, receiver.address),
    status: last.confirmationStatus,
    logsOf: heard.told.logs.map(each => each.value.signature),
    accountSaw: heard.told.account.map(each => each.value.data.parsed.info.tokenAmount.amount),
    programSaw: heard.told.program.length,
    slotsGrow: heard.told.slot.every((each, index, all) => index === 0 || each.slot > all[index - 1].slot),
    rootsGrow: heard.told.root.every((each, index, all) => index === 0 || each > all[index - 1])
  }
})

// The notices of several subscriptions, gathered while the script goes on.
function listening (rpcSubscriptions) {
  const told = {}
  const abort = new AbortController()
  return {
    told,
    async to (name, subscribe) {
      const notices = await subscribe(rpcSubscriptions).subscribe({ abortSignal: abort.signal })
      told[name] = []
      const gather = async () => { for await (const notice of notices) told[name].push(notice) }
      gather().catch(error => { if (!abort.signal.aborted) throw error })
    },
    async all (names) {
      while (names.some(name => told[name].length === 0)) await new Promise(resolve => setTimeout(resolve, 20))
      abort.abort()
    }
  }
}

async function finality (rpc, signature) {
  for (;;) {
    const { value: [status] } = await rpc.getSignatureStatuses([signature]).send()
    if (status?.confirmationStatus === 'finalized') return status
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

// What kit makes of a transaction that preflight refuses.
async function refusal (signing, rpc) {
  try {
    await rpc.sendTransaction(getBase64EncodedWireTransaction(await signing), {
      encoding: 'base64', preflightCommitment: commitment
    }).send()
  } catch (error) {
    const isPreflight = isSolanaError(error, SOLANA_ERROR__JSON_RPC__SERVER_ERROR_SEND_TRANSACTION_PREFLIGHT_FAILURE)
    return { isPreflight, code: Number(error.cause.context.code), hasLogs: error.context.logs.length > 0 }
  }
}

async function simulation (transaction, rpc, watched) {
  const { value } = await rpc.simulateTransaction(getBase64EncodedWireTransaction(transaction), {
    commitment, encoding: 'base64', accounts: { addresses: [watched], encoding: 'base64' }
  }).send()
  return { err: value.err, lamports: Number(value.accounts[0].lamports), units: Number(value.unitsConsumed) }
}
