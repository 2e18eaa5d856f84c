// What went wrong in a database, and what the caller can do about it.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace cqrs::postgres {

// What the caller can do about it (ARCHITECTURE.md, "Errors").
enum class Remedy {
    retry,     // transient SQLSTATE or no connection: the work was not done, try again
    in_doubt,  // the connection broke during COMMIT: read the position to find out
    stop,      // data or schema: trying again will not help
};

class Error : public std::runtime_error {
  public:
    Error(Remedy remedy, std::string sqlstate, const std::string& message, std::string detail = {},
          std::string hint = {});
    Remedy remedy() const noexcept { return remedy_; }
    const std::string& sqlstate() const noexcept { return sqlstate_; }  // "" when there was none
    const std::string& detail() const noexcept { return detail_; }
    const std::string& hint() const noexcept { return hint_; }
    // What the server named; "" when it did not. context: "COPY staging, line 3, column name ...".
    const std::string& table() const noexcept { return table_; }
    const std::string& column() const noexcept { return column_; }
    const std::string& constraint() const noexcept { return constraint_; }
    const std::string& context() const noexcept { return context_; }
    Error&& where(const char* table, const char* column, const char* constraint,
                  const char* context) &&;

  private:
    Remedy remedy_;
    std::string sqlstate_, detail_, hint_, table_, column_, constraint_, context_;
};

// 08xxx 40001 40P01 53xxx 55P03 55006 57xxx 58xxx and an empty SQLSTATE are retry, the rest stop.
Remedy classify(std::string_view sqlstate) noexcept;

}  // namespace cqrs::postgres
