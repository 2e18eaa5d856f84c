// cqrs-instructions STEP ROUNDS: for callgrind, which counts what happens in measured() alone.
// bench/micro/count runs it.
#include <cstdlib>
#include <iostream>

#include "steps.hpp"

using cqrs::bench::Steps;

// Named in --toggle-collect. Not inlined, not renamed.
extern "C" __attribute__((noinline)) void measured(Steps& steps, Steps::Step step, int rounds) {
    for (int i = 0; i < rounds; ++i) (steps.*step)();
}

int main(int argc, char** argv) {
    if (argc == 2 && std::string(argv[1]) == "--list") {
        for (const auto& [name, _] : Steps::all()) std::cout << name << "\n";
        return 0;
    }
    const auto found = argc == 3 ? Steps::all().find(argv[1]) : Steps::all().end();
    if (found == Steps::all().end()) {
        std::cerr << "usage: cqrs-instructions --list | STEP ROUNDS\n";
        return 2;
    }
    Steps steps;
    (steps.*found->second)();  // buffers have their size
    measured(steps, found->second, std::atoi(argv[2]));
    std::cout << std::atoi(argv[2]) * cqrs::bench::frame_events << "\n";
}
