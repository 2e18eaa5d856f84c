-- A replica in SQL: thousands of random changes, replayed from their events alone, end in the same rows.
\pset format unaligned
\pset tuples_only on
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_replay', 'pg_cqrs');
CREATE TABLE plugin_source (id int, part text, n numeric, doc jsonb, big text, PRIMARY KEY (id, part)) PARTITION BY HASH (id);
CREATE TABLE plugin_source0 PARTITION OF plugin_source FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE plugin_source1 (big text, doc jsonb, gone int, part text NOT NULL, n numeric, id int NOT NULL);
ALTER TABLE plugin_source1 DROP gone;
ALTER TABLE plugin_source ATTACH PARTITION plugin_source1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
ALTER TABLE plugin_source0 ALTER big SET STORAGE EXTERNAL;
ALTER TABLE plugin_source1 REPLICA IDENTITY FULL;
CREATE TABLE plugin_replica (LIKE plugin_source INCLUDING INDEXES);
SELECT cqrs.publish('plugin_source', 'source');
SELECT setseed(0.5);
DO $$
DECLARE
    key int; other int;
BEGIN
    FOR i IN 1 .. 3000 LOOP
        key := random() * 60; other := random() * 60;
        BEGIN
            CASE (random() * 10)::int
                WHEN 0, 1, 2, 3 THEN INSERT INTO plugin_source VALUES (key, 'a' || other % 3, random()::numeric(9, 4), jsonb_build_object('i', i, 't', E'"\\\n'),
                                                                       CASE WHEN i % 3 = 0 THEN repeat(md5(i::text), 100) END);
                WHEN 4, 5 THEN UPDATE plugin_source SET n = i WHERE id = key;
                WHEN 6 THEN UPDATE plugin_source SET big = repeat(md5(i::text), 80) WHERE id = key;
                WHEN 7 THEN UPDATE plugin_source SET id = other, n = NULL WHERE id = key;
                WHEN 8 THEN UPDATE plugin_source SET part = part || 'x' WHERE id BETWEEN key AND other AND length(part) < 6;
                WHEN 9 THEN DELETE FROM plugin_source WHERE id = key;
                ELSE UPDATE plugin_source SET doc = doc || '{"more": [null, "ü"]}' WHERE id < key;
            END CASE;
            -- every fifth is rolled back to its savepoint
            IF random() < 0.2 THEN RAISE division_by_zero; END IF;
        EXCEPTION WHEN division_by_zero OR unique_violation THEN NULL;
        END;
        IF i = 1500 THEN TRUNCATE plugin_source; END IF;
        IF random() < 0.3 THEN COMMIT; ELSIF random() < 0.05 THEN ROLLBACK; END IF;
    END LOOP;
END $$;
DO $$
DECLARE
    event jsonb; key jsonb; touched int; created int := 0; updated int := 0; moved int := 0; deleted int := 0; truncated int := 0; left_out int := 0;
BEGIN
    FOR event IN SELECT data::jsonb FROM pg_logical_slot_get_changes('plugin_replay', NULL, NULL) LOOP
        key := coalesce((event->>'oldkey')::jsonb, event->'data');
        CASE event->>'type'
            WHEN 'source.create' THEN
                INSERT INTO plugin_replica SELECT * FROM jsonb_populate_record(NULL::plugin_replica, event->'data');
                created := created + 1;
            WHEN 'source.update' THEN
                -- what is left out stays as it is
                UPDATE plugin_replica r SET (id, part, n, doc, big) = (SELECT * FROM jsonb_populate_record(r, event->'data'))
                WHERE id = (key->>'id')::int AND part = key->>'part';
                GET DIAGNOSTICS touched = ROW_COUNT;
                ASSERT touched = 1, event;
                updated := updated + 1;
                moved := moved + (event ? 'oldkey')::int;
                left_out := left_out + (NOT event->'data' ? 'big')::int;
            WHEN 'source.delete' THEN
                DELETE FROM plugin_replica WHERE id = (key->>'id')::int AND part = key->>'part';
                GET DIAGNOSTICS touched = ROW_COUNT;
                ASSERT touched = 1, event;
                deleted := deleted + 1;
            WHEN 'source.truncate' THEN
                DELETE FROM plugin_replica;
                truncated := truncated + 1;
        END CASE;
    END LOOP;
    ASSERT created > 300 AND updated > 300 AND moved > 20 AND deleted > 50 AND truncated = 1 AND left_out > 20,
        format('%s %s %s %s %s %s', created, updated, moved, deleted, truncated, left_out);
END $$;
SELECT count(*) > 30 FROM plugin_source;
SELECT 'differs', * FROM (TABLE plugin_source EXCEPT TABLE plugin_replica) a;
SELECT 'differs', * FROM (TABLE plugin_replica EXCEPT TABLE plugin_source) b;
SELECT pg_drop_replication_slot('plugin_replay');
DROP TABLE plugin_source, plugin_replica;
