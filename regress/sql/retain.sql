-- cqrs.retain() and forget(): what they write, refuse and show. What the relay makes of it: regress/t/140_history.pl.
SELECT cqrs.retain(NULL, '1 day');
SELECT cqrs.retain('shop');
SELECT cqrs.retain('shop.order', '1 day');
SELECT cqrs.retain('', '1 day');
SELECT cqrs.retain('1shop', '1 day');
SELECT cqrs.retain('cqrs', '1 day');
SELECT cqrs.retain(repeat('x', 51), '1 day');
SELECT cqrs.retain('shop', '0.5 s');
SELECT cqrs.retain('shop', '-1 day');
SELECT cqrs.retain('shop', max_bytes => 1000);
SELECT cqrs.forget(NULL);
SELECT cqrs.forget('shop');

SELECT cqrs.retain('shop', '7 days', 1000000000);
SELECT cqrs.retain('shop', '7 days', 1000000000);
SELECT cqrs.retain('age', '1 month');
SELECT cqrs.retain('bytes', max_bytes => 1048576);
SELECT * FROM cqrs.retention_status ORDER BY topic;
-- Nobody has declared it yet: the limits may change.
SELECT cqrs.retain('age', '2 months');

-- As the relay writes it.
INSERT INTO cqrs.retention_state (topic, state, since_sequence) VALUES ('shop', 'kept', 1), ('bytes', 'kept', 5);
INSERT INTO cqrs.retention_state (topic, state, error) VALUES ('age', 'failed', 'no such queue type');
SELECT cqrs.retain('shop', '7 days', 1000000000);
SELECT cqrs.retain('shop', '8 days', 1000000000);
SELECT cqrs.retain('age', '3 months');
SELECT cqrs.forget('bytes');
SELECT cqrs.retain('bytes', max_bytes => 2000000);
SELECT topic, max_age, max_bytes, state, since_sequence, error FROM cqrs.retention_status ORDER BY topic;
DELETE FROM cqrs.retention_state WHERE topic = 'bytes';
SELECT cqrs.retain('bytes', max_bytes => 2000000);

-- Whoever is allowed to, without any right to the tables.
CREATE ROLE regress_keeper;
SET ROLE regress_keeper;
SELECT cqrs.retain('other', '1 day');
SELECT count(*) FROM cqrs.retention_status;
SELECT count(*) FROM cqrs.retention;
RESET ROLE;
GRANT EXECUTE ON FUNCTION cqrs.retain, cqrs.forget TO regress_keeper;
SET ROLE regress_keeper;
SELECT cqrs.retain('other', '1 day');
SELECT cqrs.forget('other');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION cqrs.retain, cqrs.forget FROM regress_keeper;
DROP ROLE regress_keeper;
SELECT cqrs.forget(topic) FROM cqrs.retention;
DELETE FROM cqrs.retention_state;
