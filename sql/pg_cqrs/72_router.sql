-- The primary: queries that a replica answers.

-- At most one row. The connection's parameters stand in a foreign server and its user mapping, where
-- Postgres hides them.
CREATE TABLE cqrs.attached_replica (
    server      name PRIMARY KEY CHECK (server = 'cqrs_replica'),
    fallback    text NOT NULL CHECK (fallback IN ('error', 'primary')),
    attached_at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION cqrs.attach_replica(conninfo text, fallback text DEFAULT 'error') RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_attach_replica';

CREATE FUNCTION cqrs.detach_replica() RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_detach_replica';

CREATE FUNCTION cqrs.attached() RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'cqrs_attached';

CREATE FUNCTION cqrs.read(relation regclass, key jsonb DEFAULT '{}') RETURNS SETOF record
LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'cqrs_read';

SELECT pg_catalog.pg_extension_config_dump('cqrs.attached_replica', '');

COMMENT ON TABLE cqrs.attached_replica IS 'The replica that answers queries called on this database; written by cqrs.attach_replica()';
COMMENT ON COLUMN cqrs.attached_replica.fallback IS 'When it is away or too far behind: error, or primary: answer from here';
COMMENT ON FUNCTION cqrs.attach_replica(text, text) IS
'On the primary: from now on cqrs.read(), and with it the queries of parking, answer from that replica. Connects once to look at it. The parameters are kept in the foreign server cqrs_replica (postgres_fdw), user and password in its user mapping for PUBLIC; better a passfile than a password. Errors: 22023 bad conninfo or fallback, 08001 cannot connect, 55000 no replica, 42710 one is attached';
COMMENT ON FUNCTION cqrs.detach_replica() IS 'Answer from this database again; drops the foreign server cqrs_replica';
COMMENT ON FUNCTION cqrs.attached() IS 'Whether a replica is attached to this database';
COMMENT ON FUNCTION cqrs.read(regclass, jsonb) IS
'Rows of a table, from the attached replica if there is one, else from here: SELECT * FROM cqrs.read(''orders'', ''{"id": 1}'') AS t(id bigint, total numeric); the list names the columns wanted, key names columns and the values that they must equal. Needs SELECT on the local table. With cqrs.read_your_writes = on after this session''s last commit has arrived there. Reads here in a transaction that has written while cqrs.read_your_writes is on, in REPEATABLE READ and SERIALIZABLE, under row-level security, and what is not published. Errors: 08006 replica away, CQ001 too far behind (both only with the fallback error), 42703 unknown column, 42809 no table';
