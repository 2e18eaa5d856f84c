-- Frame mode, taken apart here by a decoder of its own.
\pset format unaligned
\pset tuples_only on
\set VERBOSITY terse
CREATE FUNCTION pg_temp.number(bytes bytea, at int, size int) RETURNS bigint LANGUAGE sql IMMUTABLE AS
    $$ SELECT sum(get_byte(bytes, at + i)::bigint << 8 * (size - 1 - i))::bigint FROM generate_series(0, size - 1) i $$;
CREATE FUNCTION pg_temp.lsn(bytes bytea, at int) RETURNS pg_lsn LANGUAGE sql IMMUTABLE AS
    $$ SELECT (upper(to_hex(pg_temp.number(bytes, at, 4))) || '/' || upper(to_hex(pg_temp.number(bytes, at + 4, 4))))::pg_lsn $$;
-- One row an event; a frame's own facts on each.
CREATE TYPE pg_temp.event AS (frame int, kind int, more bool, safe_lsn pg_lsn, time timestamptz, topic text, type text, notify bool, commit_lsn pg_lsn, commit_time timestamptz, json text);
CREATE FUNCTION pg_temp.decode(frame int, f bytea) RETURNS SETOF pg_temp.event LANGUAGE plpgsql AS $$
DECLARE
    e pg_temp.event; at int := 24; types text[] := '{}'; notifies bool[] := '{}'; commits int[] := '{}'; lsns pg_lsn[] := '{}'; times timestamptz[] := '{}';
    ntypes int; ncommits int; nevents int; lengths int[] := '{}'; kinds int[] := '{}'; body int; commit int := 1; left_of_commit int;
BEGIN
    ASSERT substring(f FOR 4) = 'CQF1'::bytea;
    e.frame := frame; e.kind := get_byte(f, 4); e.more := get_byte(f, 5) = 1; e.safe_lsn := pg_temp.lsn(f, 8);
    e.time := 'epoch'::timestamptz + pg_temp.number(f, 16, 8) * interval '1 microsecond';
    IF e.kind = 2 THEN
        ASSERT length(f) = 24;
        RETURN NEXT e; RETURN;
    END IF;
    ntypes := pg_temp.number(f, 24, 4); ncommits := pg_temp.number(f, 28, 4); nevents := pg_temp.number(f, 32, 4);
    body := pg_temp.number(f, 36, 4);
    at := 40 + pg_temp.number(f, 6, 2);
    e.topic := convert_from(substring(f FROM 41 FOR at - 40), 'UTF8');
    FOR i IN 1 .. ntypes LOOP
        notifies := notifies || (get_byte(f, at) = 1);
        types := types || convert_from(substring(f FROM at + 3 FOR get_byte(f, at + 1)), 'UTF8');
        at := at + 2 + get_byte(f, at + 1);
    END LOOP;
    FOR i IN 1 .. ncommits LOOP
        commits := commits || pg_temp.number(f, at, 4)::int; lsns := lsns || pg_temp.lsn(f, at + 4);
        times := times || 'epoch'::timestamptz + pg_temp.number(f, at + 12, 8) * interval '1 microsecond';
        at := at + 20;
    END LOOP;
    FOR i IN 1 .. nevents LOOP
        lengths := lengths || pg_temp.number(f, at, 4)::int; kinds := kinds || pg_temp.number(f, at + 4, 2)::int;
        at := at + 6;
    END LOOP;
    ASSERT length(f) = at + body;
    left_of_commit := commits[1];
    FOR i IN 1 .. nevents LOOP
        IF left_of_commit = 0 THEN commit := commit + 1; left_of_commit := commits[commit]; END IF;
        left_of_commit := left_of_commit - 1;
        e.type := types[kinds[i] + 1]; e.notify := notifies[kinds[i] + 1]; e.commit_lsn := lsns[commit]; e.commit_time := times[commit];
        e.json := convert_from(substring(f FROM at + 1 FOR lengths[i]), 'UTF8');
        at := at + lengths[i];
        IF i < nevents THEN ASSERT get_byte(f, at) = ascii(','); at := at + 1; END IF;
        -- the header says what the event says
        ASSERT e.json::jsonb->>'type' = e.type;
        ASSERT split_part(e.json::jsonb->>'id', '.', 1)::pg_lsn = e.commit_lsn;
        ASSERT (e.json::jsonb->>'time')::timestamptz = e.commit_time;
        ASSERT split_part(e.type, '.', 1) = e.topic;
        RETURN NEXT e;
    END LOOP;
    ASSERT left_of_commit = 0 AND commit = ncommits AND at = length(f);
