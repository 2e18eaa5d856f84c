# The replicator as its operator sees it: settings, exit statuses, health, metrics, status, tail, doctor, run;
# with the least rights that the README names.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use HTTP::Tiny;
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
my $everything = $cqrs->environment('r1');

# ---- settings ----------------------------------------------------------------------------------
my ($status, $out, $err) = $cqrs->command({}, 'relay');
is($status, 2, 'a missing setting: status 2');
like($err, qr/--database-url \(DATABASE_URL\)/, 'it is named by flag and variable');
($status, $out, $err) = $cqrs->command({ %$everything, CQRS_BATCH_BYTES => 'many' }, 'relay');
is($status, 2, 'a malformed setting: status 2');
like($err, qr/--batch-bytes \(CQRS_BATCH_BYTES\).*expected/, 'it is named, with what is expected');
($status, $out) = $cqrs->command({}, '--help');
is($status, 0, 'help: status 0');
foreach my $command (qw(relay apply run status tail doctor)) {
    like($out, qr/^  $command /m, "help names $command");
    ($status, my $help) = $cqrs->command({}, $command, '--help');
    is($status, 0, "$command --help: status 0");
    like($help, qr/RABBITMQ_BROKER_URL/, "$command --help names the variables");
}

# ---- standard streams that are full or closed ---------------------------------------------------
is(system('/bin/sh', '-c', '"$0" --help >/dev/full 2>/dev/null', $cqrs->binary) >> 8, 1,
    'help that did not arrive: status 1');
is(system('/bin/sh', '-c', '"$0" relay --bogus 2>/dev/full', $cqrs->binary) >> 8, 2,
    'an error that could not be said keeps its status');
