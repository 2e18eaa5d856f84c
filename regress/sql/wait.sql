-- Read-your-writes: what a token is, and what cqrs.wait_for() makes of positions. Waking up and
-- waiting for a real relay: regress/t/090_read_your_writes.pl.
\set VERBOSITY default
CREATE TABLE waited (id int PRIMARY KEY);
SELECT cqrs.subscribe('waited', 'waited');
SELECT current_setting('cqrs.report_token') AS report, current_setting('cqrs.last_token') AS none;

-- A token.
SELECT cqrs.token() ~ '^1:/[^/:]+/\d+/\d+:[0-9A-F]+/[0-9A-F]+$' AS form;
INSERT INTO waited VALUES (1);
SELECT cqrs.token() AS mine \gset
INSERT INTO waited VALUES (2);
SELECT cqrs.token() AS next \gset
SELECT split_part(:'mine', ':', 3)::pg_lsn < split_part(:'next', ':', 3)::pg_lsn AS grows,
       split_part(:'next', ':', 3)::pg_lsn <= pg_current_wal_insert_lsn() AS is_past,
       split_part(cqrs.token(), ':', 3)::pg_lsn >= split_part(:'next', ':', 3)::pg_lsn AS never_back,
       split_part(cqrs.token(any_session => true), ':', 3)::pg_lsn >= split_part(:'next', ':', 3)::pg_lsn AS of_anybody;
BEGIN;
SELECT cqrs.token() IS NOT NULL AS nothing_written_yet;
INSERT INTO waited VALUES (3);
SELECT cqrs.token();
ROLLBACK;
SET cqrs.last_token = 'x';
SET cqrs.report_token = on;
INSERT INTO waited VALUES (4);
SELECT split_part(current_setting('cqrs.last_token'), ':', 3)::pg_lsn > split_part(:'next', ':', 3)::pg_lsn AS reported;
RESET cqrs.report_token;

-- Arguments.
SELECT cqrs.wait_for(NULL);
SELECT cqrs.wait_for('', '0');
SELECT cqrs.wait_for('0/1', '0');
SELECT cqrs.wait_for('2:/db/1/1:0/1', '0');
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['1:db/1/1:0/1', '1:/db/1:0/1', '1://1/1:0/1', '1:/db/x/1:0/1', '1:/db/1/:0/1', '1:/db/1/1:0', '1:/db/1/1:0/', '1:/db/1/1:g/1',
                             '1:/db/1/1:123456789/1', '1:/db/1/1:0/123456789', '1:/db/1/1:0x1/1', '1:/db/1/1: 1/1', '1:/db/1/1/1:0/1', '1:/db/1/1:0/1:1', '1:/db/1/1:0/0', '1:/db/1/1:0/1 '] LOOP
        BEGIN
            PERFORM cqrs.wait_for(t, '0');
            RAISE WARNING '% was taken', t;
        EXCEPTION WHEN invalid_parameter_value THEN NULL;
        END;
    END LOOP;
END $$;
SELECT cqrs.wait_for(:'mine', NULL);
SELECT cqrs.wait_for(:'mine', '-1 s');
SELECT cqrs.wait_for(:'mine', '0', 'unknown');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT cqrs.wait_for(:'mine', '0');
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT cqrs.wait_for(:'mine', '0');
ROLLBACK;

