// The sides that `doctor` looks at. Each returns when it can go no further; none throws for what it
// finds.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "admin/findings.hpp"
#include "config.hpp"
#include "copy/identity.hpp"
#include "postgres/connection.hpp"

namespace cqrs {

// What one side knows and another compares with.
struct Discovered {
    using Columns = std::map<std::string, std::string>;  // name -> type
    std::optional<std::string> primary_identity;         // system identifier / database
    std::map<std::string, Columns> published;            // prefix -> columns, from the primary
    std::map<std::string, copy::Identity> identities;    // likewise
    bool primary_read = false;                           // published is complete
    std::set<std::string> topics;
};

void check_primary(const Settings& settings, Findings& findings, Discovered& discovered);
void check_replica(const Settings& settings, Findings& findings, Discovered& discovered);
void check_broker(const Settings& settings, Findings& findings, const Discovered& discovered);

// Shared by both databases. nullopt: the connection failed, which has been reported.
std::optional<postgres::Connection> check_connection(const std::string& url, const char* setting,
                                                     Findings& findings);
void check_version(const postgres::Connection& connection, Findings& findings);
bool check_extension(postgres::Connection& connection, Findings& findings);  // false: not there
std::string database_identity(postgres::Connection& connection);
// The privileges of `wanted` ("SELECT" ...) that the current role lacks on the relation.
std::vector<std::string> missing_rights(postgres::Connection& connection,
                                        const std::string& relation,
                                        const std::vector<std::string>& wanted);
Discovered::Columns columns_of(postgres::Connection& connection, const std::string& relation);

// The setting's value; "" if this server does not know it or hides it from this role.
std::string setting_of(postgres::Connection& connection, const std::string& name);
std::string joined(const std::vector<std::string>& words, const char* separator = ", ");
// The GRANT that gives the current role what it lacks.
std::string grant(postgres::Connection& connection, const std::string& rights,
                  const std::string& object);

}  // namespace cqrs
