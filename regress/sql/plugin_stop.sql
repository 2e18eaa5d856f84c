-- What cannot be said becomes a stop event that names it; decoding goes on.
\set VERBOSITY terse
-- What a slot has to say, the envelope checked and cut down to: number in its transaction, type, rest.
CREATE FUNCTION pg_temp.events(slot name, VARIADIC options text[] DEFAULT '{}') RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT regexp_replace(data, '^\{"specversion":"1\.0","id":"[0-9A-F]+/[0-9A-F]+\.(\d+)","source":"/test","type":"([^"]+)","time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",?(.*)\}$', '\1 \2 \3')
    FROM pg_logical_slot_get_changes(slot, NULL, NULL, VARIADIC options || '{source,/test}')
$$;
\pset format unaligned
\pset tuples_only on
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_stop', 'pg_cqrs');
-- a type whose output function fails for all but some values: it takes an integer for the OID of an enum's label
SET client_min_messages = warning;
CREATE TYPE plugin_fine AS ENUM ('fine');
CREATE TYPE plugin_sick;
CREATE FUNCTION plugin_sick_in(cstring) RETURNS plugin_sick LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION plugin_sick_out(plugin_sick) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'enum_out';
CREATE TYPE plugin_sick (INPUT = plugin_sick_in, OUTPUT = plugin_sick_out, LIKE = int4);
CREATE CAST (int4 AS plugin_sick) WITHOUT FUNCTION;
CREATE TYPE plugin_pair AS (a int, s plugin_sick);
RESET client_min_messages;
SELECT oid AS fine FROM pg_enum WHERE enumtypid = 'plugin_fine'::regtype \gset
CREATE TABLE plugin_stop (id int PRIMARY KEY, "v""" plugin_sick, a plugin_sick[], p plugin_pair);
SELECT cqrs.publish('plugin_stop', 'stop');
INSERT INTO plugin_stop VALUES (1, :fine::plugin_sick, ARRAY[:fine]::int[]::plugin_sick[], ROW(1, :fine::plugin_sick));
INSERT INTO plugin_stop VALUES (2, 7::plugin_sick, NULL, NULL);
INSERT INTO plugin_stop VALUES (3, NULL, ARRAY[:fine, 8]::int[]::plugin_sick[], NULL);
INSERT INTO plugin_stop VALUES (4, NULL, NULL, ROW(1, 9::plugin_sick));
BEGIN;
INSERT INTO plugin_stop VALUES (5, 7::plugin_sick, NULL, NULL), (6, :fine::plugin_sick, NULL, NULL);
UPDATE plugin_stop SET id = 7 WHERE id = 5;
UPDATE plugin_stop SET "v""" = NULL WHERE id = 7;
DELETE FROM plugin_stop WHERE id = 7;
COMMIT;
SELECT pg_temp.events('plugin_stop');
-- in the key: no key to name it by
CREATE TABLE plugin_stop2 (k plugin_pair PRIMARY KEY, n int);
SET client_min_messages = warning;
CREATE FUNCTION plugin_sick_cmp(plugin_sick, plugin_sick) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'btint4cmp';
CREATE FUNCTION plugin_sick_lt(plugin_sick, plugin_sick) RETURNS bool LANGUAGE internal IMMUTABLE STRICT AS 'int4lt';
CREATE FUNCTION plugin_sick_eq(plugin_sick, plugin_sick) RETURNS bool LANGUAGE internal IMMUTABLE STRICT AS 'int4eq';
CREATE OPERATOR < (FUNCTION = plugin_sick_lt, LEFTARG = plugin_sick, RIGHTARG = plugin_sick);
CREATE OPERATOR = (FUNCTION = plugin_sick_eq, LEFTARG = plugin_sick, RIGHTARG = plugin_sick);
CREATE OPERATOR CLASS plugin_sick_ops DEFAULT FOR TYPE plugin_sick USING btree AS OPERATOR 1 <, OPERATOR 3 =, FUNCTION 1 plugin_sick_cmp(plugin_sick, plugin_sick);
RESET client_min_messages;
SELECT cqrs.publish('plugin_stop2', 'stop.two');
INSERT INTO plugin_stop2 VALUES (ROW(1, 10::plugin_sick), 1);
DELETE FROM plugin_stop2;
SELECT pg_temp.events('plugin_stop');
-- too large: not even unpacked, or its text, or the event as a whole
CREATE TABLE plugin_large (id int PRIMARY KEY, a text, b text, c bytea, e xml);
ALTER TABLE plugin_large ALTER b SET STORAGE EXTERNAL;
SELECT cqrs.publish('plugin_large', 'large');
INSERT INTO plugin_large (id, a) VALUES (1, repeat('a', 1000000));
INSERT INTO plugin_large (id, b) VALUES (2, repeat('b', 100000));
INSERT INTO plugin_large (id, c) VALUES (3, decode(repeat('00', 6000), 'hex'));
INSERT INTO plugin_large (id, a) VALUES (4, repeat(E'\x01', 2000));
INSERT INTO plugin_large (id, a, b) VALUES (5, repeat('a', 5000), repeat('b', 5000));
INSERT INTO plugin_large (id, a, b) VALUES (6, repeat('a', 4900), repeat('b', 4900));
UPDATE plugin_large SET id = 22 WHERE id = 2;
SELECT left(e, 200) FROM pg_temp.events('plugin_stop', 'max_event_bytes', '10000') e;
-- the same with room enough
INSERT INTO plugin_large (id, a, c) VALUES (11, repeat('a', 3000000), decode(repeat('00', 2000000), 'hex'));
SELECT left(e, 50), length(e) FROM pg_temp.events('plugin_stop') e;
-- a key too long to name
CREATE TABLE plugin_longkey (k text PRIMARY KEY, v text);
SELECT cqrs.publish('plugin_longkey', 'longkey');
INSERT INTO plugin_longkey VALUES (repeat('k', 20000), repeat('v', 20000));
SELECT pg_temp.events('plugin_stop', 'max_event_bytes', '10000');
SELECT pg_drop_replication_slot('plugin_stop');
SET client_min_messages = warning;
DROP TABLE plugin_stop, plugin_stop2, plugin_large, plugin_longkey;
DROP TYPE plugin_sick, plugin_fine, plugin_pair CASCADE;
