\echo Use "CREATE EXTENSION pg_cqrs" to load this file. \quit

-- ---------------------------------------------------------------------------------------------
-- The primary: what is published, and how far the relay has come
-- ---------------------------------------------------------------------------------------------

-- Read by the output plugin with the historic snapshot. Keep its columns short: the TOAST table of
-- a user_catalog_table is not protected from vacuum. Never rewrite it in an upgrade script (refused).
CREATE TABLE cqrs.published (
    relation     regclass PRIMARY KEY,
    prefix       text COLLATE "C" NOT NULL UNIQUE,
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
    prefix       text COLLATE "C" PRIMARY KEY,
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
