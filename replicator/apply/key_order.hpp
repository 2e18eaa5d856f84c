// Rows in the order of their key's index: neighbours share its pages, and those of the table too if
// it was filled in that order. Costs little, so it is always done where the order is known.
#pragma once

#include <span>

#include "apply/net_effect.hpp"

namespace cqrs::apply {

// By the first column of the key in use. Only a matter of speed: long keys that begin alike may
// stay out of order.
void sort_by_key(const Table& table, std::span<NetRow> rows);

}  // namespace cqrs::apply
