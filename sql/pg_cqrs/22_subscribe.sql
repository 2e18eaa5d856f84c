-- The replica: which prefix it applies to which table.

CREATE TABLE cqrs.subscription (
    prefix       text COLLATE "C" PRIMARY KEY
        CHECK (octet_length(prefix) <= 50 AND
        prefix ~ '^[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$' AND
        split_part(prefix, '.', 1) NOT IN ('cqrs', 'heartbeat')),
    relation     regclass NOT NULL UNIQUE,
    topic        text COLLATE "C" NOT NULL GENERATED ALWAYS AS (split_part(prefix, '.', 1)) STORED,
    notify       boolean NOT NULL DEFAULT false,
    schema       text NOT NULL DEFAULT 'stop' CHECK (schema IN ('stop', 'follow', 'ignore')),
    on_error     text NOT NULL DEFAULT 'stop' CHECK (on_error IN ('stop', 'park')),
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

CREATE FUNCTION cqrs.subscribe(prefix text, relation regclass, notify boolean DEFAULT false, schema text DEFAULT 'stop',
                               on_error text DEFAULT 'stop') RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_subscribe';

CREATE FUNCTION cqrs.unsubscribe(prefix text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_unsubscribe';

CREATE FUNCTION cqrs.subscription_changed() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_subscription_changed';

CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cqrs.subscription
FOR EACH STATEMENT EXECUTE FUNCTION cqrs.subscription_changed();
ALTER TABLE cqrs.subscription ENABLE ALWAYS TRIGGER changed;

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

-- Rows of an extension's script come back with that extension.
SELECT pg_catalog.pg_extension_config_dump('cqrs.subscription', 'WHERE NOT by_extension');
SELECT pg_catalog.pg_extension_config_dump('cqrs.subscription_state', '');

COMMENT ON TABLE cqrs.subscription IS 'Prefixes that this replica applies, each to one table; written by cqrs.subscribe() and unsubscribe()';
COMMENT ON COLUMN cqrs.subscription.topic IS 'First word of the prefix';
COMMENT ON COLUMN cqrs.subscription.notify IS 'The applier notifies in the transaction that applies the event, channel = event type';
COMMENT ON COLUMN cqrs.subscription.schema IS 'When a column of the primary is not here: stop, follow (add it, and take on a new type) or ignore it';
COMMENT ON COLUMN cqrs.subscription.by_extension IS 'Written by the script of an extension, which also brings it back on restore';
COMMENT ON COLUMN cqrs.subscription.on_error IS 'When the server refuses an event for good: stop the topic, or park it in cqrs.parked with what follows of its key';
COMMENT ON TABLE cqrs.subscription_state IS 'What the applier knows of each subscription; without a row the table still needs its first copy';
COMMENT ON COLUMN cqrs.subscription_state.snapshot_lsn IS 'Commits that end at or before this are in the copy already';
COMMENT ON VIEW cqrs.subscription_status IS 'What this replica applies: pending (no copy yet, or the queue is not bound), live, or stopped with the error; sequence and lsn are the topic''s. The error is shown to those who may SELECT the table';
COMMENT ON FUNCTION cqrs.subscribe(text, regclass, boolean, text, text) IS
'On a replica: apply the events of a prefix to a table, which needs the same key. The applier copies the table first; cqrs.subscription_status shows when it is live. schema: what to do about columns that only the primary has: stop, follow (add them; the applier must own the table) or ignore. on_error: what to do about an event that the server refuses for good: stop the topic, or park it in cqrs.parked with what follows of its key. Called again it may change notify, schema and on_error. Errors: 22004 NULL, 22023 bad prefix, schema or on_error, 42501 not the owner, 42710 already subscribed, 42809 not a table, 55000 no key or unlogged';
COMMENT ON FUNCTION cqrs.unsubscribe(text) IS
'On a replica: stop applying a prefix. The table keeps its rows. Errors: 22004 NULL, 42501 not the owner, 42704 not subscribed';
COMMENT ON FUNCTION cqrs.subscription_changed() IS 'Trigger of cqrs.subscription: NOTIFY cqrs_subscription, which the applier listens to';
