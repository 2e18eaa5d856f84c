-- The replica: events that the server refused for good, set aside with all later ones of their key.

CREATE TABLE cqrs.parked (
    topic    text COLLATE "C" NOT NULL,
    epoch    bigint NOT NULL,
    sequence bigint NOT NULL,
    prefix   text COLLATE "C" NOT NULL,
    key      jsonb NOT NULL,
    old_key  jsonb,
    event    json NOT NULL,
    sqlstate text,
    message  text,
    attempts integer NOT NULL,
    first_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    retry    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (topic, epoch, sequence)
);
CREATE INDEX parked_key ON cqrs.parked (prefix, key);
CREATE INDEX parked_old_key ON cqrs.parked (prefix, old_key) WHERE old_key IS NOT NULL;

-- The applier, who writes as a replica, does not wake itself.
CREATE TRIGGER changed AFTER UPDATE OR DELETE ON cqrs.parked
FOR EACH STATEMENT EXECUTE FUNCTION cqrs.subscription_changed();

CREATE FUNCTION cqrs.retry_parked(prefix text, key jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog AS $$
    WITH marked AS (
        UPDATE cqrs.parked AS p SET retry = true
        WHERE p.prefix = $1 AND ($2 IS NULL OR p.key = $2 OR p.old_key = $2) RETURNING 1)
    SELECT count(*) FROM marked
$$;

CREATE FUNCTION cqrs.discard_parked(prefix text, key jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog AS $$
    WITH gone AS (
        DELETE FROM cqrs.parked AS p
        WHERE p.prefix = $1 AND ($2 IS NULL OR p.key = $2) RETURNING 1)
    SELECT count(*) FROM gone
$$;

SELECT pg_catalog.pg_extension_config_dump('cqrs.parked', '');

COMMENT ON TABLE cqrs.parked IS 'Events of subscriptions with on_error => ''park'' that the server refused for good, and every later event of the same key, in order';
COMMENT ON COLUMN cqrs.parked.key IS 'The row''s key, as the values'' text: {"id": "5"}';
COMMENT ON COLUMN cqrs.parked.old_key IS 'The key that the row had before, where the event changes it; events of both keys wait for each other';
COMMENT ON COLUMN cqrs.parked.event IS 'The CloudEvent';
COMMENT ON COLUMN cqrs.parked.sqlstate IS 'Why it was refused; NULL: it waits behind an earlier event of its key';
COMMENT ON COLUMN cqrs.parked.attempts IS 'How often it was tried; 0: it waits behind another';
COMMENT ON COLUMN cqrs.parked.retry IS 'The applier is to try again: set by cqrs.retry_parked()';
COMMENT ON FUNCTION cqrs.retry_parked(text, jsonb) IS
'Let the applier try the parked events of a prefix again, of one key or (NULL) of all: those of a key, and of keys that a change of key ties to it, in order, in one transaction; what is applied leaves cqrs.parked, what is refused again stays with its new error. Returns how many events. Needs UPDATE on cqrs.parked';
COMMENT ON FUNCTION cqrs.discard_parked(text, jsonb) IS
'Give up parked events of a prefix, of one key or (NULL) of all: they are never applied; later events of the key are, and make the row what the primary says as far as they hold its columns. Returns how many events. Needs DELETE on cqrs.parked';
