#include "broker/wire.hpp"

namespace cqrs::broker::wire {

Table::Table(const Headers& headers) {
    entries_.reserve(headers.size());
    for (const auto& [key, value] : headers)
        std::visit([&, &key = key](const auto& v) { add(key, v); }, value);
}

amqp_field_value_t& Table::entry(std::string_view key, int kind) {
    amqp_table_entry_t& e = entries_.emplace_back();
    e.key = bytes(key);
    e.value.kind = static_cast<std::uint8_t>(kind);
    return e.value;
}

void Table::add(std::string_view key, bool value) {
    entry(key, AMQP_FIELD_KIND_BOOLEAN).value.boolean = value;
}
void Table::add(std::string_view key, std::int64_t value) {
    entry(key, AMQP_FIELD_KIND_I64).value.i64 = value;
}
void Table::add(std::string_view key, const std::string& value) {
    entry(key, AMQP_FIELD_KIND_UTF8).value.bytes = bytes(value);
}
void Table::add(std::string_view key, const std::vector<std::string>& value) {
    auto& array = arrays_.emplace_back();
    array.reserve(value.size());
    for (const std::string& text : value) {
        amqp_field_value_t& element = array.emplace_back();
        element.kind = AMQP_FIELD_KIND_UTF8;
        element.value.bytes = bytes(text);
    }
    amqp_field_value_t& e = entry(key, AMQP_FIELD_KIND_ARRAY);
    e.value.array.num_entries = static_cast<int>(array.size());
    e.value.array.entries = array.data();
}
void Table::add(std::string_view key, const Table& value) {
    entry(key, AMQP_FIELD_KIND_TABLE).value.table = value.table();
}
void Table::add(std::string_view key, Timestamp value) {
    entry(key, AMQP_FIELD_KIND_TIMESTAMP).value.u64 = value.seconds;
}

amqp_table_t Table::table() const {
    return {static_cast<int>(entries_.size()), const_cast<amqp_table_entry_t*>(entries_.data())};
}

amqp_basic_properties_t from_properties(const Properties& properties, const Table& headers) {
    amqp_basic_properties_t raw{};
    raw._flags = AMQP_BASIC_DELIVERY_MODE_FLAG;
    raw.delivery_mode =
        properties.persistent ? AMQP_DELIVERY_PERSISTENT : AMQP_DELIVERY_NONPERSISTENT;
    if (!properties.content_type.empty()) {
        raw._flags |= AMQP_BASIC_CONTENT_TYPE_FLAG;
        raw.content_type = bytes(properties.content_type);
    }
    if (!properties.content_encoding.empty()) {
        raw._flags |= AMQP_BASIC_CONTENT_ENCODING_FLAG;
        raw.content_encoding = bytes(properties.content_encoding);
    }
    if (!properties.message_id.empty()) {
        raw._flags |= AMQP_BASIC_MESSAGE_ID_FLAG;
        raw.message_id = bytes(properties.message_id);
    }
    if (properties.timestamp) {
        raw._flags |= AMQP_BASIC_TIMESTAMP_FLAG;
        raw.timestamp = properties.timestamp;
    }
    if (!properties.headers.empty()) {
        raw._flags |= AMQP_BASIC_HEADERS_FLAG;
        raw.headers = headers.table();
    }
    return raw;
}

namespace {

bool is_text(const amqp_field_value_t& v) {
    return v.kind == AMQP_FIELD_KIND_UTF8 || v.kind == AMQP_FIELD_KIND_BYTES;
}

std::optional<HeaderValue> to_header(const amqp_field_value_t& v) {
    switch (v.kind) {
        case AMQP_FIELD_KIND_BOOLEAN:
            return v.value.boolean != 0;
        case AMQP_FIELD_KIND_I8:
            return std::int64_t{v.value.i8};
        case AMQP_FIELD_KIND_U8:
            return std::int64_t{v.value.u8};
        case AMQP_FIELD_KIND_I16:
            return std::int64_t{v.value.i16};
        case AMQP_FIELD_KIND_U16:
            return std::int64_t{v.value.u16};
        case AMQP_FIELD_KIND_I32:
            return std::int64_t{v.value.i32};
        case AMQP_FIELD_KIND_U32:
            return std::int64_t{v.value.u32};
        case AMQP_FIELD_KIND_I64:
            return v.value.i64;
        case AMQP_FIELD_KIND_U64:
        case AMQP_FIELD_KIND_TIMESTAMP:
            return static_cast<std::int64_t>(v.value.u64);
        case AMQP_FIELD_KIND_UTF8:
        case AMQP_FIELD_KIND_BYTES:
            return to_string(v.value.bytes);
        case AMQP_FIELD_KIND_ARRAY: {
            std::vector<std::string> list;
            for (int i = 0; i < v.value.array.num_entries; ++i)
                if (is_text(v.value.array.entries[i]))
                    list.push_back(to_string(v.value.array.entries[i].value.bytes));
            return list;
        }
        default:
            return std::nullopt;
    }
}

}  // namespace

Properties to_properties(const amqp_basic_properties_t& raw) {
    Properties p;
    if (raw._flags & AMQP_BASIC_CONTENT_TYPE_FLAG) p.content_type = to_string(raw.content_type);
    if (raw._flags & AMQP_BASIC_CONTENT_ENCODING_FLAG)
        p.content_encoding = to_string(raw.content_encoding);
    if (raw._flags & AMQP_BASIC_MESSAGE_ID_FLAG) p.message_id = to_string(raw.message_id);
    if (raw._flags & AMQP_BASIC_TIMESTAMP_FLAG) p.timestamp = raw.timestamp;
    p.persistent = (raw._flags & AMQP_BASIC_DELIVERY_MODE_FLAG) &&
                   raw.delivery_mode == AMQP_DELIVERY_PERSISTENT;
    if (raw._flags & AMQP_BASIC_HEADERS_FLAG)
        for (int i = 0; i < raw.headers.num_entries; ++i)
            if (auto value = to_header(raw.headers.entries[i].value))
                p.headers.insert_or_assign(to_string(raw.headers.entries[i].key),
                                           std::move(*value));
    return p;
}

}  // namespace cqrs::broker::wire
