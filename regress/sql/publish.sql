-- cqrs.publish() and unpublish(): what is refused, and who may.
SET client_min_messages = notice;
CREATE SCHEMA pub;
SET search_path = pub, public;

-- Every refusal: SQLSTATE, message, detail, hint.
CREATE FUNCTION refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ' ' || message || E'\n' || detail || E'\n' || hint;
END $$;
\set VERBOSITY terse
\pset format unaligned
\pset tuples_only on

CREATE TABLE good (id int PRIMARY KEY, v text);
CREATE TABLE no_key (id int);
CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE);
CREATE TABLE nothing (id int PRIMARY KEY);
ALTER TABLE nothing REPLICA IDENTITY NOTHING;
CREATE TABLE full_no_key (id int);
ALTER TABLE full_no_key REPLICA IDENTITY FULL;
CREATE TABLE full_key (id int PRIMARY KEY);
ALTER TABLE full_key REPLICA IDENTITY FULL;
CREATE TABLE by_index (id int NOT NULL UNIQUE);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_id_key;
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
CREATE TEMP TABLE temporary (id int PRIMARY KEY);
CREATE VIEW a_view AS SELECT 1 AS id;
CREATE MATERIALIZED VIEW a_matview AS SELECT 1 AS id;
CREATE SEQUENCE a_sequence;
CREATE TYPE a_type AS (id int);

SELECT refusal($$SELECT cqrs.publish('no_key', 'x')$$);
SELECT refusal($$SELECT cqrs.publish('deferred', 'x')$$);
SELECT refusal($$SELECT cqrs.publish('nothing', 'x')$$);
SELECT refusal($$SELECT cqrs.publish('full_no_key', 'x')$$);
SELECT refusal($$SELECT cqrs.publish('unlogged', 'x')$$);
SELECT refusal($$SELECT cqrs.publish('temporary', 'x')$$) ~ '^42809 cannot publish temporary table' AS temporary;
SELECT refusal($$SELECT cqrs.publish('a_view', 'x')$$);
SELECT refusal($$SELECT cqrs.publish('a_matview', 'x')$$);
SELECT refusal($$SELECT cqrs.publish('a_sequence', 'x')$$);
SELECT refusal($$SELECT cqrs.publish('a_type', 'x')$$);
SELECT refusal($$SELECT cqrs.publish('good_pkey', 'x')$$);
SELECT refusal($$SELECT cqrs.publish('pg_class', 'x')$$);
SELECT refusal($$SELECT cqrs.publish('cqrs.relay_state', 'x')$$);
SELECT refusal($$SELECT cqrs.publish('information_schema.sql_features', 'x')$$);
SELECT refusal($$SELECT cqrs.publish('absent', 'x')$$);
SELECT refusal($$SELECT cqrs.publish(1::oid, 'x')$$);
SELECT refusal($$SELECT cqrs.publish(NULL, 'x')$$);
SELECT refusal($$SELECT cqrs.publish('good', 'a b')$$);
SELECT refusal($$SELECT cqrs.publish('good', NULL)$$);
SELECT refusal($$SELECT cqrs.publish('good', 'x', NULL)$$);

-- Prefixes.
SELECT regexp_replace(refusal(format('SELECT cqrs.publish(%L, %L)', 'good', prefix)), E'\nUse words.*', '')
  FROM unnest(ARRAY['', '.', 'a.', '.a', 'a..b', '1a', '_a', 'a b', 'ä', E'a\n', 'cqrs', 'cqrs.a', 'heartbeat', 'heartbeat.x', 'a*', 'a#',
                    repeat('a', 51)]) prefix;
SELECT refusal(format('SELECT cqrs.publish(%L, %L), cqrs.unpublish(%L)', 'good', prefix, 'good'))
  FROM unnest(ARRAY['a', 'A', 'a.1', 'a-b_c.d-e', 'cqrsx', 'heartbeats.a', repeat('a', 50)]) prefix;

-- One prefix a table, one table a prefix; the same call again is no error and may change notify.
SELECT cqrs.publish('good', 'good');
SELECT cqrs.publish('good', 'good');
SELECT cqrs.publish('good', 'good', notify => true);
SELECT refusal($$SELECT cqrs.publish('good', 'better')$$);
SELECT refusal($$SELECT cqrs.publish('full_key', 'good')$$);
SELECT cqrs.publish('full_key', 'good.full');
SELECT cqrs.publish('by_index', 'by_index');
\pset format aligned
\pset tuples_only off
SELECT * FROM cqrs.publication_status ORDER BY prefix;

