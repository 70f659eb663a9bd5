// The words of the command line and their flags. CLI11 reads it, behind this header: whoever
// includes CLI11 compiles most of it again, and there are forty files with flags.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace zsync::cli {

// A flag or a positional word of one command; lives as long as that command. Each returns itself.
class Flag {
 public:
  explicit Flag(CLI::Option& option) : option_(option) {}

  Flag* required();
  Flag* type_name(const std::string& name);  // as help has it
  Flag* description(const std::string& text);
  Flag* group(const std::string& heading);
  Flag* excludes(Flag* other);
  Flag* needs(Flag* other);
  Flag* capture_default_str();
  // How many words one use of it takes.
  Flag* expected(int least, int most);
  // Whether words after the first are its own as well.
  Flag* allow_extra_args(bool allowed);
  Flag* delimiter(char between);

  Flag* one_of(std::initializer_list<const char*> words);
  Flag* between(int least, int most);
  Flag* between(double least, double most);
  Flag* in_bytes();  // takes "64MiB"

  std::size_t count() const;  // of its uses
  bool takes_value() const;
  const std::vector<std::string>& long_names() const;
  bool is(const CLI::Option& option) const { return &option == &option_; }

 private:
  CLI::Option& option_;
};

// A noun or verb; its parent owns it.
class Command {
 public:
  enum class Outcome { kParsed, kHelp, kVersion, kUnknownWord, kMissing, kWrong };
  struct Parsed {
    Outcome outcome = Outcome::kParsed;
    std::string message;  // of kMissing and kWrong
  };

  Command(const std::string& name, const std::string& help);
  ~Command();
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;

  Command* add_subcommand(const std::string& name, const std::string& help);
  // Reads into `value`, which outlives this. Names as in "-f,--file"; without dashes: a positional.
  Flag* add_option(const std::string& names, std::string& value, const std::string& help);
  Flag* add_option(const std::string& names, int& value, const std::string& help);
  Flag* add_option(const std::string& names, unsigned& value, const std::string& help);
  Flag* add_option(const std::string& names, std::uint64_t& value, const std::string& help);
  Flag* add_option(const std::string& names, double& value, const std::string& help);
  Flag* add_option(const std::string& names, std::optional<unsigned>& value,
                   const std::string& help);
  Flag* add_option(const std::string& names, std::optional<std::uint64_t>& value,
                   const std::string& help);
  Flag* add_option(const std::string& names, std::optional<double>& value, const std::string& help);
  Flag* add_option(const std::string& names, std::vector<std::string>& values,
                   const std::string& help);
  Flag* add_option_function(const std::string& names, std::function<void(const std::string&)> taken,
                            const std::string& help);
  Flag* add_flag(const std::string& names, bool& value, const std::string& help);
  Flag* add_flag_callback(const std::string& names, std::function<void()> taken,
                          const std::string& help);
  // nullptr: it has none of this name.
  Flag* find_flag(const std::string& name);
  std::vector<Flag*> flags();

  Command* alias(const std::string& name);
  Command* group(const std::string& heading);  // empty: help does not show it
  Command* footer(const std::string& text);
  Command* require_subcommand();
  Command* may_have_subcommand();  // one at most
  Command* callback(std::function<void()> named);
  // What is needed only once the line names this command, as its verbs and the flags that every
  // command has: to make them for a hundred commands takes longer than to run one. In this order.
  void when_named(std::function<void()> add) { missing_.push_back(std::move(add)); }
  void complete();  // idempotent
  void version_flag(const std::string& version);

  const std::string& name() const;
  // "zsyncctl tasks list"
  std::string full_name() const;
  Command* parent() const { return parent_; }
  std::vector<Command*> subcommands() const;
  const std::vector<std::string>& aliases() const;
  bool is_called(const std::string& word) const;
  // After parse().
  bool subcommand_named() const;
  bool lacks_subcommand() const;  // one is required

  // `words` without the program's name. For the outermost one.
  Parsed parse(const std::vector<std::string>& words);
  // After parse(): the words that have no meaning here or below.
  std::vector<std::string> unknown_words() const;
  std::string help() const;

 private:
  Command(Command& parent, CLI::App& app);
  template <class Value>
  Flag* add(const std::string& names, Value& value, const std::string& help);
  Flag* keep(CLI::Option& option);

  std::unique_ptr<CLI::App> own_;  // of the outermost one
  CLI::App& app_;
  Command* parent_ = nullptr;
  std::vector<std::function<void()>> missing_;
  std::deque<Flag> flags_;
  std::vector<std::unique_ptr<Command>> subcommands_;
};

// "64MiB" -> "67108864"; empty: it is no size.
std::string bytes_text(std::string size);

}  // namespace zsync::cli
