# Replicas come and go while the primary is in use: add-replica, killed and resumed, the registry, remove-replica.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use Cqrs::Process;
use PostgreSQL::Test::Utils;
use Test::More;

my @replicas = qw(r1 r2 r3);
my $cqrs = Cqrs->new(replicas => \@replicas);
my $primary = $cqrs->primary;

# Names, types, defaults and indexes that a careless copy of a definition would trip over.
$primary->safe_psql('postgres', <<'SQL');
CREATE SCHEMA "Odd schema";
CREATE TYPE "Odd schema"."mood's" AS ENUM ('it''s ok', 'sad');
CREATE DOMAIN "Odd schema".amount AS numeric(10, 2) CHECK (VALUE >= 0);
CREATE TYPE "Odd schema".pair AS (a int, "B b" text);
CREATE SEQUENCE numbers;
CREATE FUNCTION twice(n numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
CREATE TABLE "Odd schema"."Tab ""le {}" (
    dropped int, id bigint GENERATED ALWAYS AS IDENTITY, "Key.col" text COLLATE "C",
    m "Odd schema"."mood's", ms "Odd schema"."mood's"[], amount "Odd schema".amount NOT NULL DEFAULT 1.5,
    p "Odd schema".pair, double numeric GENERATED ALWAYS AS (amount * 2) STORED,
    own numeric GENERATED ALWAYS AS (twice(amount)) STORED, at timestamptz DEFAULT '2026-01-01 00:00:00.000001+00',
    n int DEFAULT nextval('numbers'), j jsonb, b bytea, r int4range, f float8, c regclass,
    CONSTRAINT "key {} USING" PRIMARY KEY (id, "Key.col"), CONSTRAINT "positive {}" CHECK (id > 0));
ALTER TABLE "Odd schema"."Tab ""le {}" DROP COLUMN dropped;
CREATE INDEX "partial" ON "Odd schema"."Tab ""le {}" (lower("Key.col") DESC) INCLUDE (m) WHERE m IS NOT NULL;
INSERT INTO "Odd schema"."Tab ""le {}" ("Key.col", m, ms, amount, p, j, b, r, f, c)
SELECT E'a\tb\\"' || i, (ARRAY['it''s ok', 'sad', NULL])[i % 3 + 1]::"Odd schema"."mood's", '{sad,"it''s ok",NULL}', round(i / 7.0, 2),
       ROW(i, 'x,"(y' || i)::"Odd schema".pair, '{"a": null}', '\x00ff', int4range(i, i + 5), i / 3.0, 'pg_class'
  FROM generate_series(1, 5000) i;

CREATE TABLE orders (id bigint PRIMARY KEY, customer text NOT NULL, total numeric(10, 2));
CREATE INDEX orders_customer ON orders (customer);
INSERT INTO orders SELECT i, 'customer ' || i % 100, i / 10.0 FROM generate_series(1, 30000) i;
CREATE TABLE items (order_id bigint, n int, what text, PRIMARY KEY (order_id, n)) PARTITION BY RANGE (order_id);
CREATE TABLE items_1 PARTITION OF items FOR VALUES FROM (0) TO (20000);
CREATE TABLE items_2 (n int NOT NULL, what text, order_id bigint NOT NULL);
ALTER TABLE items ATTACH PARTITION items_2 FOR VALUES FROM (20000) TO (1000000);
INSERT INTO items SELECT i % 30000, i / 30000, repeat('what ', 20) || i FROM generate_series(0, 99999) i;
ANALYZE;
SELECT cqrs.publish('orders', 'shop.order'), cqrs.publish('items', 'shop.item'),
       cqrs.publish('"Odd schema"."Tab ""le {}"', 'odd');
SELECT create_parking_slot('Slot ' || i) FROM generate_series(1, 100) i;
SQL
my @tables = ('parking_slots', 'orders', 'items', '"Odd schema"."Tab ""le {}"');
my $relay = $cqrs->start_relay;

# Writers of every topic, from before the first replica until after the last.
my $writer = Cqrs::Process->start('writer', {}, 'psql', '-X', '-q', $primary->connstr('postgres'), '-c', <<'SQL');
DO $$
BEGIN
    FOR i IN 1 .. 1000000 LOOP
        UPDATE orders SET total = total + 1 WHERE id = 1 + i * 7919 % 30000;
        DELETE FROM items WHERE order_id = i * 31 % 30000 AND n = 1;
        INSERT INTO items VALUES (30000 + i, 0, 'new');
        COMMIT;
        INSERT INTO "Odd schema"."Tab ""le {}" ("Key.col", m) VALUES ('written ' || i, 'sad');
        PERFORM create_parking_slot('Written ' || i);
        COMMIT;
        PERFORM pg_sleep(0.02);
    END LOOP;
END $$
SQL

sub add {
    my ($name, @arguments) = @_;
    return $cqrs->command($cqrs->environment($name), 'add-replica', $name, @arguments);
}
sub has_queue {
    my ($name, $topic) = @_;
    my $count = eval { $cqrs->amqp('count', "cqrs.$name.$topic") };
    die $@ unless defined $count || $@ =~ /NOT_FOUND/;
    return defined $count;
}
sub exists_on {
    my ($name, $table) = @_;
    return $cqrs->replica($name)->safe_psql('postgres', "SELECT to_regclass('$table') IS NOT NULL") eq 't';
}

# What can be known to be wrong is said at once, and nothing is done.
my ($status, $out, $err) = add('r1', '--topics', 'parking,nothing');
is($status, 1, 'an unknown topic is an error');
like($err, qr/no topic nothing.*odd, parking, shop/, '... which names the topics that there are');
($status, $out, $err) = add('r1');
is($status, 1, 'missing tables are an error');
like($err, qr/lacks tables.*orders.*--create-tables/, '... which names them');
ok(!has_queue('r1', 'shop'), '... and no queue was made for it');

# The first one, in one go.
($status, $out, $err) = add('r1', '--create-tables', '--jobs', '3');
is($status, 0, 'r1 is added') or diag($err);
my %apply = (r1 => $cqrs->start_apply('r1'));

# The second is killed while it builds an index: the index waits for a lock that we hold.
my $r2 = $cqrs->replica('r2');
$r2->safe_psql('postgres', <<'SQL');
CREATE FUNCTION wait_for_us() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(42); END $$;
CREATE EVENT TRIGGER wait_for_us ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION wait_for_us();
SQL
my $holder = Cqrs::Process->start('holder', {}, 'psql', '-X', $r2->connstr('postgres'), '-c',
    'SELECT pg_advisory_lock(42), pg_sleep(1000)');
Cqrs::wait_until('the lock is held', sub {
    return $r2->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND granted") eq '1';
});
my $add = $cqrs->start('add-r2', $cqrs->environment('r2'), 'add-replica', 'r2', '--create-tables', '--jobs', '1');
ok(Cqrs::wait_until('one table is whole and another waits for its index', sub {
    return $r2->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND NOT granted") eq '1'
        && $r2->safe_psql('postgres', 'SELECT count(*) FROM cqrs.copy_state WHERE finished') eq '1';
}), 'in the middle of its copy');
ok(has_queue('r2', 'shop'), '... with its queue bound');
ok(!exists_on('r2', 'orders') && !exists_on('r2', 'items'), 'nobody can take a part of a topic for the whole');
ok(Cqrs::wait_until('the progress is told', sub {
    return $r2->safe_psql('postgres', "SELECT rows, bytes > 0 FROM cqrs.copy_progress WHERE prefix = 'shop.order' AND state = 'indexing'") eq '30000|t';
}), 'cqrs.copy_progress says where it is');
$add->kill_now;
$r2->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1000)%' AND pid <> pg_backend_pid()");
$r2->safe_psql('postgres', 'DROP EVENT TRIGGER wait_for_us');
($status, $out, $err) = add('r2', '--create-tables');
is($status, 0, 'r2 is added by the second attempt') or diag($err);
like($err, qr/shop\.item is whole already/, '... which keeps what the first one had finished');
is($r2->safe_psql('postgres', "SELECT count(*) FROM pg_class WHERE relname LIKE 'cqrs_copy:%'"), '0', '... and leaves nothing of it');
$apply{r2} = $cqrs->start_apply('r2');

