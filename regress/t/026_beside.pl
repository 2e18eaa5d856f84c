# A topic that is behind writes a batch while the one before is being written, over another connection. A batch that
# somebody's lock holds up shows what the one behind it does meanwhile: it commits after it, or not at all.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use HTTP::Tiny;
use Test::More;

my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
sub on_primary { return $primary->safe_psql('postgres', $_[0]) }
sub on_replica { return $replica->safe_psql('postgres', $_[0]) }

on_primary('CREATE TABLE item (id numeric PRIMARY KEY, name text NOT NULL, price int NOT NULL CHECK (price < 1000000))');
on_replica('CREATE TABLE item (id numeric PRIMARY KEY, name text NOT NULL, price int NOT NULL)');
on_primary(q{INSERT INTO item SELECT i, 'item ' || i, i % 100 FROM generate_series(1, 4000) i});
on_primary(q{SELECT cqrs.publish('item', 'shop.item')});
on_replica(q{SELECT cqrs.subscribe('shop.item', 'item')});

my $relay = $cqrs->start_relay('--batch-bytes', '64kB');
my $apply;
# Two transactions make two batches: the first is as large as one has to be.
my @more;
sub start_apply { $apply = $cqrs->start_apply('r1', '--apply-batch', '2000', @more) }
sub stop_apply {
    $apply->signal('TERM');
    my $seconds = $apply->wait_end(10);
    ok(defined $seconds && $seconds < 3 && $apply->status == 0, 'the applier ends in order');
}
# The relay has sent everything: the applier finds a queue that is long enough.
sub sent {
    my $last = on_primary('SELECT pg_current_wal_lsn()');
    Cqrs::wait_until("the relay has sent $last", sub {
        return on_primary("SELECT lsn >= '$last' FROM cqrs.relay_state WHERE slot = 'cqrs'") eq 't';
    });
}
my $beside = q{application_name = 'cqrs apply shop 1'};
sub wait_beside {
    return Cqrs::wait_until('the second batch waits for the first, or has been refused', sub {
        return on_replica("SELECT count(*) FROM pg_stat_activity WHERE $beside AND (
            wait_event IN ('advisory', 'transactionid') OR query = 'ROLLBACK')") eq '1';
    });
}
sub held { return on_replica("SELECT sequence FROM cqrs.position WHERE topic = 'shop'") }

# hold_up(ROWS): a session of somebody else's that has rows of the first batch.
my $holder;
sub hold_up {
    my ($condition) = @_;
    $holder = $replica->background_psql('postgres');
    $holder->query_safe("BEGIN; SELECT FROM item WHERE $condition FOR UPDATE");
}
sub let_go {
    $holder->query_safe('COMMIT');
    $holder->quit;
}
# during(CHANGES, sub): the applier finds them all at once; sub runs while the first of them is held up and the
# second one waits.
sub during {
    my ($changes, $while) = @_;
    stop_apply();
    on_primary($_) foreach @$changes;
    sent();
    hold_up('id <= 2000');
    my $before = held();
    my $rows = Cqrs::digest($replica, 'item');
    start_apply();
    ok(wait_beside(), 'a batch is written beside the one that is held up');
    is(held(), $before, 'and is not committed');
    is(Cqrs::digest($replica, 'item'), $rows, 'nor seen');
    $while->() if $while;
    let_go();
}

start_apply();
ok($cqrs->wait_live('r1', 'shop.item'), 'live');
on_primary('UPDATE item SET price = 0 WHERE id = 4000');
$cqrs->wait_equal('r1', 'item');
my $first = q{UPDATE item SET price = price + 1 WHERE id <= 2000};

# Other rows, and the same ones.
during([$first, q{UPDATE item SET price = price + 1 WHERE id > 2000}]);
$cqrs->wait_equal('r1', 'item');
during([$first, q{UPDATE item SET price = price * 2 WHERE id > 1000 AND id <= 3000}]);
$cqrs->wait_equal('r1', 'item');

# Rows that come and go: what the first makes the second deletes.
during([
    q{BEGIN; UPDATE item SET price = 1 WHERE id <= 1000; INSERT INTO item SELECT i, 'brief', 1 FROM generate_series(7000, 8999) i; COMMIT},
    q{DELETE FROM item WHERE id >= 7000},
]);
$cqrs->wait_equal('r1', 'item');

# And the other way round; a key that is written in another way (numeric: 5000 and 5000.0 are one key).
during([
    q{BEGIN; UPDATE item SET price = 1 WHERE id <= 1000; DELETE FROM item WHERE id > 3000 AND id <= 3500;
        INSERT INTO item SELECT i, 'new', 2 FROM generate_series(5000, 6000) i; COMMIT},
    q{BEGIN; DELETE FROM item WHERE id >= 5000; INSERT INTO item SELECT (i || '.0')::numeric, 'again', 3
        FROM generate_series(3001, 3500) i; INSERT INTO item SELECT (i || '.0')::numeric, 'again', 3 FROM generate_series(5000, 5500) i; COMMIT},
]);
$cqrs->wait_equal('r1', 'item');
is(on_replica('SELECT count(*) FROM cqrs.incidents'), '0', 'nothing of this cost a copy');
unlike($apply->log, qr/ of \d+ rows/, 'every row was where it had to be');

# Its connection is lost; SIGTERM while both wait.
during([$first, q{UPDATE item SET price = 4 WHERE id > 2000 AND id < 4500}], sub {
    on_replica("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE $beside");
});
$cqrs->wait_equal('r1', 'item');
during([$first, q{UPDATE item SET price = 5 WHERE id > 2000 AND id < 4500}], sub {
    stop_apply();
    start_apply();
    wait_beside();
    $apply->signal('KILL');
    $apply->wait_end(10);
    start_apply();
});
$cqrs->wait_equal('r1', 'item');
is(on_replica('SELECT count(*) FROM cqrs.incidents'), '0', 'nor did that');

