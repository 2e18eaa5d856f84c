-- The replica: who it is.

-- At most one row. Its presence makes this database a replica: commands on subscribed tables fail.
CREATE TABLE cqrs.replica_identity (
    name          text PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9_-]{1,63}$'),
    registered_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX replica_identity_single ON cqrs.replica_identity ((true));

CREATE FUNCTION cqrs.register_replica(name text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_register_replica';

CREATE FUNCTION cqrs.deregister_replica() RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_deregister_replica';

CREATE FUNCTION cqrs.require_primary(relation regclass) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_require_primary';

CREATE FUNCTION cqrs.replica_identity_changed() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_replica_identity_changed';

CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cqrs.replica_identity
FOR EACH STATEMENT EXECUTE FUNCTION cqrs.replica_identity_changed();
ALTER TABLE cqrs.replica_identity ENABLE ALWAYS TRIGGER changed;

SELECT pg_catalog.pg_extension_config_dump('cqrs.replica_identity', '');

COMMENT ON TABLE cqrs.replica_identity IS 'At most one row: this database is the replica of that name, and commands on subscribed tables fail here';
COMMENT ON FUNCTION cqrs.register_replica(text) IS
'Mark this database as the replica of that name: commands on subscribed tables fail from now on. The applier calls it when it starts. Errors: 22004 NULL, 22023 bad name, 55000 it has another name';
COMMENT ON FUNCTION cqrs.deregister_replica() IS
'This database is no replica any more: commands are allowed again. Stop its applier first';
COMMENT ON FUNCTION cqrs.require_primary(regclass) IS
'For commands of one''s own: fail (25006) if this database is a replica that is subscribed to the table';
COMMENT ON FUNCTION cqrs.replica_identity_changed() IS 'Trigger of cqrs.replica_identity: invalidates the commands'' cache';
