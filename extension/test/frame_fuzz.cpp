// libFuzzer: a frame from anywhere either throws FrameError or is whole; the JSON writer takes any
// bytes. cmake -DCQRS_FUZZ=ON -DCMAKE_CXX_COMPILER=clang++ && build/frame_fuzz -max_total_time=60
#include "event.hpp"
#include "frame.hpp"

#include <cstdlib>

namespace {

void check(bool holds) {
    if (!holds) std::abort();
}

void fuzz_frame(std::string_view bytes) {
    cqrs::Frame frame;
    try {
        cqrs::decode_frame(bytes, frame);
    } catch (const cqrs::FrameError&) {
        return;
    }
    // What decodes encodes to the same bytes, but for types that no event has.
    if (frame.kind != cqrs::FrameKind::events || frame.types.size() > 1000) return;
    cqrs::FrameBuilder builder{std::string(frame.topic)};
    std::size_t commit = 0, left = frame.commits[0].events;
    for (const cqrs::FrameEvent& event : frame.events) {
        if (left == 0) left = frame.commits[++commit].events;
        left--;
        const cqrs::FrameType& type = frame.types[event.type];
        builder.begin_event().append(event.json);
        builder.end_event(type.name, type.notify, frame.commits[commit].end_lsn,
                          frame.commits[commit].time_us);
    }
    std::string again;
    builder.encode(again, frame.more, frame.safe_lsn, frame.time_us);
    cqrs::Frame second;
    cqrs::decode_frame(again, second);
    check(second.body == frame.body && second.commits.size() == frame.commits.size());
}

void fuzz_json(std::string_view bytes) {
    std::string out;
    check(cqrs::append_json_string(out, bytes) == cqrs::valid_utf8(bytes));
    cqrs::json_depth(bytes, cqrs::kMaxJsonDepth);
    const bool type = cqrs::valid_type(bytes);
    check(!type || cqrs::valid_prefix(cqrs::split_type(bytes).prefix) ||
          cqrs::split_type(bytes).prefix.size() > cqrs::kMaxPrefix);
    cqrs::valid_context(bytes);
    cqrs::valid_traceparent(bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    fuzz_frame(bytes);
    fuzz_json(bytes);
    return 0;
}
