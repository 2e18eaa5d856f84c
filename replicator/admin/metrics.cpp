#include "admin/metrics.hpp"

#include <prometheus/text_serializer.h>

namespace cqrs {

// Register() merges families of one name and Add() metrics of one label set: that is what makes the
// same name and labels give the same object.
prometheus::Counter& Metrics::counter(const std::string& name, const std::string& help,
                                      const Labels& labels) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry_).Add(labels);
}

prometheus::Gauge& Metrics::gauge(const std::string& name, const std::string& help,
                                  const Labels& labels) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry_).Add(labels);
}

std::string Metrics::expose() const {
    return prometheus::TextSerializer().Serialize(registry_.Collect());
}

std::vector<prometheus::MetricFamily> Metrics::collect() const {
    return registry_.Collect();
}

}  // namespace cqrs