-- Positions, as an applier would write them. Another primary; none yet; behind; there.
SELECT split_part(:'mine', ':', 2) AS source, split_part(:'mine', ':', 3) AS lsn \gset
SELECT cqrs.wait_for(:'mine', '0', 'waited') AS no_position;
INSERT INTO cqrs.subscription_state (prefix, relation, state) VALUES ('waited', 'waited', 'live');
INSERT INTO cqrs.position (topic, epoch, lsn) SELECT 'waited', 1, split_part(:'next', ':', 3)::pg_lsn;
SELECT cqrs.wait_for(:'mine', '0', 'waited') AS stream_not_met;
UPDATE cqrs.position SET source = '/other/1/1', sequence = 7;
SELECT cqrs.wait_for('1:/one/2/3:0/1', '0', 'waited');
UPDATE cqrs.position SET source = '/one/2/1';
SELECT cqrs.wait_for('1:/one/2/3:0/1', '0', 'waited') AS promotion_not_met;
UPDATE cqrs.position SET source = '/one/2/10';
SELECT cqrs.wait_for('1:/one/2/9:0/1', '0', 'waited');
UPDATE cqrs.position SET source = :'source';
SELECT cqrs.wait_for(:'mine', '0', 'waited') AS there;
UPDATE cqrs.position SET lsn = :'lsn';
SELECT cqrs.wait_for(:'mine', '0', 'waited') AS exactly_there, cqrs.wait_for(:'next', '10 ms', 'waited') AS behind;
-- Every topic: parking has no position.
SELECT cqrs.wait_for(:'mine', '0') AS every_topic;
BEGIN;
DELETE FROM cqrs.subscription WHERE prefix = 'parking';
INSERT INTO cqrs.handler (pattern, handler, search_path) VALUES ('parking.#', 'parking_occupancy_handler(jsonb[])', '');
SELECT cqrs.wait_for(:'mine', '0') AS a_handler_counts_too;
DELETE FROM cqrs.handler;
SELECT cqrs.wait_for(:'mine', '0') AS every_topic;
DELETE FROM cqrs.subscription;
SELECT cqrs.wait_for(:'mine', '0') AS nothing;
ROLLBACK;

-- The relay's heartbeat: up to an LSN the topic has no other event.
SELECT split_part(:'next', ':', 3) AS next_lsn \gset
INSERT INTO cqrs.heartbeat (topic, epoch, sequence, lsn, at) VALUES ('waited', 1, 8, :'next_lsn', now());
SELECT cqrs.wait_for(:'next', '0', 'waited') AS event_8_is_missing;
UPDATE cqrs.heartbeat SET earlier_sequence = 7, earlier_lsn = :'next_lsn', earlier_at = now();
SELECT cqrs.wait_for(:'next', '0', 'waited') AS an_earlier_one;
UPDATE cqrs.heartbeat SET earlier_sequence = NULL, sequence = 7;
SELECT cqrs.wait_for(:'next', '0', 'waited') AS nothing_is_missing;
UPDATE cqrs.heartbeat SET epoch = 2;
SELECT cqrs.wait_for(:'next', '0', 'waited') AS of_another_epoch;
UPDATE cqrs.heartbeat SET epoch = 1;
UPDATE cqrs.subscription_state SET state = 'pending';
SELECT cqrs.wait_for(:'next', '0', 'waited') AS being_copied;
UPDATE cqrs.subscription_state SET state = 'live';

-- A cancelled wait leaves no lock behind, also inside a savepoint.
-- It may come while the position is looked up, which the context would tell.
\set SHOW_CONTEXT never
SET statement_timeout = '50ms';
SELECT cqrs.wait_for('1:' || :'source' || ':FFFFFFFF/0', '1 h');
BEGIN;
SAVEPOINT s;
SELECT cqrs.wait_for('1:' || :'source' || ':FFFFFFFF/0', '1 h');
ROLLBACK TO s;
RESET statement_timeout;
SELECT count(*) AS locks FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
COMMIT;

-- Rights: everybody may ask.
CREATE ROLE regress_cqrs_reader;
SET ROLE regress_cqrs_reader;
SELECT cqrs.wait_for(:'next', '0', 'waited') AS by_anybody, cqrs.token() IS NOT NULL AS token;
SELECT topic, complete, lsn IS NOT NULL AS lsn FROM cqrs.freshness ORDER BY topic;
SELECT FROM cqrs.heartbeat;
SELECT FROM cqrs.position;
RESET ROLE;
DROP ROLE regress_cqrs_reader;

DELETE FROM cqrs.heartbeat;
DELETE FROM cqrs.position;
SELECT cqrs.unsubscribe('waited');
DROP TABLE waited;
