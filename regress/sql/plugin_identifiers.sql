-- Any identifier is a column, a table, a schema.
\set VERBOSITY terse
-- What a slot has to say, the envelope checked and cut down to: number in its transaction, type, rest.
CREATE FUNCTION pg_temp.events(slot name, VARIADIC options text[] DEFAULT '{}') RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT regexp_replace(data, '^\{"specversion":"1\.0","id":"[0-9A-F]+/[0-9A-F]+\.(\d+)","source":"/test","type":"([^"]+)","time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",?(.*)\}$', '\1 \2 \3')
    FROM pg_logical_slot_get_changes(slot, NULL, NULL, VARIADIC options || '{source,/test}')
$$;
\pset format unaligned
\pset tuples_only on
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_identifiers', 'pg_cqrs');
CREATE SCHEMA "Sch""ema é";
CREATE TABLE "Sch""ema é"."Ta ble.""日本""" ("Id" int PRIMARY KEY, "a""b" text, "back\slash" text, "new
line" int, "日本語" text, "🚗" text, "select" int, "UPPER" int, " " int);
SELECT cqrs.publish('"Sch""ema é"."Ta ble.""日本"""', 'Any-Thing_9.of.table');
INSERT INTO "Sch""ema é"."Ta ble.""日本""" VALUES (1, 'x', '\', 2, '日本', '🚗', 3, 4, 5);
UPDATE "Sch""ema é"."Ta ble.""日本""" SET "Id" = 2;
ALTER TABLE "Sch""ema é"."Ta ble.""日本""" RENAME COLUMN "Id" TO "Key ""1""";
UPDATE "Sch""ema é"."Ta ble.""日本""" SET "Key ""1""" = 3;
DELETE FROM "Sch""ema é"."Ta ble.""日本""";
SELECT pg_temp.events('plugin_identifiers');
-- the longest names
CREATE TABLE longest (abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk int PRIMARY KEY);
SELECT cqrs.publish('longest', 'abcdefghijklmnopqrstuvwxyz.abcdefghijklmnopqrstuvw');
INSERT INTO longest VALUES (1);
SELECT pg_temp.events('plugin_identifiers');
SELECT 'drop' FROM pg_drop_replication_slot('plugin_identifiers');
DROP TABLE longest;
SET client_min_messages = warning;
DROP SCHEMA "Sch""ema é" CASCADE;
