"""The database behind the ports of `gateway.jobs.ports`: SQLAlchemy Core on SQLite (WAL) and PostgreSQL.

`Database(url)` is the engine; each class here takes it: `SqlClients`, `SqlInbox`, `SqlQueries`, `SqlRecorder`,
`SqlClaims`, `SqlSubmissions`, `SqlLanes`, `SqlOutbox`, `SqlLedger`, `SqlWorkers`. `migrate(database)` brings the schema
up to date.

Locks are taken in one order, so that nobody waits in a circle: an upstream key, clients by name, a job, its submissions
and deliveries, objects. A receiver comes before its deliveries, and what sweeps over many rows skips the locked ones.
"""
