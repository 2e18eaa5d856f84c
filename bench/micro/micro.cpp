// Google Benchmark over the steps: nanoseconds an event.
#include <benchmark/benchmark.h>

#include "steps.hpp"

int main(int argc, char** argv) {
    using cqrs::bench::Steps;
    for (const auto& [name, step] : Steps::all())
        benchmark::RegisterBenchmark(name.c_str(), [step = step](benchmark::State& state) {
            Steps steps;
            for (auto _ : state) (steps.*step)();
            state.SetItemsProcessed(state.iterations() * cqrs::bench::frame_events);
        });
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::RunSpecifiedBenchmarks();
}
