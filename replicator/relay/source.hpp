// One session on the primary: checks it, takes the slot, decides the epoch, then turns the stream
// into messages until something fails. The protocol of a start: ARCHITECTURE.md, "The relay".
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "admin/health.hpp"
#include "admin/metrics.hpp"
#include "config.hpp"
#include "relay/batch.hpp"
#include "relay/handoff.hpp"
#include "relay/notifier.hpp"
#include "relay/state.hpp"
#include "relay/statements.hpp"
#include "relay/stream.hpp"
#include "relay/witness.hpp"
#include "stop.hpp"

namespace cqrs::relay {

// Trying again will not help: the text says what to do.
struct Misconfigured : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Source {
  public:
    Source(const Settings& settings, Stop& stop, Handoff& handoff, Notifier& notifier,
           Metrics& metrics, Health& health);

    // Until stop (returns) or a failure: postgres::Error, Misconfigured. Call it again after an
    // Error; it starts over from relay_state. Connections that are open already may be given.
    void run(std::optional<postgres::Connection> sql,
             std::optional<postgres::Connection> walsender);

    bool streamed() const noexcept { return streamed_; }

  private:
    // --- the start (start.cpp)
    void check_primary(postgres::Connection& sql);
    enum class Acquired { yes, busy, again };
    bool acquire(postgres::Connection& sql, Stream& stream);
    Acquired try_acquire(postgres::Connection& sql, Stream& stream);
    void decide(const std::optional<RelayState>& row, const SlotState& slot, bool slot_is_new,
                const std::optional<Witness>& witness, Lsn flushed);
    bool create_slot(postgres::Connection& sql, Stream& stream);
    std::string stream_options() const;

    // --- the stream (source.cpp)
    void pump(postgres::Connection& sql, Stream& stream);
    void begin();
    bool read(Stream& stream);
    void on_frame(std::string_view bytes);
    void notify_events();
    bool broker_is_busy();
    void maybe_flush(bool dry);
    void flush(bool announce);
    void push_checkpoint(bool announce);
    void announce(bool dry);
    Clock::time_point next_announcement(bool dry) const;
    void note_time();
    void tick(Statements& statements);
    void commit_progress(Statements& statements, const Checkpoint& checkpoint);
    void send_status(Stream& stream);
    void wait(Stream& stream, Statements& statements, bool dry);
    void finish(Stream& stream, Statements& statements);
    std::optional<Checkpoint> uncommitted() const;
    void report_health();

    const Settings& settings_;
    Stop& stop_;
    Handoff& handoff_;
    Notifier& notifier_;
    Metrics& metrics_;
    Health& health_;

    // --- histories (retention.cpp)
    void load_retention(postgres::Connection& sql);
    bool take_retention(const postgres::Result& status);
    void push_retention();
    void look_at_retention(Statements& statements);

    // --- of the current session
    Identity identity_;
    RelayState state_;  // as committed on the primary, owned by us
    SessionPtr session_;
    Recall recall_;
    broker::Silence witness_silence_;
    Retention retention_;
    bool may_tell_histories_ = false;  // whether the role may write cqrs.retention_state
    std::string heartbeat_token_;
    const char* heartbeat_sql_ = "";
    std::chrono::milliseconds status_interval_{10000};
    std::unique_ptr<Batcher> batcher_;
    std::deque<Message> full_;
    Frame frame_;
    Lsn safe_lsn_ = 0;  // of the last frame
    // Everything committed before this moment of the primary's clock is at or before safe_lsn_.
    std::int64_t safe_time_us_ = 0;
    struct Asked {
        Lsn lsn;  // nothing committed before time_us is beyond it
        std::int64_t time_us;
    };
    std::deque<Asked> asked_;
    Lsn announced_lsn_ = 0;  // of the last checkpoint that the replicas hear of
    Clock::time_point last_announcement_{};
    // The topics as of safe_lsn_, once a later commit's events have moved the batcher's on.
    std::shared_ptr<const TopicPositions> safe_positions_;
    Lsn checkpoint_lsn_ = 0;  // of the last checkpoint handed over
    bool status_due_ = false;
    std::size_t frames_open_ = 0, bytes_open_ = 0;  // added since the last flush
    // Of the handoff's count: the last message that went out before it was full, and when it did.
    std::size_t sent_open_ = 0;
    Clock::time_point sent_open_at_{};
    Clock::time_point next_tick_{}, next_status_{}, last_checkpoint_{};
    int idle_ticks_ = 0;
    // For health: when the stream and the broker moved last.
    Clock::time_point read_moved_{}, confirm_moved_{};
    Lsn wal_end_ = 0, confirmed_seen_ = 0;
    std::size_t released_seen_ = 0;

    // --- over sessions
    bool streamed_ = false;
    bool standing_by_ = false;
    bool invalidated_ = false;   // the slot that was there; a new one is to take its place
    std::string contradiction_;  // found in the stream: the next epoch's reason
    std::int64_t notified_epoch_ = 0;
    std::map<std::string, std::int64_t, std::less<>> notified_;  // topic -> last sequence

    prometheus::Counter& frames_;
    prometheus::Gauge &confirmed_lsn_, &read_lsn_, &epoch_;
    std::map<std::string, prometheus::Counter*, std::less<>> events_;
};

}  // namespace cqrs::relay
