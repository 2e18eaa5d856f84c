-- cqrs.read() without a replica, and what cqrs.attach_replica() refuses. With one:
-- regress/t/091_router.pl.
\set VERBOSITY default
SELECT cqrs.attached();
CREATE TABLE read (id int PRIMARY KEY, "odd ""name" text, gone int, at timestamptz, doc jsonb);
ALTER TABLE read DROP COLUMN gone;
INSERT INTO read VALUES (1, 'one', '2026-01-01', '{"a": 1}'), (2, NULL, NULL, NULL), (3, 'x', 'infinity', '[]');
SELECT * FROM cqrs.read('read') AS t("odd ""name" text, id bigint, doc jsonb) ORDER BY id;
SELECT count(*) FROM cqrs.read('read', '{"id": 1}') AS t(id int);
SELECT id FROM cqrs.read('read', '{"odd \"name": null}') AS t(id int);
SELECT id FROM cqrs.read('read', '{"id": "3", "odd \"name": "x", "at": "infinity"}') AS t(id int);
SELECT id FROM cqrs.read('read', '{"doc": {"a": 1}}') AS t(id int);
SELECT count(*) FROM cqrs.read('read', '{"id": 1, "odd \"name": "two"}') AS t(id int);
SELECT * FROM cqrs.read('read', '{"gone": 1}') AS t(id int);
SELECT * FROM cqrs.read('read', '{"id": "one"}') AS t(id int);
SELECT * FROM cqrs.read('read', '[1]') AS t(id int);
SELECT * FROM cqrs.read('read', NULL) AS t(id int);
SELECT * FROM cqrs.read('pg_tables') AS t(id int);
SELECT * FROM cqrs.read(NULL) AS t(id int);
SELECT * FROM cqrs.read('read') AS t(nothing int);
CREATE ROLE regress_cqrs_stranger;
SET ROLE regress_cqrs_stranger;
SELECT * FROM cqrs.read('read') AS t(id int);
SELECT cqrs.attach_replica('host=x');
SELECT cqrs.detach_replica();
SELECT FROM cqrs.attached_replica;
RESET ROLE;
DROP ROLE regress_cqrs_stranger;

SELECT cqrs.attach_replica(NULL);
SELECT cqrs.attach_replica('host=/nowhere', 'somewhere');
SELECT cqrs.attach_replica('host=/nowhere secret');
SELECT cqrs.attach_replica('host=/nowhere');
SELECT cqrs.detach_replica();

-- The commands and queries of parking, as ever.
SELECT name, status FROM create_parking_slot('Slot 1');
SELECT name, status FROM parking_slot_list();
SELECT name FROM parking_slots, parking_slot_details(parking_slots.uuid) AS details(a, b, c);
DELETE FROM parking_slots;
DROP TABLE read;
