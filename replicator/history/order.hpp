// Which events of a stream's messages are new. After a lost connection the relay sends messages
// again, cut differently, and a relay that lost its place may still deliver an older epoch; what
// the limits took, or was never there, is a gap.
#pragma once

#include <cstdint>

#include "apply/message.hpp"

namespace cqrs::history {

class Order {
  public:
    struct Step {
        std::int64_t from = 0;  // the first new event; 0: the message holds none
        bool epoch_began = false;
        std::int64_t missing = 0;  // the first of the events that are missing before it; 0: none
    };

    // The first message ever has no gap before it: who must know asks for its sequence.
    Step take(const apply::MessageHead& head) {
        Step step;
        if (epoch_ == 0) {
            last_ = head.sequence - 1;
        } else if (head.epoch < epoch_ || (head.epoch == epoch_ && head.last() <= last_)) {
            return step;
        } else if (head.epoch > epoch_) {
            step.epoch_began = true;
            last_ = 0;
        }
        epoch_ = head.epoch;
        if (head.sequence > last_ + 1) {
            step.missing = last_ + 1;
            last_ = head.sequence - 1;
        }
        step.from = last_ + 1;
        last_ = head.last();
        return step;
    }

    std::int64_t epoch() const { return epoch_; }  // 0: nothing was taken yet
    std::int64_t last() const { return last_; }

  private:
    std::int64_t epoch_ = 0, last_ = 0;
};

}  // namespace cqrs::history
