# verify: rows that somebody changed on the replica are found by key while writers run, and repaired, nothing else.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use PostgreSQL::Test::Utils;
use Test::More;

my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
# Keys of several types, values that print in their own ways, a generated column, a unique one.
$_->safe_psql('postgres', <<'SQL') foreach $primary, $replica;
CREATE EXTENSION ltree;    -- its equality is not in pg_catalog
CREATE TABLE mixed (a int, b text COLLATE "C", d date, v numeric(10,2), j jsonb, x bytea, f float8, twice int GENERATED ALWAYS AS (a * 2) STORED,
    u int UNIQUE, p ltree DEFAULT 'top', PRIMARY KEY (b, a, d, p));
CREATE TABLE counter (id int PRIMARY KEY, n bigint NOT NULL);
SQL
$primary->safe_psql('postgres', <<'SQL');
SELECT cqrs.publish('mixed', 'mixed.row'); SELECT cqrs.publish('counter', 'mixed.counter');
INSERT INTO mixed (a, b, d, v, j, x, f, u) SELECT i, 'it''s, "' || i, '2026-01-01', i / 3.0, '{"a": [1, null]}', '\x00ff', i / 7.0, i FROM generate_series(1, 3000) i;
INSERT INTO counter SELECT i, 0 FROM generate_series(1, 100) i;
SELECT count(create_parking_slot('slot ' || i)) FROM generate_series(1, 300) i;
SQL
$replica->safe_psql('postgres', q{SELECT cqrs.subscribe('mixed.row', 'mixed'); SELECT cqrs.subscribe('mixed.counter', 'counter')});
my $relay = $cqrs->start_relay;
my $apply = $cqrs->start_apply('r1');
ok($cqrs->wait_live('r1', $_), "$_ is live") foreach qw(parking mixed.row mixed.counter);

sub verify { return $cqrs->command($cqrs->environment('r1'), 'verify', @_) }

my $script = "$PostgreSQL::Test::Utils::tmp_check/load.sql";
append_to_file($script, <<'SQL');
\set a random(1, 100)
\set b random(10000, 1000000000)
BEGIN;
UPDATE counter SET n = n + 1 WHERE id = least(:a, 101 - :a);
UPDATE counter SET n = n - 1 WHERE id = greatest(:a, 101 - :a);
INSERT INTO mixed (a, b, d, v) VALUES (:b, 'load', now(), :a) ON CONFLICT DO NOTHING;
DELETE FROM mixed WHERE b = 'load' AND a % 7 = :a % 7;
SELECT create_parking_slot('load');
COMMIT;
SQL
my $load = Cqrs::Process->start('pgbench', {}, 'pgbench', '-n', '-c', '2', '-R', '40', '-T', '3600', '-f', $script,
    '-h', $primary->host, '-p', $primary->port, 'postgres');
my $before = $cqrs->position('r1', 'mixed');
ok(Cqrs::wait_until('events flow', sub { return $cqrs->position('r1', 'mixed') > $before + 20 }), 'writers run');

my ($status, $out, $err) = verify();
is($status, 0, 'equal while writers run') or diag($out, $err);
like($out, qr/^public\.$_: \d+ rows at \S+: equal$/m, "$_ is equal") foreach qw(mixed counter parking_slots);
unlike($err, qr/verify:/, 'nothing to complain about');
$before = $cqrs->position('r1', 'mixed');
ok(Cqrs::wait_until('events flow', sub { return $cqrs->position('r1', 'mixed') > $before }), 'the applier goes on');

# By hand, on the replica: one of each kind; two unique values swapped.
$replica->safe_psql('postgres', <<'SQL');
DELETE FROM mixed WHERE a = 17;
UPDATE mixed SET v = v + 0.01 WHERE a = 18;
UPDATE mixed SET j = j || '{"b": 1}' WHERE a = 19;
INSERT INTO mixed (a, b, d, v, u) VALUES (-1, 'extra, "row"', '2026-01-01', 0, -1);
UPDATE mixed SET u = CASE a WHEN 20 THEN -20 ELSE 20 END WHERE a IN (20, 21) AND a = 20;
UPDATE mixed SET u = 20 WHERE a = 21;
UPDATE mixed SET u = 21 WHERE a = 20;
INSERT INTO counter VALUES (1000, 1);
SQL
($status, $out, $err) = verify('--table', 'mixed.row', '--table', 'counter');
is($status, 1, 'differences: exit status 1') or diag($out, $err);
my $key = sub { return qq{"it's, \\"$_[0]"} };
is(join("\n", sort grep { /: (missing|extra|different) / } split /\n/, $out), join("\n", sort
    "public.counter: extra 1000",
    "public.mixed: missing 17, it's, \"17, 2026-01-01, top",
    (map { "public.mixed: different $_, it's, \"$_, 2026-01-01, top" } 18 .. 21),
    "public.mixed: extra -1, extra, \"row\", 2026-01-01, top"), 'the keys that differ, and no other');
like($out, qr/^public\.mixed: \d+ rows at \S+: 6 differ \(1 missing, 1 extra, 4 different\)$/m, 'counted');
unlike($out, qr/parking_slots/, 'only the tables asked for');

($status, $out, $err) = verify('--repair');
is($status, 0, 'repaired: exit status 0') or diag($out, $err);
like($out, qr/^public\.mixed: 6 keys repaired/m, 'just those');
($status, $out, $err) = verify();
is($status, 0, 'equal afterwards, while writers run') or diag($out, $err);

# A verify that was killed holds nothing up for long: its fence expires.
$replica->safe_psql('postgres', q{INSERT INTO cqrs.fence (topic, owner, expires_at) VALUES ('mixed', 'killed', clock_timestamp() + interval '3 s')});
ok(Cqrs::wait_until('the fence is reached', sub {
    return $replica->safe_psql('postgres', q{SELECT count(*) = 0 OR bool_or(reached) FROM cqrs.fence WHERE expires_at > clock_timestamp()}) eq 't';
}), 'the topic stands at a fence');
$before = $cqrs->position('r1', 'mixed');
ok(Cqrs::wait_until('events flow', sub { return $cqrs->position('r1', 'mixed') > $before }), 'and goes on when it has expired');

$load->signal('INT');
$load->wait_end(60);
$cqrs->wait_equal('r1', $_) foreach qw(mixed counter parking_slots);
is($replica->safe_psql('postgres', 'SELECT count(*) FROM cqrs.incidents'), '0', 'no incident: nothing was copied');
is($replica->safe_psql('postgres', q{SELECT count(*) FROM cqrs.fence WHERE owner <> 'killed'}), '0', 'no fence is left');

# Without an applier there is no point to compare at; unknown tables are an error.
($status, $out, $err) = verify('--table', 'nothing');
is($status, 1, 'an unknown table: exit status 1');
like($err, qr/no such table is subscribed/, 'said');

$cqrs->finish;
done_testing();
