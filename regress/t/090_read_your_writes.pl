# A session reads on the replica what it wrote on the primary: tokens, waiting, waking up.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $cqrs = Cqrs->new(replicas => []);
my ($primary, $replica) = ($cqrs->primary, $cqrs->add_replica('r1', "max_connections = 40\n"));
# A second topic, which nobody writes to: every wait is for both.
$_->safe_psql('postgres', 'CREATE TABLE silent (id int PRIMARY KEY)') foreach $primary, $replica;
$primary->safe_psql('postgres', q{SELECT cqrs.publish('silent', 'silent'); CREATE TABLE unpublished (id int)});
$replica->safe_psql('postgres', q{SELECT cqrs.subscribe('silent', 'silent')});
my $relay = $cqrs->start_relay;
my $apply = $cqrs->start_apply('r1');
ok($cqrs->wait_live('r1', $_), "$_ is live") foreach qw(parking silent);

sub rounds {
    my ($count, $mode) = @_;
    my ($out, $err) = run_command([ 'python3', "$FindBin::RealBin/lib/read_your_writes.py",
        Cqrs::url($primary), Cqrs::url($replica), $count, $mode ]);
    diag($err) if $err;
    my $report = eval { decode_json($out) } || {};
    note("$mode: $out");
    return ($report->{rounds} // 0) . ' rounds, ' . ($report->{missed} // '?') . ' missed';
}
is(rounds(300, 'token'), '300 rounds, 0 missed', 'create, token, wait_for, details');
is(rounds(100, 'report'), '100 rounds, 0 missed', 'the token that is reported with the command');
is(rounds(50, 'quiet'), '50 rounds, 0 missed', 'a transaction without a published change');

# How many are in wait_for on the replica: not those whose wait_event says so, since a waiter looks again each second.
sub waiting {
    return $replica->safe_psql('postgres', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 3});
}
sub token { return $primary->safe_psql('postgres', $_[0] . '; SELECT cqrs.token()') }
sub value { my ($session, $sql) = @_; my $value = $session->query($sql); chomp $value; return $value }

# Behind: the applier does not run.
$apply->signal('KILL');
$apply->wait_end(10);
my $token = (split /\n/, token(q{SELECT create_parking_slot('waited for')}))[-1];
is($replica->safe_psql('postgres', "SELECT cqrs.wait_for('$token', '100 ms')"), 'f', 'false at the timeout');

# Many waiters: two are cancelled, one is terminated, the others wake up when the applier comes back.
my @waiters = map { $replica->background_psql('postgres', on_error_stop => 0) } 1 .. 8;
my $many = 8;
foreach my $i (0 .. $#waiters) {
    $waiters[$i]->query("SET statement_timeout = '1s'") if $i == 0;
    my $topic = $i % 2 ? q{, topic => 'parking'} : '';
    $waiters[$i]->query_until(qr/asked/, "\\echo asked\nSELECT cqrs.wait_for('$token', '1 h'$topic) AS w;\n\\echo done\n");
}
$waiters[0]->query_until(qr/done\n/, '');
ok(Cqrs::wait_until('the first is timed out, the others wait', sub { return waiting() == 7 }), 'statement_timeout ends a wait');
my @pids = split /\n/, $replica->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE query LIKE '%wait_for%' AND state = 'active' AND pid <> pg_backend_pid() ORDER BY backend_start});
$replica->safe_psql('postgres', "SELECT pg_cancel_backend($pids[0])");
ok(Cqrs::wait_until('the second is cancelled', sub { return waiting() == 6 }), 'pg_cancel_backend ends a wait');
$replica->safe_psql('postgres', "SELECT pg_terminate_backend($pids[1])");
ok(Cqrs::wait_until('the third is terminated', sub { return waiting() == 5 }), 'pg_terminate_backend ends a wait');
# Who was terminated lets go a moment after it has stopped waiting.
ok($replica->poll_query_until('postgres', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 3}, '5'), 'each waiter holds one lock, the others none');
$apply = $cqrs->start_apply('r1');
ok(Cqrs::wait_until('all have woken up', sub { return waiting() == 0 }), 'waiters wake up when the applier is back');
is(join(' ', map { my $out = $_->query_until(qr/done\n/, ''); $out =~ /\bt\b/ ? 't' : 'f' } @waiters[3 .. 7]), 't t t t t', 'each of them hears true');
is($replica->safe_psql('postgres', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 3}), '0', 'no lock is left');
$_->{run}->kill_kill foreach @waiters;

# A wait that begins while the relay is away, of a token that no event will ever reach.
$relay->signal('KILL');
$relay->wait_end(10);
$token = token('INSERT INTO unpublished VALUES (0)');
my $waiter = $replica->background_psql('postgres');
$waiter->query_until(qr/asked/, "\\echo asked\nSELECT cqrs.wait_for('$token', '1 h');\n\\echo done\n");
ok(Cqrs::wait_until('it waits', sub { return waiting() == 1 }), 'nobody knows yet');
$relay = $cqrs->start_relay;
like($waiter->query_until(qr/done\n/, ''), qr/^t$/m, 'the heartbeat of the next relay answers');
$waiter->quit;

# In the same transaction that waits nothing else is stale: READ COMMITTED sees what it waited for.
my $both = $replica->background_psql('postgres');
$both->query('BEGIN; SELECT count(*) FROM parking_slots');
$token = (split /\n/, token(q{SELECT create_parking_slot('within')}))[-1];
is(value($both, "SELECT cqrs.wait_for('$token')"), 't', 'within a transaction');
is(value($both, q{SELECT count(*) FROM parking_slots WHERE name = 'within'}), '1', '... the next statement sees it');
$both->quit;

$cqrs->finish;
done_testing();
