-- Who may do what: PUBLIC sees the status views and may call the queries and require_primary(), no more.
\pset format unaligned
\pset tuples_only on
SELECT p.oid::regprocedure AS function, p.provolatile, p.proisstrict AS strict, p.proparallel AS parallel, p.prosecdef AS definer,
       has_function_privilege('pg_monitor', p.oid, 'EXECUTE') AS public
  FROM pg_proc p WHERE p.pronamespace = 'cqrs'::regnamespace OR p.oid IN (SELECT objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'parking' AND d.classid = 'pg_proc'::regclass)
 ORDER BY p.oid::regprocedure::text COLLATE "C";
CREATE ROLE regress_nobody;
SELECT c.oid::regclass AS relation, has_table_privilege('regress_nobody', c.oid, 'SELECT') AS public, has_table_privilege('pg_monitor', c.oid, 'SELECT') AS monitor,
       has_table_privilege('regress_nobody', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER, REFERENCES') AS write
  FROM pg_class c WHERE (c.relnamespace = 'cqrs'::regnamespace OR c.relname = 'parking_slots') AND c.relkind IN ('r', 'v')
 ORDER BY c.oid::regclass::text COLLATE "C";
SELECT has_sequence_privilege('regress_nobody', 'cqrs.incidents_id_seq', 'USAGE, SELECT, UPDATE');
-- Everything has a comment.
SELECT pg_describe_object(classid, objid, objsubid) FROM pg_depend d
 WHERE refclassid = 'pg_extension'::regclass AND refobjid IN (SELECT oid FROM pg_extension WHERE extname IN ('pg_cqrs', 'parking')) AND deptype = 'e'
   AND classid NOT IN ('pg_type'::regclass) AND NOT EXISTS (SELECT FROM pg_description WHERE objoid = d.objid AND classoid = d.classid AND objsubid = 0)
   AND NOT EXISTS (SELECT FROM pg_class WHERE oid = d.objid AND relkind = 'S');

SET ROLE regress_nobody;
SELECT count(*) FROM cqrs.publication_status;
SELECT count(*) FROM cqrs.subscription_status;
SELECT count(*) FROM cqrs.published;
SELECT cqrs.emit('a.b', '{}');
SELECT cqrs.set_context();
SELECT cqrs.register_replica('r');
SELECT create_parking_slot('Slot 1');
SELECT parking_slot_list();
RESET ROLE;

-- A role that is granted the commands and the table; what it does is its own, not the extension owner's.
GRANT EXECUTE ON FUNCTION create_parking_slot, reserve_parking_slot TO regress_nobody;
GRANT SELECT, INSERT ON parking_slots TO regress_nobody;
SET ROLE regress_nobody;
SELECT name, status FROM create_parking_slot('Slot 1');
SELECT name, status FROM parking_slot_list();
SELECT reserve_parking_slot(uuid) FROM parking_slot_list();
RESET ROLE;
GRANT UPDATE (status) ON parking_slots TO regress_nobody;
SET ROLE regress_nobody;
SELECT (reserve_parking_slot(uuid)).status FROM parking_slot_list();
RESET ROLE;
-- Row-level security holds for commands.
ALTER TABLE parking_slots ENABLE ROW LEVEL SECURITY;
SET ROLE regress_nobody;
SELECT count(*) FROM parking_slot_list();
SELECT create_parking_slot('Slot 2');
RESET ROLE;
ALTER TABLE parking_slots DISABLE ROW LEVEL SECURITY;
TRUNCATE parking_slots;
-- The relay's and the applier's roles need no superuser: these are their grants.
DROP OWNED BY regress_nobody;
GRANT SELECT ON cqrs.published TO regress_nobody;
GRANT SELECT, INSERT, UPDATE ON cqrs.relay_state TO regress_nobody;
GRANT EXECUTE ON FUNCTION cqrs.register_replica TO regress_nobody;
SET ROLE regress_nobody;
SELECT prefix FROM cqrs.published;
SELECT cqrs.register_replica('r');
RESET ROLE;
SELECT cqrs.deregister_replica();
DROP OWNED BY regress_nobody;
DROP ROLE regress_nobody;
