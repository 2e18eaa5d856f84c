# A slot created on the primary reaches the replica and any other consumer, once, as a CloudEvent.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));

# The applier before the relay: there is nothing to copy and nothing to read yet.
my $apply = $cqrs->start_apply('r1');
my $relay = $cqrs->start_relay;
ok($cqrs->wait_live('r1', 'parking'), 'the parking subscription is live');
# What cannot be changed later (406), and what loses or reorders messages if it is missing.
my ($queue) = $cqrs->rabbitmqctl('list_queues', '--quiet', 'name', 'arguments') =~ /^cqrs\.r1\.parking\s(.*)$/m;
foreach my $argument ('queue-type quorum', 'single-active-consumer true', 'delivery-limit 2147483647', 'consumer-timeout') {
    (my $pattern = $argument) =~ s/ /\\W+/;
    like($queue, qr/x-$pattern\W/, "its queue has x-$argument");
}
$cqrs->amqp('bind', 'other', 'parking.create');

my $slot = $primary->safe_psql('postgres', "SELECT uuid || ' ' || name || ' ' || status FROM create_parking_slot('Slot 1')");
like($slot, qr/^[0-9a-f-]{36} Slot 1 available$/, 'the command returns the row');
my ($uuid) = split ' ', $slot;
$cqrs->wait_equal('r1', 'parking_slots');

my @messages = map { decode_json($_) } split /\n/, $cqrs->amqp('drain', 'other');
is(scalar @messages, 1, 'one message for another consumer');
my $event = $messages[0]{body}[0];
is($messages[0]{content_type}, 'application/cloudevents-batch+json', 'a CloudEvents batch');
is($messages[0]{delivery_mode}, 2, 'persistent');
is($event->{type}, 'parking.create', 'its type');
is_deeply($event->{data}, { uuid => $uuid, name => 'Slot 1', status => 'available' }, 'its data is the row');
like($event->{id}, qr{^[0-9A-F]+/[0-9A-F]+\.1$}, 'its id is the end LSN of the commit and the index');
like($event->{time}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/, 'its time');
is($messages[0]{headers}{'cqrs-sequence'}, 1, 'the first event has sequence 1');
is($messages[0]{headers}{'cqrs-topic'}, 'parking', 'the topic');

# The other verbs; a replica's own change gives way to the primary's.
$replica->safe_psql('postgres', "UPDATE parking_slots SET name = 'Slot 1 replicated'");
is($replica->safe_psql('postgres', 'SELECT name FROM parking_slot_list()'), 'Slot 1 replicated', 'a read model can be written to');
$primary->safe_psql('postgres', "SELECT rename_parking_slot('$uuid', 'Slot one'); SELECT reserve_parking_slot('$uuid')");
$cqrs->wait_equal('r1', 'parking_slots');
is($replica->safe_psql('postgres', "SELECT name, status FROM parking_slot_details('$uuid')"), 'Slot one|reserved', 'details on the replica');
$primary->safe_psql('postgres', "SELECT delete_parking_slot('$uuid')");
$cqrs->wait_equal('r1', 'parking_slots');

# Contract 5.
my ($status, $out, $err) = $replica->psql('postgres', "\\set VERBOSITY verbose\nSELECT create_parking_slot('Slot 2')");
like($err, qr/25006/, 'a command on a replica is refused');
like($err, qr/HINT:.*primary/, '... with a hint');

# Contract 1: what was rolled back is no event.
$primary->safe_psql('postgres', <<'SQL');
BEGIN; SELECT create_parking_slot('never'); ROLLBACK;
BEGIN; SELECT create_parking_slot('kept'); SAVEPOINT s; SELECT create_parking_slot('undone'); ROLLBACK TO s; COMMIT;
SQL
$cqrs->wait_equal('r1', 'parking_slots');
is($replica->safe_psql('postgres', 'SELECT string_agg(name, $$,$$) FROM parking_slots'), 'kept', 'only what was committed');

# Any table of any user, published and subscribed while everything runs; rows that were there before.
my $table = <<'SQL';
CREATE TABLE "Odd ""table" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "Näme" text, amount numeric,
    tags text[], doc jsonb, raw bytea, at timestamptz, twice numeric GENERATED ALWAYS AS (amount * 2) STORED, f float8);
SQL
$_->safe_psql('postgres', $table) foreach $primary, $replica;
$primary->safe_psql('postgres', q{INSERT INTO "Odd ""table" ("Näme", amount) SELECT 'before ' || i, i FROM generate_series(1, 100) i});
$primary->safe_psql('postgres', q{SELECT cqrs.publish('"Odd ""table"', 'odd.thing')});
$replica->safe_psql('postgres', q{SELECT cqrs.subscribe('odd.thing', '"Odd ""table"')});
ok($cqrs->wait_live('r1', 'odd.thing'), 'a new subscription becomes live without a restart');
$cqrs->wait_equal('r1', '"Odd ""table"');
$primary->safe_psql('postgres', <<'SQL');
INSERT INTO "Odd ""table" ("Näme", amount, tags, doc, raw, at, f) VALUES
  (E'tab\t nl\n quote" back\\slash \u00fc \U0001F600', 123456789012345678901234567890.12345678901234567890, '{a,NULL,"b,c"}', '{"a": [1, null, "x"]}', '\x00ff', '2026-01-01 00:00:00.123456+02', 'NaN'),
  (NULL, 'NaN', NULL, 'null', '', 'infinity', '-Infinity'),
  ('', 0, '{}', '"string"', NULL, '0044-03-15 12:00:00+00 BC', 1e-300),
  ('\N', -0.00, NULL, '12345678901234567890.5', NULL, NULL, 0.1);
