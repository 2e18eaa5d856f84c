-- The replica: read models of another shape, kept by functions that are called with the events. A function is
-- kept by its name: pg_upgrade refuses tables with a regprocedure, because OIDs of functions do not outlive it.

CREATE TABLE cqrs.handler (
    pattern       text COLLATE "C" NOT NULL
        CHECK (octet_length(pattern) <= 100 AND
        pattern ~ '^[A-Za-z][A-Za-z0-9_-]*(\.([A-Za-z0-9_-]+|\*|#))*$' AND
        split_part(pattern, '.', 1) NOT IN ('cqrs', 'heartbeat')),
    handler       text COLLATE "C" NOT NULL,
    topic         text COLLATE "C" NOT NULL GENERATED ALWAYS AS (split_part(pattern, '.', 1)) STORED,
    backfill      boolean NOT NULL DEFAULT false,
    search_path   text NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    by_extension  boolean NOT NULL DEFAULT false,
    PRIMARY KEY (pattern, handler)
);
CREATE INDEX handler_topic ON cqrs.handler (topic);

-- Written by the applier; without a row it has not begun.
CREATE TABLE cqrs.handler_state (
    pattern      text COLLATE "C" NOT NULL,
    handler      text COLLATE "C" NOT NULL,
    state        text NOT NULL CHECK (state IN ('pending', 'live', 'stopped')),
    error        text,
    prefixes     text[] NOT NULL DEFAULT '{}',
    snapshot_lsn pg_lsn,
    changed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (pattern, handler)
);

CREATE FUNCTION cqrs.on(type_pattern text, handler regprocedure, backfill boolean DEFAULT false) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_handler_on';

CREATE FUNCTION cqrs.off(type_pattern text, handler regprocedure) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_handler_off';

CREATE FUNCTION cqrs.call_handler(handler regprocedure, events jsonb) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_call_handler';

CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cqrs.handler
FOR EACH STATEMENT EXECUTE FUNCTION cqrs.subscription_changed();
ALTER TABLE cqrs.handler ENABLE ALWAYS TRIGGER changed;

-- An error may quote an event: only for the handler's owner.
CREATE VIEW cqrs.handler_status AS
SELECT h.pattern, coalesce(f.oid::pg_catalog.regprocedure::text, h.handler) AS handler, h.topic, h.backfill,
       CASE
           WHEN p.state = 'stopped' OR hs.state = 'stopped' THEN 'stopped'
           WHEN p.state = 'live' AND hs.state = 'live' THEN 'live'
           ELSE 'pending'
       END AS state,
       p.sequence, p.lsn, p.applied_at,
       CASE WHEN pg_catalog.pg_has_role(f.proowner, 'USAGE') THEN coalesce(hs.error, p.error) END AS error
FROM cqrs.handler h
LEFT JOIN cqrs.handler_state hs ON hs.pattern = h.pattern AND hs.handler = h.handler
LEFT JOIN cqrs.position p ON p.topic = h.topic
LEFT JOIN pg_catalog.pg_proc f ON f.oid = pg_catalog.to_regprocedure(h.handler);

-- Rows of an extension's script come back with that extension.
SELECT pg_catalog.pg_extension_config_dump('cqrs.handler', 'WHERE NOT by_extension');
SELECT pg_catalog.pg_extension_config_dump('cqrs.handler_state', '');

COMMENT ON TABLE cqrs.handler IS 'Functions that the applier calls with events; written by cqrs.on() and off()';
COMMENT ON COLUMN cqrs.handler.pattern IS 'Event types: words separated by dots, * stands for one word, # for any number of them';
COMMENT ON COLUMN cqrs.handler.handler IS 'The function with schema and argument type, as pg_identify_object() says it';
COMMENT ON COLUMN cqrs.handler.topic IS 'First word of the pattern';
COMMENT ON COLUMN cqrs.handler.backfill IS 'What the tables hold already is given to it first, as events';
COMMENT ON COLUMN cqrs.handler.search_path IS 'Of the session that called cqrs.on(): the handler runs with it';
COMMENT ON COLUMN cqrs.handler.registered_at IS 'Handlers are called in this order';
COMMENT ON COLUMN cqrs.handler.by_extension IS 'Written by the script of an extension, which also brings it back on restore';
COMMENT ON TABLE cqrs.handler_state IS 'What the applier knows of each handler; without a row it has not begun';
COMMENT ON COLUMN cqrs.handler_state.prefixes IS 'Tables whose rows, as of snapshot_lsn, it was given as events';
COMMENT ON COLUMN cqrs.handler_state.snapshot_lsn IS 'Row events of those prefixes whose commit ends at or before this are not given to it';
COMMENT ON VIEW cqrs.handler_status IS 'Handlers of this replica: pending (not begun, or its backfill is not made), live, or stopped with the error, which is shown to the handler''s owner; sequence and lsn are the topic''s';
COMMENT ON FUNCTION cqrs.on(text, regprocedure, boolean) IS
'On a replica: call a function with every event whose type matches the pattern, in order, once, in the transaction that applies it. Its argument is jsonb (one event) or jsonb[] (all that match of a batch), it returns void and runs as its owner. From the first event that is applied after this commits; backfill => true: first <prefix>.truncate and one <prefix>.create a row for each matching published table. Errors: 22004 NULL, 22023 bad pattern, 42501 not the owner, 42P13 not such a function';
COMMENT ON FUNCTION cqrs.off(text, regprocedure) IS
'On a replica: call a handler no longer. What it made stays. Errors: 22004 NULL, 42501 not the owner, 42704 no such handler';
COMMENT ON FUNCTION cqrs.call_handler(regprocedure, jsonb) IS
'For the applier: call a registered handler with an array of events, as its owner and with the settings of an ordinary session';
