# Tables as people bring them: children by inheritance, a replica identity that is not the primary key, keys of odd types;
# two replicas that live in one server. All by roles whose settings would change every statement and value.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use PostgreSQL::Test::Utils;
use Test::More;

my $cqrs = Cqrs->new(replicas => []);
my ($primary, $replica) = ($cqrs->primary, $cqrs->add_replica('r1', "max_connections = 50\n"));

my %settings = (search_path => 'hostile, pg_catalog, public', standard_conforming_strings => 'off', default_transaction_read_only => 'on',
    default_transaction_isolation => 'serializable', datestyle => "'SQL, DMY'", intervalstyle => 'sql_standard', timezone => "'Asia/Tokyo'",
    extra_float_digits => '-5', bytea_output => 'escape', array_nulls => 'off', quote_all_identifiers => 'on', xmloption => 'document',
    transform_null_equals => 'on', default_transaction_deferrable => 'on', client_encoding => "'LATIN1'",
    lock_timeout => '600', statement_timeout => '800', idle_in_transaction_session_timeout => '900', idle_session_timeout => '900');
$_->safe_psql('postgres', q{CREATE ROLE hostile SUPERUSER LOGIN; CREATE SCHEMA hostile; CREATE DOMAIN hostile.jsonb AS int;
    CREATE FUNCTION hostile.same(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'not the operator that was meant'; END $$;
    CREATE OPERATOR hostile.= (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.same);}
    . join(' ', map { "ALTER ROLE hostile SET $_ = $settings{$_};" } sort keys %settings)) foreach $primary, $replica;
sub hostile { my ($environment) = @_; return { %$environment, map { $_ => $environment->{$_} =~ s{//}{//hostile@}r } grep { /^(REPLICA_)?DATABASE_URL$/ } keys %$environment } }

my $relay = $cqrs->start('relay', hostile($cqrs->environment), 'relay', '--listen', 'none');
my $apply = $cqrs->start('apply', hostile($cqrs->environment('r1')), 'apply', '--name', 'r1', '--listen', 'none');

# Makes tables on both sides, publishes and subscribes them.
sub bring {
    my ($ddl, %tables) = @_;
    $_->safe_psql('postgres', $ddl) foreach $primary, $replica;
    foreach my $prefix (sort keys %tables) {
        $primary->safe_psql('postgres', "SELECT cqrs.publish('$tables{$prefix}', '$prefix')");
        $replica->safe_psql('postgres', "SELECT cqrs.subscribe('$prefix', '$tables{$prefix}')");
    }
    foreach my $prefix (sort keys %tables) { $cqrs->wait_live('r1', $prefix) or BAIL_OUT("$prefix does not become live") }
    return;
}

# Each change alone, and its effect on the replica.
sub follow {
    my ($name, $tables, @changes) = @_;
    foreach my $change (@changes) {
        $primary->safe_psql('postgres', $change);
        $cqrs->wait_equal('r1', $_) foreach @$tables;
    }
    pass($name);
    return;
}

# Copied and streamed, values are what they were.
$_->safe_psql('postgres', 'CREATE TABLE vals (id int PRIMARY KEY, f float8, t timestamptz, i interval, b bytea, a text[], x xml, s text)') foreach $primary, $replica;
my $vals = q{SELECT i, pi() * i, '2026-02-03 04:05:06.789+03:30'::timestamptz, '1 year -2 days 03:04:05.678'::interval, '\x005c27ff'::bytea, ARRAY['a', NULL, 'NULL', 'q"\'], 'a<b/>'::xml, 'b\s ''q'' 日本'};
$primary->safe_psql('postgres', "INSERT INTO vals $vals FROM generate_series(1, 40) i");
bring('SELECT', 'family.vals' => 'vals');
follow('values are what they were', ['vals'], "INSERT INTO vals $vals FROM generate_series(41, 100) i", q{UPDATE vals SET s = s || '\n' WHERE id < 30});

# A lock that lasts: the applier waits for it.
bring('CREATE TABLE held (id int PRIMARY KEY)', 'held' => 'held');
my $lock = Cqrs::Process->start('lock', {}, 'psql', '-d', Cqrs::url($replica), '-c', 'BEGIN; LOCK TABLE held IN SHARE MODE; SELECT pg_sleep(600)');
Cqrs::wait_until('held is locked', sub { return $replica->safe_psql('postgres', q{SELECT count(*) FROM pg_locks WHERE relation = 'held'::regclass AND mode = 'ShareLock' AND granted}) eq '1' });
$primary->safe_psql('postgres', 'INSERT INTO held VALUES (1)');
ok(Cqrs::wait_until('the applier has waited', sub {
    return $apply->log =~ /timeout/ || $replica->safe_psql('postgres',
        q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'cqrs apply%' AND clock_timestamp() - query_start > '1 s'}) ne '0';
}), 'the applier waits');
$replica->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%LOCK TABLE held%' AND pid <> pg_backend_pid()});
$lock->kill_now;
$cqrs->wait_equal('r1', 'held');

# Of another type on the replica: a row is there what it is when it is copied, however it is streamed.
my @pairs = (
    [ 'boolean', [ 'text', 'char(1)', 'varchar(1)', 'boolean' ], 'true' ],
    [ 'boolean', ['text'], 'false' ],
    [ 'smallint', [ 'bigint', 'numeric', 'text', 'float8' ], '-12' ],
    [ 'bigint', [ 'numeric', 'text', 'int' ], '1234567890' ],
    [ 'numeric', [ 'text', 'float8', 'numeric(10, 2)' ], '12.500' ],
    [ 'numeric', ['text'], q{'NaN'} ],
    [ 'float8', [ 'text', 'numeric', 'real' ], '1e300 * 0 + 0.1' ],
    [ 'float8', ['text'], '1e200' ],
    [ 'float8', ['text'], q{'-Infinity'} ],
    [ 'real', [ 'text', 'float8' ], '0.1' ],
    [ 'timestamptz', [ 'text', 'timestamp', 'date' ], q{'2026-02-03 23:04:05.678+00'} ],
    [ 'timestamp', [ 'text', 'timestamptz' ], q{'2026-02-03 04:05:06'} ],
    [ 'timetz', [ 'text', 'time' ], q{'04:05:06+03:30'} ],
    [ 'date', [ 'text', 'timestamp', 'timestamptz' ], q{'2026-02-03'} ],
    [ 'interval', ['text'], q{'1 year -2 days 03:04:05.678'} ],
    [ 'bytea', ['text'], q{'\x005c27ff'} ],
    [ 'text', [ 'varchar(9)', 'bytea', 'char(9)', 'name' ], q{'a "b" '} ],
    [ 'char(5)', [ 'text', 'varchar(9)' ], q{'ab'} ],
    [ 'text', [ 'uuid', 'text' ], q{'2e817460-0000-4000-8000-00000000000a'} ],
    [ 'uuid', ['text'], q{'2e817460-0000-4000-8000-00000000000a'} ],
    [ 'mood', ['text'], q{'so so'} ],
    [ 'pair', ['text'], q{'(t,"x,y")'} ],
    [ 'boolean[]', ['text'], 'ARRAY[true, NULL, false]' ],
    [ 'int[]', [ 'text', 'bigint[]' ], 'ARRAY[1, NULL]' ],
    [ 'text[]', ['text'], q{ARRAY['a', NULL, 'NULL', 'q"\']} ],
    [ 'timestamptz[]', ['text'], q{ARRAY['2026-02-03 04:05:06+00'::timestamptz]} ],
    [ 'tstzrange', ['text'], q{'[2026-02-03 04:05:06+00,)'} ],
    [ 'jsonb[]', ['text'], q{ARRAY['"x"'::jsonb, 'null']} ],
    [ 'money', ['text'], q{'12.50'} ],
    [ 'regclass', ['text'], q{'vals'} ],
    [ 'xml', ['text'], q{'a<b/>'} ],
    [ 'inet', ['text'], q{'10.0.0.1/8'} ],
    [ '"char"', ['text'], q{'x'} ],
    [ 'oid', [ 'text', 'bigint' ], '4000000000' ],
    [ 'json', [ 'json', 'jsonb' ], q{'{"a" : [1.0, "x", null, true]}'} ],
    [ 'jsonb', [ 'jsonb', 'json' ], q{'"x"'} ],
    [ 'json', [ 'json', 'jsonb' ], q{'null'} ],
    [ 'jsonb', [ 'jsonb', 'json' ], q{'true'} ],
);
my (@here, @there, @values);
foreach my $pair (@pairs) {
    my ($type, $others, $value) = @$pair;
    foreach my $other (@$others) {
        my $column = 'c' . @here;
        push @there, "$column $type";
        push @here, "$column $other";
        push @values, "$value" . ($value =~ /^'/ ? "::$type" : '');
    }
}
$_->safe_psql('postgres', q{CREATE TYPE mood AS ENUM ('so so'); CREATE TYPE pair AS (b boolean, t text)}) foreach $primary, $replica;
my $rows = 'INSERT INTO pairs SELECT i, ' . join(', ', @values) . ' FROM generate_series';
$primary->safe_psql('postgres', 'CREATE TABLE pairs (id int PRIMARY KEY, ' . join(', ', @there) . "); $rows(1, 1) i");
$replica->safe_psql('postgres', 'CREATE TABLE pairs (id int PRIMARY KEY, ' . join(', ', @here) . ')');
bring('SELECT', 'family.pairs' => 'pairs');
# Alone; many at once; updated alone and at once.
$primary->safe_psql('postgres', $_) foreach "$rows(2, 2) i", "$rows(11, 50) i", 'UPDATE pairs SET id = 3 WHERE id = 2', 'UPDATE pairs SET c0 = c0 WHERE id BETWEEN 11 AND 30', 'DELETE FROM pairs WHERE id = 50';
ok(Cqrs::wait_until('the rows are there', sub { return $replica->safe_psql('postgres', 'SELECT count(*) FROM pairs WHERE id > 2') eq '40' }), 'columns of other types');
my $several = join(', ', map { "CASE count(DISTINCT coalesce(c$_\::text, 'NULL')) WHEN 1 THEN NULL ELSE '$there[$_] in $here[$_]: ' || string_agg(DISTINCT coalesce(c$_\::text, 'NULL'), ' or ') END" } 0 .. $#here);
is($replica->safe_psql('postgres', "SELECT concat_ws(E'\\n', $several) FROM pairs"), '', '... have the same values streamed as copied');

# A parent's rows are not its children's: neither in a copy nor in anything that comes after it.
$primary->safe_psql('postgres', 'CREATE TABLE parent (id int PRIMARY KEY, v text)');
$replica->safe_psql('postgres', 'CREATE TABLE parent (id int PRIMARY KEY, v text)');
$_->safe_psql('postgres', 'CREATE TABLE child (w text, PRIMARY KEY (id)) INHERITS (parent)') foreach $primary, $replica;
$primary->safe_psql('postgres', q{INSERT INTO parent SELECT i, 'p' FROM generate_series(1, 40) i; INSERT INTO child SELECT i, 'c', 'w' FROM generate_series(1, 40) i});
bring('SELECT', 'family.child' => 'child');
bring('SELECT', 'family.parent' => 'parent');    # copied when the child is there
follow('a child keeps its rows when the parent changes', [ 'ONLY parent', 'child' ],
    q{UPDATE ONLY parent SET v = 'one' WHERE id = 1},
    q{UPDATE ONLY parent SET v = 'all'},
    'UPDATE ONLY parent SET id = id + 1000 WHERE id < 3',
    'DELETE FROM ONLY parent WHERE id = 5',
    'DELETE FROM ONLY parent WHERE id < 30',
    'TRUNCATE ONLY parent',
    q{UPDATE parent SET v = 'again'},
    'TRUNCATE parent');

# The identity names the row, whatever happens to the primary key beside it.
foreach my $replica_table ([ 'the same identity there', 'ALTER TABLE code REPLICA IDENTITY USING INDEX code_key' ], [ 'without it', '' ]) {
    my ($name, $alter) = @$replica_table;
    $_->safe_psql('postgres', 'DROP TABLE IF EXISTS code') foreach $primary, $replica;
    my $table = 'CREATE TABLE code (id int PRIMARY KEY, code text NOT NULL CONSTRAINT code_key UNIQUE, v int DEFAULT 0);';
    $primary->safe_psql('postgres', "$table ALTER TABLE code REPLICA IDENTITY USING INDEX code_key");
    $replica->safe_psql('postgres', "$table $alter");
    bring('SELECT', 'code' => 'code');
    follow("REPLICA IDENTITY USING INDEX, $name", ['code'],
        q{INSERT INTO code SELECT i, 'c' || i FROM generate_series(1, 40) i},
        'UPDATE code SET id = 1001 WHERE id = 1',
        'UPDATE code SET id = id + 5000',
        'UPDATE code SET id = -id',
        q{UPDATE code SET code = code || '!' WHERE id % 3 = 0},
        q{UPDATE code SET id = id + 20000, code = '#' || code},
        'BEGIN; UPDATE code SET v = v + 1; UPDATE code SET id = -id; DELETE FROM code WHERE id % 2 = 0; COMMIT',
        'DELETE FROM code');
    $replica->safe_psql('postgres', "SELECT cqrs.unsubscribe('code')");
    $primary->safe_psql('postgres', "SELECT cqrs.unpublish('code')");
}
# A replica that has no such key cannot know which row is meant: it says so and changes none.
sub stopped {
    my ($prefix, $why) = @_;
    return Cqrs::wait_until("$prefix stops", sub {
        return $replica->safe_psql('postgres', "SELECT error FROM cqrs.subscription_status WHERE prefix = '$prefix' AND state = 'stopped'") =~ $why;
    });
}
$_->safe_psql('postgres', 'CREATE TABLE other (id int PRIMARY KEY, code text NOT NULL)') foreach $primary, $replica;
$primary->safe_psql('postgres', q{INSERT INTO other VALUES (1, 'a'); ALTER TABLE other ADD CONSTRAINT other_key UNIQUE (code)});
bring('SELECT', 'other' => 'other');
$primary->safe_psql('postgres', 'ALTER TABLE other REPLICA IDENTITY USING INDEX other_key; UPDATE other SET id = 2');
ok(stopped('other', qr/lacks the columns of every unique key|does not find rows by \(code\)/), 'a replica without the key of the identity stops');
is($replica->safe_psql('postgres', 'SELECT * FROM other'), '1|a', '... and its rows are what they were');
# Nor one whose own key is another: the row that an UPDATE leaves under its old key would stay.
$primary->safe_psql('postgres', q{CREATE TABLE mine (id int PRIMARY KEY, "Code" text NOT NULL); INSERT INTO mine VALUES (1, 'a'), (2, 'b')});
$replica->safe_psql('postgres', 'CREATE TABLE mine (id int NOT NULL, "Code" text PRIMARY KEY)');
$primary->safe_psql('postgres', q{SELECT cqrs.publish('mine', 'mine')});
$replica->safe_psql('postgres', q{SELECT cqrs.subscribe('mine', 'mine')});
ok(stopped('mine', qr/table public\.mine of the replica does not find rows by \(id\)/), 'a replica with another key stops');
like(($cqrs->command(hostile($cqrs->environment('r1')), 'doctor', '--name', 'r1'))[1], qr/public\.mine: rows are not found by \(id\).*ALTER TABLE public\.mine REPLICA IDENTITY USING INDEX/s, '... doctor says what it lacks');
$replica->safe_psql('postgres', 'CREATE UNIQUE INDEX cqrs_identity ON mine (id); ALTER TABLE mine REPLICA IDENTITY USING INDEX cqrs_identity');
$cqrs->wait_live('r1', 'mine');
follow('... and with it every change arrives', ['mine'],
    q{UPDATE mine SET "Code" = 'c' WHERE id = 1}, q{UPDATE mine SET "Code" = "Code" || id}, q{UPDATE mine SET id = id + 10, "Code" = 'n' || id},
    q{DELETE FROM mine WHERE id = 11; INSERT INTO mine VALUES (13, 'n1')}, 'DELETE FROM mine');

# A key that is an array, and a type whose array has no binary form.
$primary->safe_psql('postgres', 'CREATE TABLE arrays (k int[] PRIMARY KEY, a aclitem[]); INSERT INTO arrays SELECT ARRAY[i, NULL], ARRAY[]::aclitem[] FROM generate_series(1, 40) i');
$replica->safe_psql('postgres', 'CREATE TABLE arrays (k int[] PRIMARY KEY, a aclitem[])');
bring('SELECT', 'arrays' => 'arrays');
my $log = -s $replica->logfile;
follow('an array as key', ['arrays'], q{DELETE FROM arrays WHERE k[1] < 30}, 'UPDATE arrays SET k = k || 1', 'DELETE FROM arrays');
unlike(PostgreSQL::Test::Utils::slurp_file($replica->logfile, $log), qr/ERROR/, '... without an error on the way');

# Replication origins belong to the server, not to the database: another replica there has its own. It cannot hold every character.
$replica->safe_psql('postgres', q{CREATE DATABASE second TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'});
$replica->safe_psql('second', 'CREATE EXTENSION parking CASCADE');
$primary->safe_psql('postgres', q{SELECT create_parking_slot('Slot ' || i) FROM generate_series(1, 20) i});
my %second = (%{ $cqrs->environment }, REPLICA_DATABASE_URL => Cqrs::url($replica) =~ s/postgres$/second/r);
my $other = $cqrs->start('second', hostile(\%second), 'apply', '--name', 'second', '--listen', 'none');
ok(Cqrs::wait_until('the second database is live', sub {
    return $replica->safe_psql('second', "SELECT state FROM cqrs.subscription_status WHERE prefix = 'parking'") eq 'live';
}), 'two replicas in one server');
is($replica->safe_psql('second', 'SELECT count(*) FROM parking_slots'), '20', '... both with the rows');

# What its encoding lacks it does not guess: event, key and column are named, also where others are written with it or it would be parked.
my $latin = '(id text PRIMARY KEY, a text, "B" varchar(9))';
my %errors = (
    alone => [ q{('k', 'ä', '5 €')}, qr/^event \S+ \(alone\.create\): public\.alone, key \(id\)=\(k\), column B: 22P05 / ],
    many => [ join(', ', map { "('$_', '" . ($_ == 33 ? '日本' : 'ä') . "', 'b')" } 1 .. 50), qr/^event \S+ \(many\.create\): public\.many, key \(id\)=\(33\), column a: 22P05 / ],
    key => [ q{('ä€', 'a', 'b')}, qr/^event \S+ \(key\.create\): public\.key, key \(id\)=\(\?+\), column id: 22P05 / ],
    park => [ q{('k', 'a€', 'b')}, qr/^event \S+ \(park\.create\): public\.park, key \(id\)=\(k\), column a: 22P05 / ],
);
foreach my $table (sort keys %errors) {
    $primary->safe_psql('postgres', "CREATE TABLE $table $latin; SELECT cqrs.publish('$table', '$table')");
    $replica->safe_psql('second', "CREATE TABLE $table $latin; SELECT cqrs.subscribe('$table', '$table', on_error => '" . ($table eq 'park' ? 'park' : 'stop') . q{')});
}
sub latin { my ($sql) = @_; return $replica->safe_psql('second', "SET client_encoding = 'UTF8'; $sql") }
foreach my $table (sort keys %errors) {
    Cqrs::wait_until("$table is live", sub { return latin("SELECT state FROM cqrs.subscription_status WHERE prefix = '$table'") eq 'live' });
    $primary->safe_psql('postgres', "INSERT INTO $table VALUES ('ä', 'é', 'ß')");
    ok(Cqrs::wait_until("$table has a row", sub { return latin("SELECT count(*) FROM $table WHERE id = 'ä' AND a = 'é'") eq '1' }), "LATIN1: $table has what fits");
    $primary->safe_psql('postgres', "INSERT INTO $table VALUES $errors{$table}[0]");
}
foreach my $table (sort keys %errors) {
    Cqrs::wait_until("$table stops", sub { return latin("SELECT error FROM cqrs.subscription_status WHERE prefix = '$table' AND state = 'stopped'") ne '' });
    like(latin("SELECT error FROM cqrs.subscription_status WHERE prefix = '$table'"), $errors{$table}[1], "... $table names what does not");
    is(latin("SELECT count(*) FROM $table"), '1', '... and holds nothing of it');
}

# What nobody subscribes to any more leaves none behind.
sub origins { return $replica->safe_psql('postgres', "SELECT count(*) FROM pg_replication_origin WHERE roname LIKE '%arrays'") }
is(origins(), '1', 'a topic has an origin');
$replica->safe_psql('postgres', "SELECT cqrs.unsubscribe('arrays')");
ok(Cqrs::wait_until('the origin is gone', sub { return origins() eq '0' }), '... while somebody subscribes to it');

unlike($_->log, qr/timeout/, 'no timeout of the role ended anything') foreach $relay, $apply, $other;
$_->signal('TERM') foreach $relay, $apply, $other;
$_->wait_end(10) foreach $relay, $apply, $other;
$cqrs->finish;
done_testing();
