# pg_dump, pg_restore and pg_upgrade of a database with pg_cqrs, parking and published tables of its own.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 'logical', extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->start;

$node->safe_psql('postgres', 'CREATE DATABASE source; CREATE ROLE app');
$node->safe_psql('source', <<'SQL');
CREATE EXTENSION parking CASCADE;
GRANT EXECUTE ON FUNCTION cqrs.publish, cqrs.subscribe, create_parking_slot TO app;
GRANT CREATE ON SCHEMA public TO app;
GRANT CREATE ON DATABASE source TO app;
SELECT count(create_parking_slot('Slot ' || n, CASE n % 3 WHEN 0 THEN 'available' WHEN 1 THEN 'reserved' ELSE 'blocked' END)) FROM generate_series(1, 1000) n;
SET ROLE app;
-- Its other constraint is restored before its primary key.
CREATE TABLE own (id int, a text, CONSTRAINT z_key PRIMARY KEY (id), CONSTRAINT a_unique UNIQUE (a));
INSERT INTO own SELECT n, 'row ' || n FROM generate_series(1, 100) n;
SELECT cqrs.publish('own', 'own', notify => true);
CREATE SCHEMA "Mixed ""Case""" CREATE TABLE "Ünïcode" (id int NOT NULL, CONSTRAINT by_id UNIQUE (id));
ALTER TABLE "Mixed ""Case"""."Ünïcode" REPLICA IDENTITY USING INDEX by_id;
SELECT cqrs.publish('"Mixed ""Case"""."Ünïcode"', 'own.mixed');
CREATE TABLE full_row (id int PRIMARY KEY, v text);
ALTER TABLE full_row REPLICA IDENTITY FULL;
SELECT cqrs.publish('full_row', 'full_row');
CREATE TABLE root (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE leaf PARTITION OF root FOR VALUES IN (1);
INSERT INTO root VALUES (1, 1);
SELECT cqrs.publish('root', 'root');
CREATE TABLE copy (id int PRIMARY KEY);
SELECT cqrs.subscribe('other.copy', 'copy', notify => true);
CREATE FUNCTION "Hand le"(jsonb[]) RETURNS void LANGUAGE sql AS '';
RESET ROLE;
SELECT cqrs.on('other.*', '"Hand le"(jsonb[])', backfill => true);
INSERT INTO cqrs.handler_state (pattern, handler, state) SELECT pattern, handler, 'live' FROM cqrs.handler;
-- What relay and applier write.
INSERT INTO cqrs.subscription_state (prefix, relation, state, snapshot_lsn) VALUES ('other.copy', 'copy', 'live', '0/123');
INSERT INTO cqrs.position (topic, source, epoch, sequence, lsn) VALUES ('other', '/x/1/1', 1700000000000000, 42, '0/456');
INSERT INTO cqrs.spool VALUES ('other', 43, 1, '0/789', true, '\x5b5d');
INSERT INTO cqrs.parked (topic, epoch, sequence, prefix, key, event, attempts) VALUES ('other', 1, 42, 'other.copy', '{"id": "1"}', '{"id":1.0}', 1);
INSERT INTO cqrs.incidents (topic, what) VALUES ('other', 'a gap'), ('other', 'another gap');
INSERT INTO cqrs.retention (topic, max_age) VALUES ('other', '7 days');
INSERT INTO cqrs.retention_state (topic, state, since_sequence) VALUES ('other', 'kept', 1);
INSERT INTO cqrs.attached_replica (server, fallback) VALUES ('cqrs_replica', 'primary');
INSERT INTO cqrs.heartbeat (topic, epoch, sequence, lsn, at) VALUES ('other', 1700000000000000, 42, '0/456', now());
INSERT INTO cqrs.relay_state (slot, epoch, lsn, system_identifier, timeline, database, options, owner) VALUES ('cqrs', 1, '0/1', '1', 1, 1, '', '');
SQL

my @kept = ('parking_slots', 'own', '"Mixed ""Case"""."Ünïcode"', 'root', 'cqrs.published', 'cqrs.subscription', 'cqrs.subscription_state',
    'cqrs.position', 'cqrs.spool', 'cqrs.parked', 'cqrs.incidents', 'cqrs.replica_identity', 'cqrs.attached_replica', 'cqrs.retention', 'cqrs.handler', 'cqrs.handler_state', 'cqrs.handler_status');

sub contents {
    my ($database) = @_;
    return { map { $_ => $node->safe_psql($database, "SELECT t::text FROM $_ AS t ORDER BY 1") } @kept };
}

# Grants on members of an extension, too.
my $grants = q{SELECT p.proname, p.proacl::text FROM pg_proc p WHERE p.proname IN ('publish', 'unpublish', 'create_parking_slot') ORDER BY 1};

sub same {
    my ($database, $how) = @_;
    is_deeply(contents($database), contents('source'), "$how: every row is back");
    is($node->safe_psql($database, 'SELECT count(*) FROM cqrs.relay_state'), '0', "$how: relay_state is the slot's and is not");
    is($node->safe_psql($database, 'SELECT count(*) FROM cqrs.heartbeat'), '0', "$how: the relay says it again");
    is($node->safe_psql($database, $grants), $node->safe_psql('source', $grants), "$how: who may call what");
    is($node->safe_psql($database, q{SELECT count(*) FROM pg_event_trigger WHERE evtname ~ '^cqrs_' AND evtenabled = 'A'}), '4', "$how: event triggers");
    is($node->safe_psql($database, q{INSERT INTO cqrs.incidents (topic, what) VALUES ('x', 'y') RETURNING id}), '3', "$how: the sequence goes on");
    $node->safe_psql($database, 'DELETE FROM cqrs.incidents WHERE id = 3');
}

sub flows {
    my ($database, $how) = @_;
    my $slot = "slot_$database";
    $node->safe_psql($database, "SELECT pg_create_logical_replication_slot('$slot', 'pg_cqrs')");
    $node->safe_psql($database, q{INSERT INTO own VALUES (1001, 'new'); INSERT INTO root VALUES (2, 1); DELETE FROM "Mixed ""Case"""."Ünïcode"; DELETE FROM root WHERE id = 2});
    $node->safe_psql($database, q{SELECT create_parking_slot('new'); DELETE FROM own WHERE id = 1001; DELETE FROM parking_slots WHERE name = 'new'});
    my $types = $node->safe_psql($database, "SELECT string_agg(data::json->>'type', ' ') FROM pg_logical_slot_get_changes('$slot', NULL, NULL)");
    is($types, 'own.create root.create root.delete parking.create own.delete parking.delete', "$how: events flow");
    $node->safe_psql($database, "SELECT pg_drop_replication_slot('$slot')");
}

sub database { $node->safe_psql('postgres', "CREATE DATABASE $_[0] TEMPLATE template0"); return $node->connstr($_[0]); }

my $dump = $node->basedir . '/dump';
$node->command_ok(['pg_dump', '--file', "$dump.sql", $node->connstr('source')], 'pg_dump as SQL');
database('plain');
$node->command_ok(['psql', '--no-psqlrc', '--quiet', '--set', 'ON_ERROR_STOP=1', '--file', "$dump.sql", $node->connstr('plain')], 'psql reads it');
# A dump of a dump is the same.
$node->command_ok(['pg_dump', '--file', "$dump.again.sql", $node->connstr('plain')], 'pg_dump of the restored database');
sub text {
    my $text = slurp_file($_[0]);
    $text =~ s/^\\(un)?restrict .*$//mg;    # a random word in each dump
    return join "\n", sort split /\n/, $text;
}
is(text("$dump.again.sql"), text("$dump.sql"), 'the same dump');
same('plain', 'SQL');
flows('plain', 'SQL');

$node->command_ok(['pg_dump', '--format', 'custom', '--file', "$dump.custom", $node->connstr('source')], 'pg_dump in custom format');
$node->command_ok(['pg_restore', '--exit-on-error', '--single-transaction', '--dbname', database('single'), "$dump.custom"], 'pg_restore in one transaction');
same('single', 'one transaction');
$node->command_ok(['pg_restore', '--exit-on-error', '--jobs', '2', '--dbname', database('parallel'), "$dump.custom"], 'pg_restore with two jobs');
same('parallel', 'two jobs');
flows('parallel', 'two jobs');

# Data alone, into a database that has the schema already.
$node->command_ok(['pg_restore', '--exit-on-error', '--schema-only', '--dbname', database('schema_first'), "$dump.custom"], 'pg_restore of the schema');
$node->command_ok(['pg_restore', '--exit-on-error', '--data-only', '--dbname', $node->connstr('schema_first'), "$dump.custom"], 'pg_restore of the data');
same('schema_first', 'data alone');
flows('schema_first', 'data alone');

# A replica's dump says that it is one.
$node->safe_psql('source', "SELECT cqrs.register_replica('r1')");
$node->command_ok(['pg_dump', '--format', 'custom', '--file', "$dump.replica", $node->connstr('source')], 'pg_dump of a replica');
$node->command_ok(['pg_restore', '--exit-on-error', '--dbname', database('replica'), "$dump.replica"], 'pg_restore of it');
my (undef, undef, $error) = $node->psql('replica', "SELECT create_parking_slot('Slot')");
like($error, qr/cannot execute create_parking_slot on a replica/, 'commands are refused there');

# pg_upgrade, here to the same version: it refuses types whose OIDs it does not keep.
my $before = contents('source');
$node->stop;
my $bin = (run_command([ 'pg_config', '--bindir' ]))[0];
my $new = PostgreSQL::Test::Cluster->new('upgraded');
$new->init(allows_streaming => 'logical', extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
chdir $new->basedir or BAIL_OUT("chdir: $!");    # it leaves a script there
command_ok([ 'pg_upgrade', '--no-sync', '--old-datadir', $node->data_dir, '--new-datadir', $new->data_dir, '--old-bindir', $bin, '--new-bindir', $bin,
        '--socketdir', $node->host, '--old-port', $node->port, '--new-port', $new->port ], 'pg_upgrade');
$new->start;
$node = $new;
is_deeply(contents('source'), $before, 'pg_upgrade: every row is there');
flows('plain', 'pg_upgrade');

$node->stop;
done_testing();
