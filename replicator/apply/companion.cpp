#include "apply/companion.hpp"

#include <spdlog/spdlog.h>

namespace cqrs::apply {

Companion::Companion(std::string trouble, std::function<void()> pass)
    : trouble_(std::move(trouble)), pass_(std::move(pass)) {}

Companion::~Companion() {
    stop();
}

void Companion::start() {
    thread_ = std::thread([this] { run(); });
}

void Companion::stop() {
    stop_.request();
    if (thread_.joinable()) thread_.join();
}

void Companion::well() {
    backoff_.reset();
    said_.clear();
}

void Companion::run() {
    while (!stop_.requested()) {
        try {
            pass_();
        } catch (const std::exception& e) {
            if (said_ != e.what()) spdlog::warn("apply: {}: {}", trouble_, e.what());
            said_ = e.what();
        }
        stop_.wait_for(backoff_.next());
    }
}

}  // namespace cqrs::apply
