-- Generated, dropped, added and renamed columns; changed types.
\set VERBOSITY terse
-- What a slot has to say, the envelope checked and cut down to: number in its transaction, type, rest.
CREATE FUNCTION pg_temp.events(slot name, VARIADIC options text[] DEFAULT '{}') RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT regexp_replace(data, '^\{"specversion":"1\.0","id":"[0-9A-F]+/[0-9A-F]+\.(\d+)","source":"/test","type":"([^"]+)","time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",?(.*)\}$', '\1 \2 \3')
    FROM pg_logical_slot_get_changes(slot, NULL, NULL, VARIADIC options || '{source,/test}')
$$;
\pset format unaligned
\pset tuples_only on
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_columns', 'pg_cqrs');
CREATE TABLE plugin_columns (gone int, id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a + 1) STORED, i int GENERATED ALWAYS AS IDENTITY, gone2 text, z text DEFAULT 'z');
ALTER TABLE plugin_columns DROP gone, DROP gone2;
SELECT cqrs.publish('plugin_columns', 'columns');
INSERT INTO plugin_columns (id, a) VALUES (1, 1);
-- without a rewrite: the value of old rows stands in the catalog
ALTER TABLE plugin_columns ADD added int DEFAULT 5;
UPDATE plugin_columns SET a = 2;
INSERT INTO plugin_columns (id, a, added) VALUES (2, NULL, NULL);
ALTER TABLE plugin_columns RENAME a TO renamed;
UPDATE plugin_columns SET renamed = 3 WHERE id = 1;
-- in the middle of a transaction, and with a savepoint that is rolled back
BEGIN;
INSERT INTO plugin_columns (id) VALUES (3);
SAVEPOINT s;
ALTER TABLE plugin_columns ADD never int DEFAULT 1;
INSERT INTO plugin_columns (id) VALUES (4);
ROLLBACK TO s;
ALTER TABLE plugin_columns DROP z;
INSERT INTO plugin_columns (id) VALUES (5);
ALTER TABLE plugin_columns ALTER added TYPE text USING 'text ' || added;
INSERT INTO plugin_columns (id, added) VALUES (6, 'now text');
COMMIT;
SELECT pg_temp.events('plugin_columns');
-- another table, a new name, a new schema: published by OID, not by name
ALTER TABLE plugin_columns RENAME TO plugin_columns2;
CREATE TABLE plugin_columns (id int PRIMARY KEY);
INSERT INTO plugin_columns VALUES (1);
DELETE FROM plugin_columns2 WHERE id = 6;
SELECT pg_temp.events('plugin_columns');
-- an enum whose label changes
CREATE TYPE plugin_colour AS ENUM ('red');
CREATE TABLE plugin_enum (id int PRIMARY KEY, c plugin_colour);
SELECT cqrs.publish('plugin_enum', 'enum');
INSERT INTO plugin_enum VALUES (1, 'red');
ALTER TYPE plugin_colour RENAME VALUE 'red' TO 'rouge';
INSERT INTO plugin_enum VALUES (2, 'rouge');
ALTER TYPE plugin_colour ADD VALUE 'bleu';
INSERT INTO plugin_enum VALUES (3, 'bleu');
SELECT pg_temp.events('plugin_columns');
SELECT 'drop' FROM pg_drop_replication_slot('plugin_columns');
DROP TABLE plugin_columns, plugin_columns2, plugin_enum;
DROP TYPE plugin_colour;
