-- Events begin and end exactly at the commits of publish() and unpublish().
\set VERBOSITY terse
-- What a slot has to say, the envelope checked and cut down to: number in its transaction, type, rest.
CREATE FUNCTION pg_temp.events(slot name, VARIADIC options text[] DEFAULT '{}') RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT regexp_replace(data, '^\{"specversion":"1\.0","id":"[0-9A-F]+/[0-9A-F]+\.(\d+)","source":"/test","type":"([^"]+)","time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",?(.*)\}$', '\1 \2 \3')
    FROM pg_logical_slot_get_changes(slot, NULL, NULL, VARIADIC options || '{source,/test}')
$$;
\pset format unaligned
\pset tuples_only on
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_publish', 'pg_cqrs');
CREATE TABLE plugin_p (id int PRIMARY KEY);
INSERT INTO plugin_p VALUES (1);
-- its own transaction is not published, before and after the call
BEGIN;
INSERT INTO plugin_p VALUES (2);
SELECT cqrs.publish('plugin_p', 'p');
INSERT INTO plugin_p VALUES (3);
COMMIT;
INSERT INTO plugin_p VALUES (4);
-- one that is rolled back
CREATE TABLE plugin_q (id int PRIMARY KEY);
BEGIN; SELECT cqrs.publish('plugin_q', 'q'); INSERT INTO plugin_q VALUES (1); ROLLBACK;
INSERT INTO plugin_q VALUES (2);
-- in a savepoint, rolled back and not
BEGIN; SAVEPOINT s; SELECT cqrs.publish('plugin_q', 'q'); ROLLBACK TO s; INSERT INTO plugin_q VALUES (3); COMMIT;
INSERT INTO plugin_q VALUES (4);
BEGIN; SAVEPOINT s; SELECT cqrs.publish('plugin_q', 'q'); RELEASE s; INSERT INTO plugin_q VALUES (5); COMMIT;
INSERT INTO plugin_q VALUES (6);
SELECT pg_temp.events('plugin_publish');
-- unpublish: the transaction is published as a whole
BEGIN;
INSERT INTO plugin_q VALUES (7);
SELECT cqrs.unpublish('plugin_q');
INSERT INTO plugin_q VALUES (8);
COMMIT;
INSERT INTO plugin_q VALUES (9);
BEGIN; SELECT cqrs.unpublish('plugin_p'); ROLLBACK;
INSERT INTO plugin_p VALUES (10);
BEGIN; SAVEPOINT s; SELECT cqrs.unpublish('plugin_p'); ROLLBACK TO s; INSERT INTO plugin_p VALUES (11); COMMIT;
INSERT INTO plugin_p VALUES (12);
SELECT pg_temp.events('plugin_publish');
-- another prefix: the old one until the commit, the new one after it
BEGIN;
INSERT INTO plugin_p VALUES (13);
SELECT cqrs.unpublish('plugin_p'), cqrs.publish('plugin_p', 'new');
INSERT INTO plugin_p VALUES (14);
COMMIT;
INSERT INTO plugin_p VALUES (15);
-- notify changes: nothing is missed
BEGIN;
SELECT cqrs.publish('plugin_p', 'new', notify => true);
INSERT INTO plugin_p VALUES (16);
COMMIT;
SELECT pg_temp.events('plugin_publish');
-- rolled back rows and savepoints are no events
BEGIN;
INSERT INTO plugin_p VALUES (17);
SAVEPOINT a; INSERT INTO plugin_p VALUES (18);
SAVEPOINT b; INSERT INTO plugin_p VALUES (19); ROLLBACK TO b;
RELEASE a;
INSERT INTO plugin_p VALUES (20);
COMMIT;
BEGIN; INSERT INTO plugin_p VALUES (21); ROLLBACK;
SELECT pg_temp.events('plugin_publish');
-- prepared transactions are events when they commit, in that order
BEGIN; INSERT INTO plugin_p VALUES (30); PREPARE TRANSACTION 'plugin one';
BEGIN; INSERT INTO plugin_p VALUES (31); PREPARE TRANSACTION 'plugin two';
BEGIN; INSERT INTO plugin_p VALUES (32); PREPARE TRANSACTION 'plugin three';
INSERT INTO plugin_p VALUES (33);
SELECT pg_temp.events('plugin_publish');
COMMIT PREPARED 'plugin two'; ROLLBACK PREPARED 'plugin three'; COMMIT PREPARED 'plugin one';
SELECT pg_temp.events('plugin_publish');
-- publish() in one
CREATE TABLE plugin_r (id int PRIMARY KEY);
BEGIN; SELECT cqrs.publish('plugin_r', 'r'); INSERT INTO plugin_r VALUES (1); PREPARE TRANSACTION 'plugin four';
COMMIT PREPARED 'plugin four';
INSERT INTO plugin_r VALUES (2);
SELECT pg_temp.events('plugin_publish');
-- a table that is made, published, filled and dropped before it is read; one that is renamed
CREATE TABLE plugin_s (id int PRIMARY KEY, old int);
SELECT cqrs.publish('plugin_s', 's');
INSERT INTO plugin_s VALUES (1, 1);
ALTER TABLE plugin_s DROP old;
INSERT INTO plugin_s VALUES (2);
DROP TABLE plugin_s;
SELECT pg_temp.events('plugin_publish');
-- the catalog table is reindexed and rewritten before its past is read
INSERT INTO plugin_r VALUES (3);
REINDEX TABLE cqrs.published;
INSERT INTO plugin_r VALUES (4);
VACUUM FULL cqrs.published;
INSERT INTO plugin_r VALUES (5);
VACUUM FREEZE cqrs.published;
SELECT pg_temp.events('plugin_publish');
-- written by hand, behind publish()'s back: the triggers tell
SET session_replication_role = replica;
BEGIN;
INSERT INTO cqrs.published SELECT 'plugin_q', 'q';
INSERT INTO plugin_q VALUES (100);
COMMIT;
RESET session_replication_role;
INSERT INTO plugin_q VALUES (101);
DELETE FROM cqrs.published WHERE prefix = 'q';
INSERT INTO plugin_q VALUES (102);
INSERT INTO cqrs.published VALUES ('plugin_q', 'not a prefix');
INSERT INTO plugin_q VALUES (103);
DELETE FROM cqrs.published WHERE relation = 'plugin_q'::regclass;
SELECT pg_temp.events('plugin_publish');
-- refused: nothing in WAL could become an event
CREATE UNLOGGED TABLE plugin_u (id int PRIMARY KEY);
SELECT cqrs.publish('plugin_u', 'u');
SELECT pg_drop_replication_slot('plugin_publish');
DROP TABLE plugin_p, plugin_q, plugin_r, plugin_u;
-- the extension is gone when its table's past is read: nothing to say, and no error. (Its own rows must have
-- been read before: Postgres cannot decode changes of a dropped user catalog table, whatever the plugin.)
CREATE DATABASE plugin_gone TEMPLATE template0;
\c plugin_gone
SET client_min_messages = warning;
CREATE EXTENSION pg_cqrs;
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_gone', 'pg_cqrs');
CREATE TABLE t (id int PRIMARY KEY);
SELECT cqrs.publish('t', 't');
INSERT INTO t VALUES (0);
SELECT substring(data FROM '"data".*') FROM pg_logical_slot_get_changes('plugin_gone', NULL, NULL);
INSERT INTO t VALUES (1);
DROP EXTENSION pg_cqrs;    -- refused, unless somebody insists
ALTER EVENT TRIGGER cqrs_ddl_start DISABLE;
DROP EXTENSION pg_cqrs;
INSERT INTO t VALUES (2);
SELECT data FROM pg_logical_slot_get_changes('plugin_gone', NULL, NULL);
CREATE EXTENSION pg_cqrs;
SELECT cqrs.publish('t', 't');
INSERT INTO t VALUES (3);
SELECT substring(data FROM '"data".*') FROM pg_logical_slot_get_changes('plugin_gone', NULL, NULL);
SELECT pg_drop_replication_slot('plugin_gone');
-- a table that only looks like ours
DROP EXTENSION pg_cqrs;
CREATE SCHEMA cqrs;
CREATE TABLE cqrs.published (relation regclass, prefix text, notify boolean);
INSERT INTO cqrs.published VALUES ('t', 't', false);
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_gone', 'pg_cqrs');
INSERT INTO t VALUES (4);
SELECT data FROM pg_logical_slot_get_changes('plugin_gone', NULL, NULL);
SELECT pg_drop_replication_slot('plugin_gone');
\c contrib_regression
DROP DATABASE plugin_gone;
