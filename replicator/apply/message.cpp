#include "apply/message.hpp"

#include <simdjson.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <mutex>
#include <set>

#include "apply/handlers.hpp"
#include "apply/key_set.hpp"
#include "broker/names.hpp"

namespace cqrs::apply {

namespace ondemand = simdjson::ondemand;

namespace {

// simdjson_result<field>::value() is the field's value, not the field.
template <typename T>
T take(simdjson::simdjson_result<T>&& result) {
    T value;
    const auto error = std::move(result).get(value);
    if (error) throw simdjson::simdjson_error(error);
    return value;
}

// A raw value reaches up to the next token.
std::string_view trimmed(std::string_view json) {
    while (!json.empty() && static_cast<unsigned char>(json.back()) <= ' ') json.remove_suffix(1);
    return json;
}

template <typename T>
const T& header(const broker::Headers& headers, const char* name) {
    const auto it = headers.find(name);
    if (it == headers.end()) throw Refused(std::string("no header ") + name);
    const T* value = std::get_if<T>(&it->second);
    if (!value) throw Refused(std::string("header ") + name + " has the wrong type");
    return *value;
}

std::uint64_t lsn_header(const broker::Headers& headers, const char* name) {
    try {
        return postgres::parse_lsn(header<std::string>(headers, name));
    } catch (const std::invalid_argument& e) {
        throw Refused(std::string("header ") + name + ": " + e.what());
    }
}

}  // namespace

MessageHead read_head(const broker::Headers& headers) {
    MessageHead head;
    head.source = header<std::string>(headers, broker::header_source);
    head.topic = header<std::string>(headers, broker::header_topic);
    head.epoch = header<std::int64_t>(headers, broker::header_epoch);
    head.sequence = header<std::int64_t>(headers, broker::header_sequence);
    head.count = header<std::int64_t>(headers, broker::header_count);
    head.committed = header<std::int64_t>(headers, broker::header_committed);
    head.lsn = lsn_header(headers, broker::header_lsn);
    head.previous_lsn = lsn_header(headers, broker::header_previous);
    head.more = header<bool>(headers, broker::header_more);
    constexpr std::int64_t most = std::int64_t{1} << 62;  // sums of two stay inside int64
    if (head.sequence < 1 || head.sequence > most || head.count < 1 || head.count > most)
        throw Refused("headers cqrs-sequence and cqrs-count are out of range");
    return head;
}

struct Decoder::State {
    static constexpr std::uint32_t ignored = UINT32_MAX;  // a column that the replica does without

    // Events of a table come with the same columns in the same order: the place of the last match
    // saves the lookup.
    struct Expected {
        std::string raw;  // the key as it stands in the JSON, without escapes
        std::uint32_t column;
    };
    struct Known {
        const Table* table;
        std::vector<Expected> order;
    };
    struct Type {
        std::string name;
        std::size_t prefix_size = 0;
        Verb verb = Verb::other;
        Known* known = nullptr;  // of the subscription; null: none
        const std::vector<std::uint32_t>* handlers = nullptr;
    };

    std::vector<Known> known;
    std::unordered_map<std::string, std::unique_ptr<Type>> types;
    const Type* last_type = nullptr;
    bool notify = false;
    Handlers* handlers = nullptr;
    ondemand::parser parser, inner;  // inner: JSON inside a string attribute
    std::vector<std::uint32_t> json_nulls;

