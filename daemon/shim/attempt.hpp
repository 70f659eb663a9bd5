// The daemon's view of an attempt directory, STATE/tasks/ID/N/, and of the shim that works in it.
//
//   spec     what to run, written before anything is started
//   stdin    the bytes for the command, when the spec says so
//   claim    who may execute: the shim that came first, or nobody any more (revoked)
//   out.log  the output, a segment log
//   exit     how it ended; its space is taken before the start, so that a full disk cannot lose it
//
// Threads: every function may be called from any thread. None waits for a shim or a command.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/shim/shim_protocol.hpp"
#include "daemon/store/segment_log.hpp"

namespace zsync::daemon::shim {

// Creates `dir` (its parent exists), writes spec, stdin bytes (when the spec's mode is kFile) and
// the empty exit file. With `durable` all of it survives a power cut when this returns.
//
// Errors: kAlreadyExists when there is a spec already; kInvalidArgument for an empty argv or a spec
// over
//         kSpecBytesMax; kResourceExhausted when the disk is full. On error nothing is left of a
//         new directory.
absl::Status create_attempt(const std::string& dir, const Spec& spec,
                            std::string_view stdin_bytes = {}, bool durable = false);

// Errors: kNotFound, kDataLoss.
absl::StatusOr<Spec> read_spec(const std::string& dir);

// Connects to the shim that holds the claim of `dir`, however long that path is. Non-blocking.
//
// Errors: kNotFound: no claim; kFailedPrecondition: it is revoked; kUnavailable: that shim has
// ended, or its
//         queue is full (shim_alive tells which).
absl::StatusOr<segment_log::Fd> connect_shim(const std::string& dir);

// nullopt: nobody has it. Errors: kDataLoss when it is damaged (a power cut).
absl::StatusOr<std::optional<Claim>> read_claim(const std::string& dir);

// Takes the claim as `revoked`, so that no shim will execute this attempt. Returns the claim that
// stands afterwards: kind kRevoked means that nothing ran and nothing will, kind kShim that a shim
// was first.
absl::StatusOr<Claim> revoke_claim(const std::string& dir);

// Takes the claim for the calling process; false: somebody else has it. Called by the shim.
absl::StatusOr<bool> take_claim(const std::string& dir);

// Writes the exit file, whose space is taken. Called by the shim.
void write_exit(const segment_log::Fd& exit_file, const ExitRecord& record);

// nullopt: the command has not ended, or its shim was killed before it could say so.
absl::StatusOr<std::optional<ExitRecord>> read_exit(const std::string& dir);

// Whether the very process that wrote `claim` runs: same boot, same start time, no zombie.
bool shim_alive(const Claim& claim);
// The same by directory; false when there is no readable claim.
bool shim_alive(const std::string& dir);

// The claim that a process writes about itself. What it asks of the machine is asked once.
absl::StatusOr<Claim> claim_of_self(ClaimKind kind);

std::string log_dir(const std::string& dir);  // for segment_log::Reader::open

}  // namespace zsync::daemon::shim
