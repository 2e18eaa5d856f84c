-- Every type family, as JSON.
\set VERBOSITY terse
-- What a slot has to say, the envelope checked and cut down to: number in its transaction, type, rest.
CREATE FUNCTION pg_temp.events(slot name, VARIADIC options text[] DEFAULT '{}') RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT regexp_replace(data, '^\{"specversion":"1\.0","id":"[0-9A-F]+/[0-9A-F]+\.(\d+)","source":"/test","type":"([^"]+)","time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",?(.*)\}$', '\1 \2 \3')
    FROM pg_logical_slot_get_changes(slot, NULL, NULL, VARIADIC options || '{source,/test}')
$$;
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA plugin_types;
SET search_path = plugin_types, public;
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_types', 'pg_cqrs');

CREATE TYPE mood AS ENUM ('sad', 'ok', 'héureux "très"');
CREATE TYPE pair AS (a int, b text);
CREATE TYPE nest AS (p pair, q pair[]);
CREATE TYPE floatrange AS RANGE (subtype = float8);
CREATE TYPE moodrange AS RANGE (subtype = mood);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN positive2 AS positive;
CREATE DOMAIN name_text AS text;
CREATE DOMAIN moods AS mood;
CREATE DOMAIN pairs AS pair;
CREATE DOMAIN numbers AS int[];

-- Numbers: JSON numbers but NaN and Infinity, and oid
CREATE TABLE numeric_types (id int PRIMARY KEY, i2 int2, i8 int8, f4 float4, f8 float8, n numeric, n2 numeric(10,2), m money, o oid, p positive2);
SELECT cqrs.publish('numeric_types', 'n');
INSERT INTO numeric_types VALUES
    (1, -32768, -9223372036854775808, '-Infinity', 'NaN', 'NaN', 'NaN', '-92233720368547758.08', 4294967295, 1),
    (2, 32767, 9223372036854775807, 3.4028235e38, 1.7976931348623157e308, 'Infinity', 1.5, '92233720368547758.07', 0, 2147483647),
    (3, 0, 0, 1e-45, 5e-324, '-Infinity', -0.01, '0', 1, 2),
    (4, 1, 1, 0.1, 0.1, 0.10, 100, '1234.5', 1, 2),
    (5, 1, 1, '-0', '-0', 0, 0, '-1', 1, 2),
    (6, 1, 1, 123456.789, 123456789.123456789, 1e40, 12345678.99, '-0.01', 1, 2),
    (7, NULL, NULL, 1e20, 1e20, 0.000000000000000000000000000000000000000000001, NULL, NULL, NULL, NULL),
    (8, NULL, NULL, 'Infinity', 'Infinity', -12345678901234567890123456789012345678901234567890.123456789012345678901234567890, NULL, NULL, NULL, NULL);
INSERT INTO numeric_types (id, n) VALUES (9, '1e131071'::numeric), (10, '1e-16383'::numeric);
SELECT pg_temp.events('plugin_types') LIMIT 8;
-- (the last two: their digits counted)
INSERT INTO numeric_types (id, n) VALUES (11, '1e131071'::numeric), (12, '1e-16383'::numeric);
SELECT length(e), (regexp_replace(e, '^.*"n":([-0-9.]+),.*$', '\1')::numeric IN ('1e131071'::numeric, '1e-16383'::numeric)) FROM pg_temp.events('plugin_types') e;

-- Text of all kinds
CREATE TABLE text_types (id int PRIMARY KEY, t text, v varchar(10), c char(5), n name, k "char", d name_text, x xml, b bytea, bi bit(3), vb varbit);
SELECT cqrs.publish('text_types', 't');
INSERT INTO text_types VALUES
    (1, E'quote " slash \\ / tab \t newline \n return \r bell \x07 del \x7f', 'ü', 'ab', 'a name', 'x', E'\b\f', '<a b="c">d</a>', '\x00ff22', '101', '1'),
    (2, '', '', '', '', '', '', '', '', '000', ''),
    (3, E'\u2028 \U0001F697 \uFFFF', 'é', 'é', 'é', 'c', NULL, NULL, NULL, NULL, NULL),
    (4, repeat('long "text" ', 3), NULL, NULL, NULL, NULL, NULL, NULL, '\xdeadbeef', NULL, NULL);
SELECT pg_temp.events('plugin_types');

-- Dates and times, whatever the session prefers
CREATE TABLE time_types (id int PRIMARY KEY, d date, t time, tz timetz, ts timestamp, tstz timestamptz, i interval);
SELECT cqrs.publish('time_types', 'd');
INSERT INTO time_types VALUES
    (1, 'infinity', '24:00', '23:59:60+15:59', 'infinity', 'infinity', '1 year 2 mons -3 days 04:05:06.789'),
    (2, '-infinity', '00:00', '00:00-15:59', '-infinity', '-infinity', '-178000000 years'),
    (3, '4713-01-01 BC', '12:34:56.123456', '12:34:56.1+02', '4713-01-01 00:00:00 BC', '4713-01-01 00:00:00+00 BC', '0'),
    (4, '5874897-12-31', '00:00:00.000001', '01:02+00', '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999999+00', '-1 day'),
    (5, '2026-11-23', '20:45', '20:45+01', '2026-11-23 20:45:33.661507', '2026-11-23 20:45:33.66+05:30', '100 hours'),
    (6, '0001-01-01', '20:45', '20:45+01', '0001-12-31 BC', '1883-11-18 12:00:00+00', '1 mon'),
    (7, NULL, NULL, NULL, '1999-12-31 23:59:59.9', '1969-12-31 23:59:59.999999+00', NULL);
