# A small batch is sent as one round trip, its COMMIT before anything is known of its statements: what they find is
# put right all the same, and a COMMIT that is lost, or whose answer is, leaves every row written once.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use Test::More;

my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
my $relay = $cqrs->start_relay;
# A window of one message: commits wait for the disk, and for whom else they are told to.
my $apply = $cqrs->start_apply('r1', '--prefetch', '1');
ok($cqrs->wait_live('r1', 'parking'), 'parking is live');

sub on_primary { return $primary->safe_psql('postgres', $_[0]) }
sub on_replica { return $replica->safe_psql('postgres', $_[0]) }
sub create { return on_primary("SELECT create_parking_slot('$_[0]')") }

on_primary(q{SELECT count(create_parking_slot('Slot ' || i)) FROM generate_series(1, 8) i});
$cqrs->wait_equal('r1', 'parking_slots');

# Somebody else wrote to the replica.
on_replica(q{DELETE FROM parking_slots WHERE name IN ('Slot 1', 'Slot 2', 'Slot 4')});
on_replica(q{INSERT INTO parking_slots (uuid, name, status) VALUES ('00000000-0000-0000-0000-000000000001', 'of another', 'available')});
on_primary(q{UPDATE parking_slots SET status = 'reserved' WHERE name = 'Slot 1'});
on_primary(q{DELETE FROM parking_slots WHERE name = 'Slot 2'});
on_primary(q{INSERT INTO parking_slots (uuid, name, status) VALUES ('00000000-0000-0000-0000-000000000001', 'Slot 9', 'available')});
# A right one before it and one behind.
on_primary(<<'SQL');
BEGIN;
UPDATE parking_slots SET status = 'reserved' WHERE name = 'Slot 3';
UPDATE parking_slots SET status = 'reserved' WHERE name = 'Slot 4';
UPDATE parking_slots SET status = 'reserved' WHERE name = 'Slot 5';
COMMIT;
SQL
$cqrs->wait_equal('r1', 'parking_slots');
like($apply->log, qr/$_ of 1 rows/, "$_ is said") foreach qw(update_missing delete_missing insert_exists);
is(on_replica('SELECT count(*) FROM cqrs.incidents'), '0', 'nothing had to be copied anew');
# A change of key, and one that takes the place of another.
on_primary(q{UPDATE parking_slots SET uuid = '00000000-0000-0000-0000-000000000002' WHERE name = 'Slot 9'});
on_primary(q{BEGIN; DELETE FROM parking_slots WHERE name = 'Slot 9';
    UPDATE parking_slots SET uuid = '00000000-0000-0000-0000-000000000002' WHERE name = 'Slot 8'; COMMIT});
$cqrs->wait_equal('r1', 'parking_slots');

# Twice written is the same row: count what is written.
on_replica(<<'SQL');
CREATE TABLE written (name text);
CREATE FUNCTION note_written() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.written VALUES (NEW.name); RETURN NULL; END $$;
CREATE TRIGGER note_written AFTER INSERT ON parking_slots FOR EACH ROW EXECUTE FUNCTION note_written();
ALTER TABLE parking_slots ENABLE ALWAYS TRIGGER note_written;
SQL

# The connection ends inside COMMIT, before it is one.
on_replica(<<'SQL');
CREATE SEQUENCE cuts;
CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF nextval('public.cuts') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON parking_slots DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION cut();
ALTER TABLE parking_slots ENABLE ALWAYS TRIGGER cut;
SQL
create('lost');
$cqrs->wait_equal('r1', 'parking_slots');
is(on_replica('SELECT last_value FROM cuts'), '2', 'the first COMMIT was lost');
on_replica('DROP TRIGGER cut ON parking_slots');

# It ends when the commit is on disk and not answered yet.
on_replica(q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'});
on_replica('SELECT pg_reload_conf()');
Cqrs::wait_until('the setting is in force', sub { return on_replica('SHOW synchronous_standby_names') eq 'nobody' });
create('in doubt');
my $pid = '';
Cqrs::wait_until('the commit waits', sub {
    $pid = on_replica(q{SELECT pid FROM pg_stat_activity WHERE application_name = 'cqrs apply parking' AND wait_event = 'SyncRep'});
    return $pid ne '';
});
on_replica("SELECT pg_terminate_backend($pid)");
on_replica('ALTER SYSTEM RESET synchronous_standby_names');
on_replica('SELECT pg_reload_conf()');
create('after');
$cqrs->wait_equal('r1', 'parking_slots');
like($apply->log, qr/COMMIT: /, 'the COMMIT was in doubt');
is(on_replica('SELECT string_agg(name, $$, $$ ORDER BY name) FROM written'), 'after, in doubt, lost', 'each is written once');
is(on_replica('SELECT count(*) FROM cqrs.incidents'), '0', 'nothing had to be copied anew');

# A type that is changed on the replica: what was prepared before would read a value as what was there.
$_->[0]->safe_psql('postgres', "CREATE TABLE stamp (id int PRIMARY KEY, at $_->[1])") foreach [ $primary, 'timestamp' ], [ $replica, 'date' ];
on_primary(q{SELECT cqrs.publish('stamp', 'shop.stamp')});
on_replica(q{SELECT cqrs.subscribe('shop.stamp', 'stamp')});
ok($cqrs->wait_live('r1', 'shop.stamp'), 'stamp is live');
on_primary(q{INSERT INTO stamp VALUES (1, '2026-01-01 12:34:56')});
ok(Cqrs::wait_until('it arrives', sub { return on_replica('SELECT count(*) FROM stamp') eq '1' }), 'a row by a prepared statement');
on_replica('ALTER TABLE stamp ALTER at TYPE timestamp');
on_primary(q{INSERT INTO stamp VALUES (2, '2026-01-01 12:34:56')});
ok(Cqrs::wait_until('it arrives', sub { return on_replica('SELECT count(*) FROM stamp') eq '2' }), 'and one after the ALTER');
is(on_replica('SELECT at FROM stamp WHERE id = 2'), '2026-01-01 12:34:56', 'is what it was');

$cqrs->finish;
done_testing;
