# Three replicas join a large table one after the other while pgbench writes to it, the second killed in the middle of its
# copy and resumed; at rest all are equal. CQRS_REPLICA_ROWS=10000000 (and PG_TEST_TIMEOUT_DEFAULT, seconds) for a really large one.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use Cqrs::Process;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $rows = $ENV{CQRS_REPLICA_ROWS} || 300_000;
my @replicas = qw(r1 r2 r3);
my $cqrs = Cqrs->new(replicas => \@replicas, primary_conf => "log_statement = none\nmax_wal_size = 2GB\n");
my $primary = $cqrs->primary;
$primary->safe_psql('postgres', <<"SQL");
CREATE TABLE account (id bigint PRIMARY KEY, owner text NOT NULL, balance numeric(12, 2) NOT NULL DEFAULT 0);
INSERT INTO account SELECT i, 'owner ' || i, i / 100.0 FROM generate_series(1, $rows) i;
CREATE TABLE entry (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account bigint NOT NULL, amount numeric(12, 2) NOT NULL);
CREATE INDEX account_owner ON account (owner);
VACUUM ANALYZE account;
SELECT cqrs.publish('account', 'bank.account'), cqrs.publish('entry', 'bank.entry');
SQL
my $relay = $cqrs->start_relay;

# Both tables in one transaction, so a replica that shows half of it has a wrong sum; keys come and go as well.
my $script = "$PostgreSQL::Test::Utils::tmp_check/load.sql";
append_to_file($script, <<"SQL");
\\set id random(1, $rows)
\\set amount random(1, 100)
BEGIN;
UPDATE account SET balance = balance + :amount WHERE id = :id;
INSERT INTO entry (account, amount) SELECT :id, :amount WHERE EXISTS (SELECT FROM account WHERE id = :id);
DELETE FROM account WHERE id = 1 + (:id::bigint * 7919 + :amount) % $rows AND :amount = 1;
INSERT INTO account VALUES (:id + $rows, 'new') ON CONFLICT (id) DO UPDATE SET balance = 0;
COMMIT;
SQL
my $load = Cqrs::Process->start('load', {}, 'pgbench', '-n', '-c', 2, '-T', 7200, '--max-tries', 100, '-R', 400, '-f', $script,
    '-h', $primary->host, '-p', $primary->port, 'postgres');

my ($add, %apply);
sub begin_adding { my ($name) = @_; $add = $cqrs->start("add-$name", $cqrs->environment($name), 'add-replica', $name, '--create-tables') }
sub ended { my ($name) = @_; Cqrs::wait_until("add-replica $name ends", sub { return !$add->running }); return $add->status }

foreach my $name (@replicas) {
    my $begin = time;
    my $r2 = $name eq 'r2' ? $cqrs->replica('r2') : undef;
    my $holder;
    if ($r2) {    # it does not get past the index while we hold the lock, so it is met before its end however fast it is
        $r2->safe_psql('postgres', <<'SQL');
CREATE FUNCTION wait_for_us() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(42); END $$;
CREATE EVENT TRIGGER wait_for_us ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION wait_for_us();
SQL
        $holder = Cqrs::Process->start('holder', {}, 'psql', '-X', $r2->connstr('postgres'), '-c', 'SELECT pg_advisory_lock(42), pg_sleep(10000)');
        Cqrs::wait_until('the lock is held', sub {
            return $r2->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND granted") eq '1';
        });
    }
    begin_adding($name);
    if ($r2) {
        my $copied = "SELECT coalesce(sum(rows), 0) FROM cqrs.copy_progress WHERE prefix = 'bank.account' AND state IN ('copying', 'indexing')";
        ok(Cqrs::wait_until('r2 is in the middle of its copy', sub { return $r2->safe_psql('postgres', $copied) > 0 }), 'r2 is in the middle of its copy');
        $add->kill_now;
        is($r2->safe_psql('postgres', q{SELECT to_regclass('account') IS NULL}), 't', '... and shows nothing of it');
        $r2->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(10000)%' AND pid <> pg_backend_pid()");
        $r2->safe_psql('postgres', 'DROP EVENT TRIGGER wait_for_us');
        begin_adding($name);
    }
    is(ended($name), 0, "$name is added while pgbench writes") or diag($add->log);
    note(sprintf('%s: %.1f s', $name, time - $begin));
    ok($load->running, '... without stopping it') or diag($load->log);
    $apply{$name} = $cqrs->start_apply($name);
}
$load->signal('INT');
$load->wait_end(30);
note($load->log);

my $sum = q{SELECT count(*) || ' ' || sum(hashtextextended(t::text, 0)::numeric) FROM %s t};
foreach my $table (qw(account entry)) {
    my $expected = $primary->safe_psql('postgres', sprintf($sum, $table));
    foreach my $name (@replicas) {
        ok(Cqrs::wait_until("$table of $name is equal", sub {
            return $cqrs->replica($name)->safe_psql('postgres', sprintf($sum, $table)) eq $expected;
        }), "$table of $name is the primary's: $expected");
    }
}
foreach my $name (@replicas) {
    my $verify = $cqrs->start("verify-$name", $cqrs->environment($name), 'verify');
    Cqrs::wait_until("verify of $name ends", sub { return !$verify->running });
    is($verify->status, 0, "verify finds $name equal") or diag($verify->log);
    is($cqrs->replica($name)->safe_psql('postgres', 'SELECT count(*) FROM cqrs.incidents'), '0', '... and nothing had to be healed');
}
is($primary->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), '1', 'the primary has one slot');

$cqrs->finish;
done_testing();
