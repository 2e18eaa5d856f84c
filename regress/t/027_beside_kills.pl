# Batches that are written beside each other, and everything killed meanwhile: each look at the replica sees a state that
# the primary had, and in the end every change is there once.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use HTTP::Tiny;
use Test::More;

my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
sub on_primary { return $primary->safe_psql('postgres', $_[0]) }
sub on_replica { return $replica->safe_psql('postgres', $_[0]) }

# A transaction gives one half of the rows the next version, the one behind it the other half: no row in common.
$_->safe_psql('postgres', 'CREATE TABLE shelf (id int PRIMARY KEY, half int NOT NULL, version int NOT NULL, changes int NOT NULL)')
  foreach $primary, $replica;
on_primary('INSERT INTO shelf SELECT i, i % 2, 0, 0 FROM generate_series(1, 3000) i');
on_primary(q{SELECT cqrs.publish('shelf', 'store.shelf')});
on_replica(q{SELECT cqrs.subscribe('store.shelf', 'shelf')});
my $relay = $cqrs->start_relay;
my $port = PostgreSQL::Test::Cluster::get_free_port();
my @apply = ('apply-r1', $cqrs->environment('r1'), 'apply', '--name', 'r1', '--apply-batch', '1024', '--apply-jobs', '3', '--listen', "127.0.0.1:$port");
my $apply = $cqrs->start(@apply);
ok($cqrs->wait_live('r1', 'store.shelf'), 'live');
$cqrs->wait_equal('r1', 'shelf');
$apply->signal('TERM');
$apply->wait_end(10);

my $versions = 150;
on_primary(<<"SQL");
DO \$do\$ BEGIN
    FOR v IN 1 .. $versions LOOP
        UPDATE shelf SET version = v, changes = changes + 1 WHERE half = 0; COMMIT;
        UPDATE shelf SET version = v, changes = changes + 1 WHERE half = 1; COMMIT;
    END LOOP;
END \$do\$
SQL

my ($looks, @wrong) = (0);
sub seen {
    my $state = on_replica(q{SELECT string_agg(DISTINCT version::text, ',') FILTER (WHERE half = 0) || ' ' ||
        string_agg(DISTINCT version::text, ',') FILTER (WHERE half = 1) FROM shelf});
    my ($even, $odd) = $state =~ /^(\d+) (\d+)$/;
    $looks++;
    push @wrong, $state unless defined $odd && ($even == $odd || $even == $odd + 1);
    return $odd // 0;
}
sub terminate { on_replica("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cqrs apply store$_[0]'") }

my ($beside, $killed) = (0, 0);
sub count_beside {
    my $metrics = HTTP::Tiny->new(timeout => 5)->get("http://127.0.0.1:$port/metrics")->{content};
    $beside += $1 if $metrics =~ /^cqrs_apply_batches_total\{beside="true",topic="store"\} (\d+)/m;
}
my @kills = (
    [ 'the second connection', sub { terminate(' 1') } ],
    [ 'the applier', sub { count_beside(); $apply->kill_now; $apply = $cqrs->start(@apply) } ],
    [ 'the first connection', sub { terminate('') } ],
    [ 'the broker', sub { $cqrs->kill_broker; $cqrs->start_broker } ],
    [ 'the third connection', sub { terminate(' 2') } ],
    [ 'the relay', sub { $relay->kill_now; $relay = $cqrs->start_relay } ],
    [ 'the replica', sub { count_beside(); $replica->stop('immediate'); $replica->start } ],
);
$apply = $cqrs->start(@apply);
for (my $kill = 0; seen() < $versions; $kill++) {
    my $from = seen();
    last unless Cqrs::wait_until('the replica moves on', sub { return seen() > $from });
    next if $kill >= 2 * @kills;
    my ($name, $do) = @{ $kills[ $kill % @kills ] };
    note("version $from: $name is killed");
    $do->();
    $killed++;
}
$cqrs->wait_equal('r1', 'shelf');
is("@wrong", '', "every one of $looks looks saw a state that the primary had");
is(on_replica("SELECT count(*) FROM shelf WHERE changes <> $versions"), '0', 'every change is there once');
is(on_replica('SELECT count(*) FROM cqrs.incidents'), '0', 'nothing cost a copy');
count_beside();
cmp_ok($killed, '>=', scalar @kills, "$killed kills");
cmp_ok($beside, '>', 0, "$beside batches were written beside others");

$_->signal('TERM') foreach $relay, $apply;
$_->wait_end(10) foreach $relay, $apply;
$cqrs->finish;
done_testing;
