#include "config.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "broker/url.hpp"
#include "config_file.hpp"
#include "redact.hpp"
#include "setting.hpp"

namespace cqrs {
namespace {

constexpr const char* version = "cqrs-replicator 1.0";

struct CommandHelp {
    Command command;
    const char* name;
    const char* help;
};
constexpr std::array<CommandHelp, 10> commands = {{
    {Command::relay, "relay", "primary to broker: publish every committed change as CloudEvents"},
    {Command::apply, "apply", "broker to one replica: apply the events to its tables"},
    {Command::run, "run", "relay and apply in one process, for small set-ups"},
    {Command::add_replica, "add-replica", "join a replica: queues, tables, first copy"},
    {Command::remove_replica, "remove-replica",
     "take a replica's queues, registration and positions away"},
    {Command::status, "status", "show positions and lag of primary, broker and replica"},
    {Command::tail, "tail", "print events as they pass, one JSON a line"},
    {Command::doctor, "doctor", "check all sides and say how to mend what is wrong"},
    {Command::rebuild, "rebuild",
     "build a handler's read model, tables or a topic anew while readers see the old one"},
    {Command::verify, "verify", "compare a replica's rows with the primary's at one point in time"},
}};

std::string described(const Setting& setting) {
    std::string text = setting.help;
    if (!setting.shown.empty()) text += fmt::format(" [{}]", setting.shown);
    return text;
}

// "--slot (CQRS_SLOT)": how every message names a setting.
std::string named(const Setting& setting) {
    return setting.env.empty() ? fmt::format("--{}", setting.key)
                               : fmt::format("--{} ({})", setting.key, setting.env);
}

CLI::Option* add(CLI::App& app, const Setting& setting) {
    const auto flag = (setting.key == "count" ? "-n,--" : "--") + setting.key;
    CLI::Option* option = nullptr;
    if (setting.value.empty()) {
        const std::string help = described(setting);
        option = app.add_flag(flag, help);
    } else {
        // No target: the text is read from results(), so that every source has one rule.
        option = app.add_option(flag, CLI::callback_t([](const CLI::results_t&) { return true; }),
                                described(setting));
        option->type_name(setting.value)->type_size(1)->allow_extra_args(false);
    }
    if (!setting.env.empty()) option->envname(setting.env);
    return option;
}

void store(const Setting& setting, const std::string& text, const std::string& where,
           Settings& settings) {
    const auto expected = setting.store(text, settings);
    if (expected.empty()) return;
    // A malformed URL cannot be redacted with certainty: it is not repeated.
    throw ConfigError(fmt::format("{}: {} is not valid; expected {}", where,
                                  setting.secret ? "the value" : '"' + text + '"', expected));
}

// Values of the file for settings that neither flag nor environment gave.
void store_file(const std::string& path, const std::vector<const Setting*>& open,
                Settings& settings) {
    for (const auto& [key, value] : read_config_file(path)) {
        const auto& known = all_settings();
        const auto setting = std::find_if(known.begin(), known.end(), [&key = key](const auto& s) {
            return s.key == key && !s.env.empty();
        });
        const auto where = fmt::format("{}, line {}: {}", path, value.line, key);
        if (setting == known.end()) {
            throw ConfigError(where + " is not a setting; cqrs-replicator COMMAND --help has them");
        }
        // Checked also when another command or a stronger source makes it idle.
        Settings unused;
        const bool wanted = std::find(open.begin(), open.end(), &*setting) != open.end();
        store(*setting, value.text, where, wanted ? settings : unused);
    }
}

void check_together(const Settings& settings) {
    if (settings.batch_bytes > settings.max_message_bytes) {
        throw ConfigError(
            fmt::format("--batch-bytes (CQRS_BATCH_BYTES): {} is more than --max-message-bytes "
                        "(CQRS_MAX_MESSAGE_BYTES), {}",
                        settings.batch_bytes, settings.max_message_bytes));
    }
    // Who names authorities believes that the connection is encrypted.
    if (settings.broker_cacert.empty() || settings.broker_url.empty()) return;
    for (const auto& address : broker::parse_urls(settings.broker_url))
        if (!address.tls)
            throw ConfigError(fmt::format(
                "--broker-cacert (RABBITMQ_CACERT) is set, but --broker-url (RABBITMQ_BROKER_URL) "
                "reaches {} by amqp://, which is not encrypted: write amqps://, or leave the "
                "authorities out",
                address.name()));
}

// CQRS_TOPICS may be there for add-replica: what is named on the command line comes first.
void check_rebuild(Settings& settings) {
    const bool handler = !settings.handler.empty(), tables = !settings.tables.empty();
    if (handler || tables) settings.topics.clear();
    if (handler + tables + !settings.topics.empty() != 1)
        throw ConfigError(
            "rebuild needs one of --handler FUNCTION, --table NAME (may be repeated), --topics "
            "A,B (CQRS_TOPICS)");
    if (!settings.clear.empty() && !handler)
        throw ConfigError("--clear names tables of a handler: it needs --handler FUNCTION");
}

void check_required(Command command, const char* name, const std::vector<const Setting*>& open) {
    for (const auto* setting : open) {
        if ((setting->required & mask(command)) == 0) continue;
        throw ConfigError(fmt::format(
            "{} needs {}: {}. Give the flag, the environment variable, or {} in the file of "
            "--config",
            name, named(*setting), setting->help, setting->key));
    }
    if (command != Command::status && command != Command::doctor) return;
    const auto missing =
        std::count_if(open.begin(), open.end(), [](const Setting* s) { return s->secret; });
    if (missing == 3) {
        throw ConfigError(fmt::format(
            "{} needs at least one of --database-url (DATABASE_URL), --replica-database-url "
            "(REPLICA_DATABASE_URL), --broker-url (RABBITMQ_BROKER_URL)",
            name));
    }
}

std::string top_help() {
    std::string text =
        "cqrs-replicator: carries committed changes of a Postgres primary through RabbitMQ into "
        "Postgres replicas.\n\nUsage: cqrs-replicator COMMAND [OPTIONS]\n\nCommands:\n";
    for (const auto& c : commands) text += fmt::format("  {:<14} {}\n", c.name, c.help);
    text +=
        "\ncqrs-replicator COMMAND --help explains the settings of a command. A setting is a flag, "
        "an\nenvironment variable or a line of the TOML file of --config FILE (CQRS_CONFIG), in "
        "this order\nof precedence.\n";
    return text;
}

// CLI11 has copied the arguments: what holds a password is overwritten where ps would read it.
void hide_secrets(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        const std::string shown = redact_argument(argv[i]);
        const auto length = std::strlen(argv[i]);
        if (shown == argv[i]) continue;
        std::memset(argv[i], 0, length);
        std::memcpy(argv[i], shown.data(), std::min(length, shown.size()));
    }
}

}  // namespace

