# Queries called on the primary that the attached replica answers.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use PostgreSQL::Test::Utils;
use Test::More;

my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
my $passfile = PostgreSQL::Test::Utils::tempdir() . '/passfile';
append_to_file($passfile, "*:*:*:*:not needed\n");
chmod 0600, $passfile;
my $conninfo = 'host=' . $replica->host . ' port=' . $replica->port . " dbname=postgres user=reader passfile=$passfile";
$_->safe_psql('postgres', q{CREATE TABLE orders (id int PRIMARY KEY, total numeric(10, 2), placed timestamptz, note text)}) foreach $primary, $replica;
$primary->safe_psql('postgres', q{CREATE EXTENSION postgres_fdw; SELECT cqrs.publish('orders', 'order')});
# Its own column, another schema: only the names of what is asked for count.
$replica->safe_psql('postgres', q{CREATE SCHEMA models; ALTER TABLE orders SET SCHEMA models; ALTER TABLE models.orders ADD COLUMN seen timestamptz DEFAULT now();
    SELECT cqrs.subscribe('order', 'models.orders'); CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA models TO reader; GRANT SELECT ON parking_slots, models.orders TO reader});
my $relay = $cqrs->start_relay;
my $apply = $cqrs->start_apply('r1');
ok($cqrs->wait_live('r1', $_), "$_ is live") foreach qw(parking order);

sub attach { return $primary->safe_psql('postgres', "SELECT cqrs.attach_replica('$_[0]', '$_[1]')") }
sub detach { return $primary->safe_psql('postgres', 'SELECT cqrs.detach_replica()') }
sub ask { my ($sql) = @_; my ($status, $out, $err) = $primary->psql('postgres', "\\set VERBOSITY verbose\n$sql"); return wantarray ? ($out, $err) : $out }

my (undef, $refused) = ask("SELECT cqrs.attach_replica('host=" . $primary->host . ' port=' . $primary->port . " dbname=template1')");
like($refused, qr/ERROR:  42P01|ERROR:  55000/, 'a database without positions is no replica');
(undef, $refused) = ask("SELECT cqrs.attach_replica('host=/nowhere')");
like($refused, qr/ERROR:  08006.*away/, 'a replica that cannot be reached is not attached');

# The replica answers: it shows what only it holds.
attach($conninfo, 'error');
is(ask('SELECT cqrs.attached()'), 't', 'attached');
(undef, $refused) = ask("SELECT cqrs.attach_replica('$conninfo')");
like($refused, qr/42710/, 'one at a time');
my $uuid = $primary->safe_psql('postgres', q{SELECT uuid FROM create_parking_slot('Slot 1')});
$cqrs->wait_equal('r1', 'parking_slots');
$replica->safe_psql('postgres', q{UPDATE parking_slots SET name = 'of the replica'});
is(ask('SELECT name FROM parking_slot_list()'), 'of the replica', 'parking_slot_list()');
is(ask("SELECT name, status FROM parking_slot_details('$uuid')"), 'of the replica|available', 'parking_slot_details()');
is(ask(q{SELECT count(*) FROM parking_slot_details('2e817460-0000-0000-0000-000000000000')}), '0', 'no such slot');

# Any table, values of all sorts.
$primary->safe_psql('postgres', q{INSERT INTO orders VALUES (1, 9.90, '2026-11-25 08:00+00', E'tab\t "quoted" \\\\ ü'), (2, NULL, 'infinity', NULL)});
is(ask(q{SET cqrs.read_your_writes = on; INSERT INTO orders VALUES (3, 1, NULL, 'mine'); SET TimeZone = 'UTC';
    SELECT * FROM cqrs.read('orders') AS t(note text, id bigint, total numeric, placed timestamptz) ORDER BY id}),
    qq{tab\t "quoted" \\ ü|1|9.90|2026-11-25 08:00:00+00\n|2||infinity\nmine|3|1.00|}, 'rows of a table of another schema there, after the own last commit');