# The third: a topic at a time, the rest by the applier itself.
($status, $out, $err) = add('r3', '--create-tables', '--topics', 'odd');
is($status, 0, 'r3 is added with one topic') or diag($err);
ok(!exists_on('r3', 'orders'), '... and no table of another');
$apply{r3} = $cqrs->start('apply-r3', $cqrs->environment('r3'), 'apply', '--name', 'r3', '--listen', 'none', '--init', '--create-tables');
foreach my $prefix (qw(odd shop.order shop.item parking)) {
    ok($cqrs->wait_live('r3', $prefix), "$prefix is live on r3");
}

# At rest.
$primary->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%written%' AND pid <> pg_backend_pid()");
$writer->wait_end(30);
foreach my $name (@replicas) {
    $cqrs->wait_equal($name, $_) foreach @tables;
}
is($primary->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), '1', 'the primary has one slot');
my $last = sub { $primary->safe_psql('postgres', "SELECT topics -> '$_[0]' ->> 'sequence' FROM cqrs.relay_state") };
foreach my $topic (qw(odd parking shop)) {
    foreach my $name (@replicas) {
        ok(Cqrs::wait_until("$topic of $name is at the end", sub { $cqrs->position($name, $topic) eq $last->($topic) }),
            "$topic of $name: position == last sequence");
    }
}

