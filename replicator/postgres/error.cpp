#include "postgres/error.hpp"

namespace cqrs::postgres {

namespace {

std::string copied(const char* s) {
    return s ? std::string(s) : std::string();
}

}  // namespace

Error::Error(Remedy remedy, std::string sqlstate, const std::string& message, std::string detail,
             std::string hint)
    : std::runtime_error(message),
      remedy_(remedy),
      sqlstate_(std::move(sqlstate)),
      detail_(std::move(detail)),
      hint_(std::move(hint)) {}

Error&& Error::where(const char* table, const char* column, const char* constraint,
                     const char* context) && {
    table_ = copied(table);
    column_ = copied(column);
    constraint_ = copied(constraint);
    context_ = copied(context);
    return std::move(*this);
}

Remedy classify(std::string_view sqlstate) noexcept {
    if (sqlstate.empty()) return Remedy::retry;
    for (std::string_view prefix : {"08", "53", "57", "58"})
        if (sqlstate.starts_with(prefix)) return Remedy::retry;
    for (std::string_view code : {"40001", "40P01", "55P03", "55006"})
        if (sqlstate == code) return Remedy::retry;
    return Remedy::stop;
}

}  // namespace cqrs::postgres
