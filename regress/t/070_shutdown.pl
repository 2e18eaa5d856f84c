# Stopping and standing by: SIGTERM, a second relay and applier, the primary's fast shutdown, broker alarms.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use IO::Select;
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use Test::More;

my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
my $relay = $cqrs->start_relay;
my $apply = $cqrs->start_apply('r1');
ok($cqrs->wait_live('r1', 'parking'), 'live');

# A second one of each stands by and takes over.
my $second_relay = $cqrs->start_relay;
my $second_apply = $cqrs->start_apply('r1');
ok(Cqrs::wait_until('the second relay says that it waits', sub { return $second_relay->log =~ /stand/i }), 'the second relay stands by');
ok(Cqrs::wait_until('the second applier says that it waits', sub { return $second_apply->log =~ /stand/i }), 'the second applier stands by');
$_->kill_now foreach $relay, $apply;
$primary->safe_psql('postgres', q{SELECT create_parking_slot('taken over')});
$cqrs->wait_equal('r1', 'parking_slots');
is($replica->safe_psql('postgres', 'SELECT count(*) FROM cqrs.incidents'), '0', 'a takeover costs no copy');

# A fast shutdown of the primary does not wait for the relay; neither does the relay for ever.
my $begin = time;
$primary->stop('fast');
cmp_ok(time - $begin, '<', 30, 'a fast shutdown of the primary does not hang');
$primary->start;
$primary->safe_psql('postgres', q{SELECT create_parking_slot('after a restart')});
$cqrs->wait_equal('r1', 'parking_slots');

# A crash of either database.
$primary->safe_psql('postgres', q{SELECT create_parking_slot('before a crash ' || i) FROM generate_series(1, 100) i});
$_->stop('immediate') foreach $primary, $replica;
$_->start foreach $primary, $replica;
$primary->safe_psql('postgres', q{SELECT create_parking_slot('after a crash')});
$cqrs->wait_equal('r1', 'parking_slots');

# A memory alarm holds the relay back; nothing is lost, and it still ends on SIGTERM.
$cqrs->rabbitmqctl('set_vm_memory_high_watermark', '0.00001');
$primary->safe_psql('postgres', q{SELECT create_parking_slot('held back ' || i) FROM generate_series(1, 2000) i});
ok(Cqrs::wait_until('the relay says that it is blocked', sub { return $second_relay->log =~ /takes no messages/ }), 'the relay names the alarm');
$cqrs->rabbitmqctl('set_vm_memory_high_watermark', '0.4');
$cqrs->wait_equal('r1', 'parking_slots');

# The broker away and back; a paused relay.
$cqrs->stop_broker;
$primary->safe_psql('postgres', q{SELECT create_parking_slot('without a broker')});
$cqrs->start_broker;
$cqrs->wait_equal('r1', 'parking_slots');
is($replica->safe_psql('postgres', 'SELECT count(*) FROM cqrs.incidents'), '0', 'none of this cost a copy');

$_->signal('TERM') foreach $second_relay, $second_apply;
foreach my $process ($second_relay, $second_apply) {
    ok(defined $process->wait_end(10), "$process->{name} ends on SIGTERM");
    is($process->status, 0, "$process->{name} exits with 0");
}

# While an old transaction holds up the creation of its slot; the server gives that up too.
$primary->safe_psql('postgres', q{BEGIN; SELECT create_parking_slot('prepared'); PREPARE TRANSACTION 'old'});
my $waiting = $cqrs->start_relay('--slot', 'waiting');
ok(Cqrs::wait_until('the relay says what it waits for', sub { return $waiting->log =~ /waits for the transactions.*prepared 'old'/ }), 'the relay names the old transaction');
$waiting->signal('TERM');
ok(defined $waiting->wait_end(10), 'it ends while it waits for its slot');
is($waiting->status, 0, 'with 0');
ok(Cqrs::wait_until('the slot is gone', sub { return $primary->safe_psql('postgres', q{SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'waiting'}) eq '0' }), 'no half-made slot is left');
$primary->safe_psql('postgres', q{COMMIT PREPARED 'old'});

# Also when there is nobody to talk to.
$cqrs->stop_broker;
$relay = $cqrs->start_relay;
$apply = $cqrs->start_apply('r1');
Cqrs::wait_until('both complain', sub { return length $relay->log && length $apply->log });
$_->signal('TERM') foreach $relay, $apply;
ok(defined $_->wait_end(10), "$_->{name} ends without a broker") foreach $relay, $apply;
$cqrs->start_broker;