Invocation parse_command_line(int argc, char** argv) {
    const std::string_view first = argc > 1 ? argv[1] : "";
    if (first == "--version" || first == "-V") throw HelpRequested(std::string(version) + "\n");
    if (first == "--help" || first == "-h" || first == "help") throw HelpRequested(top_help());
    const auto* chosen = std::find_if(commands.begin(), commands.end(),
                                      [&](const CommandHelp& c) { return first == c.name; });
    if (chosen == commands.end()) {
        throw ConfigError(fmt::format(
            "{}; expected relay, apply, run, add-replica, remove-replica, status, tail, doctor, "
            "verify or rebuild. See cqrs-replicator --help",
            first.empty() ? "no command given"
                          : fmt::format("\"{}\" is not a command", redact(std::string(first)))));
    }

    Invocation invocation{chosen->command, {}};
    Settings& settings = invocation.settings;
    CLI::App app(chosen->help, std::string("cqrs-replicator ") + chosen->name);
    app.set_version_flag("--version", version);
    std::string config;
    app.add_option("--config", config, "TOML file with settings: database-url = \"...\"")
        ->envname("CQRS_CONFIG")
        ->type_name("FILE");
    std::vector<std::pair<const Setting*, CLI::Option*>> options;
    for (const auto& setting : all_settings()) {
        if ((setting.commands & mask(chosen->command)) == 0) continue;
        options.emplace_back(&setting, add(app, setting));
    }
    if (chosen->command == Command::tail) {
        app.add_option("pattern", settings.types, "binding keys such as parking.# [#]")
            ->type_name("PATTERN");
    }

    const auto list = [&](const char* flag, std::vector<std::string>& values, const char* type,
                          const char* help) {
        app.add_option(flag, values, help)->type_name(type)->allow_extra_args(false);
    };
    if (chosen->command == Command::verify)
        list("--table", settings.tables, "NAME", "this table of the replica, or prefix, alone");
    if (chosen->command == Command::rebuild) {
        list("--table", settings.tables, "NAME",
             "a subscribed table of the replica, or its prefix");
        list("--clear", settings.clear, "TABLE",
             "with --handler: a table that it keeps, emptied first");
        list("--check", settings.checks, "SQL",
             "a statement that must be true of what was built, else nothing changes");
    }
    const bool names_replica =
        chosen->command == Command::add_replica || chosen->command == Command::remove_replica;
    std::string replica;
    if (names_replica) app.add_option("replica", replica, "the replica's name")->type_name("NAME");

    try {
        app.parse(argc - 1, argv + 1);
    } catch (const CLI::CallForHelp&) {
        throw HelpRequested(app.help());
    } catch (const CLI::CallForVersion&) {
        throw HelpRequested(std::string(version) + "\n");
    } catch (const CLI::ParseError& e) {
        hide_secrets(argc, argv);
        throw ConfigError(redact(e.what()) + ". See cqrs-replicator " + chosen->name + " --help");
    }
    hide_secrets(argc, argv);

    std::vector<const Setting*> open;  // given neither as a flag nor in the environment
    for (const auto& [setting, option] : options) {
        if (setting->key == "name" && !replica.empty()) {
            store(*setting, replica, "the replica's name", settings);
        } else if (option->count() == 0) {
            open.push_back(setting);
        } else {
            store(*setting, option->results().front(), named(*setting), settings);
        }
    }
    if (!config.empty()) {
        store_file(config, open, settings);
        const auto file = read_config_file(config);
        std::erase_if(open, [&](const Setting* s) { return file.contains(s->key); });
    }
    if (names_replica && replica.empty() &&
        std::any_of(open.begin(), open.end(), [](const Setting* s) { return s->key == "name"; }))
        throw ConfigError(fmt::format("{} needs the replica's name: cqrs-replicator {} NAME",
                                      chosen->name, chosen->name));
    check_required(chosen->command, chosen->name, open);
    check_together(settings);
    if (chosen->command == Command::rebuild) check_rebuild(settings);
    if (chosen->command == Command::tail && settings.types.empty()) settings.types = {"#"};
    return invocation;
}

}  // namespace cqrs
