// Which span of a trace a piece of work is: told by its id and by who caused it, so that nothing
// has to be stored for it, and a daemon that was restarted says the same.
#pragma once

#include <cstdint>
#include <string_view>

#include "zsync/trace/context.hpp"

namespace zsync::daemon {

// The span of the work `id`, a ULID behind a prefix. It goes on with its caller's trace; where
// there is none, or a malformed one, the ULID is the trace's id. What begins here is sampled.
trace::SpanContext work_span(std::string_view id, std::string_view caller_traceparent);

// A part of it: an attempt by its number, from 1; the waits between them by theirs.
trace::SpanContext attempt_span(trace::SpanContext work, uint32_t attempt);
trace::SpanContext wait_span(trace::SpanContext work, uint32_t wait);

}  // namespace zsync::daemon
