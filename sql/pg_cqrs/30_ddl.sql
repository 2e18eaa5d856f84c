-- Event triggers: what DDL does to published and subscribed tables.

CREATE FUNCTION cqrs.on_ddl() RETURNS event_trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_on_ddl';

CREATE EVENT TRIGGER cqrs_ddl_start ON ddl_command_start
WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED', 'DROP TYPE', 'DROP DOMAIN', 'DROP EXTENSION', 'DROP INDEX')
EXECUTE FUNCTION cqrs.on_ddl();
CREATE EVENT TRIGGER cqrs_ddl_end ON ddl_command_end
WHEN TAG IN ('ALTER TABLE', 'CREATE TABLE', 'ALTER FUNCTION', 'ALTER ROUTINE', 'ALTER SCHEMA', 'ALTER EXTENSION')
EXECUTE FUNCTION cqrs.on_ddl();
CREATE EVENT TRIGGER cqrs_rewrite ON table_rewrite EXECUTE FUNCTION cqrs.on_ddl();
CREATE EVENT TRIGGER cqrs_drop ON sql_drop EXECUTE FUNCTION cqrs.on_ddl();
-- Also in sessions that write as a replica (session_replication_role).
ALTER EVENT TRIGGER cqrs_ddl_start ENABLE ALWAYS;
ALTER EVENT TRIGGER cqrs_ddl_end ENABLE ALWAYS;
ALTER EVENT TRIGGER cqrs_rewrite ENABLE ALWAYS;
ALTER EVENT TRIGGER cqrs_drop ENABLE ALWAYS;

COMMENT ON FUNCTION cqrs.on_ddl() IS 'Event trigger: writes resync markers, forgets dropped tables, refuses what would end a published table''s events';
COMMENT ON EVENT TRIGGER cqrs_ddl_start IS 'pg_cqrs: remembers which partitions a DROP may remove; keeps identity indexes, and pg_cqrs while a slot decodes with it';
COMMENT ON EVENT TRIGGER cqrs_ddl_end IS 'pg_cqrs: partitions of published tables, and what would end their events; keeps the names of handlers and of schema cqrs';
COMMENT ON EVENT TRIGGER cqrs_rewrite IS 'pg_cqrs: a rewrite changes rows without events';
COMMENT ON EVENT TRIGGER cqrs_drop IS 'pg_cqrs: forgets dropped tables';
