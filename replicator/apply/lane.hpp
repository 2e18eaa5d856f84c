// One more connection to the replica for a topic that is behind: it writes a batch while the one
// before is written over another.
#pragma once

#include <memory>
#include <string>

#include "apply/writer.hpp"
#include "postgres/connection.hpp"

namespace cqrs::apply {

class Lane {
  public:
    // number: from 1; the session's own connection is 0. Throws postgres::Error, also when the
    // replica has no connection or no replication origin to spare: then there is no lane.
    static std::unique_ptr<Lane> open(const std::string& url, const std::string& topic,
                                      std::size_t number, const Stop& stop);
    Lane(const Lane&) = delete;
    Lane& operator=(const Lane&) = delete;

    postgres::Connection& connection() { return connection_; }
    Writer& writer() { return writer_; }

  private:
    explicit Lane(postgres::Connection&& connection)
        : connection_(std::move(connection)), writer_(connection_) {}

    postgres::Connection connection_;
    Writer writer_;
};

}  // namespace cqrs::apply
