# Frames as the relay reads them: from a walsender, without a broker.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', "autovacuum = off\nmax_prepared_transactions = 5\nlogical_decoding_work_mem = 64kB\n");
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]) }

# The slot's frames up to now, taken apart. A heartbeat at the end pushes out what is held.
sub frames {
    my ($slot, %options) = @_;
    sql(q{SELECT pg_logical_emit_message(false, 'cqrs.heartbeat', 'token')}) unless delete $options{quiet};
    sql(q{SELECT pg_logical_emit_message(true, 'end', '')});  # its commit flushes
    my $end = sql('SELECT pg_current_wal_flush_lsn()');
    %options = (format => 'frame', heartbeat => 'token', source => '/test', %options);
    my $file = "$PostgreSQL::Test::Utils::tmp_check/$slot.frames";
    unlink $file;
    $node->command_ok(
        [ 'pg_recvlogical', '-d', $node->connstr('postgres'), '--slot', $slot, '--start', '--no-loop',
            '--endpos', $end, '-f', $file, map { ('-o', "$_=$options{$_}") } sort keys %options ],
        "read $slot");
    return decode(slurp_file($file));
}

sub decode {
    my ($bytes) = @_;
    my @frames;
    while (length $bytes) {
        my %frame;
        (my $magic, $frame{kind}, $frame{more}, my $topic_length, $frame{safe}, my $time) =
          unpack('a4CCnQ>q>', $bytes);
        $magic eq 'CQF1' or die "no frame: " . unpack('H*', substr($bytes, 0, 20));
        my $at = 24;
        if ($frame{kind} == 1) {
            my ($types, $commits, $events, $body) = unpack('NNNN', substr($bytes, $at));
            $at += 16;
            $frame{topic} = substr($bytes, $at, $topic_length);
            $at += $topic_length;
            for (1 .. $types) {
                my ($flags, $length) = unpack('CC', substr($bytes, $at, 2));
                push @{ $frame{types} }, substr($bytes, $at + 2, $length);
                $at += 2 + $length;
            }
            for (1 .. $commits) {
                my ($count, $lsn) = unpack('NQ>', substr($bytes, $at, 20));
                push @{ $frame{commits} }, ($lsn) x $count;
                $at += 20;
            }
            my @lengths;
            for (1 .. $events) {
                push @lengths, unpack('N', substr($bytes, $at, 6));
                $at += 6;
            }
            my $end = $at + $body;
            for my $length (@lengths) {
                push @{ $frame{events} }, substr($bytes, $at, $length);
                $at += $length + 1;
            }
            $at == $end + 1 or die 'the events do not fill the body';
            $at = $end;
        }
        push @frames, \%frame;
        $bytes = substr($bytes, $at);
        $bytes =~ s/^\n// or die 'pg_recvlogical ends each frame with a newline';
    }
    return @frames;
}

sub events { return map { @{ $_->{events} || [] } } @_ }

