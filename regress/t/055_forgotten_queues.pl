# A broker that is killed within about a second of declaring a quorum queue forgets the queue's log: the queue comes
# back, is declared, and never answers. Here the broker's register of logs is taken away instead, which is the same
# and does not depend on the moment.
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
my $apply = $cqrs->start_apply('r1');
ok($cqrs->wait_live('r1', 'parking'), 'parking is live');
$primary->safe_psql('postgres', q{SELECT create_parking_slot('slot ' || i) FROM generate_series(1, 20) i});
$cqrs->wait_equal('r1', 'parking_slots');

sub forget {
    $cqrs->kill_broker;
    my @registers = glob "$cqrs->{broker_directory}/data/*/quorum/*/names.dets";
    is(scalar @registers, 1, 'the broker has one register of logs');
    unlink @registers;
    $cqrs->start_broker;
}

sub incidents { return $replica->safe_psql('postgres', q{SELECT count(*) FROM cqrs.incidents}) }

# Nothing was in the queues.
forget();
$primary->safe_psql('postgres', q{SELECT create_parking_slot('later ' || i) FROM generate_series(1, 20) i});
$cqrs->wait_equal('r1', 'parking_slots');
like($apply->log, qr/queue cqrs\.r1\.parking is declared and does not answer/, 'the applier says why');
like($relay->log, qr/queue CQRS_RELAY_STATE\.\S+ is declared and does not answer/, 'so does the relay');
is(incidents(), 0, 'no event was missing: no incident');

# Events were in it, confirmed.
$apply->signal('STOP');
my $sequence = $cqrs->position('r1', 'parking');
$primary->safe_psql('postgres', q{SELECT create_parking_slot('lost ' || i) FROM generate_series(1, 20) i});
Cqrs::wait_until('all of it is confirmed', sub {
    return $primary->safe_psql('postgres', q{SELECT (topics->'parking'->>'sequence')::int FROM cqrs.relay_state}) >= $sequence + 20;
});
forget();
$apply->signal('CONT');
$cqrs->wait_equal('r1', 'parking_slots');
is(incidents(), 1, 'one incident');
like($replica->safe_psql('postgres', q{SELECT what || ' ' || healed_how FROM cqrs.incidents}),
    qr/queue cqrs\.r1\.parking was deleted: (events .* are missing|queue .* is empty).* copied as of/, 'events were lost with the queue, and it is healed');
ok($relay->running && $apply->running, 'both are still there');
$primary->safe_psql('postgres', q{SELECT create_parking_slot('last')});
$cqrs->wait_equal('r1', 'parking_slots');

# Somebody who wants no copies by themselves is told what to do, and nothing is deleted.
$apply->signal('TERM');
$apply->wait_end(10);
forget();
$apply = $cqrs->start_apply('r1', '--no-auto-resync');
ok(Cqrs::wait_until('the topic stops', sub {
    return $replica->safe_psql('postgres', q{SELECT state FROM cqrs.position WHERE topic = 'parking'}) eq 'stopped';
}), 'the topic stops');
like($replica->safe_psql('postgres', q{SELECT error FROM cqrs.position WHERE topic = 'parking'}),
    qr/queue cqrs\.r1\.parking is declared and does not answer.*rabbitmqctl delete_queue cqrs\.r1\.parking/, 'and says what to do');
$cqrs->rabbitmqctl('delete_queue', 'cqrs.r1.parking');
$apply->signal('TERM');
$apply->wait_end(10);
$apply = $cqrs->start_apply('r1');
$primary->safe_psql('postgres', q{SELECT create_parking_slot('after it')});
$cqrs->wait_equal('r1', 'parking_slots');
ok($apply->running, 'after it was deleted it works again');

$cqrs->finish;
done_testing;