my $bare = fork() // die "fork: $!";
if (!$bare) {
    POSIX::close($_) foreach 0 .. 2;
    exec { $cqrs->binary } $cqrs->binary, qw(relay --listen none --broker-url amqp://127.0.0.1:1/ --database-url),
        'host=127.0.0.1 port=1' or POSIX::_exit(127);
}
ok(Cqrs::wait_until('standard error is not a socket',
        sub { (readlink("/proc/$bare/fd/2") // '') eq '/dev/null' }),
    'closed standard streams are opened, not given to a connection');
kill('TERM', $bare);
waitpid($bare, 0);

# ---- before anything runs ----------------------------------------------------------------------
($status, $out) = $cqrs->command($everything, 'status', '--name', 'r1');
is($status, 1, 'status before the relay ran: 1');
like($out, qr/no relay has run/, 'it says so');
($status, $out) = $cqrs->command($everything, 'doctor', '--name', 'r1');
is($status, 0, 'doctor finds nothing that must be mended') or diag($out);
like($out, qr/^OK +primary: wal_level = logical$/m, 'doctor looks at wal_level');

# ---- least privilege, as in the README ---------------------------------------------------------
$primary->safe_psql('postgres', q{
    CREATE ROLE cqrs_relay LOGIN REPLICATION;
    GRANT SELECT ON cqrs.published TO cqrs_relay;
    GRANT SELECT, INSERT, UPDATE ON cqrs.relay_state TO cqrs_relay;
    GRANT SELECT, INSERT, UPDATE, DELETE ON cqrs.replica, cqrs.retention_state TO cqrs_relay;
    GRANT SELECT ON cqrs.replica_status TO cqrs_relay;
    GRANT SELECT ON parking_slots TO cqrs_relay;
});
$replica->safe_psql('postgres', 'CREATE ROLE cqrs_apply LOGIN');
my $relay_objects = 'CQRS_EVENT_STORE|CQRS_HEARTBEAT|CQRS_REPLICAS|CQRS_RELAY_STATE\..*|CQRS_HISTORY\..*|cqrs\.relay\..*';
foreach my $user ([ 'relay', "^($relay_objects)\$", "^($relay_objects)\$", '^(CQRS_EVENT_STORE|CQRS_HEARTBEAT|CQRS_REPLICAS|CQRS_RELAY_STATE\..*|CQRS_HISTORY\..*|cqrs\.relay\..*)$' ],
    [ 'r1', '^cqrs\.r1\.', '^(cqrs\.r1\..*|CQRS_REPLICAS)$', '^(cqrs\.r1\..*|CQRS_EVENT_STORE|CQRS_HEARTBEAT)$' ]) {
    my ($name, @permissions) = @$user;
    $cqrs->rabbitmqctl('add_user', $name, 'secret-of-mq');
    $cqrs->rabbitmqctl('set_permissions', $name, @permissions);
}
sub as { my ($role, $url) = @_; return $url =~ s{//}{//$role\@}r }
sub broker_as { my ($user) = @_; return $cqrs->broker_url =~ s{guest:[^@]*}{$user:secret-of-mq}r }
my %least = (
    DATABASE_URL => as('cqrs_relay', Cqrs::url($primary)),
    REPLICA_DATABASE_URL => as('cqrs_apply', Cqrs::url($replica)),
    CQRS_NAME => 'r1');

# What doctor says is missing is what it takes: run its SQL until it is content.
($status, $out) = $cqrs->command({ %least, RABBITMQ_BROKER_URL => broker_as('r1') }, 'doctor');
is($status, 1, 'doctor fails for a role without rights');
like($out, qr/^FAIL +replica: .*session_replication_role/m, 'it names the right to set session_replication_role');
like($out, qr/^FAIL +replica: the role lacks .* on cqrs\.copy_progress$/m, 'and those on the tables that the applier writes');
my $rounds = 0;
while ($status == 1 && $rounds++ < 5) {
    my @sql = $out =~ /^ +(GRANT .* TO cqrs_apply;)$/mg or last;
    $replica->safe_psql('postgres', join("\n", @sql));
    ($status, $out) = $cqrs->command({ %least }, 'doctor');
}
is($status, 0, 'granting what doctor says satisfies it') or diag($out);

# ---- running with those rights -----------------------------------------------------------------
my ($relay_port, $apply_port) = map { PostgreSQL::Test::Cluster::get_free_port() } 1 .. 2;
my $relay = $cqrs->start('relay', { %least, RABBITMQ_BROKER_URL => broker_as('relay') },
    'relay', '--listen', "127.0.0.1:$relay_port");
my $http = HTTP::Tiny->new(timeout => 5);
sub get { my ($port, $path) = @_; return $http->get("http://127.0.0.1:$port$path") }
ok(Cqrs::wait_until('the relay is healthy', sub { return get($relay_port, '/health')->{status} == 200 }), 'the relay is healthy');
my $apply = $cqrs->start('apply', { %least, RABBITMQ_BROKER_URL => broker_as('r1') },
    'apply', '--listen', "127.0.0.1:$apply_port");
ok($cqrs->wait_live('r1', 'parking'), 'live with the least rights') or diag($relay->log . $apply->log);
$primary->safe_psql('postgres', q{SELECT create_parking_slot('least')});
$cqrs->wait_equal('r1', 'parking_slots');
ok(Cqrs::wait_until('the replica is reported', sub {
    return $primary->safe_psql('postgres', "SELECT count(*) FROM cqrs.replica WHERE name = 'r1' AND sequence = 1") eq '1';
}), 'the relay hears of the replica with the least rights') or diag($relay->log . $apply->log);
$primary->safe_psql('postgres', q{SELECT cqrs.retain('kept', '1 day')});
ok(Cqrs::wait_until('a history begins', sub {
    return $primary->safe_psql('postgres', q{SELECT state, since_sequence FROM cqrs.retention_status}) eq 'kept|1';
}), 'events are kept with the least rights') or diag($relay->log);
ok(Cqrs::wait_until('the applier is healthy', sub { return get($apply_port, '/health')->{status} == 200 }), 'the applier is healthy');
my $health = decode_json(get($apply_port, '/health')->{content});
ok(length $health->{message}, 'health has a message');
like(get($relay_port, '/metrics')->{content}, qr/^cqrs_relay_events_total\{topic="parking"\} 1$/m, 'the relay counts events');
like(get($apply_port, '/metrics')->{content}, qr/^cqrs_apply_events_total\{topic="parking"\} 1$/m, 'the applier counts events');
like(get($apply_port, '/')->{content}, qr/<html/, 'there is a page');
ok(decode_json(get($relay_port, '/status.json')->{content})->{metrics}, 'and what it shows as JSON');

# ---- no secret in the process title ------------------------------------------------------------
my $titled = $cqrs->start('titled', {}, 'relay', '--listen', 'none', '--database-url', $least{DATABASE_URL},
    '--broker-url', broker_as('relay'));
ok(Cqrs::wait_until('the second relay stands by', sub { return $titled->log =~ /standing by/ }), 'it stands by');
my $title = slurp_file('/proc/' . $titled->pid . '/cmdline');
like($title, qr/relay:\*\*\*\@/, 'the broker URL is there without its password');
unlike($title, qr/secret-of-mq/, 'no password in the process title');
unlike(join('', map { $_->log } $relay, $apply, $titled), qr/secret-of-mq/, 'no password in the logs');
$titled->signal('TERM');
ok(defined $titled->wait_end(5), 'a standby ends on SIGTERM');

# ---- a port in use -----------------------------------------------------------------------------
($status, $out, $err) = $cqrs->command({ %$everything }, 'apply', '--listen', "127.0.0.1:$relay_port");
is($status, 2, 'a port in use: status 2');
like($err, qr/--listen \(CQRS_LISTEN\).*in use/, 'it is named');

# ---- status and doctor of a running system -----------------------------------------------------
ok(Cqrs::wait_until('status is content', sub {
    ($status, $out) = $cqrs->command($everything, 'status', '--name', 'r1', '--json');
    return $status == 0;
}), 'status: 0 while all is well') or diag($out);
my $report = decode_json($out);
ok($report->{primary}{slot}{active}, 'the slot is active');
is($report->{topics}[0]{topic}, 'parking', 'the topic is there');
ok(Cqrs::wait_until('the relay has recorded the event', sub {
    (undef, $out) = $cqrs->command($everything, 'status', '--name', 'r1', '--json');
    my $topic = decode_json($out)->{topics}[0];
    return ($topic->{primary}{sequence} // 0) == 1 && $topic->{replica}{sequence} == 1 && $topic->{lag_events} == 0
      && $topic->{queue}{consumers} >= 1;
}), 'both sequences, no lag, a consumer') or diag($out);
($status, $out) = $cqrs->command($everything, 'status', '--name', 'r1');
like($out, qr/^parking +1 +1 +0 +0\.0 +0 +[1-9] +live$/m, 'the table says the same');
($status, $out) = $cqrs->command({ %$everything, REPLICA_DATABASE_URL => 'postgresql://127.0.0.1:1/x' }, 'status', '--name', 'r1');
is($status, 1, 'status: 1 when a side is unreachable');
like($out, qr/^replica +UNREACHABLE/m, 'and it says which');

$primary->safe_psql('postgres', q{CREATE TABLE wide (id int PRIMARY KEY, a text, b text); SELECT cqrs.publish('wide', 'wide');
    GRANT SELECT ON wide TO cqrs_relay});
$replica->safe_psql('postgres', q{CREATE TABLE narrow (id int PRIMARY KEY, a varchar(10), c int NOT NULL);
    GRANT ALL ON narrow TO cqrs_apply; SELECT cqrs.subscribe('wide', 'narrow')});
($status, $out) = $cqrs->command($everything, 'doctor', '--name', 'r1');
is($status, 1, 'doctor fails when a column is missing');
like($out, qr/^ +ALTER TABLE public\.narrow ADD COLUMN "b" text;$/m, 'it says how to add it');
like($out, qr/^WARN +replica: public\.narrow: column "a" is character varying\(10\), on the primary it is text$/m, 'it compares types');
like($out, qr/^FAIL +replica: public\.narrow: column "c" is NOT NULL/m, 'it sees what no event can fill');

# ---- tail --------------------------------------------------------------------------------------
my $tail = $cqrs->start('tail', $everything, 'tail', '-n', '2', 'parking.#');
ok(Cqrs::wait_until('tail listens', sub { return $tail->log =~ /listening/ }), 'tail listens');
$primary->safe_psql('postgres', q{SELECT create_parking_slot(name) FROM unnest(ARRAY['tail 1', 'tail 2']) name});
ok(defined $tail->wait_end(30), 'tail ends after two events');
is($tail->status, 0, 'with 0');
my @events = map { decode_json($_) } grep { /^\{/ } split /\n/, $tail->log;
is_deeply([ map { $_->{data}{name} } @events ], [ 'tail 1', 'tail 2' ], 'it printed them, one a line');

# ---- run: both in one process ------------------------------------------------------------------
foreach my $process ($relay, $apply) {
    $process->signal('TERM');
    ok(defined $process->wait_end(5), "$process->{name} ends on SIGTERM");
    is($process->status, 0, "$process->{name} exits with 0");
}
my $run = $cqrs->start('run', $everything, 'run', '--name', 'r1', '--listen', "127.0.0.1:$relay_port");
$primary->safe_psql('postgres', q{SELECT create_parking_slot('by run')});
$cqrs->wait_equal('r1', 'parking_slots');
my $metrics = get($relay_port, '/metrics')->{content};
like($metrics, qr/^cqrs_relay_events_total/m, 'run serves the metrics of the relay');
like($metrics, qr/^cqrs_apply_events_total/m, 'and of the applier');
$run->signal('INT');
ok(defined $run->wait_end(5), 'run ends on SIGINT');
is($run->status, 0, 'run exits with 0');

$cqrs->finish;
done_testing();
