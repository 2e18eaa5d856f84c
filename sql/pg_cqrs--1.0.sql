\echo Use "CREATE EXTENSION pg_cqrs" to load this file. \quit

CREATE SCHEMA cqrs;

-- ---------------------------------------------------------------------------------------------
-- The primary: what is published, and how far the relay has come
-- ---------------------------------------------------------------------------------------------

-- Read by the output plugin with the historic snapshot. Keep its columns short: the TOAST table of
-- a user_catalog_table is not protected from vacuum. Never rewrite it in an upgrade script (refused).
CREATE TABLE cqrs.published (
    relation     regclass PRIMARY KEY,
    prefix       text COLLATE "C" NOT NULL UNIQUE
        CHECK (octet_length(prefix) <= 50 AND
        prefix ~ '^[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$' AND
        split_part(prefix, '.', 1) NOT IN ('cqrs', 'heartbeat')),
    notify       boolean NOT NULL DEFAULT false,
    by_extension boolean NOT NULL DEFAULT false
) WITH (user_catalog_table = true);

-- One row a slot, written by the relay that owns the slot, at heartbeat cadence.
CREATE TABLE cqrs.relay_state (
    slot              name PRIMARY KEY,
    epoch             bigint NOT NULL,
    lsn               pg_lsn NOT NULL,
    topics            jsonb NOT NULL DEFAULT '{}',
    system_identifier text NOT NULL,
    timeline          integer NOT NULL,
    database          oid NOT NULL,
    options           text NOT NULL,
    owner             text NOT NULL,
    updated_at        timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- ---------------------------------------------------------------------------------------------
-- The replica: who it is, what it maps to which table, and how far it has come
-- ---------------------------------------------------------------------------------------------

-- At most one row. Its presence makes this database a replica: commands on subscribed tables fail.
CREATE TABLE cqrs.replica_identity (
    name          text PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9_-]{1,63}$'),
    registered_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX replica_identity_single ON cqrs.replica_identity ((true));

CREATE TABLE cqrs.subscription (
    prefix       text COLLATE "C" PRIMARY KEY
        CHECK (octet_length(prefix) <= 50 AND
        prefix ~ '^[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$' AND
        split_part(prefix, '.', 1) NOT IN ('cqrs', 'heartbeat')),
    relation     regclass NOT NULL UNIQUE,
    topic        text COLLATE "C" NOT NULL GENERATED ALWAYS AS (split_part(prefix, '.', 1)) STORED,
    notify       boolean NOT NULL DEFAULT false,
    by_extension boolean NOT NULL DEFAULT false
);
CREATE INDEX subscription_topic ON cqrs.subscription (topic);

-- Written by the applier. A prefix without a row here is pending.
-- snapshot_lsn: events of this prefix whose commit LSN is not beyond it are in the copy already.
CREATE TABLE cqrs.subscription_state (
    prefix       text COLLATE "C" PRIMARY KEY,
    relation     regclass NOT NULL,
    state        text NOT NULL CHECK (state IN ('pending', 'live')),
    snapshot_lsn pg_lsn,
    changed_at   timestamptz NOT NULL DEFAULT now()
);

-- One row a topic. The first six columns change in the transaction that applies the events, state
-- and error on their own. epoch and sequence are NULL after a snapshot until the first message or
-- heartbeat anchors them (the event stream is continuous from lsn on).
CREATE TABLE cqrs.position (
    topic        text COLLATE "C" PRIMARY KEY,
    source       text,
    epoch        bigint,
    sequence     bigint,
    lsn          pg_lsn NOT NULL,
    committed_at timestamptz,
    applied_at   timestamptz,
    received     bigint,
    state        text NOT NULL DEFAULT 'live' CHECK (state IN ('pending', 'live', 'stopped')),
    error        text
) WITH (fillfactor = 50);

-- Transactions too large for memory wait here, message by message, until their last one is in.
CREATE TABLE cqrs.spool (
    topic    text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    count    integer NOT NULL,
    lsn      pg_lsn NOT NULL,
    more     boolean NOT NULL,
    body     bytea NOT NULL,
    PRIMARY KEY (topic, sequence)
);
ALTER TABLE cqrs.spool ALTER COLUMN body SET STORAGE EXTERNAL;

-- What went wrong with the stream, and how it was healed.
CREATE TABLE cqrs.incidents (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    topic         text COLLATE "C" NOT NULL,
    what          text NOT NULL,
    from_sequence bigint,
    to_sequence   bigint,
    healed_at     timestamptz,
    healed_how    text
);

-- ---------------------------------------------------------------------------------------------
-- Views
-- ---------------------------------------------------------------------------------------------

CREATE VIEW cqrs.publication_status AS
SELECT p.relation, p.prefix, split_part(p.prefix, '.', 1) AS topic, p.notify,
       CASE c.relreplident
           WHEN 'd' THEN 'primary key'
           WHEN 'f' THEN 'full row'
           WHEN 'i' THEN 'index ' || coalesce((SELECT i.indexrelid::regclass::text FROM pg_catalog.pg_index i
                                               WHERE i.indrelid = c.oid AND i.indisreplident), '(missing)')
           ELSE 'none'
       END AS identity
FROM cqrs.published p LEFT JOIN pg_catalog.pg_class c ON c.oid = p.relation;

-- An error may quote values of the row that it stopped at: only for those who may read the table.
CREATE VIEW cqrs.subscription_status AS
SELECT s.prefix, s.relation, s.topic,
       CASE
           WHEN p.state = 'stopped' THEN 'stopped'
           WHEN p.state = 'live' AND ss.state = 'live' THEN 'live'
           ELSE 'pending'
       END AS state,
       p.sequence, p.lsn, p.applied_at,
       CASE WHEN pg_catalog.has_table_privilege(s.relation, 'SELECT') THEN p.error END AS error
FROM cqrs.subscription s
LEFT JOIN cqrs.subscription_state ss ON ss.prefix = s.prefix AND ss.relation = s.relation
LEFT JOIN cqrs.position p ON p.topic = s.topic;

-- ---------------------------------------------------------------------------------------------
-- Functions
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION cqrs.publish(relation regclass, prefix text, notify boolean DEFAULT false) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_publish';

CREATE FUNCTION cqrs.unpublish(relation regclass) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_unpublish';

CREATE FUNCTION cqrs.subscribe(prefix text, relation regclass, notify boolean DEFAULT false) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_subscribe';

CREATE FUNCTION cqrs.unsubscribe(prefix text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_unsubscribe';

CREATE FUNCTION cqrs.emit(type text, data jsonb) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_emit';

CREATE FUNCTION cqrs.set_context(correlationid text DEFAULT NULL, causationid text DEFAULT NULL,
                                 traceparent text DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_set_context';

CREATE FUNCTION cqrs.register_replica(name text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_register_replica';

CREATE FUNCTION cqrs.deregister_replica() RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_deregister_replica';

CREATE FUNCTION cqrs.require_primary(relation regclass) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_require_primary';

-- ---------------------------------------------------------------------------------------------
-- Triggers: caches and the applier hear of every change of the tables above, whoever makes it
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION cqrs.published_changed() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_published_changed';

CREATE FUNCTION cqrs.subscription_changed() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_subscription_changed';

CREATE FUNCTION cqrs.replica_identity_changed() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_replica_identity_changed';

CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON cqrs.published
FOR EACH ROW EXECUTE FUNCTION cqrs.published_changed();
CREATE TRIGGER truncated AFTER TRUNCATE ON cqrs.published
FOR EACH STATEMENT EXECUTE FUNCTION cqrs.published_changed();
ALTER TABLE cqrs.published ENABLE ALWAYS TRIGGER changed, ENABLE ALWAYS TRIGGER truncated;

CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cqrs.subscription
FOR EACH STATEMENT EXECUTE FUNCTION cqrs.subscription_changed();
ALTER TABLE cqrs.subscription ENABLE ALWAYS TRIGGER changed;

CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cqrs.replica_identity
FOR EACH STATEMENT EXECUTE FUNCTION cqrs.replica_identity_changed();
ALTER TABLE cqrs.replica_identity ENABLE ALWAYS TRIGGER changed;

-- ---------------------------------------------------------------------------------------------
-- Event triggers: what DDL does to published and subscribed tables
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION cqrs.on_ddl() RETURNS event_trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_on_ddl';

CREATE EVENT TRIGGER cqrs_ddl_start ON ddl_command_start
WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED', 'DROP TYPE', 'DROP DOMAIN', 'DROP EXTENSION', 'DROP INDEX')
EXECUTE FUNCTION cqrs.on_ddl();
CREATE EVENT TRIGGER cqrs_ddl_end ON ddl_command_end
WHEN TAG IN ('ALTER TABLE', 'CREATE TABLE')
EXECUTE FUNCTION cqrs.on_ddl();
CREATE EVENT TRIGGER cqrs_rewrite ON table_rewrite EXECUTE FUNCTION cqrs.on_ddl();
CREATE EVENT TRIGGER cqrs_drop ON sql_drop EXECUTE FUNCTION cqrs.on_ddl();
-- Also in sessions that write as a replica (session_replication_role).
ALTER EVENT TRIGGER cqrs_ddl_start ENABLE ALWAYS;
ALTER EVENT TRIGGER cqrs_ddl_end ENABLE ALWAYS;
ALTER EVENT TRIGGER cqrs_rewrite ENABLE ALWAYS;
ALTER EVENT TRIGGER cqrs_drop ENABLE ALWAYS;

-- ---------------------------------------------------------------------------------------------
-- Rights: everybody may see the two status views; the rest is granted to whom it concerns
-- ---------------------------------------------------------------------------------------------

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA cqrs FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA cqrs FROM PUBLIC;
GRANT USAGE ON SCHEMA cqrs TO PUBLIC;
GRANT SELECT ON cqrs.publication_status, cqrs.subscription_status TO PUBLIC;
-- It only asks, and takes a lock that a writer of the table takes anyway.
GRANT EXECUTE ON FUNCTION cqrs.require_primary(regclass) TO PUBLIC;
GRANT SELECT ON cqrs.published, cqrs.relay_state, cqrs.replica_identity, cqrs.subscription,
                cqrs.subscription_state, cqrs.position, cqrs.incidents TO pg_monitor;

-- ---------------------------------------------------------------------------------------------
-- pg_dump: what users and the applier wrote. Not relay_state: it belongs to a slot, which no dump
-- holds. Rows of an extension's script come back with that extension.
-- ---------------------------------------------------------------------------------------------

SELECT pg_catalog.pg_extension_config_dump('cqrs.published', 'WHERE NOT by_extension');
SELECT pg_catalog.pg_extension_config_dump('cqrs.subscription', 'WHERE NOT by_extension');
SELECT pg_catalog.pg_extension_config_dump('cqrs.replica_identity', '');
SELECT pg_catalog.pg_extension_config_dump('cqrs.subscription_state', '');
SELECT pg_catalog.pg_extension_config_dump('cqrs.position', '');
SELECT pg_catalog.pg_extension_config_dump('cqrs.spool', '');
SELECT pg_catalog.pg_extension_config_dump('cqrs.incidents', '');
SELECT pg_catalog.pg_extension_config_dump('cqrs.incidents_id_seq', '');

-- ---------------------------------------------------------------------------------------------
-- Comments
-- ---------------------------------------------------------------------------------------------

COMMENT ON SCHEMA cqrs IS 'pg_cqrs: committed changes as CloudEvents';

COMMENT ON TABLE cqrs.published IS 'Published tables; written by cqrs.publish() and unpublish(), read by the output plugin pg_cqrs';
COMMENT ON COLUMN cqrs.published.relation IS 'The table; for a partitioned table its root';
COMMENT ON COLUMN cqrs.published.prefix IS 'Its events are <prefix>.create, update, delete, truncate, resync, stop; its first word is the topic; at most 50 bytes';
COMMENT ON COLUMN cqrs.published.notify IS 'The relay notifies on the primary after the commit, channel = event type';
COMMENT ON COLUMN cqrs.published.by_extension IS 'Written by the script of an extension, which also brings it back on restore';

COMMENT ON TABLE cqrs.relay_state IS 'How far each relay has come: one row a replication slot, written by the relay that holds it; not dumped';
COMMENT ON COLUMN cqrs.relay_state.epoch IS 'Identity of one unbroken numbering, microseconds since 1970 when it began; a newer one is greater';
COMMENT ON COLUMN cqrs.relay_state.lsn IS 'Every event of a commit that ends at or before this is confirmed by the broker';
COMMENT ON COLUMN cqrs.relay_state.topics IS 'Per topic the last event up to lsn: {"parking": {"sequence": 12, "lsn": "0/16B3748", "time": microseconds since 1970}}';
COMMENT ON COLUMN cqrs.relay_state.system_identifier IS 'Of the cluster that lsn belongs to; another one, another timeline or database begins a new epoch';
COMMENT ON COLUMN cqrs.relay_state.options IS 'Plugin options that decide what counts as an event; others begin a new epoch';
COMMENT ON COLUMN cqrs.relay_state.owner IS 'Random token of the relay process that may write this row';

COMMENT ON TABLE cqrs.replica_identity IS 'At most one row: this database is the replica of that name, and commands on subscribed tables fail here';
COMMENT ON TABLE cqrs.subscription IS 'Prefixes that this replica applies, each to one table; written by cqrs.subscribe() and unsubscribe()';
COMMENT ON COLUMN cqrs.subscription.topic IS 'First word of the prefix';
COMMENT ON COLUMN cqrs.subscription.notify IS 'The applier notifies in the transaction that applies the event, channel = event type';
COMMENT ON COLUMN cqrs.subscription.by_extension IS 'Written by the script of an extension, which also brings it back on restore';
COMMENT ON TABLE cqrs.subscription_state IS 'What the applier knows of each subscription; without a row the table still needs its first copy';
COMMENT ON COLUMN cqrs.subscription_state.snapshot_lsn IS 'Commits that end at or before this are in the copy already';
COMMENT ON TABLE cqrs.position IS 'How far each topic is applied here; changes in the same transaction as the rows';
COMMENT ON COLUMN cqrs.position.sequence IS 'Last event applied; NULL after a copy until the stream is met';
COMMENT ON COLUMN cqrs.position.lsn IS 'End of its commit in the primary''s WAL';
COMMENT ON COLUMN cqrs.position.committed_at IS 'When it was committed on the primary';
COMMENT ON COLUMN cqrs.position.applied_at IS 'When it was applied here';
COMMENT ON COLUMN cqrs.position.received IS 'Last event that is applied or waits in cqrs.spool; NULL if none waits';
COMMENT ON TABLE cqrs.spool IS 'Messages of a transaction that is too large for memory, until its last one is here';
COMMENT ON COLUMN cqrs.spool.lsn IS 'Header cqrs-lsn: where its last transaction ends in the primary''s WAL';
COMMENT ON COLUMN cqrs.spool.more IS 'Header cqrs-more: its last transaction goes on in the next message';
COMMENT ON TABLE cqrs.incidents IS 'Gaps, new epochs, resynchronisations: what went wrong and how it was healed';

COMMENT ON VIEW cqrs.publication_status IS 'What this database publishes, and which key its UPDATEs and DELETEs carry';
COMMENT ON VIEW cqrs.subscription_status IS 'What this replica applies: pending (no copy yet, or the queue is not bound), live, or stopped with the error; sequence and lsn are the topic''s. The error is shown to those who may SELECT the table';

COMMENT ON FUNCTION cqrs.publish(regclass, text, boolean) IS
'Publish a table: each transaction that commits after this one sends its rows as events <prefix>.create, update, delete, truncate. The owner''s right; waits for the table''s writers and makes them wait until commit (SHARE ROW EXCLUSIVE). Called again it may change notify. Errors: 22004 NULL, 22023 bad prefix, 42501 not the owner, 42710 already published or prefix taken, 42809 not a table, 55000 no key or unlogged';
COMMENT ON FUNCTION cqrs.unpublish(regclass) IS
'Stop publishing a table, from the commit of this transaction on. Errors: 22004 NULL, 42501 not the owner, 42704 not published';
COMMENT ON FUNCTION cqrs.subscribe(text, regclass, boolean) IS
'On a replica: apply the events of a prefix to a table, which needs the same key. The applier copies the table first; cqrs.subscription_status shows when it is live. Errors: 22004 NULL, 22023 bad prefix, 42501 not the owner, 42710 already subscribed, 42809 not a table, 55000 no key or unlogged';
COMMENT ON FUNCTION cqrs.unsubscribe(text) IS
'On a replica: stop applying a prefix. The table keeps its rows. Errors: 22004 NULL, 42501 not the owner, 42704 not subscribed';
COMMENT ON FUNCTION cqrs.emit(text, jsonb) IS
'Emit a domain event, such as parking.opened: it is sent if and only if this transaction commits, in order with its row events. data is at most 14 MiB and 512 levels deep. Errors: 22004 NULL, 22023 bad type, 42939 type of a table''s events, 54000 too large, 54001 too deep';
COMMENT ON FUNCTION cqrs.set_context(text, text, text) IS
'Put correlationid, causationid and traceparent (W3C) on the events of this transaction that come after this call; NULL or empty unsets. At most 255 bytes each. Errors: 22001 too long, 22023 control characters or a malformed traceparent';
COMMENT ON FUNCTION cqrs.register_replica(text) IS
'Mark this database as the replica of that name: commands on subscribed tables fail from now on. The applier calls it when it starts. Errors: 22004 NULL, 22023 bad name, 55000 it has another name';
COMMENT ON FUNCTION cqrs.deregister_replica() IS
'This database is no replica any more: commands are allowed again. Stop its applier first';
COMMENT ON FUNCTION cqrs.require_primary(regclass) IS
'For commands of one''s own: fail (25006) if this database is a replica that is subscribed to the table';
COMMENT ON FUNCTION cqrs.published_changed() IS 'Trigger of cqrs.published: invalidates the plugin''s cache';
COMMENT ON FUNCTION cqrs.subscription_changed() IS 'Trigger of cqrs.subscription: NOTIFY cqrs_subscription, which the applier listens to';
COMMENT ON FUNCTION cqrs.replica_identity_changed() IS 'Trigger of cqrs.replica_identity: invalidates the commands'' cache';
COMMENT ON FUNCTION cqrs.on_ddl() IS 'Event trigger: writes resync markers, forgets dropped tables, refuses what would end a published table''s events';
COMMENT ON EVENT TRIGGER cqrs_ddl_start IS 'pg_cqrs: remembers which partitions a DROP may remove; keeps identity indexes';
COMMENT ON EVENT TRIGGER cqrs_ddl_end IS 'pg_cqrs: partitions of published tables, and what would end their events';
COMMENT ON EVENT TRIGGER cqrs_rewrite IS 'pg_cqrs: a rewrite changes rows without events';
COMMENT ON EVENT TRIGGER cqrs_drop IS 'pg_cqrs: forgets dropped tables';
