# What the stream lost is noticed, named and healed; what it repeats or what never was ours is not applied.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use PostgreSQL::Test::Utils;
use Test::More;

my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
my $queue = 'cqrs.r1.parking';

# An applier that is there before the relay has ever made its slot: a copy now would miss what is
# committed before the slot, so it waits.
my $apply = $cqrs->start_apply('r1');
ok(Cqrs::wait_until('the applier waits', sub { return $apply->log =~ /the copy waits for the relay/ }), 'no copy without a stream to join');
$primary->safe_psql('postgres', q{SELECT create_parking_slot('before the slot')});
is($replica->safe_psql('postgres', 'SELECT count(*) FROM parking_slots'), '0', 'nothing was copied');
my $relay = $cqrs->start_relay;
ok($cqrs->wait_live('r1', 'parking'), 'live');
$cqrs->wait_equal('r1', 'parking_slots');
is($replica->safe_psql('postgres', "SELECT epoch FROM cqrs.position WHERE topic = 'parking'"),
    $primary->safe_psql('postgres', 'SELECT epoch FROM cqrs.relay_state'), 'the copy knows its epoch');

sub create {
    my ($count, $name) = @_;
    # One transaction each, so that they can be several messages.
    $primary->safe_psql('postgres', join('', map { "SELECT create_parking_slot('$name $_');\n" } 1 .. $count));
}

# Stops the applier, lets messages pile up in its queue, hands the queue to $harm, starts it again.
sub harm {
    my ($name, $harm) = @_;
    $apply->signal('TERM');
    $apply->wait_end(10);
    create(5, $name);
    Cqrs::wait_until('messages wait', sub { return $cqrs->amqp('count', $queue) >= 1 });
    # All five are there once the broker confirmed the last one.
    my $lsn = $primary->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
    Cqrs::wait_until('the relay has passed them', sub {
        return $primary->safe_psql('postgres', "SELECT lsn >= '$lsn' FROM cqrs.relay_state") eq 't';
    });
    $harm->();
    $apply = $cqrs->start_apply('r1');
    create(3, "$name, after");
    return $cqrs->wait_equal('r1', 'parking_slots');
}
sub incidents { return $replica->safe_psql('postgres', 'SELECT count(*) FROM cqrs.incidents') }
sub healed {
    my ($what) = @_;
    ok(Cqrs::wait_until('the incident is written down as healed', sub {
        return $replica->safe_psql('postgres', 'SELECT count(*) = 0 FROM cqrs.incidents WHERE healed_at IS NULL') eq 't';
    }), "$what: healed");
}

create(2, 'first');
$cqrs->wait_equal('r1', 'parking_slots');
is(incidents(), '0', 'nothing has happened yet');

# Twice written is the same row: count what is written.
$replica->safe_psql('postgres', <<'SQL');
CREATE TABLE written (name text);
CREATE FUNCTION note_written() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.written VALUES (NEW.name); RETURN NULL; END $$;
CREATE TRIGGER note_written AFTER INSERT OR UPDATE ON parking_slots FOR EACH ROW EXECUTE FUNCTION note_written();
ALTER TABLE parking_slots ENABLE ALWAYS TRIGGER note_written;
SQL
harm('duplicated', sub { $cqrs->amqp('duplicate', $queue) });
is(incidents(), '0', 'duplicates are skipped, not healed');
is($replica->safe_psql('postgres', 'SELECT count(*) || $$ $$ || count(DISTINCT name) FROM written'), '8 8', 'and not written again');
$replica->safe_psql('postgres', 'DROP TRIGGER note_written ON parking_slots');

harm('taken', sub { $cqrs->amqp('take', $queue, 1) });
cmp_ok(incidents(), '>=', 1, 'a missing message is an incident');
healed('a missing message');

# A gap inside a transaction: its messages before the gap were not applied, so they come again after the copy, which
# holds what they say. They must not lead into the same gap again.
$relay->signal('TERM');
$relay->wait_end(10);
$relay = $cqrs->start_relay('--max-batch', '10');
my $before = incidents();
harm('cut', sub {
    my $there = $cqrs->amqp('count', $queue);
    $primary->safe_psql('postgres', q{SELECT count(create_parking_slot('cut ' || i)) FROM generate_series(1, 50) i});
    Cqrs::wait_until('its messages wait', sub { return $cqrs->amqp('count', $queue) >= $there + 5 });
    $cqrs->amqp('drop', $queue, -2);
});
healed('a gap inside a transaction');
create(3, 'behind the gap');
$cqrs->wait_equal('r1', 'parking_slots');
is(incidents(), $before + 1, 'once');
$relay->signal('TERM');
$relay->wait_end(10);
$relay = $cqrs->start_relay;

$before = incidents();
harm('swapped', sub { $cqrs->amqp('swap', $queue) });
healed('messages out of order');

$before = incidents();
harm('purged', sub { $cqrs->amqp('purge', $queue) });
cmp_ok(incidents(), '>', $before, 'a purged queue is an incident');
healed('a purged queue');

$before = incidents();
harm('deleted', sub { $cqrs->amqp('delete', $queue) });
cmp_ok(incidents(), '>', $before, 'a deleted queue is an incident');
healed('a deleted queue');

# Purged while nobody writes: the heartbeat tells.
$apply->signal('TERM');
$apply->wait_end(10);
create(4, 'quiet');
Cqrs::wait_until('messages wait', sub { return $cqrs->amqp('count', $queue) >= 1 });
my $lsn = $primary->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
Cqrs::wait_until('the relay has passed them', sub {
    return $primary->safe_psql('postgres', "SELECT lsn >= '$lsn' FROM cqrs.relay_state") eq 't';
});
$cqrs->amqp('purge', $queue);
$apply = $cqrs->start_apply('r1');
$cqrs->wait_equal('r1', 'parking_slots');
healed('a queue purged on a quiet database');

