-- How stale a replica is, and refusing what is too stale.
SELECT cqrs.staleness() AS not_complete, cqrs.staleness('parking') AS not_complete, cqrs.staleness('unknown') AS unknown;
SELECT count(*) FROM parking_slot_list();
SET cqrs.max_staleness = '5s';
\set VERBOSITY sqlstate
SELECT count(*) FROM parking_slot_list();
\set VERBOSITY terse
SELECT count(*) FROM parking_slot_list();

INSERT INTO cqrs.position (topic, source, epoch, sequence, lsn, committed_at) VALUES ('parking', '/primary/1/1', 1, 1, '0/10', now() - interval '1 hour');
INSERT INTO cqrs.subscription_state (prefix, relation, state) VALUES ('parking', 'parking_slots', 'live');
INSERT INTO cqrs.handler_state (pattern, handler, state) SELECT pattern, handler, 'live' FROM cqrs.handler;
SELECT date_trunc('hour', cqrs.staleness()) AS an_hour;
SELECT count(*) FROM parking_slot_list();
SELECT * FROM parking_slot_details('2e817460-0000-0000-0000-000000000000');
\set VERBOSITY sqlstate
SELECT count(*) FROM parking_slot_list();
\set VERBOSITY terse
SELECT cqrs.require_fresh('parking_slots');
SELECT cqrs.require_fresh('pg_class') AS not_subscribed;
SET cqrs.max_staleness = '2h';
SELECT count(*) FROM parking_slot_list();

-- The relay's heartbeat says that nothing is missing; then that event 2 is.
SET cqrs.max_staleness = '1min';
INSERT INTO cqrs.heartbeat (topic, epoch, sequence, lsn, at) VALUES ('parking', 1, 1, '0/20', now());
SELECT count(*) FROM parking_slot_list();
SELECT cqrs.staleness('parking') < interval '1 minute' AS fresh;
UPDATE cqrs.heartbeat SET sequence = 2;
SELECT date_trunc('hour', cqrs.staleness()) AS an_hour;
UPDATE cqrs.heartbeat SET earlier_sequence = 1, earlier_lsn = '0/18', earlier_at = now();
SELECT cqrs.staleness() < interval '1 minute' AS fresh;
-- A primary whose clock is ahead.
UPDATE cqrs.heartbeat SET sequence = 1, at = now() + interval '1 day';
SELECT cqrs.staleness();
-- Another topic that is not complete counts for all, not for this one.
CREATE TABLE other (id int PRIMARY KEY);
SELECT cqrs.subscribe('other', 'other');
SELECT cqrs.staleness() AS every_topic, cqrs.staleness('parking');
SELECT cqrs.unsubscribe('other');
DROP TABLE other;
-- A partition is as fresh as the subscribed table.
CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY LIST (id);
CREATE TABLE part1 PARTITION OF parts FOR VALUES IN (1);
SELECT cqrs.subscribe('parts', 'parts');
SELECT cqrs.require_fresh('part1');
SELECT cqrs.unsubscribe('parts');
DROP TABLE parts;
-- Evaluated once a query, not once a row.
EXPLAIN (COSTS OFF) SELECT * FROM parking_slots WHERE cqrs.require_fresh('parking_slots');
RESET cqrs.max_staleness;
-- Its wording differs between versions.
\set VERBOSITY sqlstate
SET cqrs.max_staleness = '-1';
\set VERBOSITY default
DELETE FROM cqrs.heartbeat;
DELETE FROM cqrs.position;
DELETE FROM cqrs.subscription_state;
DELETE FROM cqrs.handler_state;