# What frame.hpp promises about safe_lsn and more, over a whole stream.
sub check_promises {
    my ($name, @frames) = @_;
    my ($safe, $wrong, %open, %last) = ($frames[0]{safe}, '');
    for my $frame (@frames) {
        $wrong ||= 'safe_lsn went back' if $frame->{safe} < $safe;
        my $moved = $frame->{safe} != $safe;
        $safe = $frame->{safe};
        next if $frame->{kind} != 1;
        my ($topic, @commits) = ($frame->{topic}, @{ $frame->{commits} });
        $wrong ||= 'a frame continues what was not open' if ($open{$topic} // $commits[0]) != $commits[0];
        $wrong ||= 'more, but not continued'
          if !defined $open{$topic} && defined $last{$topic} && $last{$topic} >= $commits[0];
        $open{$topic} = $frame->{more} ? $commits[-1] : undef;
        $last{$topic} = $commits[-1];
        # All of what it covers is there, nothing beyond: no topic is open, no later commit was sent.
        $wrong ||= 'safe_lsn moved in the middle of a transaction' if $moved && grep { defined } values %open;
        $wrong ||= 'safe_lsn moved past what is missing' if $moved && grep { $_ > $safe } values %last;
        for my $i (0 .. $#commits) {
            my ($high, $low) = $frame->{events}[$i] =~ m{"id":"([0-9A-F]+)/([0-9A-F]+)\.}
              or $wrong ||= 'an event without an id';
            $wrong ||= 'an id of another commit' if (hex($high) << 32 | hex $low) != $commits[$i];
        }
    }
    $wrong ||= 'open at the end' if grep { defined } values %open;
    is($wrong, '', "$name: safe_lsn and more hold what they promise");
}

# What was sent after a safe_lsn is of later commits only.
sub check_order {
    my ($name, @frames) = @_;
    my $early = 0;
    for my $i (0 .. $#frames) {
        for my $later (@frames[ $i + 1 .. $#frames ]) {
            $early++ if grep { $_ <= $frames[$i]{safe} } @{ $later->{commits} || [] };
        }
    }
    is($early, 0, "$name: nothing that safe_lsn covers comes after it");
}

sql(q{
    CREATE EXTENSION pg_cqrs;
    CREATE TABLE a (id int PRIMARY KEY, t text);
    CREATE TABLE b (id int PRIMARY KEY, at timestamptz);
    SELECT cqrs.publish('a', 'a'), cqrs.publish('b', 'b');
    SELECT pg_create_logical_replication_slot(slot, 'pg_cqrs') FROM unnest('{small,large,mixed,again,roles}'::text[]) slot;
    -- a prepared, a spilled and many small transactions
    DO $$ BEGIN FOR i IN 1 .. 400 LOOP
        INSERT INTO a VALUES (i, 'small'); IF i % 3 = 0 THEN INSERT INTO b VALUES (i); END IF; COMMIT;
    END LOOP; END $$;
    BEGIN; INSERT INTO a SELECT n, repeat('x', 50) FROM generate_series(1001, 4000) n; INSERT INTO b SELECT n FROM generate_series(1001, 1010) n; COMMIT;
    BEGIN; INSERT INTO b VALUES (5000); PREPARE TRANSACTION 'one';
    INSERT INTO a VALUES (5001);
    COMMIT PREPARED 'one';
    SELECT pg_logical_emit_message(false, 'noise', repeat('n', 1000)) FROM generate_series(1, 300);
});
my $text = sql(q{SELECT data FROM pg_logical_slot_peek_changes('again', NULL, NULL, 'source', '/test')});
my $count = () = $text =~ /^/mg;

my @frames = frames('small');
check_promises('small', @frames);
check_order('small', @frames);
is(join("\n", sort { $a cmp $b } events(@frames)), join("\n", sort { $a cmp $b } split /\n/, $text),
    'the same events in frames and in text mode');
cmp_ok(scalar(@frames), '<', 100, 'small transactions share frames when the reader is behind');
is($frames[-1]{kind}, 2, 'the heartbeat is answered by a progress frame');
cmp_ok($frames[-1]{safe}, '>', $frames[-2]{safe}, 'which covers the WAL without events before it');

@frames = frames('large', batch_bytes => 1024);
check_promises('large', @frames);
check_order('large', @frames);
is(scalar(events(@frames)), $count, 'every event is there');
cmp_ok(scalar(grep { $_->{more} } @frames), '>', 100, 'a transaction goes on in the next frame');

@frames = frames('mixed', batch_bytes => 16777216);
check_promises('mixed', @frames);
my %sizes;
$sizes{$_}++ foreach map { @{ $_->{commits} || [] } } @frames;
my ($large) = sort { $sizes{$b} <=> $sizes{$a} } keys %sizes;
is($sizes{$large}, 3010, 'the largest transaction');
is(scalar(grep { grep { $_ == $large } @{ $_->{commits} || [] } } @frames), 2, 'is one frame for each of its topics, if that is large enough');

# From a position in the middle: the same ids again.
my $middle = sql(q{SELECT lsn FROM pg_logical_slot_peek_changes('again', NULL, NULL, 'source', '/test') OFFSET 200 LIMIT 1});
sql("SELECT pg_replication_slot_advance('again', '$middle')");
my @rest = events(frames('again'));
my %known = map { $_ => 1 } split /\n/, $text;
is(scalar(grep { !$known{$_} } @rest), 0, 'what is sent again is the same, byte for byte');
cmp_ok(scalar(@rest), '>', 2000, 'and it is sent');

# Near the end of WAL nothing waits for the heartbeat.
sql('INSERT INTO a VALUES (6000)');
@frames = frames('again', quiet => 1);
is(scalar(events(@frames)), 1, 'a lonely event is sent at its commit');
check_promises('lonely', @frames);
# Nor far from it, where nobody commits for a while.
sql(q{INSERT INTO a VALUES (6001); SELECT pg_logical_emit_message(false, 'noise', repeat('n', 1000)) FROM generate_series(1, 1000)});
my ($far) = frames('again', quiet => 1);
is(scalar(events($far)), 1, 'a lonely event is sent where other WAL follows it');
is($far->{safe}, $far->{commits}[0], 'as soon as it is read');

# A walsender's role may prefer other formats.
sql(q{
    CREATE ROLE relay LOGIN REPLICATION;
    ALTER ROLE relay SET DateStyle = 'German'; ALTER ROLE relay SET TimeZone = 'Asia/Tokyo';
    ALTER ROLE relay SET search_path = public; ALTER ROLE relay SET bytea_output = 'escape';
    CREATE TABLE c (id int PRIMARY KEY, at timestamptz[], b bytea, r regclass);
    SELECT cqrs.publish('c', 'c');
    INSERT INTO c VALUES (1, '{2026-11-23 20:45:33.661507+01}', '\\xff', 'c');
});
{
    local $ENV{PGUSER} = 'relay';
    @frames = frames('roles', quiet => 1);
}
like((events(@frames))[-1], qr/"data":\{"id":1,"at":"\{\\"2026-11-23 19:45:33.661507\+00\\"\}","b":"\\\\xff","r":"public.c"\}\}$/,
    'settings of the role change nothing');

# Output functions that fail, in a walsender: a stop each, and decoding goes on; also in a spilled transaction.
sql(q{
    CREATE TYPE sick;
    CREATE FUNCTION sick_in(cstring) RETURNS sick LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
    CREATE FUNCTION sick_out(sick) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'enum_out';
    CREATE TYPE sick (INPUT = sick_in, OUTPUT = sick_out, LIKE = int4);
    CREATE CAST (int4 AS sick) WITHOUT FUNCTION;
    CREATE TYPE pair AS (a int, b text);
    CREATE TABLE d (id int PRIMARY KEY, s sick, p pair, t text);
    SELECT cqrs.publish('d', 'd');
    BEGIN;
    INSERT INTO d SELECT n, CASE WHEN n % 100 = 0 THEN n::sick END, ROW(n, 'x')::pair, repeat(n::text, 1000) FROM generate_series(1, 2000) n;
    COMMIT;
});
@frames = frames('roles');
check_promises('stops', @frames);
my @stops = grep { /"type":"d.stop"/ } events(@frames);
is(scalar(events(@frames)), 2000, 'each row is an event');
is(scalar(@stops), 20, 'those that cannot be said are stops');
like($stops[0], qr/"column":"s","reason":"invalid internal value for enum: 100","key":\{"id":100\}/, 'which name it');
like((events(@frames))[-2], qr/"data":\{"id":1999,"s":null,"p":"\(1999,x\)","t":"1999/, 'composites are said');

# A transaction that has nothing for us, longer than wal_sender_timeout: the walsender lives.
$node->append_conf('postgresql.conf', "wal_sender_timeout = 1s\n");
$node->reload;
sql(q{CREATE TABLE unpublished (id int, t text); INSERT INTO unpublished SELECT n, 'x' FROM generate_series(1, 300000) n});
@frames = frames('roles');
is(scalar(events(@frames)), 0, 'nothing of an unpublished table');

# Nothing crashed, and nothing failed that was not meant to.
my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC|terminated by signal/, 'no crash');
$node->stop;
done_testing();
