-- TRUNCATE: of a table, of several, of partitions.
\set VERBOSITY terse
-- What a slot has to say, the envelope checked and cut down to: number in its transaction, type, rest.
CREATE FUNCTION pg_temp.events(slot name, VARIADIC options text[] DEFAULT '{}') RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT regexp_replace(data, '^\{"specversion":"1\.0","id":"[0-9A-F]+/[0-9A-F]+\.(\d+)","source":"/test","type":"([^"]+)","time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",?(.*)\}$', '\1 \2 \3')
    FROM pg_logical_slot_get_changes(slot, NULL, NULL, VARIADIC options || '{source,/test}')
$$;
\pset format unaligned
\pset tuples_only on
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_truncate', 'pg_cqrs');
CREATE TABLE plugin_a (id int PRIMARY KEY);
CREATE TABLE plugin_b (id int PRIMARY KEY, a int REFERENCES plugin_a);
CREATE TABLE plugin_c (id int PRIMARY KEY);
SELECT cqrs.publish('plugin_a', 'a'), cqrs.publish('plugin_b', 'b');
TRUNCATE plugin_a CASCADE;
TRUNCATE plugin_c;
BEGIN; INSERT INTO plugin_a VALUES (1); TRUNCATE plugin_a, plugin_b, plugin_c; INSERT INTO plugin_a VALUES (2); COMMIT;
BEGIN; TRUNCATE plugin_a CASCADE; ROLLBACK;
SELECT regexp_replace(data, '"(id|time)":"[^"]*"', '"\1":""', 'g') FROM pg_logical_slot_get_changes('plugin_truncate', NULL, NULL, 'source', '/test');

-- A partitioned table: one event for the root, whatever leaves it lists. A leaf alone is a resync, which
-- only replicas see: it counts, but text mode does not show it.
CREATE TABLE plugin_root (id int, region int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE plugin_mid PARTITION OF plugin_root FOR VALUES IN (1, 2) PARTITION BY LIST (region);
CREATE TABLE plugin_leaf1 PARTITION OF plugin_mid FOR VALUES IN (1);
CREATE TABLE plugin_leaf2 PARTITION OF plugin_mid FOR VALUES IN (2);
CREATE TABLE plugin_leaf3 PARTITION OF plugin_root FOR VALUES IN (3);
SELECT cqrs.publish('plugin_root', 'root');
INSERT INTO plugin_root SELECT n, n FROM generate_series(1, 3) n;
TRUNCATE plugin_root;
BEGIN; TRUNCATE plugin_leaf1, plugin_leaf3; INSERT INTO plugin_root VALUES (4, 1); TRUNCATE plugin_mid; INSERT INTO plugin_root VALUES (5, 1); COMMIT;
SELECT pg_temp.events('plugin_truncate');
-- seen in frame mode
TRUNCATE plugin_leaf1;
TRUNCATE plugin_mid;
SELECT regexp_replace(convert_from(substring(data FROM position('\x7b22'::bytea IN data)), 'UTF8'), '"(id|time)":"[^"]*"', '"\1":""', 'g') FROM pg_logical_slot_get_binary_changes('plugin_truncate', NULL, NULL, 'source', '/test', 'format', 'frame');
SELECT 'drop' FROM pg_drop_replication_slot('plugin_truncate');
DROP TABLE plugin_a, plugin_b, plugin_c, plugin_root;
