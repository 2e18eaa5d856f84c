-- The worked domain: commands and queries.
CREATE FUNCTION pg_temp.refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ' ' || message || E'\n' || regexp_replace(detail, '[0-9a-f-]{36}', '<uuid>') || E'\n' || hint;
END $$;
CREATE FUNCTION pg_temp.slot(name text) RETURNS uuid LANGUAGE sql AS 'SELECT uuid FROM public.parking_slots AS s WHERE s.name = $1';

-- Every command returns the row.
SELECT name, status FROM create_parking_slot('Slot 1');
SELECT name, status FROM create_parking_slot('Slot 2', 'blocked');
SELECT name, status FROM create_parking_slot(name => 'Slot 3', status => 'reserved');
SELECT name, status FROM rename_parking_slot(pg_temp.slot('Slot 3'), 'Slot 0');
SELECT name, status FROM reserve_parking_slot(pg_temp.slot('Slot 1'));
SELECT name, status FROM block_parking_slot(pg_temp.slot('Slot 1'));
SELECT name, status FROM release_parking_slot(pg_temp.slot('Slot 1'));
SELECT name, status FROM block_parking_slot(pg_temp.slot('Slot 1'));
SELECT name, status FROM release_parking_slot(pg_temp.slot('Slot 0'));
SELECT name, status FROM parking_slot_list();
SELECT name, status FROM parking_slot_details(pg_temp.slot('Slot 2'));
SELECT count(*) FROM parking_slot_details('00000000-0000-7000-8000-000000000000');
SELECT name, status FROM delete_parking_slot(pg_temp.slot('Slot 2'));
SELECT name, status FROM parking_slot_list();

\pset format unaligned
\pset tuples_only on
-- Arguments.
SELECT pg_temp.refusal($$SELECT create_parking_slot(NULL)$$);
SELECT pg_temp.refusal($$SELECT create_parking_slot('')$$);
SELECT pg_temp.refusal($$SELECT create_parking_slot(repeat('ä', 101))$$);
SELECT pg_temp.refusal($$SELECT create_parking_slot('Slot 1', NULL)$$);
SELECT pg_temp.refusal($$SELECT create_parking_slot('Slot 1', 'Available')$$);
SELECT pg_temp.refusal($$SELECT rename_parking_slot(NULL, 'x')$$);
SELECT pg_temp.refusal($$SELECT rename_parking_slot(pg_temp.slot('Slot 1'), NULL)$$);
SELECT pg_temp.refusal($$SELECT rename_parking_slot(pg_temp.slot('Slot 1'), '')$$);
SELECT pg_temp.refusal($$SELECT rename_parking_slot(pg_temp.slot('Slot 1'), repeat('x', 101))$$);
SELECT pg_temp.refusal(format('SELECT %s(NULL)', command))
  FROM unnest(ARRAY['reserve_parking_slot', 'release_parking_slot', 'block_parking_slot', 'delete_parking_slot']) command;
-- No such slot.
SELECT pg_temp.refusal(format('SELECT %s(%L)', command, '00000000-0000-7000-8000-000000000000'))
  FROM unnest(ARRAY['reserve_parking_slot', 'release_parking_slot', 'block_parking_slot', 'delete_parking_slot']) command;
SELECT pg_temp.refusal($$SELECT rename_parking_slot('00000000-0000-7000-8000-000000000000', 'x')$$);
-- Every transition: which are possible.
SELECT status || ' ' || split_part(command, '_', 1),
       pg_temp.refusal(format('SELECT %s((SELECT uuid FROM create_parking_slot(%L, %L)))', command, status || command, status))
  FROM unnest(ARRAY['available', 'blocked', 'reserved']) status,
       unnest(ARRAY['reserve_parking_slot', 'release_parking_slot', 'block_parking_slot']) command;
SELECT name, status FROM parking_slot_list();

-- 100 characters are a name, however many bytes they have. The table says so, too.
SELECT length(name), octet_length(name) FROM create_parking_slot(repeat('ä', 100));
SELECT pg_temp.refusal($$INSERT INTO parking_slots VALUES ('00000000-0000-7000-8000-000000000000', '', 'available')$$) ~ '^23514' AS empty;
SELECT pg_temp.refusal($$INSERT INTO parking_slots VALUES ('00000000-0000-7000-8000-000000000000', repeat('x', 101), 'available')$$) ~ '^23514' AS long;
SELECT pg_temp.refusal($$INSERT INTO parking_slots VALUES ('00000000-0000-7000-8000-000000000000', 'x', 'broken')$$) ~ '^23514' AS status;

