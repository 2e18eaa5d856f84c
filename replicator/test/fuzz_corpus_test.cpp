// Every input that a fuzz target ever stumbled over, and the seeds that it starts from.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>

#include "fuzz/targets.hpp"

namespace cqrs {
namespace {

struct Target {
    const char* name;
    std::function<void(std::string_view)> run;
};

class FuzzCorpus : public ::testing::TestWithParam<Target> {};

TEST_P(FuzzCorpus, Holds) {
    std::size_t inputs = 0;
    for (const auto& file :
         std::filesystem::directory_iterator(std::string(CQRS_FUZZ_CORPUS "/") + GetParam().name)) {
        std::ifstream in(file.path(), std::ios::binary);
        const std::string bytes((std::istreambuf_iterator<char>(in)), {});
        SCOPED_TRACE(file.path());
        GetParam().run(bytes);
        // Cut anywhere, it must hold as well.
        for (std::size_t n = 0; n < bytes.size(); n += 1 + bytes.size() / 64)
            GetParam().run(std::string_view(bytes).substr(0, n));
        ++inputs;
    }
    EXPECT_GT(inputs, 0U);
}

INSTANTIATE_TEST_SUITE_P(All, FuzzCorpus,
                         ::testing::Values(Target{"frame", fuzz::frame}, Target{"json", fuzz::json},
                                           Target{"message", fuzz::message},
                                           Target{"settings", fuzz::settings}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace cqrs
