// Where events go: text mode writes each one, frame mode collects them per topic and writes frames.
#pragma once

#include "frame.hpp"
#include "guard.hpp"
#include "plugin_options.hpp"

extern "C" {
#include "replication/logical.h"
}

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cqrs {

struct Topic {
    explicit Topic(std::string_view name)
        : builder(std::string(name)), stop_type(std::string(name) + ".stop") {}
    FrameBuilder builder;
    std::string stop_type;
};

class Output {
  public:
    // `sent`: everything up to here was sent and confirmed before.
    Output(LogicalDecodingContext* ctx, const PluginOptions& options, Lsn sent)
        : ctx_(ctx), options_(options), safe_lsn_(sent), last_commit_(sent) {}
    Output(const Output&) = delete;
    Output& operator=(const Output&) = delete;

    // Made at first use; stays where it is.
    Topic& topic(std::string_view name);

    // An event is written between begin_event() and end_event(), or forgotten by drop_event().
    // begin_event() may write the topic's frame: `lsn` is the running transaction's end.
    std::string& begin_event(Topic& topic, Lsn lsn);
    void drop_event(Topic& topic);
    // `shown`: text mode shows it.
    void end_event(Topic& topic, std::string_view type, bool notify, Lsn lsn, std::int64_t time_us,
                   bool shown);
    // Size of the event that is being written.
    std::size_t event_size(const Topic& topic) const;

    // The transaction that ends at lsn is complete: writes all frames or holds them.
    void commit(Lsn lsn);
    // Everything before lsn was decoded: writes all frames, and that.
    void progress(Lsn lsn);

  private:
    using Clock = std::chrono::steady_clock;

    void nothing(Lsn lsn);
    void write_text();
    void write_frame(Topic& topic, bool more, Lsn safe_lsn);
    void write_frames(Lsn safe_lsn);
    void send(std::string_view bytes);

    LogicalDecodingContext* ctx_;
    const PluginOptions& options_;
    std::vector<std::unique_ptr<Topic>> topics_;
    std::string buffer_;           // text mode: the event; frame mode: the encoded frame
    std::size_t event_start_ = 0;  // frame mode: where the event begins in its body
    Lsn safe_lsn_;                 // of the last frame
    Lsn last_commit_;              // of the last complete transaction with events
    Lsn known_end_ = 0;            // WAL can be read at least so far
    Clock::time_point written_{};  // when the last frame of events was
};

}  // namespace cqrs
