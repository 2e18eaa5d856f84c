# A replication origin is lent to one session at a time, and a server has few of them: what only makes a topic faster
# takes one when there are plenty, and gives it back to whoever needs one for a topic.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use PostgreSQL::Test::Utils;
use Test::More;

my $cqrs = Cqrs->new(replicas => []);
my ($described) = run_command(['postgres', '--describe-config']);
my $setting = $described =~ /^max_active_replication_origins\t/m ? 'max_active_replication_origins' : 'max_replication_slots';
my ($primary, $replica) = ($cqrs->primary, $cqrs->add_replica('r1', "$setting = 8\n"));
sub on_primary { return $primary->safe_psql('postgres', $_[0]) }
sub on_replica { return $replica->safe_psql('postgres', $_[0]) }

my @others = map { "other$_" } 1 .. 5;
foreach my $table ('item', @others) {
    $_->safe_psql('postgres', "CREATE TABLE $table (id int PRIMARY KEY, n int NOT NULL)") foreach $primary, $replica;
    on_primary("SELECT cqrs.publish('$table', '$table.row')");
}
on_replica(q{SELECT cqrs.subscribe('item.row', 'item')});
on_primary('INSERT INTO item SELECT i, 0 FROM generate_series(1, 20000) i');

my $relay = $cqrs->start_relay('--batch-bytes', '64kB');
my $apply;
sub start_apply { $apply = $cqrs->start_apply('r1', '--apply-batch', '2000') }
start_apply();
ok($cqrs->wait_live('r1', 'item.row'), 'live');

# A long queue, found at once.
sub behind {
    $apply->signal('TERM');
    $apply->wait_end(10);
    on_primary("UPDATE item SET n = n + 1 WHERE id % 5 = $_") foreach 0 .. 4;
    my $last = on_primary('SELECT pg_current_wal_lsn()');
    Cqrs::wait_until('the relay has sent it', sub {
        return on_primary("SELECT lsn >= '$last' FROM cqrs.relay_state WHERE slot = 'cqrs'") eq 't';
    });
    start_apply();
    $cqrs->wait_equal('r1', 'item');
}
sub origins { return on_replica(q{SELECT count(*) FROM pg_replication_origin WHERE roname ~ '[.][0-9]+$'}) }

behind();
is(origins(), '1', 'a topic that is behind has taken an origin more');
my $lane = q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cqrs apply item 1'};
ok(Cqrs::wait_until('its connection is closed', sub { return on_replica($lane) eq '0' }), 'and closes its second connection when it is idle');

# All are needed for topics now, that one too.
on_replica("SELECT cqrs.subscribe('$_.row', '$_')") foreach @others;
ok($cqrs->wait_live('r1', "$_.row"), "$_ is live") foreach @others;
is(on_replica('SELECT count(*) FROM pg_replication_origin'), '8', 'each topic has an origin');
is(origins(), '0', 'the one that was not needed was given back');
unlike($apply->log, qr/carries no replication origin/, 'nothing is written without one');

behind();
is(origins(), '0', 'none is taken when there are few');
like($apply->log, qr/batches are written one after the other: half of the server's replication origins are taken/, 'the log says why');
is(on_replica('SELECT count(*) FROM cqrs.incidents'), '0', 'no incident');

# There are plenty again.
foreach my $other (@others) {
    on_replica("SELECT cqrs.unsubscribe('$other.row')");
    ok(Cqrs::wait_until("the origin of $other is free", sub {
        return on_replica("SELECT count(*) FROM pg_replication_origin WHERE roname LIKE '%\\_$other'") eq '0';
    }), "$other is gone");
}
behind();
is(origins(), '1', 'then it is taken again');

$_->signal('TERM') foreach $relay, $apply;
$_->wait_end(10) foreach $relay, $apply;
$cqrs->finish;
done_testing();
