-- Logical messages: domain events and context, and what anybody may forge.
\set VERBOSITY terse
-- What a slot has to say, the envelope checked and cut down to: number in its transaction, type, rest.
CREATE FUNCTION pg_temp.events(slot name, VARIADIC options text[] DEFAULT '{}') RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT regexp_replace(data, '^\{"specversion":"1\.0","id":"[0-9A-F]+/[0-9A-F]+\.(\d+)","source":"/test","type":"([^"]+)","time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",?(.*)\}$', '\1 \2 \3')
    FROM pg_logical_slot_get_changes(slot, NULL, NULL, VARIADIC options || '{source,/test}')
$$;
\pset format unaligned
\pset tuples_only on
CREATE FUNCTION pg_temp.message(kind text, VARIADIC parts text[]) RETURNS void LANGUAGE sql AS $$
    SELECT pg_logical_emit_message(true, kind, string_agg(convert_to(part, 'UTF8'), '\x00'::bytea ORDER BY n)) FROM unnest(parts) WITH ORDINALITY AS p (part, n)
$$;
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_messages', 'pg_cqrs');
CREATE TABLE plugin_m (id int PRIMARY KEY);
SELECT cqrs.publish('plugin_m', 'm.x');
-- in order with rows, one count for all
BEGIN;
SELECT cqrs.emit('m.reserved', '{"a": [1, "zwei\n", null]}');
INSERT INTO plugin_m VALUES (1);
SELECT cqrs.emit('other.thing.happened', '"text"');
SAVEPOINT s; SELECT cqrs.emit('never.happened', '{}'); ROLLBACK TO s;
COMMIT;
BEGIN; SELECT cqrs.emit('never.happened', '{}'); ROLLBACK;
SELECT cqrs.emit('m.x.y', '17');
SELECT pg_temp.events('plugin_messages');
-- context: from where it is set to the end of the transaction
BEGIN;
INSERT INTO plugin_m VALUES (2);
SELECT cqrs.set_context('order "17"', 'ürsache', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01');
INSERT INTO plugin_m VALUES (3);
SELECT cqrs.set_context(causationid => 'another');
UPDATE plugin_m SET id = 4 WHERE id = 3;
SELECT cqrs.set_context();
DELETE FROM plugin_m;
SAVEPOINT s; SELECT cqrs.set_context('never'); ROLLBACK TO s;
INSERT INTO plugin_m VALUES (5);
COMMIT;
INSERT INTO plugin_m VALUES (6);
SELECT pg_temp.events('plugin_messages');
-- across savepoints too, where the end of a message in WAL is the beginning of a row
BEGIN;
SELECT cqrs.set_context('c20'); SAVEPOINT s; INSERT INTO plugin_m VALUES (20); RELEASE s;
SAVEPOINT s; SELECT cqrs.set_context('c21'); RELEASE s; INSERT INTO plugin_m VALUES (21);
SAVEPOINT s; SELECT cqrs.set_context('c22'); RELEASE s; SAVEPOINT s; INSERT INTO plugin_m VALUES (22); RELEASE s;
SAVEPOINT s; SELECT cqrs.emit('m.said', '23'); RELEASE s; INSERT INTO plugin_m VALUES (23);
SELECT cqrs.emit('m.said', '24'); SAVEPOINT s; INSERT INTO plugin_m VALUES (24); RELEASE s;
SAVEPOINT s; SELECT cqrs.set_context('c25'); RELEASE s; DELETE FROM plugin_m WHERE id = 20;
COMMIT;
SELECT pg_temp.events('plugin_messages');
-- words that look like a table's are free where no table has them
SELECT pg_temp.message('cqrs.event', 'm.y.create', '{}'), pg_temp.message('cqrs.event', 'm.create', '{}');
SELECT pg_temp.events('plugin_messages');
-- forged, each ignored with a warning
SELECT pg_temp.message('cqrs.event', 'm.x.create', '{"id": 1}');
SELECT pg_temp.message('cqrs.event', 'm.x.create', '{"id": 2}');
SELECT pg_temp.message('cqrs.event', 'm.x.stop', '{}');
SELECT pg_temp.message('cqrs.event', 'm.x.resync', '{}');
SELECT pg_temp.message('cqrs.event', 'cqrs.event', '{}');
SELECT pg_temp.message('cqrs.event', 'a.broken', '{"a":');
SELECT pg_temp.message('cqrs.event', 'a.two', '{} {}');
SELECT pg_temp.message('cqrs.event', 'a.empty', '');
SELECT pg_temp.message('cqrs.event', 'a.nothing');
SELECT pg_temp.message('cqrs.event', 'a.control', E'"a\nb"');
SELECT pg_temp.message('cqrs.event', 'a.deep', repeat('[', 513) || repeat(']', 513));
SELECT pg_temp.message('cqrs.event', 'a.bomb', repeat('[', 1000000));
SELECT pg_temp.message('cqrs.event', 'a.fine', repeat('[', 512) || repeat(']', 512));
SELECT 1 FROM pg_logical_emit_message(true, 'cqrs.event', convert_to('a.bytes', 'UTF8') || '\x0022ff22');
SELECT 1 FROM pg_logical_emit_message(true, 'cqrs.event', convert_to('a.nul', 'UTF8') || '\x0022610022');
SELECT pg_temp.message('cqrs.resync', 'nobody', 'because');
SELECT pg_temp.message('cqrs.nonsense', 'x');
SELECT pg_temp.message('somebody else', 'x');
SELECT left(e, 30), length(e) FROM pg_temp.events('plugin_messages') e;
BEGIN;
SELECT pg_temp.message('cqrs.context', E'a\nb', '', '');
INSERT INTO plugin_m VALUES (10);
SELECT pg_temp.message('cqrs.context', 'a', 'b', 'not a traceparent');
SELECT pg_temp.message('cqrs.context', 'a', 'b', '', 'd');
SELECT pg_temp.message('cqrs.context', repeat('a', 256));
SELECT 1 FROM pg_logical_emit_message(true, 'cqrs.context', '\xff'::bytea);
INSERT INTO plugin_m VALUES (11);
SELECT pg_temp.message('cqrs.context', 'only the first');
INSERT INTO plugin_m VALUES (12);
COMMIT;
SELECT pg_temp.events('plugin_messages');
-- not transactional: not committed by anything, so no events; a heartbeat without its token is nothing
SELECT 1 FROM pg_logical_emit_message(false, 'cqrs.event', convert_to('a.b', 'UTF8') || '\x007b7d');
SELECT 1 FROM pg_logical_emit_message(false, 'cqrs.heartbeat', 'forged');
SELECT 1 FROM pg_logical_emit_message(false, 'cqrs.resync', convert_to('m.x', 'UTF8') || '\x0061');
SELECT pg_temp.events('plugin_messages', 'heartbeat', 'token');
-- too large to send: a stop of the topic, for it was committed
SELECT cqrs.emit('big.thing', to_jsonb(repeat('x', 3000)));
SELECT cqrs.emit('big.other', to_jsonb(repeat('x', 1000)));
SELECT pg_temp.events('plugin_messages', 'max_event_bytes', '1024');
SELECT pg_drop_replication_slot('plugin_messages');
DROP TABLE plugin_m;
