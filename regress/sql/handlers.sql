-- cqrs.on(), off() and what the applier does with them: call_handler().
CREATE SCHEMA handlers;
SET search_path = handlers, public;
CREATE FUNCTION refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ' ' || regexp_replace(message, 'OID \d+', 'OID n') || E'\n' || detail || E'\n' || hint;
END $$;
\pset format unaligned
\pset tuples_only on
\set VERBOSITY terse

CREATE TABLE seen (n int GENERATED ALWAYS AS IDENTITY, what text);
CREATE FUNCTION one(event jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF event->'data' ? 'bad' THEN INSERT INTO seen VALUES (DEFAULT, 1 / 0); END IF;
    INSERT INTO seen (what) VALUES (format('one %s %s', event->>'type', event->'data'));
END $$;
CREATE FUNCTION many(events jsonb[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO seen (what) SELECT format('many %s', string_agg(e->>'id', ' ' ORDER BY n)) FROM unnest(events) WITH ORDINALITY u(e, n)
$$;
CREATE FUNCTION other(jsonb) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION returns_int(jsonb) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION takes_json(json) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION takes_two(jsonb, jsonb) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION returns_set(jsonb) RETURNS SETOF void LANGUAGE sql AS '';
CREATE PROCEDURE a_procedure(jsonb) LANGUAGE sql AS '';

SELECT refusal(format('SELECT cqrs.on(%L, %L)', 'order.#', f))
  FROM unnest(ARRAY['returns_int(jsonb)', 'takes_json(json)', 'takes_two(jsonb,jsonb)', 'returns_set(jsonb)',
                    'a_procedure(jsonb)', 'nothing(jsonb)', '1']) f;
SELECT pattern, split_part(refusal(format('SELECT cqrs.on(%L, %L)', pattern, 'one(jsonb)')), E'\n', 1)
  FROM unnest(ARRAY['', '.', '#', '*.create', 'order.', '.order', 'order..create', 'order.cre#te', 'order.**', 'ordér.x',
                    'cqrs.x', 'heartbeat.#', '1.x', 'order x', 'o.' || repeat('x', 99)]) pattern;
SELECT refusal($$SELECT cqrs.on(NULL, 'one(jsonb)')$$);
SELECT refusal($$SELECT cqrs.on('order.#', NULL)$$);
SELECT refusal($$SELECT cqrs.on('order.#', 'one(jsonb)', NULL)$$);
SELECT refusal($$SELECT cqrs.on('order.create', 'one(jsonb)', backfill => true)$$);
SELECT refusal($$SELECT cqrs.off('order.#', 'one(jsonb)')$$);

-- Once is enough; again changes backfill.
SELECT cqrs.on('order', 'one(jsonb)');
SELECT cqrs.on('order.#', 'one(jsonb)');
SELECT cqrs.on('order.#', 'one(jsonb)');
SELECT cqrs.on('order.*.create', 'many(jsonb[])');
SELECT cqrs.on('order_2.#', 'many(jsonb[])', backfill => true);
SELECT cqrs.off('order', 'one(jsonb)');
\pset format aligned
\pset tuples_only off
SELECT pattern, handler, topic, backfill, search_path, by_extension FROM cqrs.handler ORDER BY registered_at;
SELECT pattern, handler, state, error FROM cqrs.handler_status ORDER BY 1, 2;
-- Live, pending, stopped; what stopped begins anew when it is registered again.
INSERT INTO cqrs.position (topic, source, epoch, sequence, lsn) VALUES ('order', '/x', 1, 5, '0/10');
INSERT INTO cqrs.handler_state (pattern, handler, state, error)
VALUES ('order.#', 'handlers.one(pg_catalog.jsonb)', 'live', NULL), ('order.*.create', 'handlers.many(pg_catalog.jsonb[])', 'stopped', 'events 6 to 9 are missing');
SELECT pattern, handler, state, sequence, error FROM cqrs.handler_status ORDER BY 1, 2;
SELECT cqrs.on('order.*.create', 'many(jsonb[])');
SELECT cqrs.on('order.#', 'one(jsonb)', backfill => true);
SELECT pattern, state FROM cqrs.handler_status WHERE topic = 'order' ORDER BY 1, 2;
SELECT count(*) FROM cqrs.handler_state;
DELETE FROM cqrs.position;
-- The error may quote an event: not for everybody.
CREATE ROLE regress_reader;
GRANT USAGE ON SCHEMA handlers TO regress_reader;
SET ROLE regress_reader;
SELECT pattern, error FROM cqrs.handler_status WHERE topic = 'order' ORDER BY 1;
\pset format unaligned
\pset tuples_only on
SELECT refusal($$SELECT cqrs.on('order.#', 'handlers.one(jsonb)')$$);
SELECT refusal($$SELECT cqrs.call_handler('handlers.one(jsonb)', '[]')$$);
RESET ROLE;

-- The call: in order, one by one or all.
SELECT cqrs.call_handler('one(jsonb)', '[{"id": "1.1", "type": "order.create", "data": {"a": 1}}, {"id": "1.2", "type": "order.delete"}]');
SELECT cqrs.call_handler('many(jsonb[])', '[{"id": "1.1"}, {"id": "1.2"}, {"id": "1.3"}]');
SELECT cqrs.call_handler('many(jsonb[])', '[]');
SELECT what FROM seen ORDER BY n;
SELECT refusal($$SELECT cqrs.call_handler('other(jsonb)', '[{}]')$$);
SELECT refusal($$SELECT cqrs.call_handler('one(jsonb)', '{}')$$);
-- An error names handler, event and statement.
\set VERBOSITY default
SELECT cqrs.call_handler('one(jsonb)', '[{"id": "0/A.1", "type": "order.create"}, {"id": "0/A.2", "type": "order.create", "data": {"bad": 1}}]');
\set VERBOSITY terse

-- As its owner, in the search_path of cqrs.on(), with ordinary settings; what it sets ends with it.
GRANT CREATE ON SCHEMA handlers TO regress_reader;
GRANT EXECUTE ON FUNCTION cqrs.on, cqrs.off TO regress_reader;
GRANT INSERT ON seen TO regress_reader;
SET ROLE regress_reader;
CREATE FUNCTION who(jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen (what) VALUES (concat_ws(', ', current_user, session_user = current_user, current_setting('search_path'),
        current_setting('session_replication_role'), current_setting('row_security'), current_setting('enable_hashjoin')));
    SET work_mem = '1MB';
    SET search_path = nowhere;
END $$;
SELECT cqrs.on('order.#', 'who(jsonb)');
CREATE FUNCTION takes_over(jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET ROLE NONE; END $$;
SELECT cqrs.on('order.#', 'takes_over(jsonb)');
RESET ROLE;
SET session_replication_role = replica;
SET row_security = off;
SET enable_hashjoin = off;
SET search_path = public;
SELECT cqrs.call_handler('handlers.who(jsonb)', '[{}]');
SELECT handlers.refusal($$SELECT cqrs.call_handler('handlers.takes_over(jsonb)', '[{}]')$$);
SELECT current_setting('work_mem') <> '1MB', current_setting('search_path'), current_setting('session_replication_role'), current_user = session_user;
RESET session_replication_role;
RESET row_security;
RESET enable_hashjoin;
SET search_path = handlers, public;
SELECT what FROM seen ORDER BY n DESC LIMIT 1;

-- A handler cannot be dropped by name, nor get another; with its schema it is forgotten.
SELECT refusal(format('ALTER %s', what))
  FROM unnest(ARRAY['FUNCTION one(jsonb) RENAME TO uno', 'ROUTINE one(jsonb) SET SCHEMA public', 'SCHEMA handlers RENAME TO elsewhere',
                    'FUNCTION returns_int(jsonb) RENAME TO int']) what;
SELECT refusal('DROP FUNCTION one(jsonb)');
SELECT refusal('DROP FUNCTION other(jsonb)');
SELECT cqrs.off('order.#', 'who(jsonb)'), cqrs.off('order.#', 'takes_over(jsonb)');
DROP FUNCTION who(jsonb);
DROP OWNED BY regress_reader;
DROP ROLE regress_reader;
SET client_min_messages = error;
DROP SCHEMA handlers CASCADE;
SELECT count(*) FROM cqrs.handler;
SELECT count(*) FROM cqrs.handler_state;
RESET client_min_messages;
RESET search_path;

-- The worked example: one batch or many, the same counts and the same since.
\pset format aligned
\pset tuples_only off
SELECT cqrs.on('parking.*', 'parking_occupancy_handler(jsonb[])', backfill => true);
CREATE FUNCTION pg_temp.event(n int, type text, uuid int, status text, old int DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object('id', '0/A.' || n, 'type', 'parking.' || type,
        'time', format('2026-01-01T00:00:%s.000000Z', lpad(n::text, 2, '0')),
        'oldkey', '{"uuid": "' || lpad(old::text, 32, '0') || '"}',
        'data', CASE WHEN type <> 'truncate' THEN jsonb_build_object('uuid', lpad(uuid::text, 32, '0'), 'status', status) END))
$$;
CREATE TEMP TABLE story AS SELECT n, pg_temp.event(n, type, uuid, status, old) AS event FROM (VALUES
    (1, 'create', 1, 'available', NULL), (2, 'create', 2, 'available', NULL), (3, 'create', 3, 'blocked', NULL),
    (4, 'update', 1, 'reserved', NULL), (5, 'update', 2, 'available', NULL), (6, 'update', 1, 'available', NULL),
    (7, 'delete', 3, NULL, NULL), (8, 'delete', 9, NULL, NULL), (9, 'update', 4, 'reserved', 2),
    (10, 'opened', 1, 'x', NULL), (11, 'create', 5, 'blocked', NULL)) s(n, type, uuid, status, old);
SELECT cqrs.call_handler('parking_occupancy_handler(jsonb[])', jsonb_agg(event ORDER BY n)) FROM story;
SELECT * FROM parking_occupancy();
CREATE TEMP TABLE whole AS SELECT * FROM parking_occupancy;
DELETE FROM parking_occupancy; DELETE FROM parking_occupancy_slots;
SELECT count(cqrs.call_handler('parking_occupancy_handler(jsonb[])', jsonb_build_array(event))::text) FROM (SELECT * FROM story ORDER BY n) s;
TABLE whole EXCEPT TABLE parking_occupancy;
TABLE parking_occupancy EXCEPT TABLE whole;
SELECT uuid, status FROM parking_occupancy_slots ORDER BY uuid;
-- TRUNCATE forgets what was there, and what came before it in the batch.
SELECT cqrs.call_handler('parking_occupancy_handler(jsonb[])', jsonb_build_array(pg_temp.event(20, 'create', 7, 'available'),
    pg_temp.event(21, 'truncate', NULL, NULL), pg_temp.event(22, 'create', 8, 'reserved')));
SELECT * FROM parking_occupancy();
SELECT uuid, status FROM parking_occupancy_slots ORDER BY uuid;
DELETE FROM parking_occupancy; DELETE FROM parking_occupancy_slots;
SELECT cqrs.off('parking.*', 'parking_occupancy_handler(jsonb[])');
