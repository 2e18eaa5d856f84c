\echo Use "CREATE EXTENSION pg_cqrs" to load this file. \quit

CREATE SCHEMA cqrs;
COMMENT ON SCHEMA cqrs IS 'pg_cqrs: committed changes as CloudEvents';
