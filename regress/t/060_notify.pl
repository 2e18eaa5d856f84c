# NOTIFY, three ways, on the channel named as the event type.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Cqrs;
use HTTP::Tiny;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cqrs = Cqrs->new(replicas => ['r1']);
my ($primary, $replica) = ($cqrs->primary, $cqrs->replica('r1'));
my $table = 'CREATE TABLE wide (id int PRIMARY KEY, filler text)';
$_->safe_psql('postgres', $table) foreach $primary, $replica;
$primary->safe_psql('postgres', q{SELECT cqrs.publish('wide', 'wide')});
$replica->safe_psql('postgres', q{SELECT cqrs.subscribe('wide', 'wide', notify => true)});
my $port = PostgreSQL::Test::Cluster::get_free_port();
$cqrs->start('relay', $cqrs->environment, 'relay', '--listen', "127.0.0.1:$port");
$cqrs->start_apply('r1');
ok($cqrs->wait_live('r1', $_), "$_ is live") foreach qw(parking wide);

# psql prints notifications when a query ends: ask until the wanted number has come.
sub hear {
    my ($node, $channel, $count, $action) = @_;
    my $psql = $node->background_psql('postgres');
    my $all = $psql->query(qq{LISTEN "$channel"; SELECT 'listening'});
    my $said = $action->($psql);
    $all .= $said if defined $said && !ref $said;
    Cqrs::wait_until("$count notifications on $channel", sub {
        $all .= $psql->query('SELECT 1');
        return (() = $all =~ /Asynchronous notification/g) >= $count;
    });
    $psql->quit;
    return [ $all =~ /Asynchronous notification "\Q$channel\E" with payload "(.*)" received/g ];
}

# (a) publish(..., notify => true): the relay, on the primary, right after the commit.
my $heard = hear($primary, 'parking.create', 3, sub {
    $primary->safe_psql('postgres', q{SELECT create_parking_slot('heard ' || i) FROM generate_series(1, 3) i});
});
is(scalar @$heard, 3, '(a) the relay notifies once an event');
my $event = decode_json($heard->[0]);
is($event->{data}{name}, 'heard 1', '(a) the payload is the event');
like($event->{id}, qr{^[0-9A-F]+/[0-9A-F]+\.1$}, '(a) with its id');

# (b) cqrs.notify = on: the command, in its own transaction.
$heard = hear($primary, 'parking.update', 2, sub {
    my ($psql) = @_;
    return $psql->query(q{SET cqrs.notify = on; SELECT block_parking_slot(uuid) FROM parking_slots WHERE name = 'heard 1'});
});
my @own = grep { $_->{id} =~ /^xid:/ } map { decode_json($_) } @$heard;
is(scalar @own, 1, '(b) the command notifies in its own transaction, beside the relay');
is($own[0]{data}{status}, 'blocked', '(b) the payload is the event');

# (c) subscribe(..., notify => true): the applier, in the transaction that applies the event.
$heard = hear($replica, 'wide.create', 2, sub {
    $primary->safe_psql('postgres', q{INSERT INTO wide VALUES (1, 'small'), (2, repeat('x', 9000))});
});
is(scalar @$heard, 2, '(c) the applier notifies once an event');
is(decode_json($heard->[0])->{data}{filler}, 'small', '(c) the payload is the event');
like($heard->[1], qr{^[0-9A-F]+/[0-9A-F]+\.2$}, '(c) the id alone where the event would not fit');
is($replica->safe_psql('postgres', 'SELECT count(*) FROM wide'), '2', '(c) whoever hears of it sees it');

# (a) never holds anything up: what does not fit into 16 MB is left out, counted and told.
$primary->safe_psql('postgres', q{CREATE TABLE loud (id int PRIMARY KEY, filler text); SELECT cqrs.publish('loud', 'loud', notify => true)});
$primary->safe_psql('postgres', q{INSERT INTO loud VALUES (0, '')});
my $notifier;
Cqrs::wait_until('the relay notifies', sub {
    return $notifier = $primary->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'cqrs relay notify'});
});
kill 'STOP', $notifier;
$primary->safe_psql('postgres', q{INSERT INTO loud SELECT i, repeat('x', 7000) FROM generate_series(1, 4000) i; SELECT create_parking_slot('beside it')});
$cqrs->wait_equal('r1', 'parking_slots');
my $get = sub { return HTTP::Tiny->new(timeout => 5)->get("http://127.0.0.1:$port$_[0]")->{content} };
my $left_out = 0;
ok(Cqrs::wait_until('some are left out', sub {
    return ($left_out) = $get->('/health') =~ /"relay\.notify_left_out":"(\d+)"/;
}), '/health says how many were left out');
cmp_ok($left_out, '<', 2000, 'not those that fit');
like($get->('/metrics'), qr/^cqrs_relay_notify_dropped_total [1-9]/m, 'a metric counts them');
kill 'CONT', $notifier;

$cqrs->finish;
done_testing();
