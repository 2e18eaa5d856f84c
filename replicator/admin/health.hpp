// What /health answers: each part says whether its positions move or have nothing to move.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace cqrs {

class Health {
  public:
    // part: "relay", "relay.broker", "apply.parking" ... reason: empty when healthy, else what is
    // wrong and what to do, without secrets.
    void set(const std::string& part, const std::string& reason);
    void remove(const std::string& part);
    std::map<std::string, std::string> snapshot() const;  // part -> reason
    // What the admin page shows beside it: "relay.lsn" -> "0/16B3748" ...
    void note(const std::string& key, const std::string& value);
    std::map<std::string, std::string> notes() const;

  private:
    mutable std::mutex mutex_;
    std::map<std::string, std::string> parts_, notes_;
};

}  // namespace cqrs
