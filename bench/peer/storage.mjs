// The peer's database: knex on better-sqlite3 in WAL, with the engine's own migrations.
//
// The engine's migrations do not run on SQLite as published: one of them says `INSERT IGNORE`, which is
// MySQL's. The statement is rewritten to SQLite's `INSERT OR IGNORE` on its way to the database; nothing
// else is touched.

import { KnexStorageMigrations } from '@bsv/overlay'
import makeKnex from 'knex'

const SYNCHRONOUS = new Set(['OFF', 'NORMAL', 'FULL'])

export function openDatabase (filename, synchronous) {
  if (!SYNCHRONOUS.has(synchronous)) throw new Error(`synchronous is one of ${[...SYNCHRONOUS].join(', ')}`)
  return makeKnex({
    client: 'better-sqlite3',
    connection: { filename },
    useNullAsDefault: true,
    pool: {
      min: 1,
      max: 1,
      afterCreate: (connection, done) => {
        connection.pragma('journal_mode = WAL')
        connection.pragma(`synchronous = ${synchronous}`)
        connection.pragma('cache_size = -65536')
        done(null, connection)
      }
    }
  })
}

export async function migrate (knex) {
  if (await knex.schema.hasTable('applied_transactions')) return
  const dialect = forSqlite(knex)
  for (const migration of KnexStorageMigrations.default) await migration.up(dialect)
}

function forSqlite (knex) {
  return new Proxy(knex, {
    get (target, name) {
      if (name !== 'raw') return target[name]
      return (sql, ...rest) => target.raw(sql.replace('INSERT IGNORE', 'INSERT OR IGNORE'), ...rest)
    }
  })
}