# While the applier runs: the queue is deleted under it.
$cqrs->amqp('delete', $queue);
create(3, 'deleted under it');
$cqrs->wait_equal('r1', 'parking_slots');

# A new epoch: the slot is gone, and with it the proof of continuity.
my $epoch = $primary->safe_psql('postgres', 'SELECT epoch FROM cqrs.relay_state');
$relay->signal('TERM');
$relay->wait_end(10);
$cqrs->wait_slot_free;
$primary->safe_psql('postgres', q{SELECT pg_drop_replication_slot('cqrs')});
create(3, 'while there was no slot');
$relay = $cqrs->start_relay;
ok(Cqrs::wait_until('a new epoch', sub {
    return $primary->safe_psql('postgres', "SELECT epoch > $epoch FROM cqrs.relay_state") eq 't';
}), 'a new slot is a newer epoch');
create(1, 'after');
$cqrs->wait_equal('r1', 'parking_slots');
is($replica->safe_psql('postgres', "SELECT epoch FROM cqrs.position WHERE topic = 'parking'"),
    $primary->safe_psql('postgres', 'SELECT epoch FROM cqrs.relay_state'), 'the replica is in the new epoch');

# A slot that somebody advanced: events were skipped that no one has seen.
$epoch = $primary->safe_psql('postgres', 'SELECT epoch FROM cqrs.relay_state');
$relay->signal('TERM');
$relay->wait_end(10);
create(3, 'skipped');
$cqrs->wait_slot_free;
$primary->safe_psql('postgres', q{SELECT pg_replication_slot_advance('cqrs', pg_current_wal_lsn())});
$relay = $cqrs->start_relay;
ok(Cqrs::wait_until('a new epoch', sub {
    return $primary->safe_psql('postgres', "SELECT epoch > $epoch FROM cqrs.relay_state") eq 't';
}), 'a slot ahead of relay_state is a newer epoch');
create(1, 'after the advance');
$cqrs->wait_equal('r1', 'parking_slots');

# A position that somebody else moved, as a second applier would: the UPDATE that expects the old one finds no row.
ok(Cqrs::wait_until('the copy has met the stream', sub { return $cqrs->position('r1', 'parking') ne '' }), 'events are counted again');
$before = incidents();
$replica->safe_psql('postgres', q{UPDATE cqrs.position SET sequence = sequence + 1 WHERE topic = 'parking'});
create(1, 'with a position that was moved');
$cqrs->wait_equal('r1', 'parking_slots');
cmp_ok(incidents(), '>', $before, 'a position that somebody else moved is noticed');

# Messages that the relay never sent: refused and named, nothing applied, nothing crashed.
my $digest = Cqrs::digest($replica, 'parking_slots');
my $event = '{"specversion":"1.0","id":"0/1.1","source":"/x","type":"parking.delete","time":"2026-01-01T00:00:00.000000Z","data":{"uuid":"x"}}';
my $sequence = $cqrs->position('r1', 'parking') + 1;
my %hostile = (
    'no headers' => [ '{}', "[$event]" ],
    'not JSON' => [ '{"cqrs-topic":"parking","cqrs-epoch":1,"cqrs-sequence":1,"cqrs-count":1}', 'DROP TABLE parking_slots' ],
    'headers of other types' => [ '{"cqrs-topic":7,"cqrs-epoch":"x","cqrs-sequence":[1],"cqrs-count":{}}', "[$event]" ],
    'deep nesting' => [ '{"cqrs-topic":"parking","cqrs-epoch":1,"cqrs-sequence":1,"cqrs-count":1}', ('[' x 5000) . (']' x 5000) ],
    'invalid UTF-8' => [ '{"cqrs-topic":"parking","cqrs-epoch":1,"cqrs-sequence":1,"cqrs-count":1}', "[\"\xff\xfe\"]" ],
    'an old epoch' => [ '{"cqrs-source":"/x","cqrs-topic":"parking","cqrs-epoch":1,"cqrs-sequence":' . $sequence . ',"cqrs-count":1,"cqrs-lsn":"0/1","cqrs-previous-lsn":"0/0","cqrs-more":false,"cqrs-committed":1}', "[$event]" ],
    'a future epoch' => [ '{"cqrs-source":"/x","cqrs-topic":"parking","cqrs-epoch":9223372036854775807,"cqrs-sequence":1,"cqrs-count":1,"cqrs-lsn":"0/1","cqrs-previous-lsn":"0/0","cqrs-more":false,"cqrs-committed":1}', "[$event]" ],
    'another shape' => [ '{"cqrs-source":"/x","cqrs-topic":"parking","cqrs-epoch":1,"cqrs-sequence":1,"cqrs-count":1,"cqrs-lsn":"0/1","cqrs-previous-lsn":"0/0","cqrs-more":false,"cqrs-committed":1}', '{"a":1}' ],
);
foreach my $name (sort keys %hostile) {
    $cqrs->amqp('publish', '', $queue, @{ $hostile{$name} });
    create(1, "after $name");
    $cqrs->wait_equal('r1', 'parking_slots') or diag($name);
}
ok($apply->running, 'the applier lives');
like($apply->log, qr/claims epoch 9223372036854775807, which the primary does not know/, 'a forged epoch is refused by name');
is($replica->safe_psql('postgres', "SELECT epoch FROM cqrs.position WHERE topic = 'parking'"),
    $primary->safe_psql('postgres', 'SELECT epoch FROM cqrs.relay_state'), 'and not believed');

$cqrs->finish;
done_testing();
