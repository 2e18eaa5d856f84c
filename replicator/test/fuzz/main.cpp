// libFuzzer's entry point; CMake says which target.
#include <spdlog/spdlog.h>

#include "targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    spdlog::set_level(spdlog::level::off);
    cqrs::fuzz::CQRS_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
    return 0;
}
