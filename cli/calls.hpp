// Calls of the daemon, and commands that are little more than one.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "cli/errors.hpp"
#include "cli/nouns.hpp"

namespace zsync::cli {

// Connects, and calls `each` with what every call is given -> what it says.
template <typename Each>
auto call_daemon(Context& context, Each each)
    -> std::invoke_result_t<Each&, client::Client&, const client::CallOptions&> {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  return each(**client, *call);
}

// A verb that takes the name of a `kind` and shows what `each` gives for it.
template <typename Reply>
void add_named(Command& noun, Context& context, const char* verb, const char* help,
               const std::string& kind,
               absl::StatusOr<int> (*show)(Context&, const absl::StatusOr<Reply>&),
               std::function<absl::StatusOr<Reply>(client::Client&, const std::string&,
                                                   const client::CallOptions&)>
                   each) {
  auto name = std::make_shared<std::string>();
  Command* leaf = add_leaf(noun, context, verb, help, [&context, name, show, each] {
    return show(context,
                call_daemon(context, [&](client::Client& client, const client::CallOptions& call) {
                  return each(client, *name, call);
                }));
  });
  leaf->add_option("NAME", *name, "Name of the " + kind)->required();
}

// A verb that takes the name of a `kind` and forgets it, by `each`.
inline void add_removal(
    Command& noun, Context& context, const char* verb, const char* alias, const std::string& kind,
    std::function<absl::Status(client::Client&, const std::string&, const client::CallOptions&)>
        each) {
  auto name = std::make_shared<std::string>();
  Command* leaf =
      add_leaf(noun, context, verb, "Forget a " + kind + "; its tasks stay",
               [&context, name, kind, each]() -> absl::StatusOr<int> {
                 const absl::Status gone = call_daemon(
                     context, [&](client::Client& client, const client::CallOptions& call) {
                       return each(client, *name, call);
                     });
                 if (!gone.ok()) return gone;
                 context.note(kind + " " + *name + " is gone; its tasks stay");
                 return static_cast<int>(kExitOk);
               });
  leaf->alias(alias);
  leaf->add_option("NAME", *name, "Name of the " + kind)->required();
}

}  // namespace zsync::cli
