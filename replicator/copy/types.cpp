#include "copy/types.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace cqrs::copy {

using postgres::Connection;
using postgres::Error;
using postgres::quote_identifier;
using postgres::quote_literal;
using postgres::Remedy;
using postgres::Result;

namespace {

class Types {
  public:
    Types(Connection& primary, Connection& replica) : primary_(primary), replica_(replica) {}

    // The types of a relation's columns, a composite's attributes among them.
    void of(const std::string& relation) {
        const Result rows = primary_.query(
            "SELECT DISTINCT atttypid FROM pg_catalog.pg_attribute WHERE attrelid = "
            "$1::pg_catalog.regclass AND attnum > 0 AND NOT attisdropped AND atttypid >= 10000",
            {relation});
        for (int i = 0; i < rows.rows(); ++i) need(std::string(rows.get(i, 0)));
    }

  private:
    void need(const std::string& oid) {
        const Result t = primary_.query(
            "SELECT t.typtype, n.nspname, pg_catalog.format('%I.%I', n.nspname, t.typname), "
            "t.typcategory = 'A' AND t.typelem <> 0, t.typelem, t.typbasetype, t.typrelid, "
            "(SELECT e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e "
            " ON e.oid = d.refobjid WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass "
            " AND d.objid = t.oid AND d.deptype = 'e'), "
            "(SELECT c.relkind = 'c' FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid) "
            "FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace "
            "WHERE t.oid = $1::pg_catalog.oid",
            {oid});
        if (t.rows() == 0 || t.get(0, 1) == "pg_catalog") return;
        const std::string name(t.get(0, 2));
        if (!replica_.query("SELECT pg_catalog.to_regtype($1)", {name}).is_null(0, 0)) return;
        if (t.get_bool(0, 3)) return need(std::string(t.get(0, 4)));
        if (!t.is_null(0, 7))
            throw Error(
                Remedy::stop, "42704", fmt::format("type {} is missing on the replica", name), "",
                fmt::format("On the replica: CREATE EXTENSION {};", quote_identifier(t.get(0, 7))));
        std::string sql;
        if (t.get(0, 0) == "e") {
            sql = enumeration(oid, name);
        } else if (t.get(0, 0) == "d") {
            need(std::string(t.get(0, 5)));
            sql = domain(oid, name);
        } else if (t.get(0, 0) == "c" && t.get_bool(0, 8)) {
            sql = composite(std::string(t.get(0, 6)), name);
        } else {
            throw Error(Remedy::stop, "42704",
                        fmt::format("type {} is missing on the replica", name), "",
                        "Only enums, domains and composite types are made from the primary's "
                        "definition: create this one by hand.");
        }
        make_schema(replica_, std::string(t.get(0, 1)));
        replica_.exec(sql);
        spdlog::info("copy: made type {}", name);
    }

    std::string enumeration(const std::string& oid, const std::string& name) {
        const Result labels = primary_.query(
            "SELECT enumlabel FROM pg_catalog.pg_enum WHERE enumtypid = $1::pg_catalog.oid "
            "ORDER BY enumsortorder",
            {oid});
        std::string sql;
        for (int i = 0; i < labels.rows(); ++i)
            sql += (i ? ", " : "") + quote_literal(labels.get(i, 0));
        return fmt::format("CREATE TYPE {} AS ENUM ({})", name, sql);
    }

    std::string domain(const std::string& oid, const std::string& name) {
        const Result d = primary_.query(
            "SELECT pg_catalog.format_type(t.typbasetype, t.typtypmod), t.typnotnull, "
            "CASE WHEN t.typcollation <> b.typcollation THEN "
            "(SELECT pg_catalog.format('%I.%I', n.nspname, c.collname) "
            " FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = "
            " c.collnamespace WHERE c.oid = t.typcollation) END "
            "FROM pg_catalog.pg_type t JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype "
            "WHERE t.oid = $1::pg_catalog.oid",
            {oid});
        std::string sql = fmt::format("CREATE DOMAIN {} AS {}", name, d.get(0, 0));
        if (!d.is_null(0, 2)) sql += fmt::format(" COLLATE {}", d.get(0, 2));
        if (d.get_bool(0, 1)) sql += " NOT NULL";
        const Result checks = primary_.query(
            "SELECT conname, pg_catalog.pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint c "
            "WHERE contypid = $1::pg_catalog.oid AND contype = 'c' AND convalidated "
            "AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend p WHERE p.classid = "
            "'pg_catalog.pg_constraint'::pg_catalog.regclass AND p.objid = c.oid AND p.refclassid "
            "= 'pg_catalog.pg_proc'::pg_catalog.regclass) ORDER BY conname",
            {oid});
        for (int i = 0; i < checks.rows(); ++i)
            sql += fmt::format(" CONSTRAINT {} {}", quote_identifier(checks.get(i, 0)),
                               checks.get(i, 1));
        return sql;
    }

    std::string composite(const std::string& relation, const std::string& name) {
        of(relation);
        const Result attributes = primary_.query(
            "SELECT attname, pg_catalog.format_type(atttypid, atttypmod) FROM "
            "pg_catalog.pg_attribute WHERE attrelid = $1::pg_catalog.oid AND attnum > 0 AND NOT "
            "attisdropped ORDER BY attnum",
            {relation});
        std::string sql;
        for (int i = 0; i < attributes.rows(); ++i)
            sql += fmt::format("{}{} {}", i ? ", " : "", quote_identifier(attributes.get(i, 0)),
                               attributes.get(i, 1));
        return fmt::format("CREATE TYPE {} AS ({})", name, sql);
    }

    Connection& primary_;
    Connection& replica_;
};

}  // namespace

void make_schema(Connection& replica, const std::string& name) {
    // IF NOT EXISTS would ask for the right to create schemas also where it is there.
    if (replica.query("SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1", {name}).rows() == 0)
        replica.exec("CREATE SCHEMA " + quote_identifier(name));
}

void make_types(Connection& primary, Connection& replica, const std::string& relation) {
    Types(primary, replica).of(relation);
}

}  // namespace cqrs::copy
