# What is parked and changes its key waits with both: what comes of the old key later, and what is tried again, keep their order.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use Test::More;

my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
my $relay = $cqrs->start_relay;
my $apply = $cqrs->start_apply('r1');

sub p { return $primary->safe_psql('postgres', $_[0]) }
sub r { return $replica->safe_psql('postgres', $_[0]) }
sub applied { return $cqrs->wait_applied('r1', 'shop') }
# The replica is stricter than the primary, for a while.
sub strict { r("ALTER TABLE $_[0] ADD CONSTRAINT strict CHECK (v >= 0) NOT VALID") }
sub lenient { r("ALTER TABLE $_[0] DROP CONSTRAINT strict") }
sub parked { return r(q{SELECT coalesce(string_agg(concat_ws('<', key->>'id', old_key->>'id'), ' ' ORDER BY sequence), '') FROM cqrs.parked}) }
sub tried { return Cqrs::wait_until('it was tried', sub { return r('SELECT count(*) FROM cqrs.parked WHERE retry') eq '0' }) }

my %table = (
    item => 'id int PRIMARY KEY, v int',
    wide => 'id int PRIMARY KEY, v int, body text',
    made => 'id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, v int',
);
foreach my $name (sort keys %table) {
    foreach my $node ($primary, $replica) {
        $node->safe_psql('postgres', "CREATE TABLE $name ($table{$name})");
    }
    p("SELECT cqrs.publish('$name', 'shop.$name')");
    r("SELECT cqrs.subscribe('shop.$name', '$name', on_error => 'park')");
}
p('ALTER TABLE wide ALTER body SET STORAGE EXTERNAL');
ok($cqrs->wait_live('r1', "shop.$_"), "$_ is live") foreach sort keys %table;

# The old key of a refused change is used again.
p('INSERT INTO item VALUES (1, 1), (3, 3)');
applied();
strict('item');
p('UPDATE item SET id = 2, v = -1 WHERE id = 1');
applied();
p('INSERT INTO item VALUES (1, 5)');
applied();
p('UPDATE item SET id = 4 WHERE id = 1');
applied();
p('INSERT INTO item VALUES (1, 6); UPDATE item SET v = 33 WHERE id = 3');
ok(applied(), 'the topic goes on');
is(parked(), '2<1 1 4<1 1', 'all of the old key waits too');
is(r('SELECT string_agg(id || $$=$$ || v, $$ $$ ORDER BY id) FROM item'), '1=1 3=33', 'another key does not');
lenient('item');
r(q{SELECT cqrs.retry_parked('shop.item', '{"id": "4"}')});
ok(Cqrs::wait_until('nothing is parked', sub { return parked() eq '' }), 'one key takes along what it is tied to');
$cqrs->wait_equal('r1', 'item');

# A change of key behind a refused row is not tried without it.
strict('item');
p('INSERT INTO item VALUES (11, -1)');
p('UPDATE item SET id = 12, v = 5 WHERE id = 11');
ok(applied(), 'a refused row changes its key');
is(parked(), '11 12<11', 'both wait');
foreach my $key ('NULL', q{'{"id": "12"}'}) {
    r("SELECT cqrs.retry_parked('shop.item', $key)");
    tried();
    is(parked(), '11 12<11', "both wait after they were tried ($key)");
}
is(r('SELECT count(*) FROM item WHERE id > 10'), '0', 'and nothing of them is there');
lenient('item');
r(q{SELECT cqrs.retry_parked('shop.item')});
ok(Cqrs::wait_until('nothing is parked', sub { return parked() eq '' }), 'then both are applied');
$cqrs->wait_equal('r1', 'item');

# Tried again, an update that leaves out a large value finds no row to keep it from.
p(q{INSERT INTO wide SELECT g, g, string_agg(md5(i::text), '') FROM generate_series(1, 2) g, generate_series(1, 300) i GROUP BY g});
applied();
strict('wide');
p('UPDATE wide SET v = -1 WHERE id = 1');
applied();
is(parked(), '1', 'it waits');
lenient('wide');
r('DELETE FROM wide WHERE id = 1');
r(q{SELECT cqrs.retry_parked('shop.wide')});
tried();
like(r('SELECT message FROM cqrs.parked'), qr/found no row in public\.wide/, 'still parked, and says why');
p('UPDATE wide SET v = 22 WHERE id = 2');
ok(applied(), 'the topic goes on');
is(r('SELECT v FROM wide WHERE id = 2'), '22', 'with other keys');
r(q{SELECT cqrs.discard_parked('shop.wide')});

# A column that UPDATE cannot SET.
p('INSERT INTO made (id, v) VALUES (1, 1), (2, 2)');
applied();
strict('made');
p('BEGIN; UPDATE made SET v = -1 WHERE id = 1; UPDATE made SET v = 20 WHERE id = 2; INSERT INTO made (id, v) VALUES (3, 3); COMMIT');
ok(applied(), 'a refused update of a table with an identity column');
is(parked(), '1', 'it waits');
is(r('SELECT string_agg(id || $$=$$ || v, $$ $$ ORDER BY id) FROM made'), '1=1 2=20 3=3', 'the rest of its transaction does not');
p('INSERT INTO made (id, v) VALUES (4, -4); UPDATE made SET v = 4 WHERE id = 4');
applied();
lenient('made');
r(q{SELECT cqrs.retry_parked('shop.made')});
ok(Cqrs::wait_until('nothing is parked', sub { return parked() eq '' }), 'all of it is applied');
$cqrs->wait_equal('r1', 'made');
is(r('SELECT count(*) FROM cqrs.incidents'), '0', 'nothing had to be copied anew');

$cqrs->finish;
done_testing;
