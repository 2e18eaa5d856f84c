-- The replica: how `cqrs-replicator verify` sees it at one point of the primary's WAL.

-- The applier does not pass the LSN while the row is there; 0/0: it stays where it is. Not dumped.
CREATE TABLE cqrs.fence (
    topic      text COLLATE "C" PRIMARY KEY,
    lsn        pg_lsn NOT NULL DEFAULT '0/0',
    owner      text NOT NULL,
    expires_at timestamptz NOT NULL,
    reached    boolean NOT NULL DEFAULT false
);

CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cqrs.fence
FOR EACH STATEMENT EXECUTE FUNCTION cqrs.subscription_changed();
ALTER TABLE cqrs.fence ENABLE ALWAYS TRIGGER changed;

COMMENT ON TABLE cqrs.fence IS 'Points of the primary''s WAL that the applier does not pass for the moment; written by cqrs-replicator verify';
COMMENT ON COLUMN cqrs.fence.owner IS 'Random token of the process that put it up and renews it';
COMMENT ON COLUMN cqrs.fence.expires_at IS 'A process that died holds nothing up for longer';
COMMENT ON COLUMN cqrs.fence.reached IS 'Everything up to lsn is applied, nothing beyond';