# While a server hangs, idle or with work to do. How long it takes is written down, not judged.
sub create { $primary->safe_psql('postgres', q{SELECT create_parking_slot('more ' || i) FROM generate_series(1, 2000) i}) }
my @hanging = (
    [ 'the broker hangs', sub { $cqrs->pause_broker }, sub { $cqrs->resume_broker } ],
    [ 'the broker hangs under load', sub { $cqrs->pause_broker; create() }, sub { $cqrs->resume_broker } ],
    [
        'the broker has an alarm',
        sub { $cqrs->rabbitmqctl('set_vm_memory_high_watermark', '0.00001'); create() },
        sub { $cqrs->rabbitmqctl('set_vm_memory_high_watermark', '0.4') }
    ],
    [ 'the primary hangs', sub { Cqrs::signal_node($primary, 'STOP') }, sub { Cqrs::signal_node($primary, 'CONT') } ],
);
foreach my $case (@hanging) {
    my ($what, $hang, $relieve) = @$case;
    $relay = $cqrs->start_relay;
    ok(Cqrs::wait_until('the relay streams', sub { return $relay->log =~ /streaming from/ && $relay->log =~ /connected to broker/ }), "$what: it did not before");
    $hang->();
    $relay->signal('TERM');
    my $seconds = $relay->wait_end(10);
    $relieve->();
    ok(defined $seconds, "$what: the relay ends") and note(sprintf('%s: the relay ended after %.2f s', $what, $seconds));
    is($relay->status, 0, "$what: with 0");
}
foreach my $hung ([ 'broker', sub { $cqrs->pause_broker }, sub { $cqrs->resume_broker } ], $hanging[3]) {
    my ($what, $hang, $relieve) = @$hung;
    $hang->();
    my @started = ($cqrs->start_relay, $cqrs->start_apply('r1'));
    select(undef, undef, undef, 0.5);    # anywhere in its start
    $_->signal('TERM') foreach @started;
    my @seconds = map { $_->wait_end(10) } @started;
    $relieve->();
    ok(defined $seconds[$_], "$what: $started[$_]{name}, just started, ends") foreach 0, 1;
}
# Servers that take the connection and never say a word: whatever is called ends; a task was not done.
my @silent = map {
    my ($status, @command) = @$_;
    my $listener = IO::Socket::INET->new(Listen => 20, LocalAddr => '127.0.0.1') or die $!;
    my $at = '127.0.0.1:' . $listener->sockport;
    my %servers = (DATABASE_URL => "postgresql://$at/postgres", RABBITMQ_BROKER_URL => "amqp://$at");
    $servers{REPLICA_DATABASE_URL} = $servers{DATABASE_URL} unless $command[0] eq 'relay';
    { process => $cqrs->start($command[0], \%servers, @command), listener => $listener, status => $status };
} (
    [ 0, 'relay', '--listen', 'none' ],
    [ 0, 'apply', '--name', 'r1', '--listen', 'none' ],
    [ 0, 'run', '--name', 'r1', '--listen', 'none' ],
    [ 0, 'tail' ],
    [ 1, 'status' ],
    [ 1, 'doctor' ],
    [ 1, 'verify' ],
    [ 1, 'rebuild', '--topics', 'parking' ],
    [ 1, 'add-replica', 'r9' ],
    [ 1, 'remove-replica', 'r9' ],
);
ok(IO::Select->new($_->{listener})->can_read($Cqrs::timeout), "$_->{process}{name} asks the silent server") foreach @silent;
$_->{process}->signal('TERM') foreach @silent;
foreach my $case (@silent) {
    my ($process, $status) = @$case{qw(process status)};
    my $seconds = $process->wait_end(3);    # the limit is less than one; generously, for a busy machine
    ok(defined $seconds, "a silent server: $process->{name} ends");
    $process->kill_now;
    is($process->status, $status << 8, "$process->{name}: with $status");
}

# A terminal that goes away is a reason to end like any other, but for who was told to outlive it.
$relay = $cqrs->start_relay;
ok(Cqrs::wait_until('the relay streams', sub { return $relay->log =~ /streaming from/ }), 'the relay streams');
$relay->signal('HUP');
ok(defined $relay->wait_end(10), 'it ends on SIGHUP');
is($relay->status, 0, 'with 0');
{
    local $SIG{HUP} = 'IGNORE';
    $relay = $cqrs->start_relay;
}
ok(Cqrs::wait_until('the relay streams', sub { return $relay->log =~ /streaming from/ }), 'the relay streams under nohup');
my ($ignored) = slurp_file('/proc/' . $relay->pid . '/status') =~ /^SigIgn:\s*(\w+)/m;
ok(hex($ignored) & 1, 'and SIGHUP stays ignored');

# Too few open files: said at once, with what to do.
foreach my $command ('relay', 'apply') {
    my $starved = Cqrs::Process->start("starved-$command", $cqrs->environment('r1'),
        '/bin/sh', '-c', 'ulimit -n 16; exec "$0" "$@"', $cqrs->binary, $command, '--listen', 'none');
    ok(defined $starved->wait_end($Cqrs::timeout), "$command with 16 files ends");
    is($starved->status, 2 << 8, 'with 2');
    like($starved->log, qr/no more than 16 files may be open.*ulimit -n.*LimitNOFILE/, 'and says why');
}

$apply = $cqrs->start_apply('r1');
$cqrs->wait_equal('r1', 'parking_slots');
is($replica->safe_psql('postgres', 'SELECT count(*) FROM cqrs.incidents'), '0', 'nor did any of this');

$cqrs->finish;
done_testing();
