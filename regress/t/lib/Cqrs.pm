# A whole pg_cqrs for one test: primary, replicas, RabbitMQ, relay and appliers, all real, all private.
#
#   my $cqrs = Cqrs->new(replicas => ['r1']);      # servers run, parking is installed
#   my $relay = $cqrs->start_relay; my $apply = $cqrs->start_apply('r1');
#   $cqrs->wait_live('r1', 'parking');
#   $relay->signal('KILL');
package Cqrs;

use strict;
use warnings;

use Carp;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use Cqrs::Process;

our $timeout = $PostgreSQL::Test::Utils::timeout_default || 180;
my $top = abs_path(dirname(__FILE__) . '/../../..');
my $broker = $ENV{CQRS_BROKER} || "$top/scripts/broker";
my $binary = $ENV{CQRS_REPLICATOR} || "$top/build/cqrs-replicator";

sub new {
    my ($class, %options) = @_;
    my $self = bless {
        replicas => {},
        processes => [],
        broker_directory => PostgreSQL::Test::Utils::tempdir_short() . '/mq',
    }, $class;
    $self->start_broker;
    $self->{primary} = $self->_node('primary', $options{primary_conf} || '');
    $self->add_replica($_) foreach @{ $options{replicas} || ['r1'] };
    return $self;
}

# scripts/broker, which scripts/stack's broker is made of too; returns what it prints.
sub _broker {
    my ($self, $command, @arguments) = @_;
    my ($out, $err) = run_command([ $broker, $command, $self->{broker_directory}, @arguments ]);
    croak "broker $command: $err" if $? != 0;
    return $out;
}

sub output_plugin_setting {
    my ($described) = run_command(['postgres', '--describe-config']);
    return $described =~ /^output_plugin_libraries\t/m
      ? "output_plugin_libraries = 'pgoutput, test_decoding, pg_cqrs'\n"
      : '';
}

sub _node {
    my ($self, $name, $conf) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name);
    # C.UTF-8: what the events carry. Fast, but crash-safe: several tests kill the server.
    $node->init(allows_streaming => 'logical', extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
    $node->append_conf('postgresql.conf',
        output_plugin_setting() . "fsync = on\nmax_prepared_transactions = 5\n" . $conf);
    $node->start;
    $node->safe_psql('postgres', 'CREATE EXTENSION parking CASCADE');
    return $node;
}

sub primary { return $_[0]->{primary} }
sub replica { return $_[0]->{replicas}{ $_[1] || 'r1' } }

sub add_replica {
    my ($self, $name, $conf) = @_;
    return $self->{replicas}{$name} = $self->_node("replica_$name", $conf || '');
}

sub url {
    my ($node) = @_;
    my $host = $node->host;
    $host =~ s{/}{%2F}g;
    return "postgresql://$host:" . $node->port . '/postgres';
}

sub broker_url { return $_[0]->{broker_url} }
sub start_broker { $_[0]->{broker_url} = $_[0]->_broker('start') }
sub stop_broker { $_[0]->_broker('stop') }
sub kill_broker { $_[0]->_broker('kill') }
sub pause_broker { $_[0]->_broker('pause') }
sub resume_broker { $_[0]->_broker('resume') }

# A node that hangs: all its processes are stopped; ("CONT") lets them go on.
sub signal_node {
    my ($node, $signal) = @_;
    my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
    my ($children) = run_command([ 'pgrep', '-P', $postmaster ]);
    return kill($signal, $postmaster, split(' ', $children));
}

sub rabbitmqctl { my ($self, @arguments) = @_; return $self->_broker('ctl', @arguments) }

# What another AMQP client sees or does: lib/amqp.py COMMAND ...; returns its output.
sub amqp {
    my ($self, @arguments) = @_;
    my ($out, $err) = run_command([ 'python3', "$top/regress/t/lib/amqp.py", $self->broker_url, @arguments ]);
    croak "amqp.py @arguments: $err" if $? != 0;
    return $out;
}

sub environment {
    my ($self, $replica) = @_;
    my %environment = (DATABASE_URL => url($self->primary), RABBITMQ_BROKER_URL => $self->broker_url);
    $environment{REPLICA_DATABASE_URL} = url($self->replica($replica)) if defined $replica;
    return \%environment;
}

