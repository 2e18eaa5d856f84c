#include "plugin_settings.hpp"

#include "guard.hpp"

extern "C" {
#include "utils/guc.h"
}

namespace cqrs {
namespace {

struct Setting {
    const char *name, *value;
};
constexpr Setting kPinned[] = {{"DateStyle", "ISO, MDY"},     {"IntervalStyle", "postgres"},
                               {"TimeZone", "UTC"},           {"extra_float_digits", "1"},
                               {"bytea_output", "hex"},       {"lc_monetary", "C"},
                               {"search_path", "pg_catalog"}, {"quote_all_identifiers", "off"}};

void pin(GucAction action) {
    for (const Setting& setting : kPinned) {
        const char* current = GetConfigOption(setting.name, false, false);
        if (current && strcmp(current, setting.value) == 0) continue;
        set_config_option(setting.name, setting.value, PGC_USERSET, PGC_S_SESSION, action, true, 0,
                          false);
    }
}

}  // namespace

void pin_session_settings() {
    pin(GUC_ACTION_SET);
}
void pin_transaction_settings() {
    pin(GUC_ACTION_SAVE);
}

}  // namespace cqrs
