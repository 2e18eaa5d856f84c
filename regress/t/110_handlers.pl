# Handlers: each event once, in order, in the transaction that moves the position; beside mapped tables and alone,
# through kill -9, errors, backfills, huge transactions and gaps.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use PostgreSQL::Test::Utils;
use Test::More;

my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
my $relay = $cqrs->start_relay;
my @small = ('--memory', 4 * 1024 * 1024, '--prefetch', 16);
my $apply = $cqrs->start_apply('r1', @small);
ok($cqrs->wait_live('r1', 'parking'), 'live');
$primary->safe_psql('postgres', q{SELECT create_parking_slot('old ' || i, CASE WHEN i % 3 = 0 THEN 'blocked' ELSE 'available' END) FROM generate_series(1, 30) i});
$cqrs->wait_equal('r1', 'parking_slots');

# The log is what arrived: the key would refuse a second time, the trigger is none of the applier's.
$replica->safe_psql('postgres', <<'SQL');
CREATE TABLE log (n bigint GENERATED ALWAYS AS IDENTITY, id text PRIMARY KEY, type text, there boolean, triggered boolean);
CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.triggered = true; RETURN NEW; END';
CREATE TRIGGER fired BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION fired();
CREATE FUNCTION log_it(event jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO log (id, type, there) SELECT event->>'id', event->>'type',
        EXISTS (SELECT FROM parking_slots WHERE uuid = (event->'data'->>'uuid')::uuid)
$$;
CREATE TABLE paid (total numeric);
INSERT INTO paid VALUES (0);
CREATE FUNCTION pay(events jsonb[]) RETURNS void LANGUAGE sql AS $$
    UPDATE paid SET total = total + (SELECT sum((e->'data'->>'amount')::numeric) FROM unnest(events) e)
$$;
SELECT cqrs.on('parking.*', 'parking_occupancy_handler(jsonb[])', backfill => true);
SELECT cqrs.on('parking.#', 'log_it(jsonb)');
SELECT cqrs.on('invoice.paid', 'pay(jsonb[])');
SQL
sub state { return $replica->safe_psql('postgres', "SELECT string_agg(state, ' ' ORDER BY pattern, handler::text) FROM cqrs.handler_status WHERE topic = 'parking'") }
sub live { return Cqrs::wait_until('the handlers are live', sub { return state() eq 'live live' }) }
ok(live(), 'handlers are live');
ok(Cqrs::wait_until('the other topic has begun', sub { return $replica->safe_psql('postgres', q{SELECT state FROM cqrs.handler_status WHERE topic = 'invoice'}) eq 'live' }), 'a topic without a table begins');
my $begin = $cqrs->position('r1', 'parking');

my $counts = 'SELECT status, count(*) FROM parking_slots GROUP BY 1 ORDER BY 1';
sub occupancy_is_right {
    my ($what) = @_;
    my $expected = $primary->safe_psql('postgres', $counts);
    my $actual;
    Cqrs::wait_until("parking_occupancy is right $what", sub {
        return ($actual = $replica->safe_psql('postgres', 'SELECT status, slots FROM parking_occupancy() WHERE slots <> 0')) eq $expected;
    });
    return is($actual, $expected, "parking_occupancy is right $what");
}
occupancy_is_right('for what was there before');

# What is committed after cqrs.on() reaches a handler; the mapped row is there when it runs.
$primary->safe_psql('postgres', q{BEGIN; SELECT create_parking_slot('new'); SELECT cqrs.emit('parking.lot.opened', '{"a": 1}'); SELECT cqrs.emit('invoice.paid', '{"amount": 1.5}'); COMMIT});
ok(Cqrs::wait_until('both events arrive', sub { return $replica->safe_psql('postgres', 'SELECT count(*) FROM log') eq '2' }), 'row and domain event');
is($replica->safe_psql('postgres', q{SELECT string_agg(type || ' ' || there, ', ' ORDER BY n) FROM log}), 'parking.create true, parking.lot.opened false', 'in order, after the mapped row');
is($replica->safe_psql('postgres', q{SELECT since = (SELECT max(committed_at) FROM cqrs.position WHERE topic = 'parking') FROM parking_occupancy WHERE status = 'available'}), 't', 'since when');
ok(Cqrs::wait_until('the invoice arrives', sub { return $replica->safe_psql('postgres', 'SELECT total FROM paid') eq '1.5' }), 'a topic of handlers alone');

# Kills under load: every event once and in order, every sum right.
my $script = "$PostgreSQL::Test::Utils::tmp_check/load.sql";
append_to_file($script, <<'SQL');
\set n random(1, 1000000)
BEGIN;
SELECT create_parking_slot('load ' || :n || ' ' || i) FROM generate_series(1, 3) i;
SELECT reserve_parking_slot(uuid) FROM (SELECT uuid FROM parking_slots WHERE status = 'available' LIMIT 1 FOR UPDATE SKIP LOCKED) s;
SELECT delete_parking_slot(uuid) FROM (SELECT uuid FROM parking_slots WHERE status = 'reserved' LIMIT 1 FOR UPDATE SKIP LOCKED) s;
SELECT cqrs.emit('parking.lot.counted', '{}');
SELECT cqrs.emit('invoice.paid', '{"amount": 1}');
COMMIT;
SQL
my $load = Cqrs::Process->start('pgbench', {}, 'pgbench', '-n', '-c', '2', '-R', '60', '-T', '3600', '-f', $script,
    '-h', $primary->host, '-p', $primary->port, 'postgres');
for my $round (1 .. 6) {
    my $before = $cqrs->position('r1', 'parking');
    Cqrs::wait_until("events flow before kill $round", sub { return $cqrs->position('r1', 'parking') > $before });
    $apply->kill_now;
    $apply = $cqrs->start_apply('r1', @small);
    # What is kept is kept with the position, at any moment.
    is($replica->safe_psql('postgres', "SELECT sequence - $begin = (SELECT count(*) FROM log) FROM cqrs.position WHERE topic = 'parking'"), 't', "as many events as the position says, kill $round");
}
$load->signal('INT');
ok(defined $load->wait_end(60), 'the load has ended');
$cqrs->wait_equal('r1', 'parking_slots');
occupancy_is_right('after kills');
is($replica->safe_psql('postgres', "SELECT sequence - $begin - count FROM (SELECT count(*) FROM log) l, cqrs.position WHERE topic = 'parking'"), '0', 'each event once');
is($replica->safe_psql('postgres', 'SELECT count(*) FROM log WHERE triggered IS NOT TRUE'), '0', "triggers of a handler's table fire");
is($replica->safe_psql('postgres', q{SELECT count(*) FROM (SELECT split_part(id, '.', 1)::pg_lsn < lag(split_part(id, '.', 1)::pg_lsn) OVER (ORDER BY n) AS back FROM log) l WHERE back}), '0', 'in order');
is($replica->safe_psql('postgres', 'SELECT count(*) FROM (SELECT status, slots FROM parking_occupancy EXCEPT SELECT status, count(*) FROM parking_occupancy_slots GROUP BY 1) x WHERE slots <> 0'), '0', 'its memory agrees');
is($replica->safe_psql('postgres', q{SELECT total - sequence - 0.5 FROM paid, cqrs.position WHERE topic = 'invoice'}), '0.0', 'every invoice once');

# A huge transaction goes through the spool to the handlers.
$primary->safe_psql('postgres', q{INSERT INTO parking_slots SELECT gen_random_uuid(), 'huge ' || i, 'blocked' FROM generate_series(1, 30000) i});
$cqrs->wait_equal('r1', 'parking_slots');
occupancy_is_right('after a huge transaction');
like($apply->log, qr/too large for memory/, 'it was spooled');
is($replica->safe_psql('postgres', "SELECT sequence - $begin - count FROM (SELECT count(*) FROM log) l, cqrs.position WHERE topic = 'parking'"), '0', 'each event once');

# An error stops the topic, names everything, leaves nothing half, and is over when the handler is mended.
$replica->safe_psql('postgres', <<'SQL');
CREATE OR REPLACE FUNCTION log_it(event jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (id, type) VALUES (event->>'id', event->>'type');
    IF event->'data'->>'name' = 'bad' THEN RAISE 'not this one'; END IF;
END $$;
SQL
$primary->safe_psql('postgres', "SELECT create_parking_slot('good $_')") foreach 1 .. 3;
$primary->safe_psql('postgres', q{BEGIN; SELECT create_parking_slot('before bad'); SELECT create_parking_slot('bad'); COMMIT; SELECT create_parking_slot('after bad')});
ok(Cqrs::wait_until('the topic has stopped', sub {
    return $replica->safe_psql('postgres', "SELECT state FROM cqrs.position WHERE topic = 'parking'") eq 'stopped';
}), 'an error in a handler stops the topic');
my $error = $replica->safe_psql('postgres', q{SELECT error FROM cqrs.handler_status WHERE handler::text = 'log_it(jsonb)'});
like($error, qr{event [0-9A-F]+/[0-9A-F]+\.2 \(parking\.create\): handler public\.log_it\(jsonb\): P0001 not this one}, 'named: event, handler, reason');
like($error, qr/PL\/pgSQL function log_it\(jsonb\) line 4/, 'and the statement');
is($replica->safe_psql('postgres', q{SELECT count(*) FROM parking_slots WHERE name LIKE 'good %'}), '3', 'what came before is applied');
is($replica->safe_psql('postgres', q{SELECT count(*) FROM parking_slots WHERE name LIKE '%bad'}), '0', 'nothing of the transaction is');
is($replica->safe_psql('postgres', "SELECT sequence - $begin - count FROM (SELECT count(*) FROM log) l, cqrs.position WHERE topic = 'parking'"), '0', 'its handler did not count either');
$replica->safe_psql('postgres', <<'SQL');
CREATE OR REPLACE FUNCTION log_it(event jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO log (id, type) VALUES (event->>'id', event->>'type')
$$;
UPDATE cqrs.position SET state = 'live', error = NULL WHERE topic = 'parking';    -- try again now, not in half a minute
SQL
$cqrs->wait_equal('r1', 'parking_slots');
is($replica->safe_psql('postgres', "SELECT sequence - $begin - count FROM (SELECT count(*) FROM log) l, cqrs.position WHERE topic = 'parking'"), '0', 'healed: each event once');

# off: not one event more. on again: from then on.
$replica->safe_psql('postgres', q{SELECT cqrs.off('parking.#', 'log_it(jsonb)')});
my $logged = $replica->safe_psql('postgres', 'SELECT count(*) FROM log');
$primary->safe_psql('postgres', q{SELECT create_parking_slot('unseen')});
$cqrs->wait_equal('r1', 'parking_slots');
is($replica->safe_psql('postgres', 'SELECT count(*) FROM log'), $logged, 'off');
$replica->safe_psql('postgres', q{SELECT cqrs.on('parking.create', 'log_it(jsonb)')});
$primary->safe_psql('postgres', q{SELECT create_parking_slot('seen'); UPDATE parking_slots SET name = 'seen, twice' WHERE name = 'seen'});
$cqrs->wait_equal('r1', 'parking_slots');
is($replica->safe_psql('postgres', "SELECT count(*) - $logged FROM log"), '1', 'on again, with another pattern');

# A gap: what can be backfilled is, what cannot be says so and stops, alone.
$apply->signal('TERM');
$apply->wait_end(10);
$primary->safe_psql('postgres', "SELECT create_parking_slot('gap $_')") foreach 1 .. 3;
Cqrs::wait_until('messages wait', sub { return $cqrs->amqp('count', 'cqrs.r1.parking') >= 1 });
$cqrs->amqp('take', 'cqrs.r1.parking', 1);
$apply = $cqrs->start_apply('r1', @small);
$primary->safe_psql('postgres', q{SELECT create_parking_slot('after the gap')});
$cqrs->wait_equal('r1', 'parking_slots');
occupancy_is_right('after a gap');
ok(Cqrs::wait_until('the other has stopped', sub { return state() eq 'live stopped' || state() eq 'stopped live' }), 'a handler that may have missed events is stopped');
like($replica->safe_psql('postgres', q{SELECT error FROM cqrs.handler_status WHERE pattern = 'parking.create'}), qr/missing.*cqrs\.on\('parking\.create', '(public\.)?log_it\(jsonb\)'\)/s, 'and says why');

$cqrs->finish;
done_testing();
