-- Changes that came from another node are left out, unless they are asked for.
\set VERBOSITY terse
-- What a slot has to say, the envelope checked and cut down to: number in its transaction, type, rest.
CREATE FUNCTION pg_temp.events(slot name, VARIADIC options text[] DEFAULT '{}') RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT regexp_replace(data, '^\{"specversion":"1\.0","id":"[0-9A-F]+/[0-9A-F]+\.(\d+)","source":"/test","type":"([^"]+)","time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",?(.*)\}$', '\1 \2 \3')
    FROM pg_logical_slot_get_changes(slot, NULL, NULL, VARIADIC options || '{source,/test}')
$$;
\pset format unaligned
\pset tuples_only on
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_origin', 'pg_cqrs');
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_any', 'pg_cqrs');
CREATE TABLE plugin_origin (id int PRIMARY KEY);
SELECT cqrs.publish('plugin_origin', 'origin');
SELECT 'origin' FROM pg_replication_origin_create('plugin_elsewhere');
INSERT INTO plugin_origin VALUES (1);
SELECT pg_replication_origin_session_setup('plugin_elsewhere');
BEGIN;
SELECT pg_replication_origin_xact_setup('0/1', '2026-01-01');
INSERT INTO plugin_origin VALUES (2);
SELECT cqrs.emit('origin.elsewhere', '{}');
COMMIT;
TRUNCATE plugin_origin;
SELECT pg_replication_origin_session_reset();
INSERT INTO plugin_origin VALUES (3);
SELECT pg_temp.events('plugin_origin');
SELECT pg_temp.events('plugin_any', 'origins', 'any');
SELECT pg_replication_origin_drop('plugin_elsewhere');
SELECT pg_drop_replication_slot('plugin_origin'), pg_drop_replication_slot('plugin_any');
DROP TABLE plugin_origin;
