-- The primary: topics whose events are kept on the broker, in a stream beside the replicas' queues.

CREATE TABLE cqrs.retention (
    topic     text COLLATE "C" PRIMARY KEY
        CHECK (octet_length(topic) <= 50 AND topic ~ '^[A-Za-z][A-Za-z0-9_-]*$' AND
        topic NOT IN ('cqrs', 'heartbeat')),
    max_age   interval CHECK (max_age >= interval '1 second'),
    max_bytes bigint CHECK (max_bytes >= 1048576),
    CHECK (num_nulls(max_age, max_bytes) < 2)
);

-- Written by the relay. A row whose topic is not in cqrs.retention any more: its stream is to go.
CREATE TABLE cqrs.retention_state (
    topic          text COLLATE "C" PRIMARY KEY,
    state          text NOT NULL CHECK (state IN ('kept', 'failed')),
    since_sequence bigint,
    error          text,
    changed_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION cqrs.retain(topic text, max_age interval DEFAULT NULL, max_bytes bigint DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_retain';

CREATE FUNCTION cqrs.forget(topic text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_forget';

CREATE VIEW cqrs.retention_status AS
SELECT topic, r.max_age, r.max_bytes,
       CASE WHEN r.topic IS NULL THEN 'forgetting' ELSE coalesce(s.state, 'pending') END AS state,
       s.since_sequence, s.error, s.changed_at
FROM cqrs.retention r FULL JOIN cqrs.retention_state s USING (topic);

SELECT pg_catalog.pg_extension_config_dump('cqrs.retention', '');

COMMENT ON TABLE cqrs.retention IS 'Topics whose events the broker keeps in a stream; written by cqrs.retain() and forget()';
COMMENT ON COLUMN cqrs.retention.max_age IS 'Older events may go; NULL: no limit';
COMMENT ON COLUMN cqrs.retention.max_bytes IS 'The oldest events go beyond this size; NULL: no limit';
COMMENT ON TABLE cqrs.retention_state IS 'What the relay has made of cqrs.retention; not dumped';
COMMENT ON COLUMN cqrs.retention_state.since_sequence IS 'The next event when the relay asked for the stream: the history began with it, and the oldest may have gone since';
COMMENT ON COLUMN cqrs.retention_state.error IS 'Why the stream could not be declared or deleted, or a remark on it';
COMMENT ON VIEW cqrs.retention_status IS 'Histories: pending (the relay has not heard of it), kept, failed with the error, forgetting';
COMMENT ON FUNCTION cqrs.retain(text, interval, bigint) IS
'On the primary: keep the events of a topic on the broker, from the moment the relay hears of it (about a second), in the stream CQRS_HISTORY.<topic>. The oldest go, in pieces, when they are older than max_age or all are more than max_bytes (at least 1 MB); one of the two is needed. The limits are fixed then: to change them see cqrs.forget(), or a policy of RabbitMQ. Errors: 22004 NULL, 22023 bad topic or limit, 55000 kept with other limits, 55006 being forgotten';
COMMENT ON FUNCTION cqrs.forget(text) IS
'On the primary: keep the events of a topic no longer. The relay deletes the stream, and with it the history. Errors: 22004 NULL, 42704 not kept';
