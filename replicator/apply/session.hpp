// One attempt at applying a topic: lock, position, queue, copies if they are needed, then messages
// until stop, a wake-up or a failure. Owns the topic's two connections. Nothing survives a session
// but what is committed in the replica.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "apply/context.hpp"
#include "apply/errors.hpp"
#include "apply/flight.hpp"
#include "apply/flushes.hpp"
#include "apply/handlers.hpp"
#include "apply/message.hpp"
#include "apply/parked.hpp"
#include "apply/position.hpp"
#include "apply/spool.hpp"
#include "apply/writer.hpp"
#include "broker/silence.hpp"

namespace cqrs::apply {

class Session {
  public:
    // healthy(true): the topic moved. healthy(false): it is ready to.
    // silence: of the topic's queue, which outlives a session.
    Session(Context& context, Control& control, const std::string& topic, broker::Silence& silence,
            std::function<void(bool moved)> healthy);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    // Returns on stop or wake-up. Throws Halt, Restart, postgres::Error, broker::Error.
    void run();

  private:
    // session.cpp: beginning
    bool lock();
    void take_origin();
    void load();
    void open_connection();
    void open_broker();
    void find_queue();
    void start_consuming();
    void give_up_queue();
    void close_broker();
    void copy(const NeedCopy& need, bool initial);
    void doubt(const UnknownEpoch& e);
    void heal(const NeedCopy& need);
    // adapt.cpp: other columns than the primary's
    void adapt(const SchemaDiffers& difference);
    void follow(const std::string& prefix);
    std::string misfit_column(const Event& event);
    std::string explain(const WriteError& error);
    const Table* table_of(const std::string& prefix) const;
    bool needs_copy() const;
    bool needs_backfill();
    void backfill();
    [[noreturn]] void backfill_again(const std::string& prefix, const std::string& why);
    // consume.cpp: messages in, acknowledgements out
    void consume();
    void receive(broker::Delivery&& delivery);
    void refuse(const broker::Delivery& delivery, const std::string& reason);
    bool check_epoch(const MessageHead& head);
    bool in_copy(const MessageHead& head) const;
    void meet(const MessageHead& head);
    void check_sequence(const MessageHead& head);
    void check_duplicate(const MessageHead& head);
    bool rewound(const Heartbeat& heartbeat) const;
    void take(std::unique_ptr<Message> message);
    void acknowledge();
    void watch_flushes();
    void settle();
    bool lazy() const;
    void idle();
    bool suspect();
    void watch_heartbeat();
    void clear_stop();
    // batch.cpp: transactions into the replica
    void apply_complete();
    void apply_orders_and_rows();
    void apply_events(std::span<const Event* const> events, const Boundary& to);
    void done(std::span<const Event* const> events);
    void write_batch(std::span<const Event* const> events, const Boundary& to);
    void write_ladder(std::span<const Event* const> events, const Boundary& to);
    // at_once.cpp: a small batch is one round trip to the replica
    bool write_at_once(std::span<const Event* const> events, const Boundary& to);
    void release(const Boundary& to);
    Boundary boundary_before(std::span<const Event* const> events, std::size_t at) const;
    // ahead.cpp: large batches are written by threads of their own while more is read
    void write_complete();
    bool batch_is_due() const;
    std::size_t flying_bytes() const;
    bool begin_flight();
    std::optional<std::size_t> free_lane();
    std::vector<const Event*> bound_events(const Flight& flight);
    void launch(Flight flight);
    void close_idle_lanes();
    postgres::Connection& connection_of(std::size_t lane);
    Writer& writer_of(std::size_t lane);
    bool flight_over() const;
    void end_flight();
    void end_flights();
    void give_up_flights();
    struct FlightsEnd {
        Session& session;
        ~FlightsEnd();
    };
    // fence.cpp: holding at a point for `verify`
    void load_fence();
    bool at_fence() const;
    bool cut_at_fence();
    void hold();
    // aside.cpp: events that the server refuses
    static bool may_park(const WriteError& e);
    std::vector<const Event*> not_parked(std::span<const Event* const> events);
    void write_aside(std::span<const Event* const> events);
    void store_parked();
    void retry_parked();
    void retry_keys(const Table& table, std::string_view keys, Message& message);
    // spooling.cpp: transactions too large for memory
    void spool_pending();
    void spool_more();
    void apply_spool();
    void write_spool(const Boundary& to, Writer::Mode mode, bool aside);
    void prepare_spool(Writer::Mode mode);
    void notice_orders(const Event& event);
    // early.cpp: rows of such a transaction while it is still on its way
    bool may_write_early();
    void write_early();
    void write_early_messages();
    void abandon_early();
    Boundary spool_boundary();
    Boundary spool_boundary_at_fence();

