#include "broker/compression.hpp"

#include <lz4frame.h>

#include <memory>
#include <stdexcept>

namespace cqrs::broker {

namespace {

// Hostile frames claim much. Messages are smaller than this: --max-message-bytes.
constexpr std::size_t most = std::size_t{512} * 1024 * 1024;

struct FreeContext {
    void operator()(LZ4F_dctx* context) const noexcept { LZ4F_freeDecompressionContext(context); }
};

std::size_t checked(std::size_t result) {
    if (LZ4F_isError(result))
        throw std::invalid_argument(std::string("not an LZ4 frame: ") + LZ4F_getErrorName(result));
    return result;
}

}  // namespace

std::string compress_lz4(std::string_view content) {
    LZ4F_preferences_t preferences{};
    preferences.frameInfo.contentSize = content.size();
    preferences.frameInfo.blockSizeID = LZ4F_max256KB;
    std::string out(LZ4F_compressFrameBound(content.size(), &preferences), '\0');
    const std::size_t size =
        LZ4F_compressFrame(out.data(), out.size(), content.data(), content.size(), &preferences);
    if (LZ4F_isError(size)) throw std::runtime_error(LZ4F_getErrorName(size));
    out.resize(size);
    return out;
}

std::string decompress_lz4(std::string_view frame, std::size_t limit) {
    LZ4F_dctx* raw = nullptr;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&raw, LZ4F_VERSION)))
        throw std::runtime_error("no memory for an LZ4 context");
    const std::unique_ptr<LZ4F_dctx, FreeContext> context(raw);

    LZ4F_frameInfo_t info{};
    std::size_t used = frame.size();
    checked(LZ4F_getFrameInfo(context.get(), &info, frame.data(), &used));
    frame.remove_prefix(used);
    if (info.contentSize == 0 || info.contentSize > limit)
        throw std::invalid_argument("an LZ4 frame does not say its size, or a too large one");

    std::string out(info.contentSize, '\0');
    std::size_t written = 0, wanted = 1;
    while (wanted != 0) {
        std::size_t to = out.size() - written, from = frame.size();
        wanted = checked(LZ4F_decompress(context.get(), out.data() + written, &to, frame.data(),
                                         &from, nullptr));
        written += to;
        frame.remove_prefix(from);
        if (wanted != 0 && to == 0 && from == 0)
            throw std::invalid_argument("an LZ4 frame is cut off");
    }
    if (written != out.size() || !frame.empty())
        throw std::invalid_argument("an LZ4 frame has another size than it says");
    return out;
}

std::string decoded_body(const std::string& content_encoding, std::string&& body) {
    if (content_encoding.empty() || content_encoding == "identity") return std::move(body);
    if (content_encoding == lz4_encoding) return decompress_lz4(body, most);
    throw std::invalid_argument("content-encoding " + content_encoding + " is not known");
}

}  // namespace cqrs::broker