SET datestyle = 'SQL, DMY'; SET intervalstyle = 'iso_8601'; SET timezone = 'America/New_York'; SET bytea_output = 'escape'; SET extra_float_digits = -3;
SELECT pg_temp.events('plugin_types');
RESET datestyle; RESET intervalstyle; RESET timezone; RESET bytea_output; RESET extra_float_digits;

-- JSON is embedded as it is
CREATE TABLE json_types (id int PRIMARY KEY, j json, b jsonb, p jsonpath);
SELECT cqrs.publish('json_types', 'j');
INSERT INTO json_types VALUES
    (1, '{"b" : 1, "a":[ ], "b":2.50}', '{"b" : 1, "a":[ ], "b":2.50}', '$.a[*] ? (@ > 1)'),
    (2, 'null', 'null', NULL), (3, '"te\"xt \u00e4 ü"', '"te\"xt \u00e4 ü"', NULL), (4, '12345678901234567890.10', '12345678901234567890.10', NULL),
    (5, E'[1,\n 2]', E'[1,\n 2]', NULL), (6, NULL, NULL, NULL), (7, (repeat('[', 512) || repeat(']', 512))::json, 'true', NULL);
SELECT left(e, 160) FROM pg_temp.events('plugin_types') e;
-- deeper than consumers read: a stop that names the row
INSERT INTO json_types VALUES (8, (repeat('[', 513) || repeat(']', 513))::json, 'true', NULL);
SELECT pg_temp.events('plugin_types');

-- Enums, composites, arrays, ranges, domains over them
CREATE TABLE made_types (id int PRIMARY KEY, e mood, ea mood[], c pair, ca pair[], n nest, de moods, dc pairs, da numbers, ra floatrange, rm moodrange, ma int4multirange);
SELECT cqrs.publish('made_types', 'm');
INSERT INTO made_types VALUES
    (1, 'sad', '{ok,"héureux \"très\""}', '(1,"a ""b"", \\")', '{"(1,x)","(2,)"}', '("(1,a)","{""(2,b)""}")', 'ok', '(3,c)', '{1,NULL,3}', '[1.5,)', '[sad,ok)', '{[1,3),[5,7)}'),
    (2, 'héureux "très"', '{}', '(,)', '{NULL}', NULL, 'ok', NULL, '{}', 'empty', 'empty', '{}'),
    (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT pg_temp.events('plugin_types');

CREATE TABLE array_types (id int PRIMARY KEY, i int[], t text[], b bool[], f float8[], n numeric[], u uuid[], j jsonb[], ts timestamptz[], by bytea[], lower int[]);
SELECT cqrs.publish('array_types', 'a');
INSERT INTO array_types VALUES (1, '{{1,2},{3,4}}', ARRAY['a,b', 'c"d', 'NULL', NULL, '', 'é\'], '{t,f,NULL}', '{NaN,Infinity,0.1}', '{1.50,NaN}',
    '{2e817460-0000-0000-0000-00000000000a}', ARRAY['{"a": "b"}']::jsonb[], '{2026-11-23 20:45:33.66+00}', '{"\\x00ff"}', '[0:2]={1,2,3}');
SET datestyle = 'German'; SET timezone = 'Asia/Kolkata'; SET bytea_output = 'escape'; SET extra_float_digits = 0;
SELECT pg_temp.events('plugin_types');
RESET datestyle; RESET timezone; RESET bytea_output; RESET extra_float_digits;

-- The rest
CREATE TABLE other_types (id int PRIMARY KEY, b bool, u uuid, i inet, c cidr, m macaddr, m8 macaddr8, p point, l line, s lseg, bx box, pa path, po polygon, ci circle,
    tv tsvector, tq tsquery, r int4range, nr numrange, tr tstzrange, dr daterange, mr tstzmultirange, lsn pg_lsn, snap pg_snapshot, x xid, x8 xid8, ct cid, ti tid, cl regclass, ty regtype, pr regproc, ro regrole, na regnamespace, iv int2vector, ov oidvector);
SELECT cqrs.publish('other_types', 'o');
INSERT INTO other_types VALUES (1, true, '2E817460-0000-0000-0000-00000000000A', '192.168.0.1/24', '::/0', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', '(1,0.1)', '{1,2,3}', '[(1,2),(3,4)]', '(3,4),(1,2)',
    '((1,2),(3,4))', '((1,2),(3,4))', '<(1,2),3>', 'a:1A ''b c'':2', 'a & !b', '[1,5)', '(,1.50]', '["2026-11-23 20:45:33+01",infinity]', '[2026-11-23,2026-11-24]', '{["2026-11-23 20:45:33+01",)}',
    '16/B374D848', '10:20:10,14,15', '42', '42', '7', '(1,2)', 'other_types', 'mood', 'pg_catalog.now', 'pg_monitor', 'plugin_types', '1 2 3', '4 5');
INSERT INTO other_types (id, b) VALUES (2, false);
SET datestyle = 'SQL, DMY'; SET timezone = 'Asia/Tokyo'; SET quote_all_identifiers = on;
SELECT pg_temp.events('plugin_types');
RESET datestyle; RESET timezone; RESET quote_all_identifiers;

SELECT 'drop' FROM pg_drop_replication_slot('plugin_types');
SET client_min_messages = warning;
DROP SCHEMA plugin_types CASCADE;
