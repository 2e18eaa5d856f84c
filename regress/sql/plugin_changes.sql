-- Updates, deletes, replica identities, TOAST.
\set VERBOSITY terse
-- What a slot has to say, the envelope checked and cut down to: number in its transaction, type, rest.
CREATE FUNCTION pg_temp.events(slot name, VARIADIC options text[] DEFAULT '{}') RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT regexp_replace(data, '^\{"specversion":"1\.0","id":"[0-9A-F]+/[0-9A-F]+\.(\d+)","source":"/test","type":"([^"]+)","time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",?(.*)\}$', '\1 \2 \3')
    FROM pg_logical_slot_get_changes(slot, NULL, NULL, VARIADIC options || '{source,/test}')
$$;
\pset format unaligned
\pset tuples_only on
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_changes', 'pg_cqrs');
CREATE TABLE plugin_items (id int, part text, name text, big text, PRIMARY KEY (id, part));
ALTER TABLE plugin_items ALTER big SET STORAGE EXTERNAL, ALTER name SET STORAGE EXTERNAL;
SELECT cqrs.publish('plugin_items', 'item');

-- default identity: the primary key
INSERT INTO plugin_items VALUES (1, 'a', 'one', NULL), (2, 'b', NULL, repeat('x', 5000));
UPDATE plugin_items SET name = 'uno' WHERE id = 1;
UPDATE plugin_items SET name = 'due' WHERE id = 2;
UPDATE plugin_items SET part = 'c"' WHERE id = 2;
UPDATE plugin_items SET big = repeat('y', 3000) WHERE id = 2;
UPDATE plugin_items SET big = NULL WHERE id = 2;
DELETE FROM plugin_items WHERE id = 2;
SELECT regexp_replace(e, '(x|y){100,}', '<\1>') FROM pg_temp.events('plugin_changes') e;

-- compressed in line, compressed in TOAST, two TOASTed columns of which one changes
CREATE TABLE plugin_toast (id int PRIMARY KEY, n int, c text, a text, b text);
ALTER TABLE plugin_toast ALTER a SET STORAGE EXTERNAL;
SELECT cqrs.publish('plugin_toast', 'toast');
INSERT INTO plugin_toast VALUES (1, 1, repeat('c', 3000), repeat('a', 4000), repeat('compressed ', 50000));
UPDATE plugin_toast SET n = 2;
UPDATE plugin_toast SET a = repeat('A', 4000);
UPDATE plugin_toast SET id = 2;
SELECT replace(regexp_replace(e, '([acA])\1{100,}', '<\1>', 'g'), repeat('compressed ', 50000), '<compressed>') FROM pg_temp.events('plugin_changes') e;

-- full: deletes carry the whole row, unchanged TOAST is known from the old row, the key is still the primary key
ALTER TABLE plugin_toast REPLICA IDENTITY FULL;
UPDATE plugin_toast SET n = 3;
UPDATE plugin_toast SET id = 3;
DELETE FROM plugin_toast;
SELECT replace(regexp_replace(e, '([acA])\1{100,}', '<\1>', 'g'), repeat('compressed ', 50000), '<compressed>') FROM pg_temp.events('plugin_changes') e;

-- index: another key
CREATE TABLE plugin_index (id int PRIMARY KEY, code text NOT NULL, v int);
CREATE UNIQUE INDEX plugin_index_code ON plugin_index (code);
ALTER TABLE plugin_index REPLICA IDENTITY USING INDEX plugin_index_code;
SELECT cqrs.publish('plugin_index', 'index');
INSERT INTO plugin_index VALUES (1, 'a', 1);
UPDATE plugin_index SET v = 2;
UPDATE plugin_index SET id = 2;
UPDATE plugin_index SET code = 'b';
DELETE FROM plugin_index;
SELECT pg_temp.events('plugin_changes');

-- a key in TOAST that does not change is still there
CREATE TABLE plugin_bigkey (k text PRIMARY KEY, v int);
ALTER TABLE plugin_bigkey ALTER k SET STORAGE EXTERNAL;
SELECT cqrs.publish('plugin_bigkey', 'bigkey');
INSERT INTO plugin_bigkey VALUES (repeat('k', 2500), 1);
UPDATE plugin_bigkey SET v = 2;
UPDATE plugin_bigkey SET k = repeat('q', 2500);
DELETE FROM plugin_bigkey;
SELECT regexp_replace(e, '([kq])\1{100,}', '<\1>', 'g') FROM pg_temp.events('plugin_changes') e;

-- ON CONFLICT, COPY, CTEs, a writable view of savepoints: whatever writes rows
BEGIN;
INSERT INTO plugin_index VALUES (1, 'a', 1);
INSERT INTO plugin_index VALUES (1, 'a', 1) ON CONFLICT (id) DO UPDATE SET v = 10;
INSERT INTO plugin_index VALUES (1, 'a', 1) ON CONFLICT DO NOTHING;
WITH moved AS (DELETE FROM plugin_index RETURNING *) INSERT INTO plugin_index SELECT id + 1, code || '!', v FROM moved;
COMMIT;
COPY plugin_index FROM stdin;
7	g	7
8	h	8
\.
SELECT pg_temp.events('plugin_changes');

-- an identity that is lost behind our back (the event triggers refuse it otherwise): a stop, once a transaction
ALTER EVENT TRIGGER cqrs_ddl_end DISABLE;
ALTER TABLE plugin_items REPLICA IDENTITY NOTHING;
INSERT INTO plugin_items VALUES (5, 'e', 'five', NULL), (6, 'e', 'five', NULL);
DELETE FROM plugin_items WHERE id >= 5;
UPDATE plugin_items SET name = 'x';
SELECT pg_temp.events('plugin_changes');
ALTER TABLE plugin_items REPLICA IDENTITY DEFAULT;
ALTER EVENT TRIGGER cqrs_ddl_end ENABLE ALWAYS;
DELETE FROM plugin_items;
SELECT pg_temp.events('plugin_changes');

SELECT 'drop' FROM pg_drop_replication_slot('plugin_changes');
DROP TABLE plugin_items, plugin_toast, plugin_index, plugin_bigkey;
