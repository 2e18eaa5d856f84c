// Settings of the replicator: flag, environment variable or TOML file, in that order of precedence.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "history/from.hpp"

namespace cqrs {

// Names, defaults and rules: setting.cpp. For users: README.md, "Configuration".
struct Settings {
    std::string database_url;          // DATABASE_URL, the primary
    std::string replica_database_url;  // REPLICA_DATABASE_URL
    std::string broker_url;  // RABBITMQ_BROKER_URL; several, separated by commas, are tried in turn
    std::string broker_cacert;  // RABBITMQ_CACERT, for amqps://; empty: the system's bundle
    std::string listen = "0.0.0.0:8000";  // --listen HOST:PORT of the admin HTTP; empty: none
    std::string slot = "cqrs";            // --slot
    std::string replica = "replica";      // --name, [A-Za-z0-9_-]{1,63}
    std::size_t batch_bytes = 262144;     // --batch-bytes, body size at which a message closes
    std::size_t max_batch = 0;            // --max-batch, events per message; 0: no limit
    bool compress = false;                // --compress lz4 sets it: bodies of some size
    std::size_t max_message_bytes = 15 * 1024 * 1024;  // --max-message-bytes
    std::size_t memory =
        64 * 1024 * 1024;             // --memory: what a transaction may hold before it spools
    std::size_t apply_batch = 30000;  // --apply-batch, events written in one replica transaction
    std::size_t apply_jobs = 2;       // --apply-jobs, such transactions at once, a topic
    int prefetch = 256;               // --prefetch, unacknowledged messages per topic
    std::chrono::milliseconds heartbeat{1000};  // --heartbeat
    bool auto_resync = true;                    // --no-auto-resync clears it
    std::size_t jobs = 2;                       // --jobs, tables or parts of them copied at once
    bool create_tables = false;                 // --create-tables: what the replica lacks is made
    bool bar = false;                 // draw copies on the terminal; `add-replica` sets it
    bool init = false;                // --init of `apply`: add-replica first
    std::vector<std::string> topics;  // --topics of `add-replica` (empty: all published), `rebuild`
    bool all_origins = false;         // --all-origins: also relay changes that came by replication
    std::string log_level = "info";   // --log-level trace|debug|info|warn|error
    bool json = false;                // --json of `status`
    std::vector<std::string> types;   // `tail`: routing patterns, default "#"
    std::optional<history::From> from;  // --from of `tail`
    std::size_t count = 0;              // -n of `tail`: end after so many events; 0: never
    std::vector<std::string> tables;    // --table of `verify` (none: all) and `rebuild`
    bool repair = false;                // --repair of `verify`
    std::string handler;                // --handler of `rebuild`
    std::vector<std::string> clear;     // --clear: tables of that handler, emptied first
    std::vector<std::string> checks;    // --check: statements that must be true before it shows
    std::string source = "auto";        // --source: auto, history, snapshot
};

enum class Command {
    relay,
    apply,
    run,
    add_replica,
    remove_replica,
    status,
    tail,
    doctor,
    verify,
    rebuild
};

// A setting that is missing, malformed or unknown. The text names it (flag and variable), says what
// is expected and carries no secret; main() prints it and exits with status 2.
class ConfigError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// --help or --version: text for stdout, exit status 0.
class HelpRequested : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

struct Invocation {
    Command command = Command::run;
    Settings settings;
};

// Reads flags, then the environment, then the file of --config. Overwrites URLs that carry a
// password in argv, so that they do not stay in /proc/PID/cmdline. Throws ConfigError or
// HelpRequested; starts nothing.
Invocation parse_command_line(int argc, char** argv);

// HOST:PORT, [IPv6]:PORT; nullopt for "" and "none". Throws ConfigError.
struct Endpoint {
    std::string host;
    int port = 0;  // 0: any free one
};
std::optional<Endpoint> parse_listen(const std::string& text);

}  // namespace cqrs
