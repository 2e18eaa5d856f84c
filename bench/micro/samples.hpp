// What the microbenchmarks work on: events as the output plugin writes them, of a table with a uuid
// key and two texts.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "apply/message.hpp"
#include "apply/net_effect.hpp"
#include "apply/table.hpp"
#include "event.hpp"
#include "frame.hpp"

namespace cqrs::bench {

constexpr int frame_events = 300;  // about 64 kB

inline std::string uuid(std::uint64_t n) {
    constexpr char hex[] = "0123456789abcdef";
    std::string text = "00000000-0000-4000-8000-000000000000";
    n *= 0x9E3779B97F4A7C15;  // spread, as random keys are
    for (int i : {0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 24, 25, 26, 27}) {
        text[static_cast<std::size_t>(i)] = hex[n >> 60];
        n <<= 4;
    }
    return text;
}

inline void write_string(std::string& out, std::string_view text) {
    if (!append_json_string(out, text)) throw std::invalid_argument("not UTF-8");
}

// The JSON of one event, appended to out.
inline void write_event(std::string& out, Envelope& envelope, const std::string& type,
                        const std::string& key, int n) {
    envelope.open(out, type);
    out.append(",\"data\":{\"uuid\":");
    write_string(out, key);
    out.append(",\"name\":");
    write_string(out, "Slot \"quoted\" and a name");
    out.append(",\"status\":");
    write_string(out, "available");
    out.append(",\"n\":");
    append_integer(out, n);
    out.append("}}");
}

// `updates`: every second event changes one of a few rows.
inline void fill(FrameBuilder& builder, Envelope& envelope, const std::vector<std::string>& keys,
                 bool updates) {
    envelope.begin_transaction(0x16B3748, 1700000000000000);
    for (int i = 0; i < frame_events; ++i) {
        const bool update = updates && i % 2 == 1;
        const std::string type = update ? "bench.slot.update" : "bench.slot.create";
        const std::string& key = keys[static_cast<std::size_t>(update ? i % 16 / 2 * 2 : i)];
        write_event(builder.begin_event(), envelope, type, key, i);
        builder.end_event(type, false, envelope.lsn(), envelope.time_us());
    }
}

inline std::vector<std::string> sample_keys() {
    std::vector<std::string> keys;
    for (int i = 0; i < frame_events; ++i) keys.push_back(uuid(static_cast<std::uint64_t>(i) + 1));
    return keys;
}

inline std::string sample_frame(bool updates = false) {
    FrameBuilder builder("bench");
    Envelope envelope("/bench/7711517419979369138/1");
    fill(builder, envelope, sample_keys(), updates);
    std::string out;
    builder.encode(out, false, envelope.lsn(), envelope.time_us());
    return out;
}

inline apply::Table sample_table() {
    apply::Table t;
    t.oid = 1;
    t.prefix = "bench.slot";
    t.name = "public.slots";
    for (const char* name : {"uuid", "name", "status", "n"}) {
        apply::Column c;
        c.name = name;
        c.quoted = name;
        c.cast = "text";
        t.columns.push_back(c);
    }
    t.columns[0].order = apply::Column::Order::bytes;
    apply::Key key;
    key.columns = {0};
    key.equals = {"="};
    t.keys.push_back(key);
    t.prepare();
    return t;
}

// A message that decode() can be called on again and again.
inline std::unique_ptr<apply::Message> sample_message(bool updates = false) {
    Frame frame;
    const std::string bytes = sample_frame(updates);
    decode_frame(bytes, frame);
    auto message = std::make_unique<apply::Message>();
    message->head.topic = "bench";
    message->head.sequence = 1;
    message->head.count = frame_events;
    message->body = "[" + std::string(frame.body) + "]";
    return message;
}

}  // namespace cqrs::bench
