-- The primary: how far the relay has come. Not dumped: it belongs to a slot, which no dump holds.

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
    reason            text NOT NULL DEFAULT '',
    updated_at        timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

COMMENT ON TABLE cqrs.relay_state IS 'How far each relay has come: one row a replication slot, written by the relay that holds it; not dumped';
COMMENT ON COLUMN cqrs.relay_state.epoch IS 'Identity of one unbroken numbering, microseconds since 1970 when it began; a newer one is greater';
COMMENT ON COLUMN cqrs.relay_state.lsn IS 'Every event of a commit that ends at or before this is confirmed by the broker';
COMMENT ON COLUMN cqrs.relay_state.topics IS 'Per topic the last event up to lsn: {"parking": {"sequence": 12, "lsn": "0/16B3748", "time": microseconds since 1970}}';
COMMENT ON COLUMN cqrs.relay_state.system_identifier IS 'Of the cluster that lsn belongs to; another one, another timeline or database begins a new epoch';
COMMENT ON COLUMN cqrs.relay_state.options IS 'Plugin options that decide what counts as an event; others begin a new epoch';
COMMENT ON COLUMN cqrs.relay_state.reason IS 'Why this epoch began: what broke the one before; empty for the first';
COMMENT ON COLUMN cqrs.relay_state.owner IS 'Random token of the relay process that may write this row';
