# History: cqrs.retain() keeps a topic's events in a stream of the broker, tail --from reads it and goes on live, each
# event once over kills; what is not there is said.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $cqrs = Cqrs->new(replicas => []);
my $primary = $cqrs->primary;
my $broker = { RABBITMQ_BROKER_URL => $cqrs->broker_url };

sub tail_from { return $cqrs->command($broker, 'tail', '--from', @_) }
sub events { return map { decode_json($_) } grep { /^\{/ } split /\n/, $_[0] }
sub emit { $primary->safe_psql('postgres', "SELECT cqrs.emit('$_[0]', json_build_object('n', i)::jsonb) FROM generate_series($_[1], $_[2]) i") }
sub history { return $primary->safe_psql('postgres', "SELECT state, since_sequence FROM cqrs.retention_status WHERE topic = '$_[0]'") }
sub wait_history { my ($topic, $state) = @_; return Cqrs::wait_until("the history of $topic is '$state'", sub { return history($topic) eq $state }) }
sub relayed { return $primary->safe_psql('postgres', "SELECT coalesce(max((topics->'$_[0]'->>'sequence')::bigint), 0) FROM cqrs.relay_state") }
sub wait_relayed { my ($topic, $n) = @_; return Cqrs::wait_until("$n events of $topic are relayed", sub { return relayed($topic) >= $n }) }

# From the first event on, when it was asked for before the relay began.
$primary->safe_psql('postgres', q{SELECT cqrs.retain('parking', '7 days')});
is(history('parking'), 'pending|', 'nobody has heard of it');
my $relay = $cqrs->start_relay('--heartbeat', '200ms');
ok(wait_history('parking', 'kept|1'), 'kept from the first event on');
$primary->safe_psql('postgres', "SELECT create_parking_slot('slot $_')") foreach 1 .. 3;
wait_relayed('parking', 3);
my $between = $primary->safe_psql('postgres', 'SELECT clock_timestamp()::text');
$between =~ s/ /T/;
$primary->safe_psql('postgres', q{SELECT reserve_parking_slot(uuid) FROM parking_slots WHERE name = 'slot 2'; SELECT create_parking_slot('slot 4')});
wait_relayed('parking', 5);

my ($status, $out, $err) = tail_from('1', 'parking.#', '-n', '5');
is($status, 0, 'tail --from SEQUENCE') or diag($err);
is_deeply([ map { "$_->{type} $_->{data}{name}" } events($out) ],
    [ 'parking.create slot 1', 'parking.create slot 2', 'parking.create slot 3', 'parking.update slot 2', 'parking.create slot 4' ], 'all of it, in order');
($status, $out) = tail_from('3', 'parking.*', '-n', '1');
is_deeply([ map { $_->{data}{name} } events($out) ], ['slot 3'], 'from the third on');
($status, $out) = tail_from('oldest', 'parking.update', '-n', '1');
is_deeply([ map { $_->{type} } events($out) ], ['parking.update'], 'only what matches');
($status, $out, $err) = tail_from($between, 'parking.#', '-n', '2');
is_deeply([ map { "$_->{type} $_->{data}{name}" } events($out) ], [ 'parking.update slot 2', 'parking.create slot 4' ], 'tail --from TIME') or diag($err);

# It goes on live.
my $tail = $cqrs->start('tail', $broker, 'tail', '--from', '5', 'parking.#');
ok(Cqrs::wait_until('tail has caught up', sub { return $tail->log =~ /slot 4/ }), 'what was kept');
$primary->safe_psql('postgres', q{SELECT create_parking_slot('live')});
ok(Cqrs::wait_until('tail goes on', sub { return $tail->log =~ /"live"/ }), 'then what comes');

# A relay that is killed sends again: each event once all the same, in order.
for my $round (1 .. 3) {
    $primary->safe_psql('postgres', "SELECT count(create_parking_slot('round $round ' || i)) FROM generate_series(1, 200) i");
    Cqrs::wait_until('some have passed', sub { return $tail->log =~ /"round $round / });
    $relay->kill_now;
    $cqrs->wait_slot_free;
    $relay = $cqrs->start_relay('--heartbeat', '200ms', '--max-batch', 50 + $round);
}
wait_relayed('parking', 606);
ok(Cqrs::wait_until('the last is there', sub { return $tail->log =~ /"round 3 200"/ }), 'tail has seen all');
$tail->signal('TERM');
$tail->wait_end(10);
my @ids = map { $_->{id} } events($tail->log);
my %seen;
$seen{$_}++ foreach @ids;
is(scalar(@ids), 602, 'each of 602 events from the fifth on');
is(scalar(keys %seen), 602, 'once');
($status, $out) = tail_from('1', 'parking.#', '-n', '606');
is_deeply([ map { $_->{id} } (events($out))[ 4 .. 605 ] ], \@ids, 'and the same again afterwards');
is(history('parking'), 'kept|1', 'the stream is still the same');

# Asked for while the relay runs: from then on. What is not there is said.
emit('shop.sold', 1, 2);
wait_relayed('shop', 2);
$primary->safe_psql('postgres', q{SELECT cqrs.retain('shop', max_bytes => 1048576)});
ok(wait_history('shop', 'kept|3'), 'kept from the third event on');
emit('shop.sold', 3, 4);
($status, $out, $err) = tail_from('3', 'shop.#', '-n', '2');
is_deeply([ map { $_->{data}{n} } events($out) ], [ 3, 4 ], 'those are there') or diag($err);
($status, $out, $err) = tail_from('1', 'shop.#');
is($status, 1, 'what came before is not: exit status 1');
like($err, qr/the history of topic shop begins with event 3 of \d{4}-/, 'and what the oldest is');
($status, $out, $err) = tail_from('2020-01-01', 'shop.#');
is($status, 1, 'nor what is older');
like($err, qr/begins with event 3/, 'said');
($status, $out, $err) = tail_from('1', 'nothing.#');
is($status, 1, 'no history at all: exit status 1');
like($err, qr/not kept.*SELECT cqrs\.retain\('nothing'/, 'and what would make one');
($status, $out, $err) = tail_from('1', '#');
is($status, 2, 'no topic: a wrong setting');
($status, $out, $err) = tail_from('yesterday', 'shop.#');
like($err, qr/--from: "yesterday" is not valid; expected/, 'no place to begin') or diag($err);
is($status, 2, 'a wrong setting too');

# The limit: the oldest go.
$primary->safe_psql('postgres', "SELECT cqrs.emit('shop.filled', json_build_object('n', i, 'x', repeat(md5(i::text), 32))::jsonb) FROM generate_series($_ * 500 + 1, $_ * 500 + 500) i") foreach 0 .. 5;
wait_relayed('shop', 3004);
ok(Cqrs::wait_until('the oldest are gone', sub { return (tail_from('3', 'shop.#', '-n', '1'))[0] == 1 }), 'beyond max_bytes the oldest go');
($status, $out, $err) = tail_from('3004', 'shop.#', '-n', '1');
is_deeply([ map { $_->{data}{n} } events($out) ], [3000], 'the newest are there');

# Events that did not get into it are missing by name.
$cqrs->amqp('unbind', 'CQRS_HISTORY.parking', 'parking.#');
$primary->safe_psql('postgres', q{SELECT create_parking_slot('missed')});
wait_relayed('parking', 607);
$relay->signal('TERM');
$relay->wait_end(10);
$relay = $cqrs->start_relay('--heartbeat', '200ms');
$primary->safe_psql('postgres', q{SELECT create_parking_slot('after the gap')});
($status, $out, $err) = tail_from('606', 'parking.#', '-n', '2');
is_deeply([ map { $_->{data}{name} } events($out) ], [ 'round 3 200', 'after the gap' ], 'what is there');
like($err, qr/events 607 to 607 are missing in the history/, 'what is not');

# What cannot be declared does not hold the relay up.
$cqrs->amqp('bind', 'CQRS_HISTORY.bad', 'bad.#');
$primary->safe_psql('postgres', q{SELECT cqrs.retain('bad', '1 day')});
ok(wait_history('bad', 'failed|'), 'a queue that is no stream: failed');
like($primary->safe_psql('postgres', q{SELECT error FROM cqrs.retention_status WHERE topic = 'bad'}), qr/x-queue-type/, 'and why');
like($relay->log, qr/the events of topic bad are not kept/, 'in the log too');
my $now = relayed('parking');
$primary->safe_psql('postgres', q{SELECT create_parking_slot('meanwhile')});
ok(wait_relayed('parking', $now + 1), 'the relay goes on');

# Forgotten: the stream is deleted, then a new history may begin.
$primary->safe_psql('postgres', q{SELECT cqrs.forget('shop'); SELECT cqrs.forget('bad')});
ok(wait_history('shop', ''), 'forgotten');
ok(wait_history('bad', ''), 'also what failed');
is((tail_from('1', 'shop.#'))[0], 1, 'the stream is gone');
$primary->safe_psql('postgres', q{SELECT cqrs.retain('shop', '1 day')});
ok(wait_history('shop', 'kept|' . (relayed('shop') + 1)), 'a new history');

# A broker that is started again: tail goes on where it was.
$tail = $cqrs->start('tail', $broker, 'tail', '--from', '607', 'parking.#');
ok(Cqrs::wait_until('tail has caught up', sub { return $tail->log =~ /"meanwhile"/ }), 'tail has caught up');
$cqrs->stop_broker;
$cqrs->start_broker;
my $tries = 0;
ok(Cqrs::wait_until('tail goes on', sub {
    $primary->safe_psql('postgres', "SELECT create_parking_slot('again " . ++$tries . "')");
    return $tail->log =~ /"again \d+"/;
}), 'tail goes on when the broker was started again');
is(scalar(() = $tail->log =~ /"meanwhile"/g), 1, 'where it was');
$tail->kill_now;

$cqrs->finish;
done_testing();
