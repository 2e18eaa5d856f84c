# rebuild: handlers' read models, tables and topics made anew under load while twenty readers look; none of them sees
# anything but a full model, whatever is killed or fails.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use PostgreSQL::Test::Utils;
use Test::More;

my $slots = 200;
my $cqrs = Cqrs->new(replicas => []);
my ($primary, $replica) = ($cqrs->primary, $cqrs->add_replica('r1', "max_connections = 50\n"));
$primary->safe_psql('postgres', q{SELECT cqrs.retain('parking', '1 day')});
my $relay = $cqrs->start_relay;
ok(Cqrs::wait_until('the history has begun', sub {
    return $primary->safe_psql('postgres', 'SELECT state FROM cqrs.retention_status') eq 'kept';
}), 'events are kept from the first on');
my $apply = $cqrs->start_apply('r1');
ok($cqrs->wait_live('r1', 'parking'), 'live');
$primary->safe_psql('postgres', "SELECT count(create_parking_slot('slot ' || i)) FROM generate_series(1, $slots) i");
$cqrs->wait_equal('r1', 'parking_slots');

# One that has a backfill; one that only counts, of every event it is given.
my $handler = 'parking_occupancy_handler(jsonb[])';
$replica->safe_psql('postgres', <<"SQL");
CREATE TABLE counted (n bigint NOT NULL);
INSERT INTO counted VALUES (0);
CREATE FUNCTION empty_again() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO counted VALUES (0); RETURN NULL; END';
CREATE TRIGGER again AFTER DELETE ON counted FOR EACH STATEMENT EXECUTE FUNCTION empty_again();
CREATE FUNCTION count_them(events jsonb[]) RETURNS void LANGUAGE sql AS 'UPDATE counted SET n = n + cardinality(events)';
SELECT cqrs.on('parking.*', '$handler', backfill => true);
SELECT cqrs.on('parking.#', 'count_them(jsonb[])');
SQL
sub states { return $replica->safe_psql('postgres', q{SELECT string_agg(DISTINCT state, ' ') FROM cqrs.handler_status}) }
ok(Cqrs::wait_until('the handlers are live', sub { return states() eq 'live' }), 'handlers are live');

sub rebuild { return $cqrs->command($cqrs->environment('r1'), 'rebuild', @_) }
my @occupancy = ('--handler', $handler, '--clear', 'parking_occupancy', '--clear', 'parking_occupancy_slots');
my $full = "SELECT sum(slots) = $slots FROM parking_occupancy";
sub full { my ($what) = @_; return is($replica->safe_psql('postgres', $full), 't', "a full model $what") }
sub occupancy_is_right {
    my ($what) = @_;
    my $expected = $primary->safe_psql('postgres', 'SELECT status, count(*) FROM parking_slots GROUP BY 1 ORDER BY 1');
    my $actual;
    Cqrs::wait_until("parking_occupancy is right $what", sub {
        return ($actual = $replica->safe_psql('postgres', 'SELECT status, slots FROM parking_occupancy() WHERE slots <> 0')) eq $expected;
    });
    return is($actual, $expected, "parking_occupancy is right $what");
}
occupancy_is_right('after the backfill');

# ---- under load: writers change statuses, so the sum never does; readers make an error of any other sum ---------------
my $writer = "$PostgreSQL::Test::Utils::tmp_check/writer.sql";
append_to_file($writer, <<'SQL');
UPDATE parking_slots SET status = (ARRAY['available', 'blocked', 'reserved'])[1 + floor(random() * 3)]
    WHERE uuid = (SELECT uuid FROM parking_slots OFFSET floor(random() * 200) LIMIT 1 FOR UPDATE);
SQL
my $reader = "$PostgreSQL::Test::Utils::tmp_check/reader.sql";
append_to_file($reader, <<"SQL");
SELECT 1 / (coalesce(sum(slots), 0) = $slots)::int FROM parking_occupancy;
SELECT 1 / (count(*) = $slots)::int FROM parking_slots;
SQL
my $load = Cqrs::Process->start('writers', {}, 'pgbench', '-n', '-c', '2', '-R', '50', '-T', '3600', '-f', $writer,
    '-h', $primary->host, '-p', $primary->port, 'postgres');
