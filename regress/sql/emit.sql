-- cqrs.emit() and cqrs.set_context(): what is refused. How events look is plugin's test.
CREATE FUNCTION pg_temp.refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ' ' || message || E'\n' || detail || E'\n' || hint;
END $$;
\pset format unaligned
\pset tuples_only on
SELECT 'ready' FROM pg_create_logical_replication_slot('regress_emit', 'test_decoding');

-- Types.
SELECT pg_temp.refusal($$SELECT cqrs.emit('parking', '{}')$$);
SELECT regexp_replace(pg_temp.refusal(format('SELECT cqrs.emit(%L, %L)', type, '{}')), E'\nUse two.*', '')
  FROM unnest(ARRAY['', 'a', 'a.', '.a', 'a..b', '1.a', 'a b.c', 'ä.b', 'cqrs.a', 'heartbeat.a', 'a.*', 'a.b#', repeat('a', 60) || '.bcd']) type;
SELECT pg_temp.refusal(format('SELECT cqrs.emit(%L, %L)', type, '{}'))
  FROM unnest(ARRAY['a.b', 'A.b.c-d_e', 'parking.reserved', 'parking.create.x', 'other.create', repeat('a', 59) || '.bcd']) type;
-- A row's event is not to be forged.
SELECT pg_temp.refusal(format('SELECT cqrs.emit(%L, %L)', 'parking.' || verb, '{}'))
  FROM unnest(ARRAY['create', 'update', 'delete', 'truncate', 'resync', 'stop']) verb;
SELECT pg_temp.refusal($$SELECT cqrs.emit(NULL, '{}')$$);
SELECT pg_temp.refusal($$SELECT cqrs.emit('a.b', NULL)$$);

-- Data: any JSON, to a limit.
SELECT pg_temp.refusal(format('SELECT cqrs.emit(%L, %L)', 'a.b', data))
  FROM unnest(ARRAY['null', '1', '"text"', '[]', '{"a": {"b": [1, "\u00e4"]}}']) data;
SELECT pg_temp.refusal(format('SELECT cqrs.emit(%L, %L)', 'a.b', repeat('[', 512) || repeat(']', 512)));
SELECT pg_temp.refusal(format('SELECT cqrs.emit(%L, %L)', 'a.b', repeat('[', 513) || repeat(']', 513)));
SELECT pg_temp.refusal($$SELECT cqrs.emit('a.b', to_jsonb(repeat('[{"', 400)))$$);
SELECT pg_temp.refusal($$SELECT cqrs.emit('a.b', to_jsonb(repeat('x', 14680062)))$$);
SELECT pg_temp.refusal($$SELECT cqrs.emit('a.b', to_jsonb(repeat('x', 14680063)))$$);

-- Context.
SELECT pg_temp.refusal($$SELECT cqrs.set_context()$$);
SELECT pg_temp.refusal($$SELECT cqrs.set_context('c', '', NULL)$$);
SELECT pg_temp.refusal($$SELECT cqrs.set_context(correlationid => repeat('ä', 127), causationid => 'evt 1', traceparent => '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01')$$);
SELECT pg_temp.refusal($$SELECT cqrs.set_context(correlationid => repeat('ä', 128))$$);
SELECT pg_temp.refusal($$SELECT cqrs.set_context(causationid => E'a\nb')$$);
SELECT regexp_replace(pg_temp.refusal(format('SELECT cqrs.set_context(traceparent => %L)', traceparent)), E'\n.*', '')
  FROM unnest(ARRAY['x', 'ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', '00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01',
                    '00-00000000000000000000000000000000-00f067aa0ba902b7-01', '00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01',
                    '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01']) traceparent;
SELECT pg_temp.refusal($$SELECT cqrs.set_context(traceparent => 'x')$$);

-- In the WAL: only what was committed, as `type NUL json` and `correlationid NUL causationid NUL traceparent`.
SELECT count(*) > 0 FROM pg_logical_slot_get_binary_changes('regress_emit', NULL, NULL);
BEGIN;
SELECT cqrs.set_context('c-1', traceparent => '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01');
SELECT cqrs.emit('a.first', '{"b": 1, "a": "x"}');
SAVEPOINT s;
SELECT cqrs.emit('a.lost', '{}');
ROLLBACK TO s;
SELECT cqrs.emit('a.second', '[1.50, null]');
COMMIT;
BEGIN;
SELECT cqrs.emit('a.lost', '{}');
ROLLBACK;
-- From Postgres 17 on test_decoding prints BEGIN and COMMIT round them.
SELECT encode(data, 'escape') FROM pg_logical_slot_get_binary_changes('regress_emit', NULL, NULL, 'include-xids', '0', 'skip-empty-xacts', '1') WHERE encode(data, 'escape') LIKE 'message:%';
SELECT pg_drop_replication_slot('regress_emit');
