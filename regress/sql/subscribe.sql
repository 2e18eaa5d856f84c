-- cqrs.subscribe() and unsubscribe(), and the mark that makes a database a replica.
CREATE SCHEMA sub;
SET search_path = sub, public;
CREATE FUNCTION refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ' ' || message || E'\n' || detail || E'\n' || hint;
END $$;
\pset format unaligned
\pset tuples_only on
\set VERBOSITY terse

CREATE TABLE good (id int PRIMARY KEY);
CREATE TABLE other (id int PRIMARY KEY);
CREATE TABLE no_key (id int);
CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE);
CREATE TABLE generated (id int, twice int GENERATED ALWAYS AS (id * 2) STORED PRIMARY KEY);
-- A replica is written by key: its own replica identity does not matter.
CREATE TABLE nothing (id int PRIMARY KEY);
ALTER TABLE nothing REPLICA IDENTITY NOTHING;
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
CREATE VIEW a_view AS SELECT 1 AS id;
-- Writing as a replica does not check deferred constraints again.
CREATE TABLE deferred_unique (id int PRIMARY KEY, v int UNIQUE DEFERRABLE INITIALLY DEFERRED);

SELECT refusal($$SELECT cqrs.subscribe('x', 'no_key')$$);
SELECT refusal($$SELECT cqrs.subscribe('x', 'deferred')$$);
SELECT refusal($$SELECT cqrs.subscribe('x', 'generated')$$);
SELECT refusal($$SELECT cqrs.subscribe('x', 'unlogged')$$);
SELECT refusal($$SELECT cqrs.subscribe('x', 'a_view')$$);
SELECT refusal($$SELECT cqrs.subscribe('x', 'cqrs.position')$$);
SELECT refusal($$SELECT cqrs.subscribe('x y', 'good')$$);
SELECT refusal($$SELECT cqrs.subscribe('cqrs.x', 'good')$$);
SELECT refusal($$SELECT cqrs.subscribe(NULL, 'good')$$);
SELECT refusal($$SELECT cqrs.subscribe('x', NULL)$$);
SELECT refusal($$SELECT cqrs.subscribe('x', 'good', NULL)$$);
SELECT refusal($$SELECT cqrs.subscribe('x', 'good', schema => NULL)$$);
SELECT refusal($$SELECT cqrs.subscribe('x', 'good', schema => 'guess')$$);
SELECT refusal($$SELECT cqrs.subscribe('x', 'good', on_error => NULL)$$);
SELECT refusal($$SELECT cqrs.subscribe('x', 'good', on_error => 'skip')$$);
SELECT cqrs.subscribe('nothing', 'nothing');
SELECT cqrs.subscribe('deferred', 'deferred_unique');

-- Once a table, once a prefix.
SELECT cqrs.subscribe('good', 'good');
SELECT cqrs.subscribe('good', 'good');
SELECT cqrs.subscribe('good', 'good', notify => true);
SELECT cqrs.subscribe('good', 'good', notify => true, schema => 'follow');
SELECT cqrs.subscribe('good', 'good', notify => true, schema => 'follow');
SELECT cqrs.subscribe('good', 'good', notify => true, schema => 'follow', on_error => 'park');
SELECT on_error FROM cqrs.subscription WHERE prefix = 'good';
SELECT refusal($$SELECT cqrs.subscribe('good', 'other')$$);
SELECT refusal($$SELECT cqrs.subscribe('better', 'good')$$);
SELECT cqrs.subscribe('good.other', 'other');

