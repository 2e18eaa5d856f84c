# Other columns on the primary than on the replica: stop, follow or ignore, as the subscription says; never wrong data.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use PostgreSQL::Test::Utils;
use Test::More;

my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
my @modes = qw(stop follow ignore);
foreach my $mode (@modes) {
    $_->safe_psql('postgres', "CREATE TABLE $mode (id int PRIMARY KEY, v varchar(5), old text NOT NULL)") foreach $primary, $replica;
    $primary->safe_psql('postgres', "SELECT cqrs.publish('$mode', '$mode'); INSERT INTO $mode VALUES (1, 'one', 'x')");
    $replica->safe_psql('postgres', "SELECT cqrs.subscribe('$mode', '$mode', schema => '$mode')");
}
my $relay = $cqrs->start_relay;
my $apply = $cqrs->start_apply('r1');
ok($cqrs->wait_live('r1', $_), "$_ is live") foreach @modes;

sub primary_does { $primary->safe_psql('postgres', $_[0]); return }
sub on_all { my ($sql) = @_; foreach my $mode (@modes) { (my $s = $sql) =~ s/\bT\b/$mode/g; primary_does($s) } return }
# Columns of the primary, by name: a replica may keep others.
sub columns { my ($node, $table) = @_; return $node->safe_psql('postgres', "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attname) FROM pg_attribute WHERE attrelid = '$table'::regclass AND attnum > 0 AND NOT attisdropped") }
sub equal {
    my ($table, $what, $columns) = @_;
    $columns ||= columns($primary, $table);
    my $digest = "SELECT string_agg(t::text, E'\\n' ORDER BY key) FROM (SELECT id AS key, $columns FROM $table) t";
    my $expected = $primary->safe_psql('postgres', $digest);
    my $actual;
    Cqrs::wait_until("$table: $what", sub { return eval { $actual = $replica->safe_psql('postgres', $digest); $actual eq $expected } });
    return is($actual, $expected, "$table: $what");
}
sub stopped {
    my ($table) = @_;
    my $error;
    Cqrs::wait_until("$table stops", sub { return ($error = $replica->safe_psql('postgres', "SELECT error FROM cqrs.position WHERE topic = '$table' AND state = 'stopped'")) ne '' });
    return $error;
}
sub again { my ($table) = @_; $replica->safe_psql('postgres', "UPDATE cqrs.position SET state = 'live', error = NULL WHERE topic = '$table'"); return }

# A column is added.
on_all(q{ALTER TABLE T ADD COLUMN "Price" numeric(10,2); INSERT INTO T VALUES (2, 'two', 'x', 9.90); UPDATE T SET v = 'uno' WHERE id = 1});
equal('follow', 'an added column is added');
is($replica->safe_psql('postgres', q{SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'follow'::regclass AND attname = 'Price'}), 'numeric(10,2)', 'with its type');
equal('ignore', 'an added column is ignored', 'v, old');
my @warnings = $apply->log =~ /(has no column "Price", which the primary has: its values are ignored)/g;
is(scalar @warnings, 1, 'with one warning');
my $error = stopped('stop');
like($error, qr{^event [0-9A-F]+/[0-9A-F]+\.1 \(stop\.create\): "?public"?\."?stop"? has no column "Price"}, 'an added column stops: event, table, column');
my ($statement) = $error =~ /(ALTER TABLE [^;]*;)/;
is($statement, 'ALTER TABLE public.stop ADD COLUMN "Price" numeric(10,2);', 'and the statement that helps');
$replica->safe_psql('postgres', $statement);
again('stop');
equal('stop', 'goes on with it');

# Added with a default: rows that were there have it too.
on_all(q{ALTER TABLE T ADD COLUMN seven int DEFAULT 7; INSERT INTO T VALUES (3, 'three', 'x', 1, 8)});
equal('follow', 'a default reaches the rows that were there');
equal('ignore', 'a default is ignored', 'v, old');
like(stopped('stop'), qr/ADD COLUMN "seven"/, 'a copy that lacks a column stops and says what to do');
$replica->safe_psql('postgres', 'ALTER TABLE stop ADD COLUMN seven int');
again('stop');
equal('stop', 'and is made when the column is there');