# The definitions: what was taken over works, what was left out is named.
my $described = $cqrs->replica('r1')->safe_psql('postgres', <<'SQL');
SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid), '; ' ORDER BY conname) FROM pg_constraint
 WHERE conrelid = '"Odd schema"."Tab ""le {}"'::regclass AND contype <> 'n';
SELECT string_agg(indexdef, '; ' ORDER BY indexname) FROM pg_indexes WHERE tablename IN ('orders', 'Tab "le {}') AND indexname IN ('partial', 'orders_customer');
SELECT string_agg(attname || ' ' || coalesce(pg_get_expr(adbin, adrelid), '-'), '; ' ORDER BY attnum)
  FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
 WHERE attrelid = '"Odd schema"."Tab ""le {}"'::regclass AND attname IN ('amount', 'double', 'own', 'at', 'n', 'id');
SQL
is($described, <<'EXPECTED' =~ s/\n$//r, 'keys, indexes, defaults');
key {} USING PRIMARY KEY (id, "Key.col"); positive {} CHECK ((id > 0))
CREATE INDEX orders_customer ON public.orders USING btree (customer); CREATE INDEX partial ON "Odd schema"."Tab ""le {}" USING btree (lower("Key.col") DESC) INCLUDE (m) WHERE (m IS NOT NULL)
id -; amount 1.5; double ((amount)::numeric * (2)::numeric); own -; at '2026-01-01 00:00:00.000001+00'::timestamp with time zone; n -
EXPECTED

# The registry: every replica, from the primary alone.
ok(Cqrs::wait_until('all replicas are reported', sub {
    return $primary->safe_psql('postgres', "SELECT string_agg(DISTINCT name, ',' ORDER BY name), count(*), max(lag_events), max(lag) FROM cqrs.replica_status WHERE state = 'live'")
        eq 'r1,r2,r3|9|0|00:00:00';
}), 'cqrs.replica_status has all replicas and topics without lag')
    or diag($primary->safe_psql('postgres', 'SELECT * FROM cqrs.replica_status'));
($status, $out, $err) = $cqrs->command({ DATABASE_URL => Cqrs::url($primary), RABBITMQ_BROKER_URL => $cqrs->broker_url }, 'status');
like($out, qr/^r2\s+shop\s+\d+\s+0\s/m, 'status shows them, from the primary');

# remove-replica: not under a running applier; then nothing is left, and it can be said again.
my @remove = ($cqrs->environment('r3'), 'remove-replica', 'r3');
($status, $out, $err) = $cqrs->command(@remove);
is($status, 1, 'a replica with a running applier is not removed');
like($err, qr/Stop the appliers of r3 first/, '... and says why');
$apply{r3}->signal('TERM');
$apply{r3}->wait_end(10);
($status, $out, $err) = $cqrs->command(@remove);
is($status, 0, 'r3 is removed') or diag($err);
ok(!has_queue('r3', $_), "no queue of $_ is left") foreach qw(odd parking shop);
is($cqrs->replica('r3')->safe_psql('postgres', <<'SQL'), '0', 'nothing is left in its database');
SELECT (SELECT count(*) FROM cqrs.position) + (SELECT count(*) FROM cqrs.subscription_state) + (SELECT count(*) FROM cqrs.replica_identity)
     + (SELECT count(*) FROM cqrs.copy_progress) + (SELECT count(*) FROM cqrs.subscription WHERE NOT by_extension)
     + (SELECT count(*) FROM pg_replication_origin)
SQL
ok(Cqrs::wait_until('it is forgotten', sub {
    return $primary->safe_psql('postgres', "SELECT count(*) FROM cqrs.replica WHERE name = 'r3'") eq '0';
}), 'nor on the primary');
($status, $out, $err) = $cqrs->command(@remove);
is($status, 0, 'removing it again is no error');

$cqrs->finish;
done_testing();
