-- The primary: the replicas that there are. Not dumped: they report anew.

-- Written by the relay from what the appliers report through the broker, about once a second.
CREATE TABLE cqrs.replica (
    name           text COLLATE "C" NOT NULL,
    topic          text COLLATE "C" NOT NULL,
    state          text NOT NULL,
    epoch          bigint,
    sequence       bigint,
    lsn            pg_lsn,
    committed_at   timestamptz,
    queue_messages bigint,
    seen_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, topic)
) WITH (fillfactor = 50);

-- The lag is to what the relay last wrote down, which it does once a heartbeat.
CREATE VIEW cqrs.replica_status AS
SELECT r.name, r.topic, r.state, r.sequence, r.lsn,
       greatest(s.sequence - r.sequence, 0) AS lag_events,
       CASE WHEN s.sequence <= r.sequence THEN interval '0'
            ELSE greatest(s.committed_at - r.committed_at, interval '0') END AS lag,
       r.queue_messages, r.seen_at
FROM cqrs.replica r
LEFT JOIN LATERAL (
    SELECT coalesce((t.last OPERATOR(pg_catalog.->>) 'sequence')::bigint, 0) AS sequence,
           pg_catalog.to_timestamp((t.last OPERATOR(pg_catalog.->>) 'time')::numeric / 1000000)
               AS committed_at
    FROM cqrs.relay_state rs, LATERAL (SELECT rs.topics OPERATOR(pg_catalog.->) r.topic) t(last)
    WHERE rs.epoch = r.epoch
    LIMIT 1
) s ON true;

COMMENT ON TABLE cqrs.replica IS 'Replicas and how far each topic has come there, as their appliers report; written by the relay, not dumped';
COMMENT ON COLUMN cqrs.replica.state IS 'Of the topic on the replica: pending, live, stopped';
COMMENT ON COLUMN cqrs.replica.queue_messages IS 'In its queue on the broker, looked at every 15 s; NULL: there is no such queue';
COMMENT ON COLUMN cqrs.replica.seen_at IS 'When the applier reported last';
COMMENT ON VIEW cqrs.replica_status IS 'Every replica and topic: lag in events and time, messages in its queue, when it was last heard of';
