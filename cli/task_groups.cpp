#include "cli/task_groups.hpp"

#include <cmath>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/calls.hpp"
#include "cli/durations.hpp"
#include "cli/render/progress.hpp"
#include "cli/render/text.hpp"
#include "cli/task_view.hpp"

namespace zsync::cli {
namespace {

std::string overload_text(const v1::TaskGroup& group) {
  if (group.queued_max() == 0) return "-";
  const char* policy = group.overload() == v1::OVERLOAD_POLICY_REJECT ? "reject"
                       : group.overload() == v1::OVERLOAD_POLICY_SHED ? "shed"
                                                                      : "queue";
  return absl::StrCat(policy, " from ", group.queued_max());
}

std::string mode_text(const v1::TaskGroup& group) {
  if (group.has_paused()) return group.has_drained() ? "paused, drained" : "paused";
  return group.has_drained() ? "drained" : "open";
}

// "2 of 8.0 GiB, 1.5 of 4 CPUs"
std::string budget_text(const v1::TaskGroup& group) {
  std::vector<std::string> parts;
  if (group.memory_bytes_max() != 0) {
    parts.push_back(absl::StrCat(human_bytes(group.memory_bytes_used()), " of ",
                                 human_bytes(group.memory_bytes_max())));
  }
  if (group.cpu_millis_max() != 0) {
    parts.push_back(absl::StrCat(static_cast<double>(group.cpu_millis_used()) / 1000.0, " of ",
                                 group.cpu_millis_max() / 1000.0, " CPUs"));
  }
  return parts.empty() ? "-" : absl::StrJoin(parts, ", ");
}

const char* order_text(const v1::TaskGroup& group) {
  if (group.order() == v1::GROUP_ORDER_RATE) return "rate";
  return group.order() == v1::GROUP_ORDER_DEADLINE ? "deadline" : "priority";
}

absl::StatusOr<int> list_groups(Context& context) {
  const auto reply =
      call_daemon(context, [](client::Client& client, const client::CallOptions& call) {
        return client.tasks().list_groups(call);
      });
  if (!reply.ok()) return reply.status();
  Table table({"GROUP", "PARALLEL", "RUNNING", "QUEUED", "MODE", "ORDER", "OVERLOAD", "BUDGET"});
  ListPrinter printer(context);
  for (const v1::TaskGroup& group : reply->groups()) {
    if (printer.add(group, group.name())) continue;
    table.add({{group.name()},
               {absl::StrCat(group.parallel())},
               {absl::StrCat(group.running())},
               {absl::StrCat(group.queued())},
               {mode_text(group)},
               {order_text(group)},
               {overload_text(group)},
               {budget_text(group)}});
  }
  printer.end();
  if (!context.json() && !context.jsonl() && !context.names())
    context.show_table(table, "no groups");
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> set_group(Context& context, const v1::SetGroupRequest& request) {
  const auto group =
      call_daemon(context, [&](client::Client& client, const client::CallOptions& call) {
        return client.tasks().set_group(request, call);
      });
  if (!group.ok()) return group.status();
  context.show(*group, group->name(), [&] {
    std::string text = absl::StrCat(group->name(), ": ", mode_text(*group), ", ", group->parallel(),
                                    " at once, by ", order_text(*group));
    if (group->queued_max() != 0) absl::StrAppend(&text, ", ", overload_text(*group), " queued");
    if (const std::string budget = budget_text(*group); budget != "-") {
      absl::StrAppend(&text, ", ", budget, " given away");
    }
    return text + "\n";
  });
  return static_cast<int>(kExitOk);
}

struct GroupFlags {
  v1::SetGroupRequest request;
  std::string name, order, overload;
  unsigned parallel = 0;
  std::optional<unsigned> queued_max;
  std::optional<std::uint64_t> memory;
  std::optional<double> cpus;
};

absl::StatusOr<int> apply(Context& context, const GroupFlags& flags) {
  v1::SetGroupRequest request;
  request.set_name(flags.name);
  request.set_parallel(flags.parallel);
  if (!flags.order.empty()) {
    request.set_order(flags.order == "deadline" ? v1::GROUP_ORDER_DEADLINE
                      : flags.order == "rate"   ? v1::GROUP_ORDER_RATE
                                                : v1::GROUP_ORDER_PRIORITY);
  }
  if (!flags.overload.empty()) {
    request.set_overload(flags.overload == "reject" ? v1::OVERLOAD_POLICY_REJECT
                         : flags.overload == "shed" ? v1::OVERLOAD_POLICY_SHED
                                                    : v1::OVERLOAD_POLICY_QUEUE);
  }
  if (flags.queued_max) {
    request.set_queued_max(*flags.queued_max);
  }
  if (flags.memory) request.set_memory_bytes_max(*flags.memory);
  if (flags.cpus) {
    request.set_cpu_millis_max(static_cast<std::uint32_t>(std::lround(*flags.cpus * 1000)));
  }
  return set_group(context, request);
}

void add_set(Command& parent, Context& context, const char* verb) {
  auto flags = std::make_shared<GroupFlags>();
  Command* set =
      add_leaf(parent, context, verb, "How many tasks of a group run at once, in which order",
               [&context, flags] { return apply(context, *flags); });
  set->add_option("GROUP", flags->name, "Name of the group")->required();
  set->add_option("PARALLEL", flags->parallel, "Tasks at once: 1..4096; left out: as it is")
      ->between(1, 4096);
  set->add_option("--order", flags->order,
                  "What starts first: priority (default), the earliest deadline, or the shortest "
                  "period (rate)")
      ->one_of({"priority", "deadline", "rate"})
      ->type_name("ORDER");
  set->add_option("--queued-max", flags->queued_max,
                  "How many may wait before the group counts as overloaded; 0: any number")
      ->between(0, 10'000'000)
      ->type_name("N");
  set->add_option("--overload", flags->overload,
                  "What happens to more: queue (default), reject, or shed the oldest ones of the "
                  "lowest priority")
      ->one_of({"queue", "reject", "shed"})
      ->type_name("POLICY");
  set->add_option("--memory", flags->memory,
                  "Running tasks may have this much together by their --memory, as in 8GiB; what "
                  "does not fit waits; 0: any")
      ->in_bytes()
      ->type_name("SIZE");
  set->add_option("--cpus", flags->cpus, "The same of their --cpus; 0: any")
      ->between(0.0, 4096.0)
      ->type_name("N");
}

void add_switch(Command& parent, Context& context, const char* verb, const char* help,
                const std::function<void(v1::SetGroupRequest&)>& set) {
  auto name = std::make_shared<std::string>();
  Command* leaf = add_leaf(parent, context, verb, help, [&context, name, set] {
    v1::SetGroupRequest request;
    request.set_name(*name);
    set(request);
    return set_group(context, request);
  });
  leaf->add_option("GROUP", *name, "Name of the group")->required();
}

absl::StatusOr<int> list_resources(Context& context) {
  const auto reply =
      call_daemon(context, [](client::Client& client, const client::CallOptions& call) {
        return client.tasks().list_resources(call);
      });
  if (!reply.ok()) return reply.status();
  Table table({"NAME", "KIND", "USED", "OF", "HOLDERS"});
  ListPrinter printer(context);
  for (const v1::TaskResource& resource : reply->resources()) {
    if (printer.add(resource, resource.name())) continue;
    table.add({{resource.name()},
               {resource.lock() ? "lock" : "resource"},
               {absl::StrCat(resource.used())},
               {absl::StrCat(resource.capacity())},
               {resource.holders().empty() ? "-" : absl::StrJoin(resource.holders(), ", ")}});
  }
  printer.end();
  if (!context.json() && !context.jsonl() && !context.names())
    context.show_table(table, "no resources");
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> set_resource(Context& context, const std::string& name, unsigned capacity) {
  const auto resource =
      call_daemon(context, [&](client::Client& client, const client::CallOptions& call) {
        return client.tasks().set_resource(name, capacity, call);
      });
  if (!resource.ok()) return resource.status();
  context.show(*resource, resource->name(), [&] {
    return absl::StrCat(resource->name(), ": ", resource->used(), " of ", resource->capacity(),
                        " used\n");
  });
  return static_cast<int>(kExitOk);
}

void add_resources(Command& tasks, Context& context) {
  add_noun(
      tasks, "resource", "resources", "What tasks share, and how much of it",
      [&context](Command& noun) {
        add_leaf(noun, context, "list", "Resources and locks, and which tasks have them",
                 [&context] { return list_resources(context); });
        auto resource = std::make_shared<std::pair<std::string, unsigned>>();
        Command* set =
            add_leaf(noun, context, "set", "How much of a resource there is", [&context, resource] {
              return set_resource(context, resource->first, resource->second);
            });
        set->add_option("NAME", resource->first, "Name of the resource, as in gpu")->required();
        set->add_option("CAPACITY", resource->second, "0..1000000")
            ->required()
            ->between(0, 1'000'000);
      });
}

}  // namespace

void add_task_groups(Command& tasks, Context& context) {
  add_leaf(tasks, context, "groups", "Groups and how many of each run at once",
           [&context] { return list_groups(context); });
  add_set(tasks, context, "set-group");
  add_noun(tasks, "group", "", "One group: what it runs and takes", [&context](Command& group) {
    add_set(group, context, "set");
    add_switch(group, context, "pause", "Start nothing of it any more; what runs goes on",
               [](v1::SetGroupRequest& request) { request.set_paused(true); });
    add_switch(group, context, "resume", "Start its tasks again",
               [](v1::SetGroupRequest& request) { request.set_paused(false); });
    add_switch(group, context, "drain", "Let it take no new tasks; what is queued runs",
               [](v1::SetGroupRequest& request) { request.set_drained(true); });
    add_switch(group, context, "undrain", "Let it take tasks again",
               [](v1::SetGroupRequest& request) { request.set_drained(false); });
  });
  add_resources(tasks, context);
}

}  // namespace zsync::cli