-- pending, live, stopped.
\pset format aligned
\pset tuples_only off
SELECT prefix, relation, topic, notify, schema, by_extension FROM cqrs.subscription ORDER BY prefix;
INSERT INTO cqrs.position (topic, source, epoch, sequence, lsn) VALUES ('good', '/x', 1, 5, '0/10');
INSERT INTO cqrs.subscription_state VALUES ('good', 'good', 'live', '0/8');
SELECT * FROM cqrs.subscription_status WHERE topic = 'good' ORDER BY prefix;
UPDATE cqrs.position SET state = 'stopped', error = 'event 6: column "v"' WHERE topic = 'good';
SELECT * FROM cqrs.subscription_status WHERE topic = 'good' ORDER BY prefix;
-- The error may quote a row: not for everybody.
CREATE ROLE regress_reader;
GRANT USAGE ON SCHEMA sub TO regress_reader;
SET ROLE regress_reader;
SELECT prefix, state, error FROM cqrs.subscription_status WHERE topic = 'good' ORDER BY prefix;
RESET ROLE;
\pset format unaligned
\pset tuples_only on

-- unsubscribe() forgets the copy too; the table and its rows stay.
SELECT cqrs.unsubscribe('good');
SELECT prefix FROM cqrs.subscription_state;
SELECT refusal($$SELECT cqrs.unsubscribe('good')$$);
SELECT refusal($$SELECT cqrs.unsubscribe(NULL)$$);
SELECT cqrs.unsubscribe('nothing'), cqrs.unsubscribe('deferred');
DELETE FROM cqrs.position;

-- Partitions: the root or a leaf.
CREATE TABLE root (id int PRIMARY KEY) PARTITION BY LIST (id);
CREATE TABLE leaf PARTITION OF root FOR VALUES IN (1);
SELECT cqrs.subscribe('root', 'root');
SELECT refusal($$SELECT cqrs.subscribe('leaf', 'leaf')$$);

-- The owner's right.
GRANT CREATE ON SCHEMA sub TO regress_reader;
SET ROLE regress_reader;
CREATE TABLE own (id int PRIMARY KEY);
SELECT refusal($$SELECT cqrs.subscribe('own', 'own')$$);
RESET ROLE;
GRANT EXECUTE ON FUNCTION cqrs.subscribe, cqrs.unsubscribe TO regress_reader;
SET ROLE regress_reader;
SELECT cqrs.subscribe('own', 'own');
SELECT refusal($$SELECT cqrs.subscribe('x', 'good')$$);
SELECT refusal($$SELECT cqrs.unsubscribe('root')$$);
SELECT cqrs.unsubscribe('own');
RESET ROLE;

-- A replica: commands on subscribed tables fail, others do not.
SELECT refusal($$SELECT cqrs.register_replica(NULL)$$);
SELECT refusal(format('SELECT cqrs.register_replica(%L)', name))
  FROM unnest(ARRAY['', 'a.b', 'ä', repeat('a', 64)]) name;
SELECT cqrs.deregister_replica();
SELECT refusal($$SELECT cqrs.require_primary('other')$$);
SELECT cqrs.register_replica('r-1');
SELECT cqrs.register_replica('r-1');
SELECT refusal($$SELECT cqrs.register_replica('r-2')$$);
SELECT refusal($$SELECT cqrs.require_primary('other')$$);
SELECT refusal($$SELECT cqrs.require_primary('leaf')$$);
SELECT refusal($$SELECT cqrs.require_primary('good')$$);
SELECT refusal($$SELECT cqrs.require_primary(NULL)$$);
SELECT refusal($$SELECT create_parking_slot('Slot 1')$$);
SET ROLE regress_reader;
SELECT refusal($$SELECT cqrs.require_primary('other')$$);
RESET ROLE;
-- Not for a mark that is rolled back, and at once for one that is.
BEGIN;
SELECT cqrs.deregister_replica();
SELECT refusal($$SELECT cqrs.require_primary('other')$$);
ROLLBACK;
SELECT refusal($$SELECT cqrs.require_primary('other')$$) ~ '^25006' AS refused;
SELECT cqrs.deregister_replica();
SELECT refusal($$SELECT cqrs.require_primary('other')$$);
DROP OWNED BY regress_reader;
DROP ROLE regress_reader;
SET client_min_messages = error;
DROP SCHEMA sub CASCADE;
SELECT prefix FROM cqrs.subscription;
