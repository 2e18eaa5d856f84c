// A message from anywhere is refused, stops the topic or is rows; what it comes to is then well
// formed, down to the lines of COPY. Three bytes choose headers and skipping, the rest is the body.
#include "apply/message.hpp"

#include <string>

#include "../apply_fixture.hpp"
#include "apply/copy_text.hpp"
#include "apply/heartbeat.hpp"
#include "apply/net_effect.hpp"
#include "broker/names.hpp"
#include "targets.hpp"

namespace cqrs::fuzz {
namespace {

using namespace cqrs::apply;

std::vector<Table> make_tables() {
    std::vector<Table> tables;
    tables.push_back(test::make_table("parking", {"id", "name", "doc", "gen"}, {0}));
    tables[0].columns[2].json = true;
    tables[0].columns[3].generated = true;
    tables[0].prepare();
    tables.push_back(test::make_table("parking.pair", {"a", "b", "c"}, {0, 1}));
    tables.push_back(test::make_table("parking.two", {"a", "b"}, {0}));
    tables[2].keys.push_back(tables[2].keys[0]);
    tables[2].keys[1].columns = {1};
    return tables;
}

broker::Headers headers(unsigned char choice, unsigned char count, std::string_view body) {
    broker::Headers h{{broker::header_source, std::string(body.substr(0, 20))},
                      {broker::header_topic, std::string("parking")},
                      {broker::header_epoch, std::int64_t{5}},
                      {broker::header_sequence, std::int64_t{1}},
                      {broker::header_count, std::int64_t{count}},
                      {broker::header_committed, std::int64_t{1}},
                      {broker::header_lsn, std::string(body.substr(0, choice % 32))},
                      {broker::header_previous, std::string("0/10")},
                      {broker::header_more, (choice & 1) != 0}};
    if (choice & 2) h[broker::header_lsn] = std::string("0/20");
    if (choice & 4) h[broker::header_sequence] = std::int64_t{INT64_MAX};
    if (choice & 8) h[broker::header_topic] = std::vector<std::string>{"parking"};
    return h;
}

void read(const Event& event) {
    if (!event.table || !event.row) return;
    std::string line;
    for (std::size_t i = 0; i < event.table->columns.size(); ++i)
        if (event.row[i].is(Field::Kind::value)) append_copy_field(line, event.row[i]);
    // One line of COPY, whatever stood in the values.
    check(line.find('\n') == line.npos && line.find('\t') == line.npos);
}

}  // namespace

void message(std::string_view bytes) {
    parse_heartbeat(bytes);
    if (bytes.size() < 3) return;
    const auto choice = static_cast<unsigned char>(bytes[0]),
               count = static_cast<unsigned char>(bytes[1]),
               from = static_cast<unsigned char>(bytes[2]);
    bytes.remove_prefix(3);
    try {
        read_head(headers(choice, count, bytes));
    } catch (const Refused&) {
    }
    static const std::vector<Table> tables = make_tables();
    Decoder decoder(tables);
    Message message;
    message.head.sequence = 1;
    message.head.count = count;
    message.body = bytes;
    try {
        decoder.decode(message, from);
    } catch (const Refused&) {
        return;
    } catch (const Halt&) {
        return;
    }
    std::vector<const Event*> events;
    for (const Event& e : message.events) {
        read(e);
        // Orders to the applier never get as far as the rows.
        if (e.table && e.verb != Verb::resync && e.verb != Verb::stop) events.push_back(&e);
    }
    Arena arena;
    std::size_t seen = 0;
    for (const Step& step : net_effect(events, arena)) {
        check(step.begin <= step.end && step.end <= events.size());
        seen += step.end - step.begin;
    }
    check(seen <= events.size());
}

}  // namespace cqrs::fuzz
