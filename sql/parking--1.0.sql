\echo Use "CREATE EXTENSION parking CASCADE" to load this file. \quit

-- The worked domain: one table, its commands (C++, extension/parking.cpp) and its queries (SQL).
-- Both sides install it: the primary publishes the table, a replica subscribes to it.

CREATE TABLE parking_slots (
    uuid   uuid PRIMARY KEY,
    name   text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    status text NOT NULL CHECK (status IN ('available', 'blocked', 'reserved'))
);

SELECT cqrs.publish('parking_slots', 'parking', notify => true);
SELECT cqrs.subscribe('parking', 'parking_slots', notify => true);

-- Commands -----------------------------------------------------------------------------------------
-- Not STRICT: a NULL is an error of its own. PARALLEL UNSAFE: they write.

CREATE FUNCTION create_parking_slot(name text, status text DEFAULT 'available') RETURNS parking_slots
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'parking_create';

CREATE FUNCTION rename_parking_slot(uuid uuid, name text) RETURNS parking_slots
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'parking_rename';

CREATE FUNCTION reserve_parking_slot(uuid uuid) RETURNS parking_slots
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'parking_reserve';

CREATE FUNCTION release_parking_slot(uuid uuid) RETURNS parking_slots
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'parking_release';

CREATE FUNCTION block_parking_slot(uuid uuid) RETURNS parking_slots
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'parking_block';

CREATE FUNCTION delete_parking_slot(uuid uuid) RETURNS parking_slots
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'parking_delete';

REVOKE EXECUTE ON FUNCTION create_parking_slot(text, text), rename_parking_slot(uuid, text),
    reserve_parking_slot(uuid), release_parking_slot(uuid), block_parking_slot(uuid),
    delete_parking_slot(uuid) FROM PUBLIC;

-- Queries ------------------------------------------------------------------------------------------
-- Their bodies are parsed here: names are bound to these objects, whatever search_path a caller has.
-- Each reads here, on the primary from the attached replica (cqrs.attach_replica), on a replica only
-- what is fresh enough (cqrs.max_staleness). Only one branch of the two is ever executed. They return a
-- type of their own: that of the table would break them when somebody gives the table another column.

CREATE TYPE parking_slot AS (uuid uuid, name text, status text);

CREATE FUNCTION parking_slot_list() RETURNS SETOF parking_slot
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT slot.uuid, slot.name, slot.status FROM parking_slots AS slot WHERE NOT cqrs.attached() AND cqrs.require_fresh('parking_slots')
    UNION ALL
    SELECT slot.* FROM cqrs.read('parking_slots') AS slot(uuid uuid, name text, status text) WHERE cqrs.attached()
    ORDER BY name, uuid;
END;

CREATE FUNCTION parking_slot_details(uuid uuid) RETURNS SETOF parking_slot
LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED ROWS 1
BEGIN ATOMIC
    SELECT slot.uuid, slot.name, slot.status FROM parking_slots AS slot
    WHERE slot.uuid = parking_slot_details.uuid AND NOT cqrs.attached() AND cqrs.require_fresh('parking_slots')
    UNION ALL
    SELECT slot.* FROM cqrs.read('parking_slots', jsonb_build_object('uuid', parking_slot_details.uuid))
        AS slot(uuid uuid, name text, status text)
    WHERE cqrs.attached();
END;

-- A read model of another shape --------------------------------------------------------------------
-- How many slots are in each status, and since when. Kept by a handler, on a replica that says
--     SELECT cqrs.on('parking.*', 'parking_occupancy_handler(jsonb[])', backfill => true);

CREATE TABLE parking_occupancy (
    status text PRIMARY KEY,
    slots  bigint NOT NULL,
    since  timestamptz NOT NULL
);

-- What the handler must know of each slot: parking.delete carries the uuid alone, and parking_slots is
-- no help: the applier has written it already.
CREATE TABLE parking_occupancy_slots (
    uuid   uuid PRIMARY KEY,
    status text NOT NULL
);

