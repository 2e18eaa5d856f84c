-- Rights: everybody may see the status views; the rest is granted to whom it concerns.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA cqrs FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA cqrs FROM PUBLIC;
GRANT USAGE ON SCHEMA cqrs TO PUBLIC;
GRANT SELECT ON cqrs.publication_status, cqrs.retention_status, cqrs.subscription_status, cqrs.handler_status TO PUBLIC;
-- It only asks, and takes a lock that a writer of the table takes anyway.
GRANT EXECUTE ON FUNCTION cqrs.require_primary(regclass) TO PUBLIC;
GRANT SELECT ON cqrs.published, cqrs.retention, cqrs.retention_state, cqrs.relay_state, cqrs.replica_identity, cqrs.subscription,
                cqrs.subscription_state, cqrs.position, cqrs.heartbeat, cqrs.incidents, cqrs.parked,
                cqrs.handler, cqrs.handler_state, cqrs.fence, cqrs.attached_replica,
                cqrs.replica, cqrs.replica_status, cqrs.copy_progress, cqrs.copy_state TO pg_monitor;
-- Whoever may connect may ask how fresh a replica is. The view shows topics and positions, no data.
GRANT SELECT ON cqrs.freshness TO PUBLIC;
GRANT EXECUTE ON FUNCTION cqrs.token(boolean), cqrs.wait_for(text, interval, text), cqrs.staleness(text),
    cqrs.require_fresh(regclass), cqrs.attached(), cqrs.read(regclass, jsonb) TO PUBLIC;
