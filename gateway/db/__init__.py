"""The database behind the ports of `gateway.jobs.ports`: SQLAlchemy Core on SQLite (WAL) and PostgreSQL.

`Database(url)` is the engine; each class here takes it: `SqlClients`, `SqlInbox`, `SqlQueries`, `SqlRecorder`, `SqlClaims`,
`SqlSubmissions`, `SqlOutbox`, `SqlLedger`, `SqlWorkers`. `migrate(database)` brings the schema up to date.
"""
