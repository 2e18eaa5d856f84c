# on_error => 'park': an event that the replica refuses waits, with what follows of its key; the others go on.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use PostgreSQL::Test::Utils;
use Test::More;

my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
my $relay = $cqrs->start_relay;
# Small: large transactions are spooled.
my $apply = $cqrs->start_apply('r1', '--memory', '1MB');

sub p { return $primary->safe_psql('postgres', $_[0]) }
sub r { return $replica->safe_psql('postgres', $_[0]) }
sub applied { return $cqrs->wait_applied('r1', 'shop') }
sub rows { return r("SELECT string_agg(id || '=' || v, ' ' ORDER BY id) FROM item") }

# The replica is stricter than the primary: a row with a negative value does not fit.
p('CREATE TABLE item (id int PRIMARY KEY, v int, u int UNIQUE)');
p(q{SELECT cqrs.publish('item', 'shop.item')});
r('CREATE TABLE item (id int PRIMARY KEY, v int CHECK (v >= 0), u int UNIQUE)');
r(q{SELECT cqrs.subscribe('shop.item', 'item', on_error => 'park')});
ok($cqrs->wait_live('r1', 'shop.item'), 'live');

p('INSERT INTO item SELECT g, g, g FROM generate_series(1, 5) g');
applied();
p(q{UPDATE item SET v = -2 WHERE id = 2});
p(q{UPDATE item SET v = 20 WHERE id = 2; UPDATE item SET v = 10 WHERE id = 1; INSERT INTO item VALUES (6, -6, 6), (7, 7, 7)});
ok(applied(), 'the topic goes on');
is(rows(), '1=10 2=2 3=3 4=4 5=5 7=7', 'all keys but those of the refused events');
is(r(q{SELECT string_agg(format('%s %s %s %s %s', sequence, key->>'id', event->>'type', coalesce(sqlstate, '-'), attempts), ', ' ORDER BY sequence) FROM cqrs.parked}),
    '6 2 shop.item.update 23514 1, 7 2 shop.item.update - 0, 9 6 shop.item.create 23514 1', 'the refused events, and what follows of their key');
like(r('SELECT message FROM cqrs.parked WHERE sequence = 6'), qr/shop\.item\.update.*item_v_check/s, 'with the reason');
like($apply->log, qr/parked, with what follows of its key/, 'and it is logged');

# A new key goes along with an old one that waits; a batch with a swap of unique values beside a refusal is no second refusal.
p(q{BEGIN; UPDATE item SET id = 22 WHERE id = 2; UPDATE item SET v = -3 WHERE id = 3; UPDATE item SET u = 100 WHERE id = 4; UPDATE item SET u = 4 WHERE id = 5; UPDATE item SET u = 5 WHERE id = 4; COMMIT});
ok(applied(), 'on it goes');
is(r(q{SELECT string_agg(DISTINCT key->>'id', ',') FROM cqrs.parked}), '2,22,3,6', 'keys that wait');
is(r('SELECT string_agg(id || \'=\' || u, \' \' ORDER BY id) FROM item WHERE id IN (4, 5)'), '4=5 5=4', 'a swap in the same transaction is applied');

# Kept over a restart, and still refused until the cause is gone.
$apply->kill_now;
$apply = $cqrs->start_apply('r1', '--memory', '1MB');
p(q{UPDATE item SET v = 33 WHERE id = 3});
ok(applied(), 'after a restart');
is(r(q{SELECT v FROM item WHERE id = 3}), '3', 'the key still waits');
is(r(q{SELECT cqrs.retry_parked('shop.item', '{"id": "3"}')}), '2', 'two events to try again');
ok(Cqrs::wait_until('it was tried', sub { return r(q{SELECT bool_and(NOT retry) AND max(attempts) = 2 FROM cqrs.parked WHERE key->>'id' = '3'}) eq 't' }), 'refused again, counted');

r('ALTER TABLE item DROP CONSTRAINT item_v_check');
r(q{SELECT cqrs.retry_parked('shop.item', '{"id": "3"}')});
ok(Cqrs::wait_until('it is applied', sub { return r(q{SELECT count(*) FROM cqrs.parked WHERE key->>'id' = '3'}) eq '0' }), 'one key');
is(r(q{SELECT v FROM item WHERE id = 3}), '33', 'its events were applied, in order');
is(r(q{SELECT cqrs.discard_parked('shop.item', '{"id": "6"}')}), '1', 'another is given up');
p('UPDATE item SET v = 66 WHERE id = 6');
applied();
is(r('SELECT v FROM item WHERE id = 6'), '66', 'later events of a discarded key are applied');
r(q{SELECT cqrs.retry_parked('shop.item')});
ok(Cqrs::wait_until('nothing is parked', sub { return r('SELECT count(*) FROM cqrs.parked') eq '0' }), 'all the others');
$cqrs->wait_equal('r1', 'item');

# A transaction too large for memory.
r('ALTER TABLE item ADD CHECK (v >= 0) NOT VALID');
p(q{INSERT INTO item SELECT g, CASE g WHEN 30000 THEN -1 ELSE g END, g FROM generate_series(1000, 60000) g});
ok(applied(), 'a spooled transaction with a refused row');
is(r('SELECT count(*) FROM item WHERE id >= 1000'), '59000', 'all but one row');
is(r(q{SELECT key->>'id' FROM cqrs.parked}), '30000', 'which waits');

# TRUNCATE leaves nothing to wait for.
p('TRUNCATE item; INSERT INTO item VALUES (30000, 1, 1)');
ok(applied(), 'truncated');
is(r('SELECT count(*) FROM cqrs.parked'), '0', 'nothing is parked');
$cqrs->wait_equal('r1', 'item');

# By default a topic stops.
r(q{SELECT cqrs.subscribe('shop.item', 'item')});
p('INSERT INTO item VALUES (1, -1, 9)');
ok(Cqrs::wait_until('stopped', sub { return r(q{SELECT state FROM cqrs.subscription_status WHERE prefix = 'shop.item'}) eq 'stopped' }), 'on_error => stop');
is(r('SELECT count(*) FROM cqrs.parked'), '0', 'and parks nothing');

$cqrs->finish;
done_testing();