-- All events of a batch at once. Every event is a step of one slot (of all, for truncate) to a status, or
-- to none; a step that changes the status counts one down and one up.
CREATE FUNCTION parking_occupancy_handler(events jsonb[]) RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    WITH event AS MATERIALIZED (
        SELECT n, e->>'type' AS type, (e->>'time')::timestamptz AS time, e->'data' AS data,
               (e->>'oldkey')::jsonb->>'uuid' AS old_uuid
        FROM unnest(events) WITH ORDINALITY AS u(e, n)
        WHERE e->>'type' IN ('parking.create', 'parking.update', 'parking.delete', 'parking.truncate')
    ), one_step AS (
        SELECT n, 2 AS part, (data->>'uuid')::uuid AS uuid,
               CASE WHEN type <> 'parking.delete' THEN data->>'status' END AS status, time
        FROM event WHERE type <> 'parking.truncate'
        UNION ALL
        SELECT n, 1, old_uuid::uuid, NULL, time FROM event WHERE old_uuid IS NOT NULL
    ), step AS (
        SELECT * FROM one_step
        UNION ALL
        SELECT t.n, 1, known.uuid, NULL, t.time
        FROM event AS t CROSS JOIN LATERAL (
            SELECT s.uuid FROM parking_occupancy_slots AS s
            UNION
            SELECT s.uuid FROM one_step AS s WHERE s.n < t.n
        ) AS known
        WHERE t.type = 'parking.truncate'
    ), change AS MATERIALIZED (
        SELECT step.*, lag(step.status, 1, stored.status) OVER (PARTITION BY uuid ORDER BY n, part) AS before
        FROM step LEFT JOIN parking_occupancy_slots AS stored USING (uuid)
    ), latest AS (
        SELECT DISTINCT ON (uuid) uuid, status FROM change ORDER BY uuid, n DESC, part DESC
    ), counted AS (
        INSERT INTO parking_occupancy AS o (status, slots, since)
        SELECT counts.status, sum(counts.by), max(counts.time)
        FROM change CROSS JOIN LATERAL (
            VALUES (change.before, -1, change.time), (change.status, 1, change.time)
        ) AS counts(status, by, time)
        WHERE change.before IS DISTINCT FROM change.status AND counts.status IS NOT NULL
        GROUP BY counts.status
        ON CONFLICT (status) DO UPDATE SET slots = o.slots + EXCLUDED.slots, since = EXCLUDED.since
    ), gone AS (
        DELETE FROM parking_occupancy_slots WHERE uuid IN (SELECT l.uuid FROM latest AS l WHERE l.status IS NULL)
    ), moved AS (
        UPDATE parking_occupancy_slots AS s SET status = l.status FROM latest AS l WHERE l.uuid = s.uuid AND l.status IS NOT NULL
    )
    -- Not a second ON CONFLICT: pg_dump would write its EXCLUDED as a name that does not exist, and pg_upgrade fail.
    INSERT INTO parking_occupancy_slots (uuid, status)
    SELECT l.uuid, l.status FROM latest AS l
    WHERE l.status IS NOT NULL AND NOT EXISTS (SELECT FROM parking_occupancy_slots AS s WHERE s.uuid = l.uuid);
END;

REVOKE EXECUTE ON FUNCTION parking_occupancy_handler(jsonb[]) FROM PUBLIC;

CREATE FUNCTION parking_occupancy() RETURNS SETOF parking_occupancy
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT o.* FROM parking_occupancy AS o ORDER BY o.status;
END;

-- pg_dump keeps every slot.
SELECT pg_catalog.pg_extension_config_dump('parking_slots', '');
SELECT pg_catalog.pg_extension_config_dump('parking_occupancy', '');
SELECT pg_catalog.pg_extension_config_dump('parking_occupancy_slots', '');

COMMENT ON TABLE parking_slots IS 'Parking slots; changed by the commands create_parking_slot() and so on, read by the queries parking_slot_list() and parking_slot_details()';
COMMENT ON COLUMN parking_slots.uuid IS 'Time-ordered (version 7)';
COMMENT ON COLUMN parking_slots.name IS '1 to 100 characters; need not be unique';
COMMENT ON COLUMN parking_slots.status IS 'available, blocked or reserved';

COMMENT ON TYPE parking_slot IS 'What the queries return';

COMMENT ON TABLE parking_occupancy IS 'On a replica: how many slots are in each status; kept by parking_occupancy_handler(), once it is registered with cqrs.on()';
COMMENT ON COLUMN parking_occupancy.since IS 'When the number changed last: the commit on the primary';
COMMENT ON TABLE parking_occupancy_slots IS 'Memory of parking_occupancy_handler(): the status of each slot that it has counted';
COMMENT ON FUNCTION parking_occupancy_handler(jsonb[]) IS 'Handler: keeps parking_occupancy. SELECT cqrs.on(''parking.*'', ''parking_occupancy_handler(jsonb[])'', backfill => true);';
COMMENT ON FUNCTION parking_occupancy() IS 'Query: how many slots are in each status, and since when; empty until the handler is registered on this replica';

COMMENT ON FUNCTION create_parking_slot(text, text) IS
'Command: create a slot and return it. Errors: 22004 NULL, 22023 empty name or unknown status, 22001 name of more than 100 characters, 25006 on a replica';
COMMENT ON FUNCTION rename_parking_slot(uuid, text) IS
'Command: rename a slot and return it. Errors: 22004 NULL, 22023 empty name, 22001 name of more than 100 characters, P0002 no such slot, 25006 on a replica';
COMMENT ON FUNCTION reserve_parking_slot(uuid) IS
'Command: available to reserved; returns the slot. Of two at once one wins. Errors: 22004 NULL, 55000 blocked or reserved, P0002 no such slot, 25006 on a replica';
COMMENT ON FUNCTION release_parking_slot(uuid) IS
'Command: reserved or blocked to available; returns the slot. Errors: 22004 NULL, 55000 available, P0002 no such slot, 25006 on a replica';
COMMENT ON FUNCTION block_parking_slot(uuid) IS
'Command: available or reserved to blocked; returns the slot. Errors: 22004 NULL, 55000 blocked, P0002 no such slot, 25006 on a replica';
COMMENT ON FUNCTION delete_parking_slot(uuid) IS
'Command: delete a slot, whatever its status, and return it as it was. Errors: 22004 NULL, P0002 no such slot, 25006 on a replica';
COMMENT ON FUNCTION parking_slot_list() IS 'Query: every slot, by name, then by age. Errors: those of cqrs.read() on a primary with an attached replica, CQ001 on a replica staler than cqrs.max_staleness';
COMMENT ON FUNCTION parking_slot_details(uuid) IS 'Query: the slot of that uuid, or no row. Errors as parking_slot_list()';
