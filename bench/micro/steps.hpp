// The measured steps, one call a frame's worth of events. Prepared once; each can be called again.
#pragma once

#include <map>
#include <string>

#include "samples.hpp"

namespace cqrs::bench {

class Steps {
  public:
    Steps() : decoder_(tables_), changes_decoder_(tables_) {
        changes_decoder_.decode(*changes_, 1);
        for (const apply::Event& e : changes_->events) events_.push_back(&e);
    }

    // Events to JSON in a frame: what the output plugin does beside reading tuples.
    void write_json() {
        builder_.clear();
        fill(builder_, envelope_, keys_, false);
        out_.clear();
        builder_.encode(out_, false, envelope_.lsn(), envelope_.time_us());
    }
    void decode_frame() { cqrs::decode_frame(frame_bytes_, frame_); }
    void decode_message() {
        message_->arena.clear();
        decoder_.decode(*message_, 1);
    }
    void net_effect() {
        arena_.clear();
        effect_ = apply::net_effect(events_, arena_);
    }

    using Step = void (Steps::*)();
    static const std::map<std::string, Step>& all() {
        static const std::map<std::string, Step> steps = {
            {"write_json", &Steps::write_json},
            {"decode_frame", &Steps::decode_frame},
            {"decode_message", &Steps::decode_message},
            {"net_effect", &Steps::net_effect},
        };
        return steps;
    }

  private:
    std::vector<apply::Table> tables_{sample_table()};
    std::vector<std::string> keys_ = sample_keys();
    FrameBuilder builder_{"bench"};
    Envelope envelope_{"/bench/7711517419979369138/1"};
    std::string out_, frame_bytes_ = sample_frame();
    Frame frame_;
    apply::Decoder decoder_, changes_decoder_;
    std::unique_ptr<apply::Message> message_ = sample_message(), changes_ = sample_message(true);
    std::vector<const apply::Event*> events_;
    apply::Arena arena_;
    std::vector<apply::Step> effect_;
};

}  // namespace cqrs::bench