my $readers = Cqrs::Process->start('readers', {}, 'pgbench', '-n', '-c', '20', '-R', '300', '-P', '1', '-T', '3600', '-f', $reader,
    '-h', $replica->host, '-p', $replica->port, 'postgres');
my $before = $cqrs->position('r1', 'parking');
Cqrs::wait_until('events flow', sub { return $cqrs->position('r1', 'parking') > $before + 50 });
sub goes_on {
    my $at = $cqrs->position('r1', 'parking');
    return ok(Cqrs::wait_until('the topic goes on', sub { return $cqrs->position('r1', 'parking') > $at }), 'and goes on live');
}

my ($status, $out, $err) = rebuild(@occupancy, '--source', 'history', '--check', $full);
is($status, 0, 'a handler from the history') or diag($err);
like($out, qr/^parking_occupancy_handler\(jsonb\[\]\): from the history, events 1 to \d+$/m, 'said');
goes_on();
($status, $out, $err) = rebuild('--handler', 'parking_occupancy_handler', '--check', $full);
is($status, 0, 'told to forget, not cleared; found by name; the history is taken by itself') or diag($err);
like($out, qr/from the history/, 'said');
goes_on();
($status, $out, $err) = rebuild(@occupancy, '--source', 'snapshot', '--check', $full);
is($status, 0, "from the primary's rows") or diag($err);
like($out, qr{from the primary's rows at [0-9A-F]+/[0-9A-F]+$}m, 'said');
goes_on();

# What somebody broke is whole again, on both shapes at one point.
$replica->safe_psql('postgres', 'UPDATE parking_slots SET name = upper(name)');
($status, $out, $err) = rebuild('--topics', 'parking', '--check', $full);
is($status, 0, 'a whole topic') or diag($err);
like($out, qr/^public\.parking_slots: $slots rows, equal to the primary's at/m, 'its table, compared');
like($err, qr/count_them\(jsonb\[\]\) was registered without backfill and is left as it is/, 'not what cannot forget');
is($replica->safe_psql('postgres', 'SELECT count(*) FROM parking_slots WHERE name = upper(name)'), '0', 'the table is as it should be');
goes_on();
($status, $out, $err) = rebuild('--table', 'parking_slots');
is($status, 0, 'a table') or diag($err);
goes_on();

# Killed when everything is built and nothing is shown: the old model stays, the next one works at once.
for my $round (1 .. 2) {
    my $killed = $cqrs->start('rebuild', $cqrs->environment('r1'), 'rebuild', @occupancy, '--check', 'SELECT pg_sleep(600) IS NULL');
    my $sleeper = q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(600)%'};
    ok(Cqrs::wait_until('it is built', sub { return $replica->safe_psql('postgres', $sleeper) eq '1' }), "built, round $round") or diag($killed->log);
    full('for readers');
    my $stands = $cqrs->position('r1', 'parking');
    $killed->kill_now;
    ok(Cqrs::wait_until('its session ends', sub { return $replica->safe_psql('postgres', $sleeper) eq '0' }), 'killed: its transaction ends too');
    is($cqrs->position('r1', 'parking'), $stands, 'the topic stood still');
    full('after the kill');
    ($status, $out, $err) = rebuild(@occupancy);
    is($status, 0, 'the same again works') or diag($err);
    goes_on();
}

$readers->signal('INT');
ok(defined $readers->wait_end(60), 'the readers have ended');
unlike($readers->log, qr/division by zero|aborted/, 'no reader saw anything but a full model');
my $read = 0;
$read += $_ foreach $readers->log =~ /^progress: [\d.]+ s, ([\d.]+) tps/mg;    # one line a second
cmp_ok($read, '>', 500, "in $read looks");

# Not true, or a handler that fails: nothing changes.
$load->signal('INT');
ok(defined $load->wait_end(60), 'the load has ended');
$cqrs->wait_equal('r1', 'parking_slots');
occupancy_is_right('after the load');
my $model = 'SELECT s.xmin, s.* FROM parking_occupancy_slots s ORDER BY uuid';
my $old = $replica->safe_psql('postgres', $model);
($status, $out, $err) = rebuild(@occupancy, '--check', $full, '--check', 'SELECT count(*) = 0 FROM parking_occupancy');
is($status, 1, 'a check that is not true: exit status 1');
like($err, qr/the check is not true: SELECT count\(\*\) = 0 FROM parking_occupancy\. Nothing was changed/, 'said');
is($replica->safe_psql('postgres', $model), $old, 'nothing is changed');
$replica->safe_psql('postgres', q{CREATE TABLE other_counted (n bigint NOT NULL CHECK (n < 100)); INSERT INTO other_counted VALUES (0);
    CREATE FUNCTION fail_later(event jsonb) RETURNS void LANGUAGE sql AS 'UPDATE other_counted SET n = n + 1';
    SELECT cqrs.on('parking.#', 'fail_later(jsonb)')});
ok(Cqrs::wait_until('the handlers are live', sub { return states() eq 'live' }), 'a new handler');
($status, $out, $err) = rebuild('--handler', 'fail_later', '--clear', 'counted');
is($status, 1, 'a handler that fails: exit status 1');
like($err, qr{event [0-9A-F]+/[0-9A-F]+\.100 \(parking\.create\): handler fail_later\(jsonb\), constraint other_counted_n_check: 23514}, 'event, handler and reason are named');

# Without a backfill: of every event there ever was, also of those before it was registered.
my $all = $cqrs->position('r1', 'parking');
isnt($replica->safe_psql('postgres', 'SELECT n FROM counted'), $all, 'it has not counted all');
($status, $out, $err) = rebuild('--handler', 'count_them(jsonb[])');
is($status, 1, 'nobody knows what to empty');
like($err, qr/without backfill.*--clear/, 'said');
($status, $out, $err) = rebuild('--handler', 'count_them(jsonb[])', '--clear', 'counted');
is($status, 0, 'what it keeps is named') or diag($err);
is($replica->safe_psql('postgres', 'SELECT n FROM counted'), $all, 'each event once; the trigger of its table has fired');
$primary->safe_psql('postgres', q{SELECT create_parking_slot('one more')});
$cqrs->wait_equal('r1', 'parking_slots');
is($replica->safe_psql('postgres', 'SELECT n FROM counted'), $all + 1, 'and the next once');
occupancy_is_right('too');

# A history that is not whole is not taken for whole.
$primary->safe_psql('postgres', q{SELECT cqrs.forget('parking')});
ok(Cqrs::wait_until('it is forgotten', sub { return $primary->safe_psql('postgres', 'SELECT count(*) FROM cqrs.retention_status') eq '0' }), 'forgotten');
($status, $out, $err) = rebuild('--handler', 'count_them(jsonb[])', '--clear', 'counted');
is($status, 1, 'no history');
like($err, qr/only the whole history could make it anew, and the events of topic parking are not kept/, 'said');
$primary->safe_psql('postgres', q{SELECT cqrs.retain('parking', '1 day')});
Cqrs::wait_until('the history has begun', sub { return $primary->safe_psql('postgres', 'SELECT state FROM cqrs.retention_status') eq 'kept' });
$primary->safe_psql('postgres', q{SELECT create_parking_slot('later')});
$cqrs->wait_equal('r1', 'parking_slots');
($status, $out, $err) = rebuild(@occupancy, '--source', 'history');
is($status, 1, 'a history that begins later');
like($err, qr/the history begins with event \d+/, 'said');
($status, $out, $err) = rebuild(@occupancy);
is($status, 0, "then from the primary's rows") or diag($err);
like($err, qr/from a snapshot, not from the history: the history begins with event/, 'and why');
occupancy_is_right('from there too');
is($replica->safe_psql('postgres', 'SELECT n FROM counted'), $all + 2, 'what could not be made anew goes on as it was');

# What does not exist.
($status, $out, $err) = rebuild('--handler', 'nothing(jsonb)');
is($status, 1, 'no such function');
($status, $out, $err) = rebuild('--handler', 'empty_again()');
like($err, qr/is no handler/, 'no handler');
($status, $out, $err) = rebuild('--table', 'nothing');
like($err, qr/no such table is subscribed: nothing/, 'no table');
is($replica->safe_psql('postgres', 'SELECT count(*) FROM cqrs.incidents'), '0', 'no incident');
is($replica->safe_psql('postgres', 'SELECT count(*) FROM cqrs.fence'), '0', 'no fence is left');

$cqrs->finish;
done_testing();