END $$;
CREATE FUNCTION pg_temp.read(VARIADIC options text[]) RETURNS SETOF pg_temp.event LANGUAGE sql AS $$
    SELECT e.* FROM pg_logical_slot_get_binary_changes('plugin_frames', NULL, NULL, VARIADIC '{format,frame}' || options) WITH ORDINALITY AS f (lsn, xid, data, n),
        LATERAL pg_temp.decode(n::int, data) e
$$;
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_frames', 'pg_cqrs');
CREATE TABLE plugin_x (id int PRIMARY KEY, t text);
CREATE TABLE plugin_x2 (id int PRIMARY KEY);
CREATE TABLE plugin_y (id int PRIMARY KEY);
SELECT cqrs.publish('plugin_x', 'x', true), cqrs.publish('plugin_x2', 'x.two'), cqrs.publish('plugin_y', 'y');
-- two topics in one transaction: a frame each, only the last moves safe_lsn, ids count over both
BEGIN;
INSERT INTO plugin_x VALUES (1, 'ü'), (2, NULL);
INSERT INTO plugin_y VALUES (1);
INSERT INTO plugin_x2 VALUES (1);
DELETE FROM plugin_x WHERE id = 1;
COMMIT;
CREATE TEMP TABLE e AS SELECT * FROM pg_temp.read('source', '/test');
SELECT frame, more, safe_lsn = commit_lsn, topic, type, notify, split_part(json::json->>'id', '.', 2), json::json->'data' FROM e;
SELECT bool_and(time BETWEEN now() - interval '1 minute' AND clock_timestamp()) FROM e;
-- a large transaction: cut at batch_bytes, more but for the last
BEGIN; INSERT INTO plugin_x SELECT n, repeat('x', 100) FROM generate_series(11, 40) n; COMMIT;
TRUNCATE e;
INSERT INTO e SELECT * FROM pg_temp.read('source', '/test', 'batch_bytes', '2048');
SELECT frame, more, safe_lsn = commit_lsn, count(*), min(id), max(id), sum(length(json)) + count(*) - 1 BETWEEN 2048 AND 2400
FROM (SELECT *, (json::json->'data'->>'id')::int AS id FROM e) e GROUP BY 1, 2, 3 ORDER BY 1;
-- a commit is a flush here, several topics or not: the SQL functions stop where they like
DO $$ BEGIN FOR i IN 1 .. 5 LOOP INSERT INTO plugin_y VALUES (300 + i); INSERT INTO plugin_x VALUES (300 + i); COMMIT; END LOOP; END $$;
SELECT count(*) FROM (SELECT pg_logical_emit_message(false, 'noise', repeat('n', 1000)) FROM generate_series(1, 300)) noise;
SELECT frame, more, safe_lsn = commit_lsn, topic, count(*) FROM pg_temp.read('source', '/test') GROUP BY 1, 2, 3, 4 ORDER BY 1;
-- the relay's heartbeat says how far it has read; others' are nothing
INSERT INTO plugin_y VALUES (500);
SELECT pg_logical_emit_message(false, 'cqrs.heartbeat', 'token') AS beat \gset
SELECT 'sent' FROM pg_logical_emit_message(false, 'cqrs.heartbeat', 'forged');
TRUNCATE e;
INSERT INTO e SELECT * FROM pg_temp.read('source', '/test', 'heartbeat', 'token');
SELECT frame, kind, more, topic, type, safe_lsn = commit_lsn, safe_lsn >= :'beat', safe_lsn - :'beat' < 16 FROM e ORDER BY frame;
-- nothing to say, nothing written
CREATE TABLE plugin_other (id int);
INSERT INTO plugin_other VALUES (1);
SELECT count(*) FROM pg_temp.read('source', '/test', 'heartbeat', 'token');
-- more types than a frame holds
DO $$ BEGIN FOR i IN 1 .. 2500 LOOP PERFORM cqrs.emit('many.t' || i, '{}'); END LOOP; END $$;
SELECT count(DISTINCT frame), count(*), count(DISTINCT type) FROM pg_temp.read('source', '/test', 'batch_bytes', '16777216');
-- publishing a table with rows in it: replicas have to copy it
CREATE TABLE plugin_full AS SELECT 1 AS id;
ALTER TABLE plugin_full ADD PRIMARY KEY (id);
SELECT cqrs.publish('plugin_full', 'full');
INSERT INTO plugin_full VALUES (2);
SELECT type, json::json->'data' FROM pg_temp.read('source', '/test');
SELECT pg_drop_replication_slot('plugin_frames');
DROP TABLE plugin_x, plugin_x2, plugin_y, plugin_full, plugin_other;