sub start {
    my ($self, $name, $environment, @arguments) = @_;
    my $process = Cqrs::Process->start($name, $environment, $binary, @arguments);
    push @{ $self->{processes} }, $process;
    return $process;
}

sub start_relay {
    my ($self, @arguments) = @_;
    return $self->start('relay', $self->environment, 'relay', '--listen', 'none', @arguments);
}

sub start_apply {
    my ($self, $name, @arguments) = @_;
    return $self->start("apply-$name", $self->environment($name), 'apply', '--name', $name, '--listen', 'none', @arguments);
}

# A one-off command: (exit status, stdout, stderr).
sub binary { return $binary }

sub command {
    my ($self, $environment, @arguments) = @_;
    local %ENV = (%ENV, %$environment);
    my ($out, $err) = ('', '');
    IPC::Run::run([ $binary, @arguments ], '<', \undef, '>', \$out, '2>', \$err,
        IPC::Run::timeout($timeout));
    return ($? >> 8, $out, $err);
}

# Polls; never sleeps for a time and hopes.
sub wait_until {
    my ($what, $condition) = @_;
    my $deadline = time + $timeout;
    while (time < $deadline) {
        return 1 if $condition->();
        select(undef, undef, undef, 0.05);    # the pace of the poll, not a delay that a result rests on
    }
    diag("timed out after $timeout s waiting until $what");
    return 0;
}

sub wait_live {
    my ($self, $replica, $prefix) = @_;
    return wait_until("$prefix is live on $replica", sub {
        return $self->replica($replica)->safe_psql('postgres',
            "SELECT state FROM cqrs.subscription_status WHERE prefix = '$prefix'") eq 'live';
    });
}

# A walsender outlives the relay for a moment, and holds the slot as long.
sub wait_slot_free {
    my ($self) = @_;
    return wait_until('the slot is free', sub {
        return $self->primary->safe_psql('postgres', q{SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'cqrs'}) eq 't';
    });
}

# The table as one text, in an order that both sides share.
sub digest {
    my ($node, $table) = @_;
    return $node->safe_psql('postgres',
        "SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\")), '') FROM $table t");
}

# At rest (nobody writes) the replica becomes equal to the primary.
sub wait_equal {
    my ($self, $replica, $table) = @_;
    my $expected = digest($self->primary, $table);
    my $actual = '';
    wait_until("$table on $replica equals the primary's", sub {
        return ($actual = digest($self->replica($replica), $table)) eq $expected;
    });
    return is($actual, $expected, "$table on $replica equals the primary's");
}

# All that is committed now is applied or parked, and the topic is live.
sub wait_applied {
    my ($self, $replica, $topic) = @_;
    my ($p, $r) = ($self->primary, $self->replica($replica));
    my $lsn = $p->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
    return wait_until("$replica has everything of $topic", sub {
        return $r->safe_psql('postgres', "SELECT bool_and(state = 'live') FROM cqrs.subscription_status WHERE topic = '$topic'") eq 't'
          && $p->safe_psql('postgres', "SELECT lsn >= '$lsn' FROM cqrs.relay_state") eq 't'
          && $self->position($replica, $topic) eq
          $p->safe_psql('postgres', "SELECT topics->'$topic'->>'sequence' FROM cqrs.relay_state");
    });
}

sub position {
    my ($self, $replica, $topic) = @_;
    return $self->replica($replica)->safe_psql('postgres',
        "SELECT sequence FROM cqrs.position WHERE topic = '$topic'");
}

# Stops everything; call it at the end of a test.
sub finish {
    my ($self) = @_;
    $_->kill_now foreach @{ $self->{processes} };
    $self->{processes} = [];
    $_->stop('fast') foreach $self->primary, values %{ $self->{replicas} };
    $self->stop_broker;
    $self->{finished} = 1;
}

sub DESTROY {
    my ($self) = @_;
    local $?;
    return if $self->{finished};
    # At the end of the program some of them may be gone already.
    $_->kill_now foreach grep { defined } @{ $self->{processes} };
    eval { $self->stop_broker; 1 } or warn $@;
}

1;