    void count_conflicts(const Writer::Conflicts& conflicts);
    void set_lag(double seconds);
    void applied(const Boundary& to, std::size_t events, std::size_t transactions);

    Context& context_;
    Control& control_;
    const std::string topic_;
    const std::string queue_;
    broker::Silence& silence_;
    std::function<void(bool)> healthy_;

    std::optional<postgres::Connection> replica_;
    std::optional<broker::Connection> broker_;
    std::optional<Writer> writer_;
    Position position_;
    std::vector<Subscription> subscriptions_;
    std::vector<Table> tables_;
    Handlers handlers_;
    Parked parked_;
    std::optional<Decoder> decoder_;

    // Received and not applied.
    std::deque<std::unique_ptr<Message>> messages_;
    std::vector<const Event*> pending_;  // their events, in order
    std::size_t bytes_ = 0;
    std::size_t complete_ = 0;  // how many of pending_ belong to transactions that are complete
    std::size_t written_ = 0;   // how many of those the flights have
    std::int64_t next_ = 0;     // the sequence that must come
    std::chrono::steady_clock::time_point more_until_;  // until then more is likely to come
    std::uint64_t last_lsn_ = 0;
    struct Unacked {
        std::uint64_t tag;
        std::int64_t until;  // may be acknowledged when this sequence is applied or spooled
    };
    std::deque<Unacked> unacked_;
    Flushes flushes_;
    int flush_looks_ = 0;        // in a row, without a commit of ours
    bool lazy_commits_ = false;  // allowed: the replica has no synchronous standbys

    std::optional<std::uint64_t> fence_;  // must not be passed; 0: stay
    bool spooling_ = false;
    std::uint64_t spool_lsn_ = 0;  // the transaction that is being spooled
    // The spool has a connection of its own while replica_ is inside the transaction that writes
    // its rows already. Only what the spool holds too.
    struct Early {
        std::int64_t next = 0;   // events before it are written
        std::int64_t after = 0;  // of the last message in the spool that is
        std::uint64_t lsn = 0;
        std::size_t count = 0;
        std::chrono::steady_clock::time_point at;
    };
    std::optional<Early> early_;
    std::optional<postgres::Connection> spool_connection_;
    std::uint64_t heartbeat_seen_ = 0;
    int suspicious_ = 0;  // heartbeats in a row that name events which do not come
    std::chrono::steady_clock::time_point suspicious_since_;
    std::chrono::steady_clock::time_point begun_;  // consuming
    std::int64_t forged_epoch_ = 0;                // claimed by a message, unknown to the primary
    bool queue_was_gone_ = false;                  // when this session began
    std::uint64_t copy_lsn_ = 0;                   // highest snapshot_lsn of the topic

    // Batches on their way, in order. A flight's thread has the connection and the writer of its
    // lane for itself, and what its events point to. Last: they end before what they use does.
    std::vector<std::unique_ptr<Lane>> lanes_;  // beside replica_ and writer_
    std::string no_lane_;                       // why there is none
    std::chrono::steady_clock::time_point no_lane_until_, lane_used_;
    std::uint32_t flights_begun_ = 0;
    std::deque<Flight> flights_;
};

}  // namespace cqrs::apply
