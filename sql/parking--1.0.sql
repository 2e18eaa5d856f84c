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

CREATE FUNCTION parking_slot_list() RETURNS SETOF parking_slots
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT slot.* FROM parking_slots AS slot ORDER BY slot.name, slot.uuid;
END;

CREATE FUNCTION parking_slot_details(uuid uuid) RETURNS SETOF parking_slots
LANGUAGE sql STABLE STRICT PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT slot.* FROM parking_slots AS slot WHERE slot.uuid = parking_slot_details.uuid;
END;

-- pg_dump keeps every slot.
SELECT pg_catalog.pg_extension_config_dump('parking_slots', '');

COMMENT ON TABLE parking_slots IS 'Parking slots; changed by the commands create_parking_slot() and so on, read by the queries parking_slot_list() and parking_slot_details()';
COMMENT ON COLUMN parking_slots.uuid IS 'Time-ordered (version 7)';
COMMENT ON COLUMN parking_slots.name IS '1 to 100 characters; need not be unique';
COMMENT ON COLUMN parking_slots.status IS 'available, blocked or reserved';

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
COMMENT ON FUNCTION parking_slot_list() IS 'Query: every slot, by name, then by age';
COMMENT ON FUNCTION parking_slot_details(uuid) IS 'Query: the slot of that uuid, or no row';
