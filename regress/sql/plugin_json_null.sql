-- A json value null is not SQL NULL: the event says which columns hold it.
\set VERBOSITY terse
-- What a slot has to say, the envelope checked and cut down to: number in its transaction, type, rest.
CREATE FUNCTION pg_temp.events(slot name, VARIADIC options text[] DEFAULT '{}') RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT regexp_replace(data, '^\{"specversion":"1\.0","id":"[0-9A-F]+/[0-9A-F]+\.(\d+)","source":"/test","type":"([^"]+)","time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",?(.*)\}$', '\1 \2 \3')
    FROM pg_logical_slot_get_changes(slot, NULL, NULL, VARIADIC options || '{source,/test}')
$$;
\pset format unaligned
\pset tuples_only on
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_json_null', 'pg_cqrs');
CREATE TABLE plugin_docs (id int PRIMARY KEY, "d""1" jsonb, d2 json, d3 jsonb[]);
SELECT cqrs.publish('plugin_docs', 'doc');

-- SQL NULL, JSON null, both at once, a string that says null, a null inside
INSERT INTO plugin_docs VALUES (1, NULL, NULL, NULL), (2, 'null', E' null\n', '{null,NULL}'), (3, 'null', NULL, NULL),
    (4, '"null"', '"null"', NULL), (5, '{"a": null}', '[null]', NULL);
UPDATE plugin_docs SET d2 = 'null' WHERE id = 1;
ALTER TABLE plugin_docs REPLICA IDENTITY FULL;
UPDATE plugin_docs SET id = 6 WHERE id = 2;
DELETE FROM plugin_docs WHERE id = 3;
SELECT e FROM pg_temp.events('plugin_json_null') e;
SELECT 'drop' FROM pg_drop_replication_slot('plugin_json_null');
DROP TABLE plugin_docs;
