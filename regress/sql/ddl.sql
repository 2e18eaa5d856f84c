-- What DDL does to published and subscribed tables: resync markers, refusals, clean-up.
CREATE SCHEMA ddl;
SET search_path = ddl, public;
SET client_min_messages = warning;
SELECT 'ready' FROM pg_create_logical_replication_slot('regress_ddl', 'test_decoding');
-- The markers since the last call.
CREATE FUNCTION markers() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT regexp_replace(encode(data, 'escape'), '^.* content:', '')
      FROM pg_logical_slot_get_binary_changes('regress_ddl', NULL, NULL, 'include-xids', '0')
     WHERE encode(data, 'escape') LIKE 'message: transactional: 1 prefix: cqrs.resync%'
$$;
\pset format unaligned
\pset tuples_only on

-- publish(): only if the table has rows at the end of the transaction.
CREATE TABLE t (id int PRIMARY KEY, v text);
SELECT cqrs.publish('t', 't');
SELECT markers();
SELECT cqrs.unpublish('t');
INSERT INTO t VALUES (1, 'one');
SELECT cqrs.publish('t', 't');
SELECT markers();
SELECT cqrs.publish('t', 't', notify => true);
SELECT markers();
BEGIN;
CREATE TABLE late (id int PRIMARY KEY);
SELECT cqrs.publish('late', 'late');
INSERT INTO late VALUES (1);
COMMIT;
SELECT markers();
BEGIN;
SELECT cqrs.unpublish('late'), cqrs.publish('late', 'later');
PREPARE TRANSACTION 'regress_ddl';
COMMIT PREPARED 'regress_ddl';
SELECT markers();
BEGIN;
SELECT cqrs.unpublish('late');
SELECT cqrs.publish('late', 'latest');
ROLLBACK;
SELECT markers();
DROP TABLE late;

-- Rewrites, and columns that old rows have a value for.
ALTER TABLE t ADD COLUMN plain int;
ALTER TABLE t ALTER COLUMN v TYPE varchar;
ALTER TABLE t SET (fillfactor = 90);
VACUUM FULL t;
SELECT markers();
ALTER TABLE t ADD COLUMN constant int DEFAULT 1;
SELECT markers();
ALTER TABLE t ADD COLUMN volatile float DEFAULT random();
SELECT markers();
ALTER TABLE t ALTER COLUMN plain TYPE bigint, ALTER COLUMN constant TYPE bigint;
SELECT markers();
ALTER TABLE t ADD COLUMN generated int GENERATED ALWAYS AS (id + 1) STORED;
SELECT markers();
BEGIN;
ALTER TABLE t ALTER COLUMN plain TYPE int;
ROLLBACK;
SELECT markers();
-- Also in a session that writes as a replica.
SET session_replication_role = replica;
ALTER TABLE t ALTER COLUMN plain TYPE int;
RESET session_replication_role;
SELECT markers();
CREATE TABLE unpublished (id int PRIMARY KEY);
INSERT INTO unpublished VALUES (1);
ALTER TABLE unpublished ALTER COLUMN id TYPE bigint;
SELECT markers();

-- What would end the events.
\set VERBOSITY default
ALTER TABLE t SET UNLOGGED;
ALTER TABLE t REPLICA IDENTITY NOTHING;
ALTER TABLE t DROP CONSTRAINT t_pkey;
ALTER TABLE t DROP COLUMN id;
ALTER TABLE t DROP COLUMN id CASCADE;
ALTER TABLE t REPLICA IDENTITY FULL;
ALTER TABLE t DROP CONSTRAINT t_pkey;
ALTER TABLE t REPLICA IDENTITY DEFAULT;
-- With another key it may.
ALTER TABLE t DROP CONSTRAINT t_pkey, ADD CONSTRAINT t_other PRIMARY KEY (id);
CREATE UNIQUE INDEX t_index ON t (id);
ALTER TABLE t REPLICA IDENTITY USING INDEX t_index;
ALTER TABLE t DROP CONSTRAINT t_other;
DROP INDEX t_index;
DROP INDEX CONCURRENTLY t_index;
SELECT indisvalid, indisreplident FROM pg_index WHERE indexrelid = 't_index'::regclass;
ALTER TABLE t REPLICA IDENTITY DEFAULT;
ALTER TABLE t ADD CONSTRAINT t_pkey PRIMARY KEY (id);
ALTER TABLE t REPLICA IDENTITY DEFAULT;
DROP INDEX t_index;
CREATE DOMAIN key AS int;
CREATE TABLE by_domain (id key PRIMARY KEY);
SELECT cqrs.publish('by_domain', 'by_domain');
DROP DOMAIN key CASCADE;
-- Unpublished it may all of this.
SELECT cqrs.unpublish('t');
ALTER TABLE t DROP CONSTRAINT t_pkey;
ALTER TABLE t REPLICA IDENTITY NOTHING;
ALTER TABLE t SET UNLOGGED;
SELECT markers();

