#include "cli/submit.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/errors.hpp"
#include "cli/nouns.hpp"
#include "cli/render/json.hpp"
#include "cli/render/progress.hpp"
#include "cli/spec_flags.hpp"
#include "cli/words.hpp"

namespace zsync::cli {
namespace {

constexpr int kSpecsMax = 10'000;  // of one request, by the wire contract
constexpr std::size_t kBatchBytesMax =
    (4u << 20) - 4096;  // of one request, below the message limit
constexpr std::size_t kSpecOverheadBytes = 16;

struct SubmitFlags {
  SpecFlags spec;
  std::string from;
  std::string array;
  std::vector<std::string> matrix;
  bool dry_run = false;
};

absl::Status set_array(const SubmitFlags& flags, v1::TaskSpec& spec) {
  if (flags.array.empty() && flags.matrix.empty()) return absl::OkStatus();
  spec.mutable_array()->set_indexes(flags.array);
  for (const std::string& text : flags.matrix) {
    const auto pair = parse_pair(text, "--matrix");
    if (!pair.ok()) return pair.status();
    if (!is_utf8(text)) return usage_error("--matrix: not valid UTF-8");
    v1::MatrixAxis& axis = *spec.mutable_array()->add_matrix();
    axis.set_name(pair->first);
    for (const std::string& value : std::vector<std::string>(absl::StrSplit(pair->second, ','))) {
      axis.add_values(value);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> read_file(const std::string& path, int stdin_fd) {
  const int fd = path == "-" ? stdin_fd : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return absl::NotFoundError(absl::StrCat("--from: open ", path, ": ", std::strerror(errno)));
  }
  std::string text;
  char buffer[64 << 10];
  ssize_t got;
  while ((got = ::read(fd, buffer, sizeof buffer)) > 0 || (got < 0 && errno == EINTR)) {
    if (got > 0) text.append(buffer, static_cast<std::size_t>(got));
  }
  const int error = errno;
  if (fd != stdin_fd) ::close(fd);
  if (got < 0) {
    return usage_error(absl::StrCat("--from: read ", path, ": ", std::strerror(error)));
  }
  return text;
}

// The whole file is read and checked before anything is submitted.
absl::StatusOr<std::vector<std::vector<std::string>>> read_commands(const std::string& path,
                                                                    int stdin_fd) {
  const absl::StatusOr<std::string> text = read_file(path, stdin_fd);
  if (!text.ok()) return text.status();
  std::vector<std::vector<std::string>> commands;
  std::size_t line_number = 0;
  for (std::size_t at = 0; at < text->size();) {
    ++line_number;
    const std::size_t end = std::min(text->find('\n', at), text->size());
    const std::string line = text->substr(at, end - at);
    at = end + 1;
    absl::StatusOr<std::vector<std::string>> words = split_words(line);
    if (!words.ok()) {
      return usage_error(
          absl::StrCat("--from ", path, ":", line_number, ": ", words.status().message()));
    }
    if (!is_utf8(line)) {
      return usage_error(absl::StrCat("--from ", path, ":", line_number, ": not valid UTF-8"));
    }
    if (!words->empty()) commands.push_back(*std::move(words));
  }
  if (commands.empty()) return usage_error(absl::StrCat("--from ", path, ": no command in it"));
  return commands;
}

// Collects specs and sends them in as few requests as the limits allow.
class Batcher {
 public:
  Batcher(Context& context, client::Client& client, const client::CallOptions& call)
      : context_(context), client_(client), call_(call) {}

  absl::Status add(v1::TaskSpec spec) {
    const std::size_t bytes = spec.ByteSizeLong() + kSpecOverheadBytes;
    if (request_.specs_size() > 0 &&
        (request_.specs_size() == kSpecsMax || bytes_ + bytes > kBatchBytesMax)) {
      if (absl::Status sent = send(); !sent.ok()) return sent;
    }
    bytes_ += bytes;
    *request_.add_specs() = std::move(spec);
    return absl::OkStatus();
  }
  absl::Status finish() {
    if (request_.specs_size() > 0) {
      if (absl::Status sent = send(); !sent.ok()) return sent;
    }
    if (context_.json()) context_.out.write(to_json(all_, true));
    return absl::OkStatus();
  }

 private:
  absl::Status send() {
    const auto reply = client_.tasks().submit(request_, call_);
    if (!reply.ok()) {
      if (submitted_ > 0) {
        context_.out.flush();
        context_.note(absl::StrCat("the first ", submitted_, " tasks were submitted"));
      }
      return reply.status();
    }
    submitted_ += reply->ids_size();
    if (context_.json()) {
      all_.MergeFrom(*reply);
    } else if (context_.jsonl()) {
      context_.out.write(to_json(*reply, false) + "\n");
    } else {
      for (const std::string& array : reply->array_ids()) context_.out.write(array + "\n");
      if (reply->array_ids_size() > 0) {
        context_.note(absl::StrCat("submitted ", reply->ids_size(), " tasks"));
        context_.out.flush();
        request_.Clear();
        bytes_ = 0;
        return absl::OkStatus();
      }
      for (int i = 0; i < reply->ids_size(); ++i) {
        const bool existing = i < reply->existing_size() && reply->existing(i);
        context_.out.write(reply->ids(i));
        context_.out.write(existing && !context_.names() ? " (existing)\n" : "\n");
      }
    }
    context_.out.flush();
    request_.Clear();
    bytes_ = 0;
    return absl::OkStatus();
  }

  Context& context_;
  client::Client& client_;
  const client::CallOptions& call_;
  v1::SubmitTasksRequest request_;
  v1::SubmitTasksReply all_;
  std::size_t bytes_ = 0;
  int submitted_ = 0;
};

absl::StatusOr<int> submit(Context& context, const SubmitFlags& flags) {
  absl::StatusOr<v1::TaskSpec> spec = make_spec(flags.spec);
  if (!spec.ok()) return spec.status();
  if (absl::Status set = set_array(flags, *spec); !set.ok()) return set;
  std::vector<std::vector<std::string>> commands = {context.command};
  if (!flags.from.empty()) {
    if (!context.command.empty() || !flags.spec.shell.empty()) {
      return usage_error("give a command or --from FILE, not both");
    }
    if (!flags.array.empty() || !flags.matrix.empty()) {
      return usage_error("give --from FILE or an array, not both");
    }
    if (!flags.spec.idempotency_key.empty()) {
      return usage_error("--idempotency-key names one task, --from submits many");
    }
    auto read = read_commands(flags.from, context.in);
    if (!read.ok()) return read.status();
    commands = *std::move(read);
  } else if (absl::Status set = set_command(*spec, flags.spec, context.command); !set.ok()) {
    return set;
  }
  if (flags.dry_run) {
    for (const auto& command : commands) {
      if (absl::Status set = set_command(*spec, flags.spec, command); !set.ok()) return set;
      context.out.write(to_json(*spec, false) + "\n");
    }
    return static_cast<int>(kExitOk);
  }
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  client::CallOptions call;
  call.stop = &context.stop;
  const Progress progress(context.err, !context.globals.quiet && !context.out.is_terminal(),
                          "submitting");
  Batcher batcher(context, **client, call);
  for (const auto& command : commands) {
    v1::TaskSpec one = *spec;
    if (absl::Status set = set_command(one, flags.spec, command); !set.ok()) return set;
    if (absl::Status added = batcher.add(std::move(one)); !added.ok()) return added;
  }
  if (absl::Status sent = batcher.finish(); !sent.ok()) return sent;
  return static_cast<int>(kExitOk);
}

}  // namespace

void add_submit(Command& tasks, Context& context) {
  auto flags = std::make_shared<SubmitFlags>();
  Command* leaf = add_leaf(
      tasks, context, "submit", "Queue a command and print its id",
      [&context, flags] { return submit(context, *flags); }, false);
  add_spec_flags(*leaf, flags->spec);
  leaf->add_option(
          "--from", flags->from,
          "One command line a line, split as a shell splits words, expanding nothing; - is stdin")
      ->type_name("FILE");
  leaf->add_option("--array", flags->array,
                   "A task for each of these indexes, as in 0-9 or 1,4,7-9; {index} in the command "
                   "and ZSYNC_ARRAY_INDEX say which; prints the array's id")
      ->type_name("INDEXES");
  leaf->add_option("--matrix", flags->matrix,
                   "A task for each combination, as in os=linux,mac; {os} in the command and "
                   "ZSYNC_MATRIX_OS say which; may be repeated; prints the array's id")
      ->allow_extra_args(false)
      ->type_name("AXIS=V,V");
  leaf->add_flag("--dry-run", flags->dry_run, "Print what would be submitted, as JSON");
}

}  // namespace zsync::cli
