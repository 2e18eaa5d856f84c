# Twenty kill -9 of relay, applier and broker under load: nothing lost, nothing twice, nothing invented.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{CQRS_KILLS} || 20;
my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
$_->safe_psql('postgres', 'CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL, note text)') foreach $primary, $replica;
$primary->safe_psql('postgres', q{INSERT INTO account SELECT i, 1000 FROM generate_series(1, 50) i; SELECT cqrs.publish('account', 'bank.account')});
$replica->safe_psql('postgres', q{SELECT cqrs.subscribe('bank.account', 'account')});

my %part = (relay => $cqrs->start_relay, apply => $cqrs->start_apply('r1'));
ok($cqrs->wait_live('r1', $_), "$_ is live") foreach qw(parking bank.account);
$cqrs->amqp('bind', 'witness', 'parking.#');

# Transfers keep the sum; every fifth transaction is rolled back; slots come, change and go.
my $script = "$PostgreSQL::Test::Utils::tmp_check/load.sql";
append_to_file($script, <<'SQL');
\set a random(1, 50)
\set b random(1, 50)
\set lucky random(1, 5)
BEGIN;
UPDATE account SET balance = balance - 10 WHERE id = least(:a, :b);
UPDATE account SET balance = balance + 10 WHERE id = greatest(:a, :b);
SELECT count(create_parking_slot('slot ' || :a || '/' || i)) FROM generate_series(1, 3) i;
DELETE FROM parking_slots WHERE uuid IN (SELECT uuid FROM parking_slots WHERE name = 'slot ' || :b || '/1' LIMIT 1 FOR UPDATE SKIP LOCKED);
\if :lucky = 1
ROLLBACK;
\else
COMMIT;
\endif
SQL
my $load = Cqrs::Process->start('pgbench', {}, 'pgbench', '-n', '-c', '4', '-R', '150', '-T', '3600', '-f', $script,
    '-h', $primary->host, '-p', $primary->port, 'postgres');

# Contract 2, while it runs: the replica always shows a moment of the primary's history.
my $sums = 0;
my $wrong = 0;
sub look {
    my $sum = $replica->safe_psql('postgres', 'SELECT sum(balance) FROM account');
    $sums++;
    $wrong++ if $sum ne '50000';
}

my @victims = (('relay', 'apply') x 4, 'broker', 'both') x $rounds;
for my $round (1 .. $rounds) {
    my $victim = $victims[ $round - 1 ];
    my $before = $cqrs->position('r1', 'bank');
    # Kill while events flow, not while everything is at rest.
    Cqrs::wait_until("events flow before kill $round", sub { look(); return $cqrs->position('r1', 'bank') > $before });
    if ($victim eq 'broker') {
        $cqrs->kill_broker;
        $cqrs->start_broker;
    }
    foreach my $name ($victim eq 'both' ? ('relay', 'apply') : $victim eq 'broker' ? () : $victim) {
        $part{$name}->kill_now;
        $part{$name} = $name eq 'relay' ? $cqrs->start_relay : $cqrs->start_apply('r1');
    }
    $before = $cqrs->position('r1', 'bank');
    ok(Cqrs::wait_until("events flow after kill $round ($victim)", sub { look(); return $cqrs->position('r1', 'bank') > $before }),
        "kill $round ($victim): events flow again");
}
ok($load->running, 'the load never stopped');
$load->signal('INT');
$load->wait_end(30);

$cqrs->wait_equal('r1', $_) foreach qw(account parking_slots);
cmp_ok($sums, '>', $rounds, 'the replica was looked at');
is($wrong, 0, 'every look at the replica saw whole transactions');
ok(Cqrs::wait_until('position == last sequence', sub {
    return $cqrs->position('r1', 'parking') eq
      $primary->safe_psql('postgres', "SELECT topics->'parking'->>'sequence' FROM cqrs.relay_state");
}), 'position == last sequence');
is($replica->safe_psql('postgres', 'SELECT count(*) FROM cqrs.incidents'), '0', 'no kill cost a copy: the stream was enough');

# The witness: every sequence, in one epoch, with the same bytes wherever it came twice.
my (%seen, %epochs, $different, $last);
foreach my $line (split /\n/, $cqrs->amqp('drain', 'witness')) {
    my $message = decode_json($line);
    my $sequence = $message->{headers}{'cqrs-sequence'};
    $epochs{ $message->{headers}{'cqrs-epoch'} } = 1;
    foreach my $event (@{ $message->{body} }) {
        my $text = JSON::PP->new->canonical->encode($event);
        $different++ if defined $seen{$sequence} && $seen{$sequence} ne $text;
        $seen{$sequence++} = $text;
    }
}
my @sequences = sort { $a <=> $b } keys %seen;
is(scalar keys %epochs, 1, 'one epoch');
is($different || 0, 0, 'an event that was sent again is the same event');
is($sequences[-1] - $sequences[0] + 1, scalar @sequences, 'no hole in ' . @sequences . ' sequences');
my %ids = map { decode_json($_)->{id} => 1 } values %seen;
is(scalar keys %ids, scalar @sequences, 'an id of its own for each');

$cqrs->finish;
done_testing();