-- The schema keeps its name: nothing would be found by another one.
ALTER SCHEMA cqrs RENAME TO other;
SELECT 'cqrs.published'::regclass;

-- Partitions.
CREATE TABLE root (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE one PARTITION OF root FOR VALUES IN (1);
SELECT cqrs.publish('root', 'root');
CREATE TABLE two PARTITION OF root FOR VALUES IN (2);
CREATE TABLE three (id int NOT NULL, k int NOT NULL);
ALTER TABLE root ATTACH PARTITION three FOR VALUES IN (3);
ALTER TABLE root DETACH PARTITION three;
SELECT markers();
INSERT INTO three VALUES (3, 3);
ALTER TABLE root ATTACH PARTITION three FOR VALUES IN (3);
SELECT markers();
ALTER TABLE root DETACH PARTITION three;
SELECT markers();
INSERT INTO one VALUES (1, 1);
ALTER TABLE root DETACH PARTITION one CONCURRENTLY;
SELECT markers();
ALTER TABLE root ATTACH PARTITION one FOR VALUES IN (1);
ALTER TABLE root ATTACH PARTITION three FOR VALUES IN (3);
SELECT markers();
DROP TABLE three;
SELECT markers();
-- A column of all of them.
INSERT INTO one VALUES (11, 1);
ALTER TABLE root ADD COLUMN v int DEFAULT 7;
SELECT markers();
ALTER TABLE one SET UNLOGGED;
ALTER TABLE one REPLICA IDENTITY NOTHING;
ALTER TABLE root DROP CONSTRAINT root_pkey;
CREATE UNLOGGED TABLE four PARTITION OF root FOR VALUES IN (4);
CREATE UNLOGGED TABLE five (id int NOT NULL, k int NOT NULL, v int);
ALTER TABLE root ATTACH PARTITION five FOR VALUES IN (5);
CREATE TABLE six (id int NOT NULL, k int NOT NULL, v int, PRIMARY KEY (id, k));
SELECT cqrs.publish('six', 'six');
ALTER TABLE root ATTACH PARTITION six FOR VALUES IN (6);
CREATE SCHEMA ddl_leaf;
CREATE TABLE ddl_leaf.seven PARTITION OF root FOR VALUES IN (7);
INSERT INTO root VALUES (7, 7);
SELECT markers();
DROP SCHEMA ddl_leaf CASCADE;
SELECT markers();

-- Dropped tables are forgotten, whatever drops them.
CREATE TABLE subscribed (id int PRIMARY KEY);
SELECT cqrs.subscribe('sub', 'subscribed');
INSERT INTO cqrs.subscription_state VALUES ('sub', 'subscribed', 'live', '0/1');
SELECT prefix FROM cqrs.published ORDER BY prefix;
DROP TABLE root;
SELECT prefix FROM cqrs.published ORDER BY prefix;
SET client_min_messages = error;
DROP SCHEMA ddl CASCADE;
SELECT prefix FROM cqrs.published;
SELECT prefix FROM cqrs.subscription;
SELECT count(*) FROM cqrs.subscription_state;
SELECT pg_drop_replication_slot('regress_ddl');
