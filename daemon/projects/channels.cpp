// The channels of a project: made where they are missing, and left when it is taken down.
#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/config/units.hpp"
#include "daemon/fault/fault.hpp"
#include "daemon/projects/engine.hpp"

namespace zsync::daemon {
namespace {

const char* class_word(ChannelClass kind) {
  return kind == ChannelClass::kDurable ? "durable" : "memory";
}

const char* overflow_word(Overflow overflow) {
  if (overflow == Overflow::kBlock) return "block";
  return overflow == Overflow::kError ? "error" : "drop_oldest";
}

std::string capacity_text(uint64_t capacity) {
  return capacity == 0 ? "unbounded" : absl::StrCat(capacity);
}

std::string age_text(int64_t ns) {
  return ns == 0 ? "no limit" : format_duration(std::chrono::milliseconds(ns / 1'000'000));
}

// "capacity 1024, and the file says 10" for each setting that the file names otherwise.
std::vector<std::string> differences(const ChannelEntry& wanted, const ChannelSpec& there) {
  std::vector<std::string> all;
  const auto differ = [&all](const char* key, const std::string& is, const std::string& says) {
    if (is != says) all.push_back(absl::StrCat(key, " ", is, " (the file says ", says, ")"));
  };
  if (wanted.kind) differ("class", class_word(there.kind), class_word(*wanted.kind));
  if (wanted.form) differ("form", form_word(there.form), form_word(*wanted.form));
  if (wanted.capacity) {
    differ("capacity", capacity_text(there.unbounded ? 0 : there.capacity),
           capacity_text(*wanted.capacity));
  }
  if (wanted.overflow) {
    differ("overflow", overflow_word(there.overflow), overflow_word(*wanted.overflow));
  }
  if (wanted.retention_age_ns) {
    differ("retain", age_text(there.policy.age_ns()), age_text(*wanted.retention_age_ns));
  }
  return all;
}

ChannelSpec spec_of(const ChannelEntry& wanted) {
  ChannelSpec spec;
  spec.name = wanted.name;
  spec.kind = wanted.kind.value_or(spec.kind);
  spec.form = wanted.form.value_or(spec.form);
  spec.capacity = wanted.capacity.value_or(0);
  spec.unbounded = wanted.capacity == 0u;
  spec.overflow = wanted.overflow.value_or(spec.overflow);
  spec.policy.retention_age_ns = wanted.retention_age_ns;
  return spec;
}

// What is wrong, where the file names the channel.
absl::Status at_line(const std::string& file, const ChannelEntry& entry, const absl::Status& why) {
  FaultDetail detail{"text", "INVALID", "", "change the file", {}};
  if (std::optional<FaultDetail> known = fault_detail(why)) detail = *std::move(known);
  detail.field = "text";
  return fault(why.code(),
               problem_line(file, {entry.line, entry.column,
                                   absl::StrCat("channels.", entry.name, ": ", why.message())}),
               std::move(detail));
}

absl::Status is_otherwise(const ChannelEntry& entry, const std::vector<std::string>& how) {
  return fault(absl::StatusCode::kAlreadyExists,
               absl::StrCat("the channel is there with ", absl::StrJoin(how, ", ")),
               {"text",
                "EXISTS",
                "",
                absl::StrCat("write what it is, choose another name, or give up what it holds: "
                             "zsyncctl channels remove ",
                             entry.name),
                {}});
}

}  // namespace

// None is made where one of them cannot be.
Task<absl::Status> ProjectsEngine::make_channels(const std::string& file, const ProjectSpec& spec) {
  std::vector<const ChannelEntry*> missing;
  for (const ChannelEntry& entry : spec.channels) {
    const absl::StatusOr<ChannelsEngine::ChannelPtr> there = channels_.find(entry.name);
    if (absl::IsNotFound(there.status())) {
      missing.push_back(&entry);
      continue;
    }
    if (!there.ok()) co_return at_line(file, entry, there.status());
    const std::vector<std::string> how = differences(entry, (*there)->info().spec);
    if (!how.empty()) co_return at_line(file, entry, is_otherwise(entry, how));
  }
  for (const ChannelEntry* entry : missing) {
    const absl::StatusOr<ChannelInfo> made = co_await channels_.create(spec_of(*entry), true);
    if (!made.ok()) co_return at_line(file, *entry, made.status());
  }
  co_return absl::OkStatus();
}

// What was in memory is gone with the daemon before; the channels of a project that is up are there
// again, empty.
Task<void> ProjectsEngine::make_channels_again(EntryPtr entry) {
  ProjectRecord record;
  {
    rt::LockGuard guard(mutex_);
    const std::vector<UnitRow> rows = entry->run.rows();
    const bool up =
        std::any_of(rows.begin(), rows.end(), [](const UnitRow& row) { return row.wanted; });
    if (!up || entry->channels.empty()) co_return;
    record = entry->record;
  }
  const ParsedProject parsed = parse_project(record.text);
  const absl::Status made = co_await make_channels(record.file, std::get<ProjectSpec>(parsed));
  if (made.ok()) co_return;
  events_.append("project.channels_missing", record.name,
                 {{"reason", std::string(made.message())}});
}

}  // namespace zsync::daemon
