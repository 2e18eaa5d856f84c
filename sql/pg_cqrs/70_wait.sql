-- Read-your-writes: a token of the primary, and how far the replica is known to be complete.

CREATE FUNCTION cqrs.token(any_session boolean DEFAULT false) RETURNS text
LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'cqrs_token';

CREATE FUNCTION cqrs.wait_for(token text, timeout interval DEFAULT '5 seconds', topic text DEFAULT NULL) RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_wait_for';

-- What the relay says of each topic, written by the applier; two of its heartbeats, as the newest
-- may name an event that is not applied yet. One counts once the position has come to its sequence
-- in its epoch: whatever rewinds the position takes it back.
CREATE TABLE cqrs.heartbeat (
    topic            text COLLATE "C" PRIMARY KEY,
    epoch            bigint NOT NULL,
    sequence         bigint NOT NULL,
    lsn              pg_lsn NOT NULL,
    at               timestamptz NOT NULL,
    earlier_sequence bigint,
    earlier_lsn      pg_lsn,
    earlier_at       timestamptz
) WITH (fillfactor = 50);

CREATE VIEW cqrs.freshness AS
SELECT s.topic, p.source,
       s.live AND p.sequence IS NOT NULL AS complete,
       greatest(nullif(p.lsn, '0/0'), CASE WHEN p.sequence >= h.sequence THEN h.lsn
                                           WHEN p.sequence >= h.earlier_sequence THEN h.earlier_lsn END) AS lsn,
       greatest(p.committed_at, CASE WHEN p.sequence >= h.sequence THEN h.at
                                     WHEN p.sequence >= h.earlier_sequence THEN h.earlier_at END) AS at
FROM (SELECT topic, bool_and(state IS NOT DISTINCT FROM 'live') AS live
      FROM (SELECT s.topic, ss.state
            FROM cqrs.subscription s
            LEFT JOIN cqrs.subscription_state ss ON ss.prefix = s.prefix AND ss.relation = s.relation
            UNION ALL
            SELECT h.topic, hs.state
            FROM cqrs.handler h LEFT JOIN cqrs.handler_state hs ON hs.pattern = h.pattern AND hs.handler = h.handler) parts
      GROUP BY topic) s
LEFT JOIN cqrs.position p ON p.topic = s.topic
LEFT JOIN cqrs.heartbeat h ON h.topic = p.topic AND h.epoch = p.epoch;

CREATE FUNCTION cqrs.position_moved() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_position_moved';

-- Always: the applier writes as a replica (session_replication_role).
CREATE TRIGGER moved AFTER INSERT OR UPDATE OF sequence, lsn ON cqrs.position
FOR EACH ROW EXECUTE FUNCTION cqrs.position_moved();
ALTER TABLE cqrs.position ENABLE ALWAYS TRIGGER moved;
CREATE TRIGGER moved AFTER INSERT OR UPDATE ON cqrs.heartbeat
FOR EACH ROW EXECUTE FUNCTION cqrs.position_moved();
ALTER TABLE cqrs.heartbeat ENABLE ALWAYS TRIGGER moved;

COMMENT ON FUNCTION cqrs.token(boolean) IS
'On the primary, after COMMIT: a token of what this session has committed last, for cqrs.wait_for() on a replica; of all that anybody has written so far if this session has committed nothing yet or any_session is true (for transaction poolers). Errors: 55000 in a transaction that has written, or on a standby';
COMMENT ON FUNCTION cqrs.wait_for(text, interval, text) IS
'On a replica, in READ COMMITTED: wait until the topic, or every topic subscribed here, has reached the token; true if it has, false at the timeout, NULL for a NULL token. The next statement sees what was committed. Errors: 22023 no token or negative timeout, 22004 NULL timeout, 25001 in REPEATABLE READ or SERIALIZABLE, 42704 not subscribed to that topic, 55000 subscribed to nothing, or token of another primary';
COMMENT ON TABLE cqrs.heartbeat IS 'What the relay said last of each topic: up to lsn in the primary''s WAL its last event has that sequence; not dumped';
COMMENT ON COLUMN cqrs.heartbeat.at IS 'Everything that the primary committed before this moment (of its clock) ends at or before lsn';
COMMENT ON COLUMN cqrs.heartbeat.earlier_sequence IS 'The last heartbeat before whose sequence was reached when this one came, with its lsn and time';
COMMENT ON VIEW cqrs.freshness IS 'How far each subscribed topic is known to be complete here: all its events that the primary committed at or before lsn are applied, and all before the moment at. complete is false until its tables are copied, its handlers live and the stream is met';
COMMENT ON COLUMN cqrs.freshness.source IS 'The primary that lsn belongs to, as in the events';
COMMENT ON FUNCTION cqrs.position_moved() IS 'Trigger of cqrs.position and cqrs.heartbeat: wakes cqrs.wait_for() after the commit';