UPDATE "Odd ""table" SET amount = amount + 1 WHERE id % 7 = 0;
DELETE FROM "Odd ""table" WHERE id % 10 = 3;
SQL
$cqrs->wait_equal('r1', '"Odd ""table"');

# A value that TOAST keeps aside and an update that does not touch it; key changes; a swap of unique values.
$_->safe_psql('postgres', <<'SQL') foreach $primary, $replica;
CREATE TABLE doc (id int PRIMARY KEY, rank int UNIQUE, body text NOT NULL, note text);
ALTER TABLE doc ALTER COLUMN body SET STORAGE EXTERNAL;
SQL
$primary->safe_psql('postgres', q{SELECT cqrs.publish('doc', 'odd.doc')});
$replica->safe_psql('postgres', q{SELECT cqrs.subscribe('odd.doc', 'doc')});
ok($cqrs->wait_live('r1', 'odd.doc'), 'a second table of a topic joins while it is live');
$primary->safe_psql('postgres', <<'SQL');
INSERT INTO doc SELECT i, i, repeat(md5(i::text), 1000), NULL FROM generate_series(1, 50) i;
UPDATE doc SET note = 'touched' WHERE id <= 10;
UPDATE doc SET id = id + 1000 WHERE id <= 20;
BEGIN;
UPDATE doc SET rank = -1 WHERE id = 30; UPDATE doc SET rank = 30 WHERE id = 31; UPDATE doc SET rank = 31 WHERE id = 30;
COMMIT;
BEGIN; DELETE FROM doc WHERE id = 40; INSERT INTO doc VALUES (40, 40, 'again', 'new'); UPDATE doc SET note = 'newer' WHERE id = 40; COMMIT;
SQL
$cqrs->wait_equal('r1', 'doc');
$primary->safe_psql('postgres', "TRUNCATE doc; INSERT INTO doc VALUES (1, 1, 'after', NULL)");
$cqrs->wait_equal('r1', 'doc');

# Domain events pass by the tables and reach other consumers with their context.
$cqrs->amqp('bind', 'domain', 'parking.reserved');
$primary->safe_psql('postgres', <<'SQL');
BEGIN;
SELECT cqrs.set_context(correlationid => 'c-1', causationid => 'k-1', traceparent => '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
SELECT cqrs.emit('parking.reserved', '{"uuid": "u", "by": "me"}');
COMMIT;
SQL
my @domain;
Cqrs::wait_until('the domain event arrives', sub {
    push @domain, map { decode_json($_) } split /\n/, $cqrs->amqp('drain', 'domain');
    return @domain;
});
my ($domain) = grep { $_->{type} eq 'parking.reserved' } map { @{ $_->{body} } } @domain;
is_deeply([ @$domain{qw(correlationid causationid)}, $domain->{data} ], [ 'c-1', 'k-1', { uuid => 'u', by => 'me' } ], 'a domain event with its context');

# unpublish and unsubscribe, also without a restart.
$primary->safe_psql('postgres', q{SELECT cqrs.unpublish('doc')});
$primary->safe_psql('postgres', q{INSERT INTO doc VALUES (2, 2, 'unseen', NULL); SELECT create_parking_slot('marker')});
$cqrs->wait_equal('r1', 'parking_slots');
is($replica->safe_psql('postgres', 'SELECT count(*) FROM doc'), '1', 'an unpublished table is quiet');
$replica->safe_psql('postgres', q{SELECT cqrs.unsubscribe('odd.doc'); SELECT cqrs.unsubscribe('odd.thing')});
ok(Cqrs::wait_until('the queue of a topic without subscriptions is gone', sub {
    return !eval { $cqrs->amqp('count', 'cqrs.r1.odd'); 1 };
}), 'the queue of a topic without subscriptions is deleted');

is($primary->safe_psql('postgres', "SELECT (topics->'parking'->>'sequence')::bigint > 0 FROM cqrs.relay_state"), 't', 'relay_state holds the sequence');
ok(Cqrs::wait_until('position == last sequence', sub {
    return $cqrs->position('r1', 'parking') eq
      $primary->safe_psql('postgres', "SELECT topics->'parking'->>'sequence' FROM cqrs.relay_state");
}), 'position == last sequence');
is($primary->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), '1', 'the primary has one slot');

$_->signal('TERM') foreach $relay, $apply;
ok(defined $relay->wait_end(5), 'the relay ends on SIGTERM');
ok(defined $apply->wait_end(5), 'the applier ends on SIGTERM');
is($relay->status, 0, 'the relay exits with 0');
is($apply->status, 0, 'the applier exits with 0');
my ($secret) = $cqrs->broker_url =~ m{//guest:([^@]+)@};
unlike($_->log, qr/\Q$secret\E/, 'no secret in the log') foreach $relay, $apply;
$cqrs->finish;
done_testing();
