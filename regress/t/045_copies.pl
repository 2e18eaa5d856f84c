# A copy is one moment of the primary, also when a table is emptied while it begins.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use PostgreSQL::Test::Utils;
use Test::More;

my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
foreach my $table (qw(first second)) {
    $_->safe_psql('postgres', "CREATE TABLE $table (id int PRIMARY KEY, value text)") foreach $primary, $replica;
    $primary->safe_psql('postgres', "INSERT INTO $table VALUES (1, 'old'); SELECT cqrs.publish('$table', 'pair.$table')");
    $replica->safe_psql('postgres', "SELECT cqrs.subscribe('pair.$table', '$table')");
}
# The slot is there; nothing is streamed until the copy has been looked at.
my $relay = $cqrs->start_relay;
ok(Cqrs::wait_until('the relay streams', sub {
    return $primary->safe_psql('postgres', 'SELECT count(*) FROM cqrs.relay_state') eq '1';
}), 'the relay streams');
$relay->signal('TERM');
$relay->wait_end(10);

# TRUNCATE is not MVCC-safe: the snapshot that the copy has taken already finds the table empty.
$replica->safe_psql('postgres', <<'SQL');
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END';
CREATE TRIGGER hold BEFORE DELETE ON first FOR EACH STATEMENT EXECUTE FUNCTION hold();
ALTER TABLE first ENABLE ALWAYS TRIGGER hold;
SQL
my $session = $replica->background_psql('postgres');
$session->query_safe('SELECT pg_advisory_lock(1)');
my $apply = $cqrs->start_apply('r1');
ok(Cqrs::wait_until('the copy is held at the first table', sub {
    return $replica->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND NOT granted") eq '1';
}), 'the copy has its snapshot');
$primary->safe_psql('postgres', q{BEGIN; UPDATE first SET value = 'new'; TRUNCATE second; COMMIT});
$session->query_safe('SELECT pg_advisory_unlock(1)');
$session->quit;
ok(Cqrs::wait_until('both are copied', sub {
    return $replica->safe_psql('postgres', "SELECT count(*) FROM cqrs.subscription_state WHERE prefix LIKE 'pair.%' AND state = 'live'") eq '2';
}), 'both tables are copied');
is($replica->safe_psql('postgres', q{SELECT (SELECT value FROM first) || ', ' || (SELECT count(*) FROM second)}),
    'new, 0', 'both are of the same moment');

$relay = $cqrs->start_relay;
$cqrs->wait_equal('r1', $_) foreach qw(first second);
$cqrs->finish;
done_testing();
