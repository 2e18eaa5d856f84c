# The primary comes back as it was some time ago, slot, relay_state, timeline and all: a volume snapshot was
# restored. Only the broker knows that numbers were given out since.
use strict;
use warnings;

use File::Path qw(rmtree);
use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use PostgreSQL::Test::Utils;
use Test::More;

my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
my $saved = PostgreSQL::Test::Utils::tempdir() . '/saved';

sub create {
    my ($name, $count) = @_;
    $primary->safe_psql('postgres', "SELECT create_parking_slot('$name ' || i) FROM generate_series(1, $count) i");
}
sub epoch { return $primary->safe_psql('postgres', 'SELECT epoch FROM cqrs.relay_state') }
sub incidents { return $replica->safe_psql('postgres', 'SELECT count(*) FROM cqrs.incidents') }
sub end {
    my ($process) = @_;
    $process->signal('TERM');
    ok(defined $process->wait_end(10), 'the relay ends');
}
sub copy_tree { system_or_bail('cp', '-a', @_) }

my $relay = $cqrs->start_relay('--heartbeat', '200ms');
my $apply = $cqrs->start_apply('r1');
ok($cqrs->wait_live('r1', 'parking'), 'live');

# A relay that is killed is a little behind what the broker knows; the primary brings the same events again.
my $epoch = epoch();
foreach my $round (1 .. 4) {
    create("round $round", 20);
    Cqrs::wait_until('some of it is there', sub {
        return $replica->safe_psql('postgres', "SELECT count(*) FROM parking_slots WHERE name LIKE 'round $round %'") > 0;
    });
    $relay->kill_now;
    $relay = $cqrs->start_relay('--heartbeat', '200ms');
}
$cqrs->wait_equal('r1', 'parking_slots');
is(epoch(), $epoch, 'kills begin no epoch');
is(incidents(), '0', 'nor do they cost a copy');

end($relay);
$primary->stop;
copy_tree($primary->data_dir, $saved);

foreach my $case ([ 'shorter than what was published', 3 ], [ 'longer than what was published', 1000 ]) {
    my ($what, $others) = @$case;
    $primary->start;
    $relay = $cqrs->start_relay;
    create('lost', 100);
    $cqrs->wait_equal('r1', 'parking_slots');
    ($epoch, my $before) = (epoch(), incidents());
    end($relay);
    $primary->stop;

    rmtree($primary->data_dir);
    copy_tree($saved, $primary->data_dir);
    $primary->start;
    create('another history', $others);
    $relay = $cqrs->start_relay;
    $cqrs->wait_equal('r1', 'parking_slots');
    ok(Cqrs::wait_until('an incident', sub { return incidents() > $before }), "$what: the replica has recorded it");
    like($relay->log, qr/restored to an earlier point/, "$what: the relay says why");
    cmp_ok(epoch(), '>', $epoch, "$what: a newer epoch");
    end($relay);
    $primary->stop;
}

# Without its queue the relay goes on; it is declared anew.
$primary->start;
$relay = $cqrs->start_relay;
create('and on', 5);
$cqrs->wait_equal('r1', 'parking_slots');
my $queue = 'CQRS_RELAY_STATE.cqrs';
ok(Cqrs::wait_until('the relay left its state', sub { return $cqrs->amqp('count', $queue) == 1 }), 'one message is left with the broker');
$cqrs->amqp('delete', $queue);
$relay->kill_now;
($epoch, my $before) = (epoch(), incidents());
$relay = $cqrs->start_relay;
create('still', 5);
$cqrs->wait_equal('r1', 'parking_slots');
is(epoch(), $epoch, 'no message, no opinion');
is(incidents(), $before, 'and no copy');

$cqrs->finish;
done_testing();
