-- How old an answer of this replica may be.

CREATE FUNCTION cqrs.staleness(topic text DEFAULT NULL) RETURNS interval
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN bool_and(f.complete AND f.at IS NOT NULL) THEN greatest(clock_timestamp() - min(f.at), '0') END
    FROM cqrs.freshness f WHERE staleness.topic IS NULL OR f.topic = staleness.topic;
END;

CREATE FUNCTION cqrs.require_fresh(relation regclass) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'cqrs_require_fresh';

COMMENT ON FUNCTION cqrs.staleness(text) IS
'On a replica: how far the topic, or the one furthest behind of all that are subscribed here, may be behind the primary, by both servers'' clocks. About a heartbeat at most while all is well, also when nobody writes; it grows while relay, broker or applier is down. NULL if that is not known (not complete yet), or not subscribed';
COMMENT ON FUNCTION cqrs.require_fresh(regclass) IS
'For WHERE of one''s own queries: true, or the error CQ001 if cqrs.max_staleness is set and the table''s topic is staler, or how stale is not known. True for a table that is not subscribed';