# Wider without a rewrite: the value that does not fit is named; who follows, follows.
on_all(q{ALTER TABLE T ALTER COLUMN v TYPE varchar(50); INSERT INTO T VALUES (4, 'a longer text', 'x', 1, 8)});
equal('follow', 'a changed type is followed');
is($replica->safe_psql('postgres', q{SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'follow'::regclass AND attname = 'v'}), 'character varying(50)', 'with its length');
foreach my $mode (qw(stop ignore)) {
    like(stopped($mode), qr/^event \S+ \($mode\.create\): public\.$mode, key \(id\)=\(4\), column v: 22001 value too long for type character varying\(5\)/, "$mode: a value that does not fit: event, key, column, reason");
    is($replica->safe_psql('postgres', "SELECT max(id) FROM $mode"), '3', 'nothing of it is here');
    $replica->safe_psql('postgres', "ALTER TABLE $mode ALTER COLUMN v TYPE varchar(50)");
    again($mode);
    equal($mode, 'goes on with the type', 'v, old');
}

# Rewritten to another type.
primary_does(q{ALTER TABLE follow ALTER COLUMN seven TYPE text USING 'number ' || seven; INSERT INTO follow VALUES (5, 'five', 'x', 1, 'eight')});
equal('follow', 'a rewritten column is followed');

# Renamed: a column less, a column more, and the values are there.
on_all(q{ALTER TABLE T RENAME COLUMN v TO w; INSERT INTO T (id, w, old) VALUES (6, 'six', 'x')});
equal('follow', 'a renamed column is added, with the values of all rows');
like(stopped('stop'), qr/column "w"/, 'a renamed column stops');
$replica->safe_psql('postgres', 'ALTER TABLE stop RENAME COLUMN v TO w');
again('stop');
equal('stop', 'and goes on when it is renamed here');
equal('ignore', 'a renamed column is ignored', 'old');

# Dropped: no value is lost here, none is invented.
on_all(q{ALTER TABLE T DROP COLUMN old; INSERT INTO T (id, w) VALUES (7, 'seven'); UPDATE T SET w = 'new' WHERE id = 6});
equal('follow', 'a dropped column is done without');
foreach my $mode (qw(stop ignore)) {
    like(stopped($mode), qr/column old: 23502/, "$mode: a dropped column that must not be empty stops");
    $replica->safe_psql('postgres', "ALTER TABLE $mode ALTER COLUMN old DROP NOT NULL");
    again($mode);
}
equal('stop', 'goes on without it');
equal('ignore', 'goes on without it', 'id');
is($replica->safe_psql('postgres', 'SELECT old FROM stop WHERE id = 6'), 'x', 'what was there stays');

# Far behind: events are of a schema that is history by now.
$apply->signal('TERM');
$apply->wait_end(10);
primary_does(q{ALTER TABLE follow ADD COLUMN e text; INSERT INTO follow (id, e) VALUES (10, 'abc')});
primary_does(q{ALTER TABLE follow ALTER COLUMN e TYPE int USING length(e); INSERT INTO follow (id, e) VALUES (11, 4)});
primary_does(q{ALTER TABLE follow ADD COLUMN gone text; INSERT INTO follow (id, gone) VALUES (12, 'x'); ALTER TABLE follow DROP COLUMN gone});
primary_does(q{ALTER TABLE follow RENAME COLUMN w TO v; UPDATE follow SET v = 'renamed back' WHERE id = 10});
$apply = $cqrs->start_apply('r1');
equal('follow', 'catches up over changes of its schema');
primary_does(q{INSERT INTO follow (id, v, e) VALUES (13, 'live', 5)});
equal('follow', 'and goes on');

# Without the primary's address it cannot follow: it says so.
$apply->signal('TERM');
$apply->wait_end(10);
primary_does(q{ALTER TABLE follow ADD COLUMN late int; INSERT INTO follow (id, late) VALUES (14, 1)});
my $environment = $cqrs->environment('r1');
delete $environment->{DATABASE_URL};
$apply = $cqrs->start('apply-alone', $environment, 'apply', '--name', 'r1', '--listen', 'none');
like(stopped('follow'), qr/has no column "late".*ALTER TABLE public\.follow ADD COLUMN "late".*DATABASE_URL/s, 'no DATABASE_URL: stops with a hint');

$cqrs->finish;
done_testing();
