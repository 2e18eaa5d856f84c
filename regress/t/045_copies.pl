# A copy is one moment of the primary, also when a table is emptied while it begins. A primary that is
# put back to an earlier state gives numbers twice: seen, named and healed by a copy.
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
# ---- put back ------------------------------------------------------------------------------------
my ($data, $saved) = ($primary->data_dir, $primary->basedir . '/saved');
sub stop_relay { $relay->signal('TERM'); $relay->wait_end(10) }
sub create { my ($count, $name) = @_; $primary->safe_psql('postgres', "SELECT create_parking_slot('$name ' || i) FROM generate_series(1, $count) i") }

# Saves the primary, lets six events happen, and puts it back to before them.
sub put_back {
    my ($name) = @_;
    create(3, "$name, saved");
    $cqrs->wait_equal('r1', 'parking_slots');
    stop_relay();
    $primary->stop('fast');
    system_or_bail('cp', '-a', $data, $saved);
    $primary->start;
    $relay = $cqrs->start_relay;
    create(6, "$name, never happened");
    $cqrs->wait_equal('r1', 'parking_slots');
    my $position = $cqrs->position('r1', 'parking');
    stop_relay();
    $primary->stop('immediate');
    system_or_bail('rm', '-rf', $data);
    system_or_bail('mv', $saved, $data);
    # The relay would see it by what it left with the broker (065_restore.pl): the replica does too.
    $cqrs->amqp('delete', 'CQRS_RELAY_STATE.cqrs');
    $primary->start;
    create(2, "$name, happened");
    # The WAL grows past what was published, by other things.
    $primary->safe_psql('postgres', 'DROP TABLE IF EXISTS other; CREATE TABLE other AS SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 3000) i');
    return $position;
}
sub incident {
    return $replica->safe_psql('postgres',
        'SELECT what FROM cqrs.incidents WHERE healed_at IS NOT NULL ORDER BY id DESC LIMIT 1');
}

put_back('quiet');
$relay = $cqrs->start_relay;
$cqrs->wait_equal('r1', 'parking_slots');
like(incident(), qr/fewer than are applied.*the histories differ/, 'a heartbeat shows that the primary was put back');

put_back('busy');
create(1, 'busy, later');
$relay = $cqrs->start_relay;
$cqrs->wait_equal('r1', 'parking_slots');
like(incident(), qr/comes again.*the histories differ/, 'an event shows that the primary was put back');

# ---- named, and left alone -----------------------------------------------------------------------
$apply->signal('TERM');
$apply->wait_end(10);
create(4, 'deleted');
$cqrs->amqp('delete', 'cqrs.r1.parking');
$apply = $cqrs->start_apply('r1', '--no-auto-resync');
ok(Cqrs::wait_until('the topic stops', sub {
    return $replica->safe_psql('postgres', "SELECT state FROM cqrs.position WHERE topic = 'parking'") eq 'stopped';
}), 'with --no-auto-resync the topic stops');
like($replica->safe_psql('postgres', "SELECT error FROM cqrs.subscription_status WHERE prefix = 'parking'"),
    qr/was deleted: .*no-auto-resync/, 'and says what happened and what to do');
my $open = q{FROM cqrs.incidents WHERE topic = 'parking' AND healed_at IS NULL};
is($replica->safe_psql('postgres', "SELECT count(*) $open"), '1', 'one incident, not healed');
like($replica->safe_psql('postgres', "SELECT what $open AND from_sequence < to_sequence"), qr/was deleted/, 'named');
$apply->signal('TERM');
$apply->wait_end(10);
$apply = $cqrs->start_apply('r1');
$cqrs->wait_equal('r1', 'parking_slots');
is($replica->safe_psql('postgres', "SELECT count(*) $open"), '0', 'without it, healed');

# An invalidated slot: the incident says why a new epoch began.
stop_relay();
$primary->safe_psql('postgres', $_) foreach 'ALTER SYSTEM SET max_slot_wal_keep_size = 0', 'SELECT pg_reload_conf()';
ok(Cqrs::wait_until('the slot is lost', sub {
    $primary->safe_psql('postgres', "SELECT pg_switch_wal(); CHECKPOINT;");
    return $primary->safe_psql('postgres', "SELECT wal_status = 'lost' FROM pg_replication_slots") eq 't';
}), 'the slot is lost');
create(2, 'after the slot');
$relay = $cqrs->start_relay;
$cqrs->wait_equal('r1', 'parking_slots');
like(incident(), qr/a new epoch began .*: the slot was invalidated/, 'the incident says why');

$cqrs->finish;
done_testing();
