// Counters and gauges of this process, exported at /metrics. Thread-safe.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace cqrs {

class Metrics {
  public:
    using Labels = std::map<std::string, std::string>;
    // The reference stays valid for the life of Metrics; the same name and labels give the same
    // one. Names: cqrs_relay_events_total, cqrs_apply_events_total{topic=...} ...
    prometheus::Counter& counter(const std::string& name, const std::string& help,
                                 const Labels& labels = {});
    prometheus::Gauge& gauge(const std::string& name, const std::string& help,
                             const Labels& labels = {});
    std::string expose() const;                             // the Prometheus text format
    std::vector<prometheus::MetricFamily> collect() const;  // the same, for /status.json

  private:
    prometheus::Registry registry_;
};

}  // namespace cqrs
