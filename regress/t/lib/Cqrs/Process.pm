# A child process with its log, which dies with the test at the latest.
package Cqrs::Process;

use strict;
use warnings;

use Carp;
use POSIX qw(:sys_wait_h);
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time);

my $count = 0;

sub start {
    my ($class, $name, $environment, @command) = @_;
    my $log = "$PostgreSQL::Test::Utils::log_path/" . sprintf('%03d_%s.log', ++$count, $name);
    my $pid = fork;
    croak "fork: $!" unless defined $pid;
    if ($pid == 0) {
        %ENV = (%ENV, %$environment);
        open(STDIN, '<', '/dev/null') or POSIX::_exit(126);
        open(STDOUT, '>>', $log) or POSIX::_exit(126);
        open(STDERR, '>&', \*STDOUT) or POSIX::_exit(126);
        exec { $command[0] } @command or POSIX::_exit(127);
    }
    return bless { name => $name, pid => $pid, log => $log, owner => $$ }, $class;
}

sub pid { return $_[0]->{pid} }
# Empty until the child has opened it.
sub log { return -e $_[0]->{log} ? slurp_file($_[0]->{log}) : '' }
sub log_file { return $_[0]->{log} }

sub signal {
    my ($self, $signal) = @_;
    return kill($signal, $self->{pid});
}

# True while it runs; afterwards status() holds what waitpid gave.
sub running {
    my ($self) = @_;
    return 0 if defined $self->{status};
    if (waitpid($self->{pid}, WNOHANG) == $self->{pid}) { $self->{status} = $?; return 0; }
    return 1;
}

sub status { return $_[0]->{status} }

# Waits for its end; the seconds that took, or undef when it is still there.
sub wait_end {
    my ($self, $timeout) = @_;
    my $begin = time;
    while (time - $begin < ($timeout || 60)) {
        return time - $begin unless $self->running;
        select(undef, undef, undef, 0.01);
    }
    return undef;
}

sub kill_now {
    my ($self) = @_;
    return unless $self->running;
    $self->signal('KILL');
    $self->signal('CONT');
    $self->wait_end(10);
}

# The largest its resident set has been, in kB.
sub peak {
    my ($self) = @_;
    my ($kb) = slurp_file("/proc/$self->{pid}/status") =~ /^VmHWM:\s+(\d+)/m;
    return $kb;
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $!);
    $self->kill_now if $$ == $self->{owner};
}

1;
