# Primary and replicas as databases of one server: what Postgres keeps a server (slots, replication origins) does not
# bring them into each other's way.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use Test::More;

my $cqrs = Cqrs->new(replicas => []);
my $server = $cqrs->primary;
my @replicas = qw(east west);
my %apply;
my $relay = $cqrs->start_relay;

foreach my $name (@replicas) {
    $server->safe_psql('postgres', "CREATE DATABASE $name");
    $server->safe_psql($name, 'CREATE EXTENSION parking CASCADE');
    my $environment = { %{ $cqrs->environment }, REPLICA_DATABASE_URL => Cqrs::url($server) =~ s{/postgres$}{/$name}r };
    $apply{$name} = $cqrs->start("apply-$name", $environment, 'apply', '--name', $name, '--listen', 'none');
}
foreach my $name (@replicas) {
    ok(Cqrs::wait_until("$name is live", sub {
        return $server->safe_psql($name, q{SELECT state FROM cqrs.subscription_status WHERE prefix = 'parking'}) eq 'live';
    }), "$name is live beside the other one");
}

$server->safe_psql('postgres', q{SELECT count(create_parking_slot('Slot ' || i)) FROM generate_series(1, 50) i});
$server->safe_psql('postgres', q{SELECT reserve_parking_slot(uuid) FROM parking_slots WHERE name LIKE '%1'});
my $digest = q{SELECT count(*), md5(string_agg(s::text, '' ORDER BY uuid)) FROM parking_slots s};
my $expected = $server->safe_psql('postgres', $digest);
foreach my $name (@replicas) {
    my $actual = '';
    Cqrs::wait_until("$name is equal", sub { return ($actual = $server->safe_psql($name, $digest)) eq $expected });
    is($actual, $expected, "$name has what the primary has");
}
is($server->safe_psql('postgres', q{SELECT count(*) FROM pg_replication_slots}), '1', 'with one slot');
# A topic's and the heartbeats' origin for each.
is($server->safe_psql('postgres', q{SELECT count(*) FROM pg_replication_origin}), '4', 'each database has origins of its own');

foreach my $name (@replicas) {
    $apply{$name}->signal('TERM');
    ok(defined $apply{$name}->wait_end(10), "the applier of $name ends");
    my ($status, $out, $err) = $cqrs->command(
        { %{ $cqrs->environment }, REPLICA_DATABASE_URL => Cqrs::url($server) =~ s{/postgres$}{/$name}r }, 'remove-replica', $name);
    is($status, 0, "$name is removed") or diag($err);
}
is($server->safe_psql('postgres', q{SELECT count(*) FROM pg_replication_origin}), '0', 'and takes its origins along');

$cqrs->finish;
done_testing();
