-- The replica: how far each topic has come, and what happened to it.

-- One row a topic. The first six columns change in the transaction that applies the events, state
-- and error on their own. sequence is NULL after a snapshot until the first message or
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

SELECT pg_catalog.pg_extension_config_dump('cqrs.position', '');
SELECT pg_catalog.pg_extension_config_dump('cqrs.spool', '');
SELECT pg_catalog.pg_extension_config_dump('cqrs.incidents', '');
SELECT pg_catalog.pg_extension_config_dump('cqrs.incidents_id_seq', '');

COMMENT ON TABLE cqrs.position IS 'How far each topic is applied here; changes in the same transaction as the rows';
COMMENT ON COLUMN cqrs.position.sequence IS 'Last event applied; NULL after a copy until the stream is met';
COMMENT ON COLUMN cqrs.position.lsn IS 'End of its commit in the primary''s WAL';
COMMENT ON COLUMN cqrs.position.committed_at IS 'When it was committed on the primary';
COMMENT ON COLUMN cqrs.position.applied_at IS 'When it was applied here';
COMMENT ON COLUMN cqrs.position.received IS 'Last event that is applied or waits in cqrs.spool; NULL if none waits';
COMMENT ON TABLE cqrs.spool IS 'Messages of a transaction that is too large for memory, until its last one is here';
COMMENT ON COLUMN cqrs.spool.body IS 'The message''s JSON array, as an LZ4 frame';
COMMENT ON COLUMN cqrs.spool.lsn IS 'Header cqrs-lsn: where its last transaction ends in the primary''s WAL';
COMMENT ON COLUMN cqrs.spool.more IS 'Header cqrs-more: its last transaction goes on in the next message';
COMMENT ON TABLE cqrs.incidents IS 'Gaps, new epochs, resynchronisations: what went wrong and how it was healed';
