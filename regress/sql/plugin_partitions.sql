-- Rows of partitions are published by their root.
\set VERBOSITY terse
-- What a slot has to say, the envelope checked and cut down to: number in its transaction, type, rest.
CREATE FUNCTION pg_temp.events(slot name, VARIADIC options text[] DEFAULT '{}') RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT regexp_replace(data, '^\{"specversion":"1\.0","id":"[0-9A-F]+/[0-9A-F]+\.(\d+)","source":"/test","type":"([^"]+)","time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",?(.*)\}$', '\1 \2 \3')
    FROM pg_logical_slot_get_changes(slot, NULL, NULL, VARIADIC options || '{source,/test}')
$$;
\pset format unaligned
\pset tuples_only on
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_partitions', 'pg_cqrs');
CREATE TABLE plugin_root (id int, region text, "no""te" text, g int GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE plugin_eu PARTITION OF plugin_root FOR VALUES IN ('eu');
-- other column numbers than the root's, and sub-partitions
CREATE TABLE plugin_us ("no""te" text, gone int, region text NOT NULL, id int NOT NULL, g int GENERATED ALWAYS AS (id * 2) STORED) PARTITION BY RANGE (id);
ALTER TABLE plugin_us DROP gone;
CREATE TABLE plugin_us1 (g int GENERATED ALWAYS AS (id * 2) STORED, id int NOT NULL, x int, region text NOT NULL, "no""te" text);
ALTER TABLE plugin_us1 DROP x;
ALTER TABLE plugin_us ATTACH PARTITION plugin_us1 FOR VALUES FROM (0) TO (100);
ALTER TABLE plugin_root ATTACH PARTITION plugin_us FOR VALUES IN ('us');
SELECT cqrs.publish('plugin_root', 'root');
INSERT INTO plugin_root VALUES (1, 'eu', 'one'), (2, 'us', 'two');
INSERT INTO plugin_us1 (id, region, "no""te") VALUES (3, 'us', 'three');
UPDATE plugin_root SET id = id + 10;
-- into another partition
UPDATE plugin_root SET region = 'us' WHERE region = 'eu';
DELETE FROM plugin_root WHERE id = 12;
SELECT pg_temp.events('plugin_partitions');

-- partitions that come and go
CREATE TABLE plugin_asia PARTITION OF plugin_root FOR VALUES IN ('asia');
INSERT INTO plugin_root VALUES (4, 'asia', 'four');
ALTER TABLE plugin_root DETACH PARTITION plugin_asia;
INSERT INTO plugin_asia VALUES (5, 'asia', 'five');
ALTER TABLE plugin_root ATTACH PARTITION plugin_asia FOR VALUES IN ('asia');
INSERT INTO plugin_asia VALUES (6, 'asia', 'six');
SELECT pg_temp.events('plugin_partitions');

-- columns that come and go
ALTER TABLE plugin_root ADD late int DEFAULT 7;
UPDATE plugin_root SET "no""te" = 'late' WHERE id = 6;
ALTER TABLE plugin_root DROP "no""te";
UPDATE plugin_root SET late = 8 WHERE id = 6;
SELECT pg_temp.events('plugin_partitions');

-- published, unpublished: the leaves know
SELECT cqrs.unpublish('plugin_root');
INSERT INTO plugin_root (id, region) VALUES (7, 'us');
SELECT cqrs.publish('plugin_root', 'other');
INSERT INTO plugin_root (id, region) VALUES (8, 'us');
SELECT pg_temp.events('plugin_partitions');

-- a leaf's own identity
ALTER TABLE plugin_us1 REPLICA IDENTITY FULL;
UPDATE plugin_root SET late = 9 WHERE id = 8;
DELETE FROM plugin_root WHERE id = 8;
SELECT pg_temp.events('plugin_partitions');
SELECT 'drop' FROM pg_drop_replication_slot('plugin_partitions');
DROP TABLE plugin_root;
