// A frame from anywhere either throws FrameError or is whole.
#include "frame.hpp"

#include <string>

#include "targets.hpp"

namespace cqrs::fuzz {

void frame(std::string_view bytes) {
    Frame frame;
    try {
        decode_frame(bytes, frame);
    } catch (const FrameError&) {
        return;
    }
    // What decodes encodes to the same bytes, but for types that no event has.
    if (frame.kind != FrameKind::events || frame.types.size() > 1000) return;
    FrameBuilder builder{std::string(frame.topic)};
    std::size_t commit = 0, left = frame.commits[0].events;
    for (const FrameEvent& event : frame.events) {
        if (left == 0) left = frame.commits[++commit].events;
        left--;
        const FrameType& type = frame.types[event.type];
        builder.begin_event().append(event.json);
        builder.end_event(type.name, type.notify, frame.commits[commit].end_lsn,
                          frame.commits[commit].time_us);
    }
    std::string again;
    builder.encode(again, frame.more, frame.safe_lsn, frame.time_us);
    Frame second;
    decode_frame(again, second);
    check(second.body == frame.body && second.commits.size() == frame.commits.size());
}

}  // namespace cqrs::fuzz
