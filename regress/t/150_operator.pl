# What an operator does to a system that runs: what it says meanwhile, and that it goes on.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
my $table = 'CREATE TABLE stock (sku int PRIMARY KEY, n int NOT NULL)';
$primary->safe_psql('postgres', "$table; SELECT cqrs.publish('stock', 'store')");
$replica->safe_psql('postgres', "$table; SELECT cqrs.subscribe('store', 'stock')");
my $relay = $cqrs->start_relay;
my $apply = $cqrs->start_apply('r1');
ok($cqrs->wait_live('r1', 'store'), 'a table is live');
$primary->safe_psql('postgres', 'INSERT INTO stock SELECT i, 0 FROM generate_series(1, 10) i');
$cqrs->wait_equal('r1', 'stock');

# ---- the broker's alarm -------------------------------------------------------------------------
my ($status, $out) = $cqrs->command($cqrs->environment('r1'), 'status', '--name', 'r1');
is($status, 0, 'status of a well system: 0') or diag($out);
$cqrs->rabbitmqctl('set_disk_free_limit', '90000GB');
$primary->safe_psql('postgres', 'UPDATE stock SET n = 2');
ok(Cqrs::wait_until('the relay is held back', sub { return $relay->log =~ /takes no messages/ }), 'an alarm holds the relay back');
($status, $out) = $cqrs->command($cqrs->environment('r1'), 'status', '--name', 'r1');
is($status, 1, 'status under an alarm: 1');
like($out, qr/^! broker: an alarm blocks publishers: low on disk/m, 'and names it');
$cqrs->rabbitmqctl('set_disk_free_limit', '1MB');
$cqrs->wait_equal('r1', 'stock');

# ---- rights that the broker's user lacks ---------------------------------------------------------
$cqrs->rabbitmqctl('add_user', 'some', 'some');
my %some = (%{ $cqrs->environment('r1') }, RABBITMQ_BROKER_URL => $cqrs->broker_url =~ s{//[^@]*@}{//some:some@}r);
foreach my $case (
    [ '^x$', '^CQRS_HEARTBEAT$', '.*', 1, 'FAIL +broker: this user may neither publish events nor receive them' ],
    [ '^x$', '^cqrs\.r1\.', '.*', 0, 'NOTE +broker: this user may not publish events .*relay' ],
    [ '^x$', '^CQRS_.*', '.*', 0, 'NOTE +broker: this user may not receive events .*applier' ],
    [ '.*', '.*', '.*', 0, 'OK +broker: this user may publish events$' ],
) {
    my ($configure, $write, $read, $expected, $says) = @$case;
    $cqrs->rabbitmqctl('set_permissions', 'some', $configure, $write, $read);
    ($status, $out) = $cqrs->command(\%some, 'doctor', '--name', 'r1');
    is($status, $expected, "doctor of a user that may write '$write': status $expected") or diag($out);
    like($out, qr/^$says/m, 'and says so');
}

# ---- a limit of connections is not a wrong setting -----------------------------------------------
$cqrs->rabbitmqctl('set_user_limits', 'some', '{"max-connections": 0}');
my $late = $cqrs->start('late', \%some, 'apply', '--name', 'r1', '--listen', 'none');
ok(Cqrs::wait_until('it is refused', sub { return $late->log =~ /limit \(0\) is reached/ || !$late->running }), 'a limit refuses connections');
ok($late->running, 'the applier waits for one to be free');
$late->kill_now;

# ---- a trigger that leaves rows out --------------------------------------------------------------
$replica->safe_psql('postgres', q{CREATE FUNCTION less() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER less BEFORE INSERT ON stock FOR EACH ROW EXECUTE FUNCTION less();
    CREATE TRIGGER later AFTER INSERT ON stock FOR EACH ROW EXECUTE FUNCTION less();
    ALTER TABLE stock ENABLE ALWAYS TRIGGER later});
($status, $out) = $cqrs->command($cqrs->environment('r1'), 'doctor', '--name', 'r1');
unlike($out, qr/triggers/, 'triggers that cannot change rows are none of its business');
$replica->safe_psql('postgres', 'ALTER TABLE stock ENABLE ALWAYS TRIGGER less');
($status, $out) = $cqrs->command($cqrs->environment('r1'), 'doctor', '--name', 'r1');
like($out, qr/^WARN +replica: public\.stock: triggers less fire before/m, 'doctor names one that can');
$replica->safe_psql('postgres', 'DROP TRIGGER less ON stock; DROP TRIGGER later ON stock');

# ---- verify: what is not compared is not equal ---------------------------------------------------
($status, $out, my $err) = $cqrs->command($cqrs->environment('r1'), 'verify', '--table', 'stock', '--table', 'stokc');
is($status, 1, 'a table that is not there: status 1');
like($err, qr/^verify: stokc: no such table is subscribed/m, 'it is named');
like($out, qr/^public\.stock: 10 rows .*: equal/m, 'the others are compared');

# ---- the extension of the replica is dropped, and comes again ------------------------------------
my $tries = sub { return scalar(() = slurp_file($replica->logfile) =~ /apply store.* ERROR: +relation "cqrs.position" does not exist/g) };
$replica->safe_psql('postgres', 'DROP EXTENSION parking; DROP EXTENSION pg_cqrs');
$primary->safe_psql('postgres', 'UPDATE stock SET n = 3');
ok(Cqrs::wait_until('the applier misses its tables', sub { return $apply->log =~ /store: cannot say in cqrs.position/ }),
    'a topic that stops without its position says so');
my $before = $tries->();
ok(Cqrs::wait_until('it tried again', sub { return $tries->() >= $before + 6 }), 'it is tried again');
is(scalar(() = $apply->log =~ /store: cannot say in cqrs.position/g), 1, 'and said once');
$replica->safe_psql('postgres', q{CREATE EXTENSION pg_cqrs; SELECT cqrs.subscribe('store', 'stock')});
ok($cqrs->wait_live('r1', 'store'), 'the table is live again');
$primary->safe_psql('postgres', 'UPDATE stock SET n = 1');
$cqrs->wait_equal('r1', 'stock');

$cqrs->finish;
done_testing();