# Three at once, each bound to the one before; then somebody puts up a fence meanwhile, as `verify` does: the second may
# not pass it, and the third waits for the second.
foreach my $jobs (3, 2) {
    @more = ('--apply-jobs', $jobs);
    during([$first, map { "UPDATE item SET price = price * 2 + $_ WHERE id > 2000 AND id < 4500" } 1 .. 3], sub {
        if ($jobs == 3) {
            ok(Cqrs::wait_until('a third waits too', sub {
                return on_replica(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cqrs apply shop 2' AND wait_event = 'advisory'}) eq '1';
            }), 'the third waits too');
            return;
        }
        on_replica(q{INSERT INTO cqrs.fence (topic, lsn, owner, expires_at) VALUES ('shop', '0/0', 'test', now() + interval '1 hour')});
    });
    if ($jobs == 2) {
        ok(Cqrs::wait_until('the topic is held', sub { return on_replica(q{SELECT reached FROM cqrs.fence WHERE topic = 'shop'}) eq 't' }),
            'a fence holds the topic');
        on_replica(q{DELETE FROM cqrs.fence WHERE topic = 'shop'});
    }
    $cqrs->wait_equal('r1', 'item');
}

# The first is refused: what is behind it is not there either, until it is mended.
on_replica('ALTER TABLE item ADD CONSTRAINT cheap CHECK (price <> 900)');
during([q{UPDATE item SET price = CASE WHEN id = 2 THEN 900 ELSE 706 END WHERE id <= 2000}, q{UPDATE item SET price = 707 WHERE id > 2000}]);
ok(Cqrs::wait_until('the topic stops', sub {
    return on_replica(q{SELECT state FROM cqrs.position WHERE topic = 'shop'}) eq 'stopped';
}), 'a refused batch stops the topic');
is(on_replica('SELECT count(*) FROM item WHERE price IN (706, 707)'), '0', 'and nothing behind it is there');
on_replica('ALTER TABLE item DROP CONSTRAINT cheap');
on_replica(q{UPDATE cqrs.subscription SET notify = NOT notify WHERE prefix = 'shop.item'});
$cqrs->wait_equal('r1', 'item');
on_replica(q{UPDATE cqrs.subscription SET notify = NOT notify WHERE prefix = 'shop.item'});

# The second one is: the first is there.
on_replica('ALTER TABLE item ADD CONSTRAINT cheap CHECK (price <> 901)');
during([q{UPDATE item SET price = 708 WHERE id <= 2000}, q{UPDATE item SET price = CASE WHEN id = 2500 THEN 901 ELSE 709 END WHERE id > 2000}]);
ok(Cqrs::wait_until('the topic stops', sub {
    return on_replica(q{SELECT state FROM cqrs.position WHERE topic = 'shop'}) eq 'stopped';
}), 'a refused batch beside another stops the topic');
is(on_replica('SELECT count(*) FILTER (WHERE price = 708), count(*) FILTER (WHERE price = 709) FROM item'), '2000|0', 'where it was');
on_replica('ALTER TABLE item DROP CONSTRAINT cheap');
on_replica(q{UPDATE cqrs.subscription SET notify = NOT notify WHERE prefix = 'shop.item'});
$cqrs->wait_equal('r1', 'item');

# Whoever reads the replica's WAL sees that none of it was written here.
my $slot = on_replica(q{SELECT pg_create_logical_replication_slot('watch', 'test_decoding')});
during([$first, q{UPDATE item SET price = 10 WHERE id > 2000}]);
$cqrs->wait_equal('r1', 'item');
is(on_replica(q{SELECT count(*) FROM pg_logical_slot_get_changes('watch', NULL, NULL, 'only-local', '1') WHERE data LIKE 'table public.item:%'}),
    '0', 'both connections write with an origin');
on_replica(q{SELECT pg_drop_replication_slot('watch')});

# A table whose rows are not each its own: another unique index, a trigger that looks on.
sub batches_beside {
    my ($more) = @_;
    on_replica($more);
    stop_apply();
    on_primary($first);
    on_primary("UPDATE item SET price = price + $_ WHERE id > 2000 AND id < 4100") foreach 1 .. 4;
    sent();
    my $port = PostgreSQL::Test::Cluster::get_free_port();
    $apply = $cqrs->start('apply-r1', $cqrs->environment('r1'), 'apply', '--name', 'r1', '--apply-batch', '2000', '--listen', "127.0.0.1:$port");
    $cqrs->wait_equal('r1', 'item');
    my $metrics = HTTP::Tiny->new(timeout => 5)->get("http://127.0.0.1:$port/metrics")->{content};
    my %count = $metrics =~ /^cqrs_apply_batches_total\{beside="(\w+)",topic="shop"\} (\d+)/mg;
    cmp_ok($count{false}, '>', 0, 'large batches were written');
    return $count{true} // 0;
}
is(batches_beside('CREATE UNIQUE INDEX other ON item (name, id)'), 0, 'another unique index: one after the other');
on_replica('DROP INDEX other');
is(batches_beside(<<'SQL'), 0, 'a trigger: one after the other');
CREATE FUNCTION look_on() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER look_on AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION look_on();
ALTER TABLE item ENABLE REPLICA TRIGGER look_on;
SQL
on_replica('DROP TRIGGER look_on ON item');
cmp_ok(batches_beside('SELECT'), '>', 0, 'without them: beside each other');

$_->signal('TERM') foreach $relay, $apply;
$_->wait_end(10) foreach $relay, $apply;
$cqrs->finish;
done_testing();