-- A rename changes nothing but the name.
ALTER TABLE good RENAME TO "Better ""name""";
SELECT * FROM cqrs.publication_status WHERE prefix = 'good';
ALTER TABLE "Better ""name""" RENAME TO good;

-- Partitions: the root or the leaf, not both.
CREATE TABLE root (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE leaf1 PARTITION OF root FOR VALUES IN (1);
CREATE TABLE mid PARTITION OF root FOR VALUES IN (2, 3) PARTITION BY LIST (k);
CREATE TABLE leaf2 PARTITION OF mid FOR VALUES IN (2);
\pset format unaligned
\pset tuples_only on
ALTER TABLE leaf2 REPLICA IDENTITY NOTHING;
SELECT refusal($$SELECT cqrs.publish('root', 'root')$$);
ALTER TABLE leaf2 REPLICA IDENTITY DEFAULT;
SELECT cqrs.publish('leaf2', 'leaf2');
SELECT refusal($$SELECT cqrs.publish('root', 'root')$$);
SELECT cqrs.unpublish('leaf2');
SELECT cqrs.publish('root', 'root');
SELECT refusal($$SELECT cqrs.publish('leaf1', 'leaf')$$);
SELECT refusal($$SELECT cqrs.publish('leaf2', 'leaf')$$);
SELECT refusal($$SELECT cqrs.publish('mid', 'mid')$$);

-- unpublish().
SELECT refusal($$SELECT cqrs.unpublish('leaf1')$$);
SELECT refusal($$SELECT cqrs.unpublish(NULL)$$);
SELECT cqrs.unpublish('good');
SELECT refusal($$SELECT cqrs.unpublish('good')$$);

-- Any role: its own tables, once it may call the function at all.
CREATE ROLE regress_publisher;
CREATE ROLE regress_other;
GRANT USAGE, CREATE ON SCHEMA pub TO regress_publisher, regress_other;
SET ROLE regress_publisher;
CREATE TABLE own (id int PRIMARY KEY);
SELECT refusal($$SELECT cqrs.publish('own', 'own')$$);
RESET ROLE;
GRANT EXECUTE ON FUNCTION cqrs.publish, cqrs.unpublish TO regress_publisher, regress_other;
SET ROLE regress_publisher;
SELECT cqrs.publish('own', 'own');
SELECT refusal($$SELECT cqrs.publish('good', 'x')$$);
SELECT refusal($$INSERT INTO cqrs.published VALUES ('own', 'x')$$);
SELECT current_user, current_setting('search_path');
RESET ROLE;
SET ROLE regress_other;
SELECT refusal($$SELECT cqrs.unpublish('own')$$);
-- Operators and functions of a caller's schema are not run with the owner's rights.
CREATE FUNCTION trap(text, text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'called as %', current_user;
END $$;
CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, FUNCTION = trap);
CREATE TABLE other (id int PRIMARY KEY);
SET search_path = pub, pg_catalog;
SELECT cqrs.publish('other', 'other');
SELECT cqrs.unpublish('other');
SELECT cqrs.publish('other', 'other');
-- Nor does its DDL need rights on cqrs' tables.
ALTER TABLE other ADD COLUMN v int DEFAULT 1;
DROP TABLE other;
RESET ROLE;
SET search_path = pub, public;
SELECT prefix FROM cqrs.published WHERE prefix = 'other';
-- By hand: what publish() would refuse as a prefix is refused, too.
SELECT refusal($$UPDATE cqrs.published SET prefix = 'a b' WHERE prefix = 'own'$$);
SELECT refusal($$UPDATE cqrs.published SET prefix = 'cqrs.own' WHERE prefix = 'own'$$) ~ '^23514' AS reserved;

DROP SCHEMA pub CASCADE;
DROP OWNED BY regress_publisher, regress_other;
DROP ROLE regress_publisher, regress_other;
SELECT prefix FROM cqrs.published;

-- Children by inheritance are not published with their parent; a partition is.
CREATE TABLE regress_pub_parent (id int PRIMARY KEY);
CREATE TABLE regress_pub_child () INHERITS (regress_pub_parent);
CREATE TABLE regress_pub_child2 () INHERITS (regress_pub_parent);
SELECT cqrs.publish('regress_pub_parent', 'regress_parent');
SELECT cqrs.unpublish('regress_pub_parent');
DROP TABLE regress_pub_parent CASCADE;
