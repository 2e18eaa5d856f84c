-- DROP EXTENSION leaves nothing behind.
SET client_min_messages = warning;
CREATE DATABASE regress_drop;
SELECT current_database() AS home \gset
\c regress_drop
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only on
CREATE FUNCTION everything() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT 'relation ' || oid::regclass::text FROM pg_class WHERE relnamespace <> 'pg_toast'::regnamespace
    UNION ALL SELECT 'function ' || oid::regprocedure::text FROM pg_proc
    UNION ALL SELECT 'type ' || oid::regtype::text FROM pg_type
    UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'
    UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
    UNION ALL SELECT 'trigger ' || tgname || ' of ' || tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'constraint ' || conname FROM pg_constraint
    UNION ALL SELECT 'cast ' || oid::text FROM pg_cast
    UNION ALL SELECT 'operator ' || oid::regoperator::text FROM pg_operator
    UNION ALL SELECT 'privileges ' || pg_describe_object(classoid, objoid, objsubid) FROM pg_init_privs
    UNION ALL SELECT 'comment ' || objoid::text || ' ' || description FROM pg_description WHERE objoid > 16384
    UNION ALL SELECT 'extension ' || extname FROM pg_extension
$$;
CREATE TABLE before_it (what text);
INSERT INTO before_it SELECT everything();
CREATE EXTENSION parking CASCADE;
-- An own table that is published stays, as does its content.
CREATE TABLE own (id int PRIMARY KEY);
SELECT cqrs.publish('own', 'own');
SELECT cqrs.subscribe('own', 'own');
INSERT INTO own VALUES (1);
SELECT count(create_parking_slot('Slot ' || n)) FROM generate_series(1, 3) n;
-- parking alone.
DROP EXTENSION parking;
SELECT prefix FROM cqrs.published;
SELECT prefix FROM cqrs.subscription;
CREATE EXTENSION parking;
SELECT count(create_parking_slot('Slot ' || n)) FROM generate_series(1, 3) n;
DROP EXTENSION pg_cqrs;
-- Not while a slot decodes with it; other slots deserve a word.
SELECT 'init' FROM pg_create_logical_replication_slot('regress_drop_other', 'test_decoding');
SELECT 'init' FROM pg_create_logical_replication_slot('regress_drop', 'pg_cqrs');
SELECT cqrs.publish('own', 'own', notify => true);
DROP EXTENSION pg_cqrs CASCADE;
DROP EXTENSION parking, pg_cqrs;
SELECT count(*) FROM pg_logical_slot_get_changes('regress_drop', NULL, NULL);
SELECT pg_drop_replication_slot('regress_drop');
BEGIN;
DROP EXTENSION parking, pg_cqrs;
ROLLBACK;
SELECT pg_drop_replication_slot('regress_drop_other');
DROP EXTENSION pg_cqrs CASCADE;
SELECT * FROM own;
ALTER TABLE own DROP CONSTRAINT own_pkey;
ALTER TABLE own SET UNLOGGED;
DROP TABLE own;
SELECT everything() EXCEPT ALL SELECT what FROM before_it;
SELECT what FROM before_it EXCEPT ALL SELECT everything();
-- The same session can have it back.
CREATE EXTENSION parking CASCADE;
SELECT name, status FROM create_parking_slot('Slot 1');
DROP EXTENSION parking, pg_cqrs;
SELECT everything() EXCEPT ALL SELECT what FROM before_it;
\c :home
DROP DATABASE regress_drop;
