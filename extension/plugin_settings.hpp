// Values must not depend on whose session decodes them: the settings that output functions look at.
#pragma once

namespace cqrs {

// For the rest of the walsender's session.
void pin_session_settings();
// For the transaction (or subtransaction) that a decoded one is replayed in: undone at its end.
void pin_transaction_settings();

}  // namespace cqrs
