// A table of the primary as DDL for a replica: what rows need, and what can wait until they are
// there.
#pragma once

#include <string>
#include <vector>

#include "postgres/connection.hpp"

namespace cqrs::copy {

// In the DDL the table's name is left open: "{}". Not taken over: foreign keys, sequences and
// identity, defaults and expressions that call functions of the user's, triggers, rights, policies,
// partitioning (the replica's table is a plain one).
struct Definition {
    std::string schema, name;  // as they are in the catalog, not quoted
    std::string staging_name;  // the table's name until it is whole, in the same schema
    std::string create;
    struct Step {
        std::string what;  // for logs: "index orders_customer"
        std::string sql;
        bool key = false;  // the table cannot be subscribed without it
    };
    std::vector<Step> after;            // once the rows are there, in this order
    std::vector<std::string> left_out;  // for the log

    std::string qualified() const;
    std::string staging() const;
};

// Of the relation as the connection's transaction sees it; prefix: makes the staging name.
Definition read_definition(postgres::Connection& primary, const std::string& relation,
                           const std::string& prefix);

// sql with its "{}" replaced.
std::string on_table(const std::string& sql, const std::string& table);

}  // namespace cqrs::copy
