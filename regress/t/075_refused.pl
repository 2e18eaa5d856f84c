# Who is refused at the start, and who later: passwords, roles, databases, virtual hosts.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use HTTP::Tiny;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
foreach my $node ($primary, $replica) {
    $node->safe_psql('postgres', q{CREATE ROLE app SUPERUSER LOGIN PASSWORD 'right-4711'; CREATE ROLE nobody NOLOGIN});
    my $hba = slurp_file($node->data_dir . '/pg_hba.conf');
    append_to_file($node->data_dir . '/pg_hba.new', "local all app scram-sha-256\n$hba");
    rename($node->data_dir . '/pg_hba.new', $node->data_dir . '/pg_hba.conf') or die $!;
    $node->reload;
}
sub as { my ($user, $url) = @_; return $url =~ s{//}{//$user\@}r }
my %good = %{ $cqrs->environment('r1') };
my $mq = $good{RABBITMQ_BROKER_URL};

# [what, commands, variable, its value, what the server says]
my ($primary_url, $replica_url) = @good{qw(DATABASE_URL REPLICA_DATABASE_URL)};
foreach my $case (
    [ 'a wrong password', 'relay apply run', 'DATABASE_URL', as('app:wrong-0815', $primary_url), 'password authentication failed' ],
    [ 'no password', 'relay', 'DATABASE_URL', as('app', $primary_url), 'no password supplied' ],
    [ 'an unknown role', 'relay', 'DATABASE_URL', as('stranger', $primary_url), 'role "stranger" does not exist' ],
    [ 'a role without LOGIN', 'relay', 'DATABASE_URL', as('nobody', $primary_url), 'not permitted to log in' ],
    [ 'an unknown database', 'relay', 'DATABASE_URL', $primary_url =~ s/postgres$/elsewhere/r, 'database "elsewhere" does not exist' ],
    [ 'a wrong password', 'apply run', 'REPLICA_DATABASE_URL', as('app:wrong-0815', $replica_url), 'password authentication failed' ],
    [ 'a wrong password', 'relay apply run', 'RABBITMQ_BROKER_URL', $mq =~ s{guest:[^@]*}{guest:wrong-0815}r, 'ACCESS_REFUSED' ],
    [ 'an unknown virtual host', 'relay', 'RABBITMQ_BROKER_URL', $mq =~ s{%2F$}{elsewhere}r, 'elsewhere' ],
) {
    my ($what, $commands, $variable, $value, $says) = @$case;
    foreach my $command (split ' ', $commands) {
        my ($status, $out, $err) = $cqrs->command({ %good, $variable => $value }, $command, '--listen', 'none');
        is($status, 2, "$command, $variable, $what: status 2");
        like($err, qr/\(\Q$variable\E\): .*\Q$says\E/, "$command, $variable, $what: named");
        unlike($err, qr/wrong-0815|LOCATION|28P01/, "$command, $variable, $what: without the secret");
    }
}
is($primary->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), '0', 'nothing was begun');

# Not there yet is not refused. Later refusals are told and tried again.
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $health = sub { return HTTP::Tiny->new(timeout => 5)->get("http://127.0.0.1:$port/health") };
$primary->stop;
my $relay = $cqrs->start('relay', { %good, DATABASE_URL => as('app:right-4711', $primary_url) }, 'relay', '--listen', "127.0.0.1:$port");
ok(Cqrs::wait_until('the relay misses the primary', sub { return $relay->log =~ /trying again/ }), 'a primary that is down is waited for');
$primary->start;
ok(Cqrs::wait_until('the relay streams', sub { return $relay->log =~ /streaming from/ }), 'and met when it comes');
$primary->safe_psql('postgres', q{ALTER ROLE app PASSWORD 'changed'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'});
my $answer;
ok(Cqrs::wait_until('health tells', sub { $answer = $health->(); return $answer->{content} =~ /password authentication failed/ }), 'a password changed meanwhile: health says so');
is($answer->{status}, 503, 'with 503');
ok($relay->running, 'the relay tries again');
$primary->safe_psql('postgres', q{ALTER ROLE app PASSWORD 'right-4711'});
ok(Cqrs::wait_until('health is well', sub { return $health->()->{status} == 200 }), 'and goes on');

$cqrs->finish;
done_testing();
