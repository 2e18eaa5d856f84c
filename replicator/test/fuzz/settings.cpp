// A settings file, a value and a URL from anywhere are taken or refused by name, and no password
// gets out of redact().
#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>
#include <string>

#include "broker/url.hpp"
#include "config_file.hpp"
#include "redact.hpp"
#include "setting.hpp"
#include "targets.hpp"

namespace cqrs::fuzz {
namespace {

void file(std::string_view bytes) {
    const int fd = memfd_create("settings", 0);
    check(fd >= 0 && write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    try {
        read_config_file("/proc/self/fd/" + std::to_string(fd));
    } catch (const ConfigError&) {
    }
    close(fd);
}

void secret_stays(std::string_view bytes) {
    // Without what ends a word or a part of a URL, anything may stand in a password.
    if (bytes.empty() ||
        bytes.find_first_of(std::string_view(" \t\n\v\f\r\"'\\/@:?#,*\0", 18)) != bytes.npos)
        return;
    const std::string marked = "S3" + std::string(bytes) + "cr3t";
    for (const std::string& text :
         {"postgresql://user:" + marked + "@host/db", "amqps://user:" + marked + "@host",
          "host=h password=" + marked + " dbname=d"})
        check(redact(text).find(marked) == std::string::npos);
}

}  // namespace

void settings(std::string_view bytes) {
    file(bytes);
    const std::string text(bytes);
    for (const Setting& setting : all_settings()) {
        Settings to;
        setting.store(text, to);
    }
    try {
        broker::parse_urls(text);
    } catch (const std::invalid_argument&) {
    }
    try {
        parse_listen(text);
    } catch (const ConfigError&) {
    }
    redact(text);
    secret_stays(bytes);
}

}  // namespace cqrs::fuzz
