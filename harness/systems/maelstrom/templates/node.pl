#!/usr/bin/env perl
# A node that speaks Maelstrom's protocol: a store of keys and values, and an echo. It needs Perl alone.
#
# The first node keeps the keys, in its memory. The others pass requests on to it. Test it under faults:
#
#     consensus test ./NAME --workload lin-kv --nodes 3 --faults suspend,partition
#     consensus test ./NAME --workload lin-kv --nodes 3 --faults kill
#
# The second command finds that it forgets what it has acknowledged when it is killed. To mend that is up to you.
use strict;
use warnings;
use JSON::PP;

my $json = JSON::PP->new->canonical->allow_nonref;
my %keys;       # each key and value as JSON text, so that numbers stay numbers
my %waiting;    # by the number of a request of ours: what to do with the answer
my ($id, @ids) = ("");
my $last_number = 0;

$| = 1;         # each line leaves at once

# Sends a message to a node or a client.
sub send_to {
    my ($dest, $body) = @_;
    print $json->encode({ src => $id, dest => $dest, body => $body }), "\n";
}

# Answers a request.
sub reply {
    my ($request, $body) = @_;
    send_to($request->{src}, { %$body, in_reply_to => $request->{body}{msg_id} });
}

# Sends a request to another node, and calls $then with the body of its answer, if one comes.
sub ask {
    my ($dest, $body, $then) = @_;
    $waiting{ ++$last_number } = $then;
    send_to($dest, { %$body, msg_id => $last_number });
}

# Serves a call on a key here, or passes it on to the first node.
sub call {
    my ($request) = @_;
    return reply($request, apply($request->{body})) if $id eq $ids[0];
    ask($ids[0], $request->{body}, sub { reply($request, $_[0]) });
}

# Carries out a call, and returns the body of its answer.
sub apply {
    my ($body) = @_;
    my $key = $json->encode($body->{key});
    if ($body->{type} eq "write") {
        $keys{$key} = $json->encode($body->{value});
        return { type => "write_ok" };
    }
    return { type => "error", code => 20, text => "there is no such key" } if !exists $keys{$key};
    return { type => "read_ok", value => $json->decode($keys{$key}) } if $body->{type} eq "read";
    return { type => "error", code => 22, text => "the value is $keys{$key}" }
        if $keys{$key} ne $json->encode($body->{from});
    $keys{$key} = $json->encode($body->{to});
    return { type => "cas_ok" };
}

my %handlers = (
    init => sub {
        my ($message) = @_;
        ($id, @ids) = ($message->{body}{node_id}, @{ $message->{body}{node_ids} });
        reply($message, { type => "init_ok" });
    },
    echo => sub { reply($_[0], { type => "echo_ok", echo => $_[0]{body}{echo} }) },
    map { $_ => \&call } qw(read write cas),
);

sub handle {
    my ($message) = @_;
    my $body = $message->{body};
    if (defined $body->{in_reply_to}) {
        my $then = delete $waiting{ $body->{in_reply_to} };    # none: an answer that came again
        $then->($body) if $then;
    } elsif (my $handler = $handlers{ $body->{type} }) {
        $handler->($message);
    } else {
        reply($message, { type => "error", code => 10, text => "this node does not know $body->{type}" });
    }
}

print STDERR "ready\n";    # what is for people goes to standard error
while (my $line = <STDIN>) {
    handle($json->decode($line));
}