is(ask(q{SELECT * FROM cqrs.read('orders', '{"id": 1, "placed": "2026-11-25 08:00+00"}') AS t(id int)}), '1', 'by a key');
(undef, $refused) = ask(q{SELECT * FROM cqrs.read('orders') AS t(seen timestamptz, id int)});
is($refused, '', 'a column that only the replica has');
(undef, $refused) = ask(q{SELECT * FROM cqrs.read('orders') AS t(nowhere int)});
like($refused, qr/ERROR:  42703: .*nowhere.*query on the attached replica/s, q{the replica's errors keep their SQLSTATE});

# What is not the replica's to answer.
$primary->safe_psql('postgres', q{UPDATE parking_slots SET name = 'of the primary'; UPDATE orders SET note = 'locked' WHERE id = 2});
$cqrs->wait_equal('r1', 'parking_slots');
$replica->safe_psql('postgres', q{UPDATE parking_slots SET name = 'of the replica'});
is(ask(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT name FROM parking_slot_list(); COMMIT}), 'of the primary', 'REPEATABLE READ reads here');
is(ask(q{SET cqrs.read_your_writes = on; BEGIN; INSERT INTO orders VALUES (4); SELECT name FROM parking_slot_list(); ROLLBACK}), 'of the primary', 'a transaction that has written reads here');
$primary->safe_psql('postgres', q{CREATE ROLE stranger; CREATE ROLE limited; GRANT SELECT ON orders TO limited; ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON orders USING (id = 1)});
(undef, $refused) = ask(q{SET ROLE stranger; SELECT * FROM cqrs.read('orders') AS t(id int)});
like($refused, qr/42501/, 'who may not read the table here does not read it there');
is(ask(q{SET ROLE limited; SELECT * FROM cqrs.read('orders') AS t(id int)}), '1', 'row-level security holds');

# No secret where everybody looks.
detach();
is(ask(q{SELECT count(*) FROM pg_foreign_server}), '0', 'detached');
is(ask('SELECT name FROM parking_slot_list()'), 'of the primary', 'this database answers again');
attach("$conninfo password=open-sesame", 'error');
is(ask(q{SET ROLE stranger; SELECT count(*) FROM pg_user_mappings WHERE umoptions::text LIKE '%sesame%'}), '0', 'the password is hidden');
is(ask(q{SELECT count(*) FROM pg_foreign_server WHERE srvoptions::text LIKE '%sesame%'}), '0', '... and nowhere but in the user mapping');
unlike(slurp_file($primary->logfile), qr/CREATE USER MAPPING.*sesame/, '... nor in the log of statements made of it');

# Behind and away, fallback error.
$apply->signal('STOP');
my ($out, $err) = ask(q{SET cqrs.read_your_writes = on; SET cqrs.read_timeout = '100ms'; INSERT INTO orders VALUES (5); SELECT * FROM cqrs.read('orders', '{"id": 5}') AS t(id int)});
like($err, qr/ERROR:  CQ001: .*last commit/, 'behind: CQ001');
$replica->stop('immediate');
($out, $err) = ask('SELECT name FROM parking_slot_list()');
like($err, qr/ERROR:  08006: .*away.*HINT/s, 'away: 08006 with a hint');

# Fallback primary; a connection that breaks in between; back again.
detach();
$replica->start;
attach($conninfo, 'primary');
my $session = $primary->background_psql('postgres', on_error_stop => 0);
like($session->query(q{SET client_min_messages = error; SELECT name FROM parking_slot_list()}), qr/of the replica/, 'attached again');
$replica->stop('immediate');
like($session->query('SELECT name FROM parking_slot_list()'), qr/of the primary/, 'away: the primary answers, in a session that was connected');
($out, $err) = ask(q{SELECT name FROM parking_slot_list(); SELECT name FROM parking_slot_list()});
is($out, "of the primary\nof the primary", '... and in a new one');
is(scalar(() = $err =~ /WARNING/g), 1, '... and says so once');
$replica->start;
ok(Cqrs::wait_until('the replica answers again', sub { return $session->query('SELECT name FROM parking_slot_list()') =~ /of the replica/ }), 'it is tried again');
is(ask(q{SET cqrs.read_your_writes = on; SET cqrs.read_timeout = '100ms'; SET client_min_messages = error; INSERT INTO orders VALUES (6); SELECT * FROM cqrs.read('orders', '{"id": 6}') AS t(id int)}), '6', 'behind: the primary answers');
$session->quit;

# A wait on the replica ends with the session's own statement.
($out, $err) = ask(q{SET statement_timeout = '300ms'; SET cqrs.read_your_writes = on; SET cqrs.read_timeout = '1h'; INSERT INTO orders VALUES (7); SELECT * FROM cqrs.read('orders') AS t(id int)});
like($err, qr/57014/, 'statement_timeout ends it');
$apply->signal('CONT');

$cqrs->finish;
done_testing();
