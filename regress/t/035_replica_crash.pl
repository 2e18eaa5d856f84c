# The applier's commits do not wait for the disk: a crash of the replica takes the last ones back, rows and
# position together, and their messages come again. The relay compresses.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use Test::More;

# Nothing of the replica but a full WAL buffer writes WAL, so that a commit stays in memory for a while: not the WAL
# writer, and not the background writer, which flushes it before it writes a page.
my $cqrs = Cqrs->new(replicas => []);
my $replica = $cqrs->add_replica('r1',
    "wal_writer_delay = 10s\nbgwriter_lru_maxpages = 0\nautovacuum = off\n");
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

# A server that is killed loses what is in its WAL buffers, and those are written page by page: first the full
# images of the pages that are touched after its start, then one row.
my ($lost, $rounds) = (0, 0);
while ($rounds++ < 12 && $lost < 2) {
    create(300);
    create(1);
    my $before = $cqrs->position('r1', 'parking');
    $apply->kill_now;
    $replica->stop('immediate');
    $replica->start;
    $lost++ if $cqrs->position('r1', 'parking') < $before;
    $apply = $cqrs->start_apply('r1');
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
