-- The primary: what is published.

-- Read by the output plugin with the historic snapshot. Keep its columns short: the TOAST table of
-- a user_catalog_table is not protected from vacuum. Never rewrite it in an upgrade script (refused).
CREATE TABLE cqrs.published (
    relation     regclass PRIMARY KEY,
    prefix       text COLLATE "C" NOT NULL UNIQUE
        CHECK (octet_length(prefix) <= 50 AND
        prefix ~ '^[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$' AND
        split_part(prefix, '.', 1) NOT IN ('cqrs', 'heartbeat')),
    notify       boolean NOT NULL DEFAULT false,
    by_extension boolean NOT NULL DEFAULT false
) WITH (user_catalog_table = true);

CREATE FUNCTION cqrs.publish(relation regclass, prefix text, notify boolean DEFAULT false) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_publish';

CREATE FUNCTION cqrs.unpublish(relation regclass) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_unpublish';

CREATE FUNCTION cqrs.published_changed() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_published_changed';

CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON cqrs.published
FOR EACH ROW EXECUTE FUNCTION cqrs.published_changed();
CREATE TRIGGER truncated AFTER TRUNCATE ON cqrs.published
FOR EACH STATEMENT EXECUTE FUNCTION cqrs.published_changed();
ALTER TABLE cqrs.published ENABLE ALWAYS TRIGGER changed, ENABLE ALWAYS TRIGGER truncated;

CREATE VIEW cqrs.publication_status AS
SELECT p.relation, p.prefix, split_part(p.prefix, '.', 1) AS topic, p.notify,
       CASE c.relreplident
           WHEN 'd' THEN 'primary key'
           WHEN 'f' THEN 'full row'
           WHEN 'i' THEN 'index ' || coalesce((SELECT i.indexrelid::regclass::text FROM pg_catalog.pg_index i
                                               WHERE i.indrelid = c.oid AND i.indisreplident), '(missing)')
           ELSE 'none'
       END AS identity
FROM cqrs.published p LEFT JOIN pg_catalog.pg_class c ON c.oid = p.relation;

-- Rows of an extension's script come back with that extension.
SELECT pg_catalog.pg_extension_config_dump('cqrs.published', 'WHERE NOT by_extension');

COMMENT ON TABLE cqrs.published IS 'Published tables; written by cqrs.publish() and unpublish(), read by the output plugin pg_cqrs';
COMMENT ON COLUMN cqrs.published.relation IS 'The table; for a partitioned table its root';
COMMENT ON COLUMN cqrs.published.prefix IS 'Its events are <prefix>.create, update, delete, truncate, resync, stop; its first word is the topic; at most 50 bytes';
COMMENT ON COLUMN cqrs.published.notify IS 'The relay notifies on the primary after the commit, channel = event type';
COMMENT ON COLUMN cqrs.published.by_extension IS 'Written by the script of an extension, which also brings it back on restore';
COMMENT ON VIEW cqrs.publication_status IS 'What this database publishes, and which key its UPDATEs and DELETEs carry';
COMMENT ON FUNCTION cqrs.publish(regclass, text, boolean) IS
'Publish a table: each transaction that commits after this one sends its rows as events <prefix>.create, update, delete, truncate. The owner''s right; waits for the table''s writers and makes them wait until commit (SHARE ROW EXCLUSIVE). Called again it may change notify. Errors: 22004 NULL, 22023 bad prefix, 42501 not the owner, 42710 already published or prefix taken, 42809 not a table, 55000 no key or unlogged';
COMMENT ON FUNCTION cqrs.unpublish(regclass) IS
'Stop publishing a table, from the commit of this transaction on. Errors: 22004 NULL, 42501 not the owner, 42704 not published';
COMMENT ON FUNCTION cqrs.published_changed() IS 'Trigger of cqrs.published: invalidates the plugin''s cache';
