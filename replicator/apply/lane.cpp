#include "apply/lane.hpp"

#include "apply/notify.hpp"
#include "apply/position.hpp"
#include "apply/replica.hpp"

namespace cqrs::apply {

using postgres::Connection;

std::unique_ptr<Lane> Lane::open(const std::string& url, const std::string& topic,
                                 std::size_t number, const Stop& stop) {
    Connection connection = open_replica(url, topic + " " + std::to_string(number), &stop);
    take_lane_origin(connection, topic, number);
    prepare_advance(connection);
    prepare_notify(connection);
    return std::unique_ptr<Lane>(new Lane(std::move(connection)));
}

}  // namespace cqrs::apply
