# relay_state stands at the end of a transaction, however large the one is that is on its way: a row that
# counted some of its events would number them twice after a restart.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use PostgreSQL::Test::Utils;
use Test::More;

my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
$primary->safe_psql('postgres', <<'SQL');
CREATE TABLE seen (lsn pg_lsn, topic text, topic_lsn pg_lsn);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO seen SELECT NEW.lsn, t.key, (t.value ->> 'lsn')::pg_lsn FROM jsonb_each(NEW.topics) AS t;
    RETURN NULL;
END $$;
CREATE TRIGGER see AFTER INSERT OR UPDATE ON cqrs.relay_state FOR EACH ROW EXECUTE FUNCTION see();
SQL
# Many messages a transaction, many checkpoints a second.
my @settings = ('--heartbeat', '100ms', '--batch-bytes', '2kB');
my $relay = $cqrs->start_relay(@settings);
my $apply = $cqrs->start_apply('r1');
ok($cqrs->wait_live('r1', 'parking'), 'live');

# Small transactions, whose ends are checkpoints, and close behind them a large one.
my $burst = join '', map { ("SELECT create_parking_slot('small');\n") x (5 + $_) . "SELECT create_parking_slot('large ' || i) FROM generate_series(1, 3000) i;\n" } 1 .. 6;
foreach my $round (1 .. 5) {
    $primary->safe_psql('postgres', $burst);
    $relay->signal('KILL');
    $relay->wait_end(10);
    $relay = $cqrs->start_relay(@settings);
}
$cqrs->wait_equal('r1', 'parking_slots');
cmp_ok($primary->safe_psql('postgres', 'SELECT count(*) FROM seen'), '>', 5, 'relay_state moved');
is($primary->safe_psql('postgres', 'SELECT count(*) FROM seen WHERE topic_lsn > lsn'), '0', 'and never counted an event beyond its LSN');
is($replica->safe_psql('postgres', 'SELECT count(*) FROM cqrs.incidents'), '0', 'five kills cost no copy');

# A primary whose commits wait for the relay's walsender: that of relay_state must not, the relay would wait for itself.
$primary->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_standby_names = '*'});
$primary->reload;
ok($primary->poll_query_until('postgres', q{SHOW synchronous_standby_names}, '*'), 'synchronous replication');
my $hangs = 0;
$primary->psql('postgres', q{SELECT create_parking_slot('synchronous')}, timeout => $Cqrs::timeout, timed_out => \$hangs);
is($hangs, 0, 'a commit that waits for the relay ends');
$primary->safe_psql('postgres', q{ALTER SYSTEM RESET synchronous_standby_names});
$primary->reload;

$cqrs->finish;
done_testing();
