# cqrs.notify: what a command and cqrs.emit() notify in their own transaction is what the plugin says
# of it later, but for the id and the time, which are not known before the commit.
use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 'logical', extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->start;
$node->safe_psql('postgres', q{CREATE EXTENSION parking CASCADE; SELECT pg_create_logical_replication_slot('s', 'pg_cqrs')});

# What one session hears of its own statements: [channel, payload], in order.
sub heard {
    my ($sql) = @_;
    my $listen = join '', map { qq{LISTEN "$_";} } qw(parking.create parking.update parking.delete a.b);
    my $out = $node->safe_psql('postgres', "$listen\n$sql");
    return [ map { /^Asynchronous notification "(.*?)" with payload "(.*)" received/ ? [ $1, $2 ] : () } split /\n/, $out ];
}

sub decoded {
    return [ map { decode_json($_) } split /\n/, $node->safe_psql('postgres', q{SELECT data FROM pg_logical_slot_get_changes('s', NULL, NULL)}) ];
}

is_deeply(heard(q{SELECT create_parking_slot('quiet')}), [], 'off by default');
decoded();

my $heard = heard(<<'SQL');
SET cqrs.notify = on;
SELECT create_parking_slot(E'Slot "1"\\\n\tä', 'blocked');
SELECT release_parking_slot(uuid) FROM parking_slots WHERE name <> 'quiet';
BEGIN;
SELECT cqrs.set_context('c-1', 'c-0');
SELECT reserve_parking_slot(uuid) FROM parking_slots WHERE name = 'quiet';
SAVEPOINT s;
SELECT cqrs.set_context('lost');
SELECT cqrs.emit('a.b', '{"lost": true}');
ROLLBACK TO s;
SELECT cqrs.emit('a.b', '{"x": [1, null, "\u00e4"]}');
SAVEPOINT s;
SELECT cqrs.set_context(traceparent => '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01');
RELEASE s;
SELECT delete_parking_slot(uuid) FROM parking_slots WHERE name = 'quiet';
COMMIT;
SELECT rename_parking_slot(uuid, 'x') FROM parking_slots;
BEGIN;
SELECT block_parking_slot(uuid) FROM parking_slots;
ROLLBACK;
SQL
my $events = decoded();
is(scalar @$heard, 6, 'one notification an event, none that was rolled back');
my %xids;
for my $i (0 .. $#$heard) {
    my ($channel, $payload) = @{ $heard->[$i] };
    my $event = decode_json($payload);
    like($event->{id}, qr/^xid:\d+\.\d+$/, "$i: its id");
    ok(!$xids{ $event->{id} }++, "$i: which is its own");
    is($channel, $event->{type}, "$i: the channel is the type");
    my $expected = $events->[$i];
    is($event->{data} ? encode($event) : '', encode($expected), "$i: the plugin says the same");
}

# Every attribute but those two.
sub encode {
    my ($event) = @_;
    return JSON::PP->new->canonical->encode({ map { $_ => $event->{$_} } grep { $_ ne 'id' && $_ ne 'time' } keys %$event });
}

# 8,000 bytes: the id alone.
$heard = heard(q{SET cqrs.notify = on; SELECT cqrs.emit('a.b', to_jsonb(repeat('x', 7000))); SELECT cqrs.emit('a.b', to_jsonb(repeat('x', 8000)))});
like($heard->[0][1], qr/^\{.*x{7000}"\}$/, 'a large event');
like($heard->[1][1], qr/^xid:\d+\.1$/, 'too large an event: its id');
# The limit itself: the longest event that still goes whole is 7,999 bytes.
my $envelope = length(heard(q{SET cqrs.notify = on; SELECT cqrs.emit('a.b', '""')})->[0][1]);
my $room = 7999 - $envelope;
$heard = heard("SET cqrs.notify = on; SELECT cqrs.emit('a.b', to_jsonb(repeat('x', $room)))");
is(length($heard->[0][1]), 7999, '7,999 bytes go whole');
$room++;
$heard = heard("SET cqrs.notify = on; SELECT cqrs.emit('a.b', to_jsonb(repeat('x', $room)))");
like($heard->[0][1], qr/^xid:/, '8,000 bytes do not');

# By role and database, as any setting; a table that is not published has no events.
$node->safe_psql('postgres', 'ALTER DATABASE postgres SET cqrs.notify = on');
is(scalar @{ heard(q{SELECT create_parking_slot('of the database')}) }, 1, 'ALTER DATABASE ... SET');
$node->safe_psql('postgres', q{SELECT cqrs.unpublish('parking_slots')});
is_deeply(heard(q{SELECT create_parking_slot('unpublished')}), [], 'not published');
my ($status, undef, $error) = $node->psql('postgres', q{SELECT cqrs.emit('a.b', '1'); SET cqrs.notfy = on});
like($error, qr/invalid configuration parameter name "cqrs.notfy"/, 'a misspelt setting is an error');

$node->stop;
done_testing();
