-- Databases of other encodings: events are UTF-8.
\pset format unaligned
\pset tuples_only on
\set VERBOSITY terse
CREATE DATABASE plugin_latin1 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\c plugin_latin1
SET client_encoding = 'UTF8';
SET client_min_messages = warning;
CREATE EXTENSION pg_cqrs;
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_latin1', 'pg_cqrs');
CREATE TABLE "tä" ("ö""" text PRIMARY KEY, v varchar(20), j json, b jsonb, n name, a text[], c "char");
SELECT cqrs.publish('"tä"', 'latin');
INSERT INTO "tä" VALUES ('é', 'plain', '{"ü": "ÿ"}', '{"ü": "ÿ"}', 'ñ', '{ß,"a\"b"}', 'x');
UPDATE "tä" SET "ö""" = 'ø';
DELETE FROM "tä";
BEGIN;
SELECT cqrs.set_context('ä');
SELECT cqrs.emit('latin.event', '{"ß": "é"}');
COMMIT;
-- what a client of SQL sees, in its own encoding
SELECT substring(data FROM '(correl.*|oldkey.*|data.*)}') FROM pg_logical_slot_peek_changes('plugin_latin1', NULL, NULL);
-- what the relay gets: bytes of UTF-8
CREATE FUNCTION pg_temp.body(frame bytea) RETURNS text LANGUAGE sql AS
    $$ SELECT regexp_replace(encode(substring(frame FROM position('\x7b2273'::bytea IN frame)), 'escape'), '\{"spec[^}]*"time":"[^"]+",', '...', 'g') $$;
SELECT pg_temp.body(data) FROM pg_logical_slot_get_binary_changes('plugin_latin1', NULL, NULL, 'format', 'frame');
SELECT pg_drop_replication_slot('plugin_latin1');
\c contrib_regression
DROP DATABASE plugin_latin1;
-- SQL_ASCII: what happens to be UTF-8 is taken for it, anything else stops
CREATE DATABASE plugin_ascii ENCODING SQL_ASCII LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\c plugin_ascii
SET client_min_messages = warning;
CREATE EXTENSION pg_cqrs;
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_ascii', 'pg_cqrs');
CREATE TABLE t (id int PRIMARY KEY, v text, j json);
SELECT cqrs.publish('t', 't');
INSERT INTO t VALUES (1, E'\xc3\xa9', E'"\xc3\xa9"'), (2, E'\xe9', NULL), (3, 'x', E'"\xe9"'), (4, E'\xed\xa0\x80', NULL);
SELECT substring(data FROM '"type".*time'), substring(data FROM 'data.*') FROM pg_logical_slot_get_changes('plugin_ascii', NULL, NULL);
SELECT pg_drop_replication_slot('plugin_ascii');
\c contrib_regression
DROP DATABASE plugin_ascii;
