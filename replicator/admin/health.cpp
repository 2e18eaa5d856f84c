#include "admin/health.hpp"

namespace cqrs {

void Health::set(const std::string& part, const std::string& reason) {
    const std::lock_guard lock(mutex_);
    parts_[part] = reason;
}

void Health::remove(const std::string& part) {
    const std::lock_guard lock(mutex_);
    parts_.erase(part);
    notes_.erase(part);
}

std::map<std::string, std::string> Health::snapshot() const {
    const std::lock_guard lock(mutex_);
    return parts_;
}

void Health::note(const std::string& key, const std::string& value) {
    const std::lock_guard lock(mutex_);
    notes_[key] = value;
}

std::map<std::string, std::string> Health::notes() const {
    const std::lock_guard lock(mutex_);
    return notes_;
}

}  // namespace cqrs
