-- Decoding in a session leaves its settings alone, and does not depend on them.
\set VERBOSITY terse
-- What a slot has to say, the envelope checked and cut down to: number in its transaction, type, rest.
CREATE FUNCTION pg_temp.events(slot name, VARIADIC options text[] DEFAULT '{}') RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT regexp_replace(data, '^\{"specversion":"1\.0","id":"[0-9A-F]+/[0-9A-F]+\.(\d+)","source":"/test","type":"([^"]+)","time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",?(.*)\}$', '\1 \2 \3')
    FROM pg_logical_slot_get_changes(slot, NULL, NULL, VARIADIC options || '{source,/test}')
$$;
\pset format unaligned
\pset tuples_only on
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_settings', 'pg_cqrs');
CREATE TABLE plugin_settings (id int PRIMARY KEY, t timestamptz, i interval, b bytea, f float8, m money, r regclass);
SELECT cqrs.publish('plugin_settings', 'settings');
INSERT INTO plugin_settings VALUES (1, '2026-07-01 12:00+00', '1 day 2 hours', '\xff00', 1.0/3, 12.5, 'plugin_settings');
CREATE VIEW pg_temp.mine AS SELECT string_agg(current_setting(name), ' | ' ORDER BY name) FROM
    unnest('{DateStyle,IntervalStyle,TimeZone,extra_float_digits,bytea_output,lc_monetary,search_path,quote_all_identifiers}'::text[]) name;
SET DateStyle = 'Postgres, DMY'; SET IntervalStyle = 'sql_standard'; SET TimeZone = 'Asia/Tokyo'; SET extra_float_digits = -5; SET bytea_output = 'escape'; SET quote_all_identifiers = on;
SET search_path = pg_temp, public;
SELECT * FROM pg_temp.mine;
SELECT pg_temp.events('plugin_settings');
SELECT * FROM pg_temp.mine;
SELECT * FROM plugin_settings;
-- in a transaction, and with SET LOCAL
BEGIN;
SET LOCAL TimeZone = 'America/New_York';
SELECT count(*) FROM pg_logical_slot_get_changes('plugin_settings', NULL, NULL);
SHOW TimeZone;
COMMIT;
SHOW TimeZone;
-- after a failure in the middle, too
INSERT INTO plugin_settings VALUES (2);
SELECT data FROM pg_logical_slot_peek_changes('plugin_settings', NULL, NULL, 'nonsense', '1');
SELECT 1 / (length(data) - length(data)) FROM pg_logical_slot_peek_changes('plugin_settings', NULL, NULL);
SELECT * FROM pg_temp.mine;
SELECT pg_drop_replication_slot('plugin_settings');
DROP TABLE plugin_settings;
