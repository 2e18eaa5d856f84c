# A transaction larger than memory: applied at once, in bounded memory, also when killed in the middle.
# CQRS_LARGE_ROWS=5000000 (and PG_TEST_TIMEOUT_DEFAULT, seconds) for a really large one.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use PostgreSQL::Test::Utils;
use Test::More;

my $rows = $ENV{CQRS_LARGE_ROWS} || 300_000;
my $wide = $ENV{CQRS_LARGE_ROWS} ? 20 : 3;
my $cqrs = Cqrs->new(replicas => ['r1'], primary_conf => "logical_decoding_work_mem = 64kB\n");
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
$_->safe_psql('postgres', 'CREATE TABLE big (id bigint PRIMARY KEY, filler text)') foreach $primary, $replica;
$primary->safe_psql('postgres', q{SELECT cqrs.publish('big', 'big')});
$replica->safe_psql('postgres', q{SELECT cqrs.subscribe('big', 'big')});

my $relay = $cqrs->start_relay;
my @small = ('--memory', 4 * 1024 * 1024, '--prefetch', 16);
my $apply = $cqrs->start_apply('r1', @small);
ok($cqrs->wait_live('r1', $_), "$_ is live") foreach qw(big parking);

$primary->safe_psql('postgres', "INSERT INTO big SELECT i, md5(i::text) FROM generate_series(1, $rows) i");
ok(Cqrs::wait_until('the transaction is being spooled', sub {
    die "applied before it was spooled\n" if $replica->safe_psql('postgres', 'SELECT count(*) FROM big') ne '0'
      && $replica->safe_psql('postgres', 'SELECT count(*) FROM big') ne $rows;
    return $replica->safe_psql('postgres', 'SELECT count(*) > 10 FROM cqrs.spool') eq 't'
      || $replica->safe_psql('postgres', 'SELECT count(*) FROM big') eq $rows;
}), 'a large transaction goes through the spool');
my @peaks;
sub note_peaks { push @peaks, map { $_->peak } $relay, $apply }
note_peaks();
$apply->kill_now;
$relay->kill_now;
$relay = $cqrs->start_relay;
$apply = $cqrs->start_apply('r1', @small);
my $partial = 0;
ok(Cqrs::wait_until('all is applied', sub {
    my $count = $replica->safe_psql('postgres', 'SELECT count(*) FROM big');
    $partial++ if $count ne '0' && $count ne $rows;
    return $count eq $rows;
}), 'a large transaction arrives after kill -9 of both in the middle');
is($partial, 0, 'it became visible at once');
note_peaks();
$cqrs->wait_equal('r1', 'big');
is($replica->safe_psql('postgres', 'SELECT count(*) FROM cqrs.spool'), '0', 'the spool is empty');

# A thousand subtransactions, some rolled back, over two topics, and rows near the message limit.
$primary->safe_psql('postgres', <<'SQL' =~ s/WIDE/$wide/r);
DO $$
BEGIN
  FOR i IN 1 .. 1000 LOOP
    BEGIN
      UPDATE big SET filler = 'sub ' || i WHERE id = i;
      PERFORM create_parking_slot('sub ' || i);
      IF i % 10 = 0 THEN RAISE division_by_zero; END IF;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
  END LOOP;
END $$;
INSERT INTO big SELECT -i, repeat('x', 14000000) FROM generate_series(1, WIDE) i;
DELETE FROM big WHERE id > 1000 AND id % 2 = 0;
SQL
$cqrs->wait_equal('r1', $_) foreach qw(big parking_slots);
note_peaks();
my @names = map { ("relay $_", "applier $_") } 'before the kill', 'to the end', 'with wide rows';
cmp_ok($peaks[$_], '<', 256 * 1024, "$names[$_] stayed small ($peaks[$_] kB)") foreach 0 .. $#names;
unlike($relay->log, qr/takes no messages/, 'no alarm of the broker');

# A row of somebody else's is in the way of one that is written while the transaction is on its way.
my ($first, $mine, $last) = map { $rows + $_ } 1, 50_000, 100_000;
$replica->safe_psql('postgres', "INSERT INTO big VALUES ($mine, 'mine')");
$primary->safe_psql('postgres', "INSERT INTO big SELECT i, md5(i::text) FROM generate_series($first, $last) i");
$cqrs->wait_equal('r1', 'big');
is($replica->safe_psql('postgres', 'SELECT count(*) FROM cqrs.spool'), '0', 'the spool is empty again');

# A row larger than a message stops its topic, by name, and no other.
$primary->safe_psql('postgres', q{INSERT INTO big VALUES (0, repeat('x', 50000000)); SELECT create_parking_slot('goes on')});
$cqrs->wait_equal('r1', 'parking_slots');
ok(Cqrs::wait_until('the topic has stopped', sub {
    return $replica->safe_psql('postgres', "SELECT state = 'stopped' AND error LIKE '%big%' FROM cqrs.position WHERE topic = 'big'") eq 't';
}), 'a row over the limit stops its topic');
like($replica->safe_psql('postgres', "SELECT error FROM cqrs.subscription_status WHERE prefix = 'big'"), qr/filler/, 'the error names the column');

$cqrs->finish;
done_testing();