    const Type& type_of(std::string_view name);
    std::string_view text(ondemand::value value, Arena& arena);
    Field field(ondemand::value value, bool json, bool json_null, Arena& arena);
    std::uint32_t column(Known& k, std::size_t at, ondemand::field& field, const Message& message,
                         const Event& event);
    std::uint32_t unknown(Known& k, const std::string& name, const Event& event);
    const Field* row(ondemand::object object, Known& k, Message& message, const Event& event);
    void read_json_nulls(std::string_view text, const Table& table, Arena& arena);
    const Field* old_key(std::string_view text, Known& k, Message& message, const Event& event);
    void event(ondemand::object object, Message& message, std::int64_t sequence);
    void finish(Event& event, const Type& type, Known* k, bool has_data);
};

const Decoder::State::Type& Decoder::State::type_of(std::string_view name) {
    if (last_type && last_type->name == name) return *last_type;
    auto it = types.find(std::string(name));
    if (it == types.end()) {
        if (types.size() > 10000) types.clear();  // made-up types must not fill the memory
        auto type = std::make_unique<Type>();
        type->name = name;
        const auto dot = name.rfind('.');
        if (dot != std::string_view::npos) {
            type->prefix_size = dot;
            type->verb = parse_verb(name.substr(dot + 1));
            for (Known& k : known)
                if (k.table->prefix == name.substr(0, dot)) type->known = &k;
        }
        if (handlers) type->handlers = handlers->matching(name);
        it = types.emplace(type->name, std::move(type)).first;
    }
    last_type = it->second.get();
    return *last_type;
}

// Points into the body unless there is something to unescape.
std::string_view Decoder::State::text(ondemand::value value, Arena& arena) {
    std::string_view token = value.raw_json_token();
    if (token.empty() || token.front() != '"') throw Refused("an attribute is not a string");
    const auto end = token.rfind('"');  // white space up to the next token may follow it
    if (end == 0) throw Refused("a string does not end");
    token = token.substr(1, end - 1);
    if (token.find('\\') == std::string_view::npos) return token;
    auto* to =
        reinterpret_cast<std::uint8_t*>(arena.bytes(token.size() + simdjson::SIMDJSON_PADDING));
    return parser.unescape(value.get_raw_json_string().value(), to).value();
}

Field Decoder::State::field(ondemand::value value, bool json, bool json_null, Arena& arena) {
    const std::string_view token = value.raw_json_token();
    const std::string_view scalar = trimmed(token);
    if (scalar.empty()) throw Refused("a value is empty");
    // A json column keeps the white space round its value.
    const auto take_raw = [&](std::string_view raw) {
        if (!json) return Field::of(trimmed(raw));
        const char* begin = raw.data();
        while (static_cast<unsigned char>(begin[-1]) <= ' ') --begin;  // up to the colon
        return Field::of({begin, static_cast<std::size_t>(raw.data() - begin) + raw.size()});
    };
    switch (scalar.front()) {
        case '"':
            if (json) return take_raw(token);
            return Field::of(text(value, arena));
        case '{':
            return take_raw(value.get_object().value().raw_json().value());
        case '[':
            return take_raw(value.get_array().value().raw_json().value());
        case 'n':
            if (scalar != "null") break;
            return json_null ? take_raw(token) : Field::null();
        case 't':
        case 'f':
            // As Postgres prints it: in a column of another type too a row is what its copy is.
            if (scalar == "true") return json ? take_raw(token) : Field::of("t");
            if (scalar == "false") return json ? take_raw(token) : Field::of("f");
            break;
        default:  // a number is taken as it is written: no double could hold it exactly
            if (scalar.find_first_not_of("0123456789+-.eE") == std::string_view::npos)
                return take_raw(token);
    }
    throw Refused("a value is not JSON");
}

std::uint32_t Decoder::State::column(Known& k, std::size_t at, ondemand::field& field,
                                     const Message& message, const Event& event) {
    const char* raw = field.key().raw();
    const char* end = message.body.data() + message.body.size();
    if (at < k.order.size() && k.order[at].raw.size() < static_cast<std::size_t>(end - raw) &&
        field.key().unsafe_is_equal(k.order[at].raw.size(), k.order[at].raw))
        return k.order[at].column;
    const std::string name(field.unescaped_key().value());
    const auto column = k.table->find(name);
    if (!column) return unknown(k, name, event);
    if (k.order.size() <= at) k.order.resize(at + 1);
    // Only where escaped and unescaped are the same bytes.
    if (std::none_of(name.begin(), name.end(), [](char c) { return c == '"' || c == '\\'; }) &&
        static_cast<std::size_t>(end - raw) > name.size() &&
        std::string_view(raw, name.size()) == name)
        k.order[at] = {name, *column};
    return *column;
}

std::uint32_t Decoder::State::unknown(Known& k, const std::string& name, const Event& event) {
    if (!k.table->ignore_unknown)
        throw SchemaDiffers("event " + std::string(event.id) + " (" + std::string(event.type) +
                                "): " + k.table->name + " has no column " +
                                postgres::quote_identifier(name),
                            k.table->prefix, name);
    static std::mutex mutex;
    static std::set<std::string> said;
    const std::lock_guard lock(mutex);
    if (said.insert(k.table->name + " " + name).second)
        spdlog::warn("apply: {} has no column {}, which the primary has: its values are ignored",
                     k.table->name, postgres::quote_identifier(name));
    return ignored;
}

const Field* Decoder::State::row(ondemand::object object, Known& k, Message& message,
                                 const Event& event) {
    Field* fields = message.arena.array<Field>(k.table->columns.size());
    std::size_t at = 0;
    for (auto result : object) {
        ondemand::field f = take<ondemand::field>(std::move(result));
        const std::uint32_t c = column(k, at++, f, message, event);
        if (c == ignored) continue;
        const Column& description = k.table->columns[c];
        if (description.generated) continue;
        const bool json_null = description.json && std::find(json_nulls.begin(), json_nulls.end(),
                                                             c) != json_nulls.end();
        fields[c] = field(f.value(), description.json, json_null, message.arena);
    }
    return fields;
}

// `jsonnulls`: the columns whose null is JSON's, not SQL's. A JSON array in a string.
void Decoder::State::read_json_nulls(std::string_view text, const Table& table, Arena& arena) {
    char* padded = arena.bytes(text.size() + simdjson::SIMDJSON_PADDING);
    std::copy(text.begin(), text.end(), padded);
    std::fill_n(padded + text.size(), simdjson::SIMDJSON_PADDING, ' ');
    auto document = inner.iterate(padded, text.size(), text.size() + simdjson::SIMDJSON_PADDING);
    for (auto item : document.get_array()) {
        const auto column = table.find(item.get_string().value());
        if (column && table.columns[*column].json) json_nulls.push_back(*column);
    }
}

const Field* Decoder::State::old_key(std::string_view text, Known& k, Message& message,
                                     const Event& event) {
    char* padded = message.arena.bytes(text.size() + simdjson::SIMDJSON_PADDING);
    std::copy(text.begin(), text.end(), padded);
    std::fill_n(padded + text.size(), simdjson::SIMDJSON_PADDING, ' ');
    auto document = inner.iterate(padded, text.size(), text.size() + simdjson::SIMDJSON_PADDING);
    Field* fields = message.arena.array<Field>(k.table->columns.size());
    for (auto result : document.get_object()) {
        ondemand::field f = take<ondemand::field>(std::move(result));
        const std::string name(f.unescaped_key().value());
        const auto c = k.table->find(name);
        if (!c) {
            unknown(k, name, event);
            continue;
        }
        if (k.table->columns[*c].generated) continue;
        // It names a row by a key, whose columns are NOT NULL: a null is JSON's.
        fields[*c] = field(f.value(), k.table->columns[*c].json, true, message.arena);
    }
    return fields;
}

void Decoder::State::event(ondemand::object object, Message& message, std::int64_t sequence) {
    Event e;
    e.sequence = sequence;
    std::string_view whole;
    if (notify) {
        whole = trimmed(object.raw_json().value());
        object.reset().value();
    }
    const Type* type = nullptr;
    Known* k = nullptr;  // set when there is a row to decode
    std::string_view old_text;
    bool has_data = false;
    json_nulls.clear();
    for (auto result : object) {
        ondemand::field f = take<ondemand::field>(std::move(result));
        const auto key = f.key();
        if (key.unsafe_is_equal("id")) {
            e.id = text(f.value(), message.arena);
            const auto id = parse_id(e.id);
            if (!id) throw Refused("an event's id is not <LSN>.<n>");
            e.lsn = id->lsn;
        } else if (key.unsafe_is_equal("type")) {
            e.type = text(f.value(), message.arena);
            type = &type_of(e.type);
            e.prefix = e.type.substr(0, type->prefix_size);
            e.verb = type->known ? type->verb : Verb::other;
        } else if (key.unsafe_is_equal("time")) {
            e.time = text(f.value(), message.arena);
        } else if (key.unsafe_is_equal("data")) {
            if (!type || e.id.empty())
                throw Refused("an event's data comes before its id and type");
            has_data = true;
            // What is in the copy already is not decoded: it may have columns of another time.
            const bool wanted = type->known && e.lsn > type->known->table->snapshot_lsn;
            const bool rows =
                e.verb == Verb::create || e.verb == Verb::update || e.verb == Verb::remove;
            if (wanted && rows) {
                k = type->known;
                e.row = row(f.value().get_object().value(), *k, message, e);
            } else if (wanted && (e.verb == Verb::resync || e.verb == Verb::stop)) {
                e.detail = trimmed(f.value().get_object().value().raw_json().value());
            }
        } else if (key.unsafe_is_equal("oldkey")) {
            old_text = text(f.value(), message.arena);
        } else if (key.unsafe_is_equal("jsonnulls")) {
            if (!type) throw Refused("an event's jsonnulls comes before its type");
            if (type->known)
                read_json_nulls(text(f.value(), message.arena), *type->known->table, message.arena);
        }
    }
    if (!type || e.id.empty()) throw Refused("an event has no id or no type");
    if (k && !old_text.empty()) e.old = old_key(old_text, *k, message, e);
    finish(e, *type, k, has_data);
    if (type->known && type->known->table->notify && e.lsn > type->known->table->snapshot_lsn)
        e.notify = whole;
    if (type->known && type->known->table->park) e.json = whole;
    if (type->handlers) {
        if (whole.empty()) {
            object.reset().value();
            whole = trimmed(object.raw_json().value());
        }
        e.handlers = type->handlers;
        e.json = whole;
    }
    message.events.push_back(e);
}

// Decides what the event means for its table, and that it can be found there.
void Decoder::State::finish(Event& e, const Type& type, Known* k, bool has_data) {
    if (!type.known || e.lsn <= type.known->table->snapshot_lsn || e.verb == Verb::other) {
        e.row = e.old = nullptr;
        return;
    }
    const Table& table = *type.known->table;
    e.table = &table;
    if (e.verb == Verb::truncate || e.verb == Verb::resync || e.verb == Verb::stop) return;
    if (!k || !has_data) throw Refused("a row's event has no data");
    const Field* names_it = e.old ? e.old : e.row;
    if (!table.key_for(names_it) || (e.verb != Verb::remove && !table.key_for(e.row)))
        throw Halt("event " + std::string(e.id) + " (" + std::string(e.type) +
                   ") lacks the columns of every unique key of " + table.name +
                   ". Give the replica's table the primary's key or replica identity.");
    e.pattern = table.pattern(e.row);
    e.key = key_hash(table, e.row);
}

Decoder::Decoder(const std::vector<Table>& tables, Handlers* handlers)
    : state_(std::make_unique<State>()) {
    state_->handlers = handlers;
    for (const Table& t : tables) {
        state_->known.push_back({&t, {}});
        state_->notify |= t.notify || t.park;
    }
}
Decoder::~Decoder() = default;

void Decoder::decode(Message& message, std::int64_t from) {
    message.events.clear();
    message.body.reserve(message.body.size() + simdjson::SIMDJSON_PADDING);
    const MessageHead& head = message.head;
    std::int64_t sequence = head.sequence;
    try {
        auto document = state_->parser.iterate(message.body).value();
        auto events = document.get_array().value();
        const std::int64_t wanted = head.last() - std::max(from, head.sequence) + 1;
        // The header is not to be believed when it comes to memory: "{}," is three bytes.
        if (wanted > 0)
            message.events.reserve(std::min<std::size_t>(static_cast<std::size_t>(wanted),
                                                         message.body.size() / 32 + 1));
        for (auto item : events) {
            if (sequence > head.last()) throw Refused("more events than cqrs-count says");
            auto value = item.value();
            if (sequence >= from) state_->event(value.get_object().value(), message, sequence);
            ++sequence;
        }
        if (sequence != head.last() + 1) throw Refused("fewer events than cqrs-count says");
        if (document.current_location().error() == simdjson::SUCCESS)
            throw Refused("something follows the array of events");
    } catch (const simdjson::simdjson_error& e) {
        throw Refused(std::string("event ") + std::to_string(sequence) + ": " + e.what());
    }
    std::uint64_t lsn = 0;
    for (const Event& e : message.events) {
        if (e.lsn < lsn) throw Refused("the events' LSNs go backwards");
        lsn = e.lsn;
    }
}

}  // namespace cqrs::apply
