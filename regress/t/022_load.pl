# 10,000 commands by eight clients while two others change and delete what those create.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use PostgreSQL::Test::Utils;
use Test::More;

my $creates = $ENV{CQRS_CREATES} || 10_000;
my $cqrs = Cqrs->new(replicas => ['r1'], primary_conf => "max_connections = 30\nlog_statement = none\n");
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
my $relay = $cqrs->start_relay;
my $apply = $cqrs->start_apply('r1');
ok($cqrs->wait_live('r1', 'parking'), 'parking is live');
$cqrs->amqp('bind', 'witness', 'parking.create');

sub pgbench {
    my ($name, $sql, @options) = @_;
    my $script = "$PostgreSQL::Test::Utils::tmp_check/$name.sql";
    append_to_file($script, $sql);
    return Cqrs::Process->start($name, {}, 'pgbench', '-n', @options, '-f', $script,
        '-h', $primary->host, '-p', $primary->port, 'postgres');
}
my $any = 'SELECT uuid FROM parking_slots ORDER BY random() LIMIT';
my $changes = pgbench('changes', <<"SQL", '-c', 2, '-T', 3600);
\\set what random(1, 3)
\\if :what = 1
UPDATE parking_slots SET name = name || '!' WHERE length(name) < 90 AND uuid IN ($any 5);
\\elif :what = 2
UPDATE parking_slots SET status = CASE status WHEN 'available' THEN 'reserved' ELSE 'available' END WHERE uuid IN ($any 5);
\\else
DELETE FROM parking_slots WHERE uuid IN ($any 2);
\\endif
SQL
my $load = pgbench('creates', "SELECT FROM create_parking_slot('Slot ' || :client_id);\n", '-c', 8, '-t', $creates / 8);
ok(Cqrs::wait_until('all is created', sub { return !$load->running }), 'the creates end');
is($load->status, 0, 'all of them went well') or diag($load->log);
ok($changes->running, 'changes went on until their end') or diag($changes->log);
$changes->signal('INT');
$changes->wait_end(30);

# Ordered by the key, as both sides order it.
my $sum = q{SELECT count(*) || ' ' || md5(string_agg(s::text, ',' ORDER BY uuid)) FROM parking_slots s};
my $expected = $primary->safe_psql('postgres', $sum);
ok(Cqrs::wait_until('the rows are equal', sub { return $replica->safe_psql('postgres', $sum) eq $expected }),
    "md5 over the ordered rows is equal: $expected");
my ($kept) = split ' ', $expected;
ok($kept > 0 && $kept < $creates, 'some were deleted meanwhile');
like($primary->safe_psql('postgres', q{SELECT count(*) FROM parking_slots WHERE name LIKE '%!' OR status = 'reserved'}),
    qr/^[1-9]/, 'some were changed meanwhile');

my $last = '';
ok(Cqrs::wait_until('position == last sequence', sub {
    $last = $primary->safe_psql('postgres', "SELECT topics->'parking'->>'sequence' FROM cqrs.relay_state");
    return $cqrs->position('r1', 'parking') eq $last;
}), "position == last sequence: $last");
cmp_ok($last, '>', $creates, 'creates, changes and deletes are numbered');
is($replica->safe_psql('postgres', 'SELECT count(*) FROM cqrs.incidents'), '0', 'nothing had to be copied');

my %seen;
foreach my $line (split /\n/, $cqrs->amqp('drain', 'witness')) {
    $seen{$1}++ while $line =~ /"id": ?"([^"]+)", ?"source": ?"[^"]+", ?"type": ?"parking\.create"/g;
}
is(scalar keys %seen, $creates, 'another consumer has heard of each create');

$cqrs->finish;
done_testing();