-- uuids: version 7, RFC 9562's variant, of now, in the order of creation.
TRUNCATE parking_slots;
SELECT count(create_parking_slot(lpad(n::text, 5, '0'))) FROM generate_series(1, 10000) n;
SELECT bool_and(uuid::text ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$') FROM parking_slots;
SELECT bool_and(name::int = n) FROM (SELECT name, row_number() OVER (ORDER BY uuid) AS n FROM parking_slots) ordered;
SELECT abs(extract(epoch FROM clock_timestamp()) - ('x' || lpad(left(replace(max(uuid::text), '-', ''), 12), 16, '0'))::bit(64)::bigint / 1000.0) < 60 FROM parking_slots;
TRUNCATE parking_slots;

-- Not in a read-only transaction; not at the mercy of search_path, of another table of that name, nor of an operator.
BEGIN READ ONLY;
SELECT pg_temp.refusal($$SELECT create_parking_slot('Slot 1')$$);
ROLLBACK;
CREATE SCHEMA regress_trap;
CREATE TABLE regress_trap.parking_slots (uuid uuid, name text, status text);
CREATE FUNCTION regress_trap.equal(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR regress_trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = regress_trap.equal);
SET search_path = regress_trap, pg_catalog;
SELECT name, status FROM public.create_parking_slot('Slot 1');
SELECT name, status FROM public.reserve_parking_slot((SELECT uuid FROM public.parking_slot_list()));
SELECT name, status FROM public.parking_slot_list();
SELECT count(*) FROM regress_trap.parking_slots;
RESET search_path;
-- Plans are kept, also across a change of the table, and made again when the extension moves.
ALTER TABLE parking_slots ADD COLUMN floor int DEFAULT 3;
SELECT name, status, floor FROM create_parking_slot('Slot 2');
SELECT name, status FROM parking_slot_list();
SELECT count(*) FROM parking_slots, parking_slot_details(uuid);
ALTER TABLE parking_slots DROP COLUMN floor;
SELECT name, status FROM create_parking_slot('Slot 3');
DROP SCHEMA regress_trap CASCADE;
CREATE SCHEMA regress_trap;
ALTER EXTENSION parking SET SCHEMA regress_trap;
SELECT name, status FROM regress_trap.create_parking_slot('Slot 4');
ALTER SCHEMA regress_trap RENAME TO regress_moved;
SELECT name, status FROM regress_moved.create_parking_slot('Slot 5');
SELECT name, status FROM regress_moved.parking_slot_list();
ALTER EXTENSION parking SET SCHEMA public;
SELECT name, status FROM create_parking_slot('Slot 6');
DROP SCHEMA regress_moved;
-- Triggers of the table see and may change the row; what is returned is what was stored.
CREATE FUNCTION public.regress_upper() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.name := upper(NEW.name); RETURN NEW; END$$;
CREATE TRIGGER upper BEFORE INSERT ON parking_slots FOR EACH ROW EXECUTE FUNCTION regress_upper();
SELECT name, status FROM create_parking_slot('Slot 7');
DROP TRIGGER upper ON parking_slots;
CREATE OR REPLACE FUNCTION regress_upper() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
CREATE TRIGGER upper BEFORE INSERT OR UPDATE ON parking_slots FOR EACH ROW EXECUTE FUNCTION regress_upper();
SELECT pg_temp.refusal($$SELECT create_parking_slot('Slot 8')$$);
SELECT pg_temp.refusal($$SELECT block_parking_slot(pg_temp.slot('SLOT 7'))$$);
DROP TRIGGER upper ON parking_slots;
DROP FUNCTION regress_upper();
TRUNCATE parking_slots;
-- How the planner may treat them.
SELECT proname, provolatile, proisstrict, proparallel FROM pg_proc
 WHERE oid IN (SELECT objid FROM pg_depend WHERE refobjid = (SELECT oid FROM pg_extension WHERE extname = 'parking') AND classid = 'pg_proc'::regclass)
 ORDER BY proname;
