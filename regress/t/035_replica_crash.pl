# The applier's commits do not wait for the disk: a crash of the replica takes the last ones back, rows and
# position together, and their messages come again. The relay compresses.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use Test::More;

my $cqrs = Cqrs->new(replicas => []);
my $replica = $cqrs->add_replica('r1', "autovacuum = off\nrestart_after_crash = on\n");
my $primary = $cqrs->primary;
my $relay = $cqrs->start_relay('--compress', 'lz4');
my $apply = $cqrs->start_apply('r1');
ok($cqrs->wait_live('r1', 'parking'), 'parking is live');

my $expected = 0;
sub create {
    my ($count) = @_;
    $primary->safe_psql('postgres', "SELECT count(create_parking_slot('Slot ' || i)) FROM generate_series(1, $count) i");
    $expected += $count;
    return ok(Cqrs::wait_until('the slots are visible', sub {
        return $replica->safe_psql('postgres', 'SELECT count(*) FROM parking_slots') eq $expected;
    }), "$count more visible");
}

# Who writes WAL behind a commit's back; without them it stays in memory until the applier asks for it, a second later.
sub writers {
    return split /\n/, $replica->safe_psql('postgres',
        q{SELECT pid FROM pg_stat_activity WHERE backend_type IN ('walwriter', 'background writer', 'checkpointer')});
}

# A server that crashes loses what is in its WAL buffers, and those are written page by page: first the full images of
# the pages that are touched after its start, then one row.
my ($lost, $rounds) = (0, 0);
while ($rounds++ < 12 && $lost < 2) {
    create(300);
    my @writers = writers();
    kill 'STOP', @writers;
    create(1);
    kill 'KILL', @writers;    # the server starts over
    my ($code, $count);
    Cqrs::wait_until('the replica has recovered', sub {
        ($code, $count) = $replica->psql('postgres', 'SELECT count(*) FROM parking_slots');
        return $code == 0 && !grep { kill 0, $_ } @writers;
    });
    $lost++ if $count < $expected;
    $cqrs->wait_equal('r1', 'parking_slots');
}
cmp_ok($lost, '>', 0, "a crash took commits back");
is($replica->safe_psql('postgres', 'SELECT count(*) FROM cqrs.incidents'), '0', 'and the broker still had their messages');

create(1);
$apply->signal('TERM');
ok(defined $apply->wait_end(10), 'the applier ends in order');
my $settled = $cqrs->position('r1', 'parking');
$replica->stop('immediate');
$replica->start;
is($cqrs->position('r1', 'parking'), $settled, 'what it had applied by then is on disk');
$cqrs->finish;
done_testing();
